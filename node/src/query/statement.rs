//! The statement of an outlet's account, newest first.
//!
//! An account's transfers are two chains, one per writer (its node and the hub). The statement merges both, newest
//! first by time; the running balance is computed on reading, backwards from the present balance. The node stamps its events
//! behind what it has applied of the hub's, so that time is the order in which they took effect here. Stores of earlier builds
//! did not: there a deposit by whose stamp the next line would be below zero is shown before what spent it.

use core::fmt;
use core::str::FromStr;

use jikai_schema::ledger::{AccountId, TransferCode, TransferId};
use jikai_schema::money::Money;
use jikai_schema::projection::{Projection, ProjectionError};
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension};

use super::QueryError;

/// One line of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementLine {
    /// The transfer.
    pub transfer: TransferId,
    /// When.
    pub at_ms: TimeMs,
    /// Why.
    pub code: TransferCode,
    /// Added (or, below zero, taken).
    pub amount: Money,
    /// Balance after it.
    pub balance: Money,
    /// Pack, ticket or deposit, by `code`.
    pub subject: i64,
}

/// A page and the mark of the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementPage {
    /// Lines, newest first.
    pub lines: Vec<StatementLine>,
    /// Where the next page begins; `None` at the account's first line.
    pub next: Option<Cursor>,
}

/// Where a page begins: the newest transfer of each chain not yet shown, and the balance after both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    node_transfer: i64,
    hub_transfer: i64,
    balance_fen: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.node_transfer, self.hub_transfer, self.balance_fen)
    }
}

impl FromStr for Cursor {
    type Err = QueryError;
    fn from_str(text: &str) -> Result<Self, QueryError> {
        let mut parts = text.splitn(3, '.').map(str::parse::<i64>);
        match (parts.next(), parts.next(), parts.next()) {
            (Some(Ok(node_transfer)), Some(Ok(hub_transfer)), Some(Ok(balance_fen))) => {
                Ok(Cursor { node_transfer, hub_transfer, balance_fen })
            }
            _ => Err(QueryError::BadCursor(text.chars().take(64).collect())),
        }
    }
}

/// A transfer as its account sees it.
struct Entry {
    line: StatementLine,
    previous: i64,
}

/// Reads at most `limit` lines before `before`, or from the newest on.
pub fn statement(
    store: &Connection,
    account: AccountId,
    before: Option<Cursor>,
    limit: usize,
) -> Result<StatementPage, QueryError> {
    let mut at = match before {
        Some(cursor) => cursor,
        None => {
            let row = *Projection::new(store).account(account)?;
            Cursor {
                node_transfer: row.last_node_transfer,
                hub_transfer: row.last_hub_transfer,
                balance_fen: row.balance.fen(),
            }
        }
    };
    let mut of_node = read(store, account, at.node_transfer)?;
    let mut of_hub = read(store, account, at.hub_transfer)?;
    let mut lines = Vec::with_capacity(limit);
    while lines.len() < limit {
        let from_node = match (&of_node, &of_hub) {
            (Some(node), Some(hub)) => order(&node.line) > order(&hub.line) || at.balance_fen < hub.line.amount.fen(),
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return Ok(StatementPage { lines, next: None }),
        };
        let (entry, position) =
            if from_node { (&mut of_node, &mut at.node_transfer) } else { (&mut of_hub, &mut at.hub_transfer) };
        let Some(Entry { mut line, previous }) = entry.take() else { break };
        line.balance = Money::from_fen(at.balance_fen);
        let Ok(earlier) = line.balance.checked_sub(line.amount) else {
            // Only a mark that somebody made up leads here: balances in the store were checked when they were posted.
            return Err(QueryError::BadCursor(at.to_string()));
        };
        at.balance_fen = earlier.fen();
        *position = previous;
        *entry = read(store, account, previous)?;
        lines.push(line);
    }
    let more = of_node.is_some() || of_hub.is_some();
    Ok(StatementPage { lines, next: more.then_some(at) })
}

fn order(line: &StatementLine) -> (TimeMs, TransferId) {
    (line.at_ms, line.transfer)
}

/// Reads one transfer of the account; one that is not the account's is a mark made up by the caller.
fn read(store: &Connection, account: AccountId, transfer: i64) -> Result<Option<Entry>, QueryError> {
    if transfer == 0 {
        return Ok(None);
    }
    let forged = || QueryError::BadCursor(transfer.to_string());
    let row = store
        .prepare_cached(
            "SELECT debit, credit, amount_fen, code, subject, at_ms, debit_prev, credit_prev FROM transfer WHERE transfer = ?1",
        )?
        .query_row([transfer], |row| {
            let fields: [i64; 8] = std::array::from_fn(|at| row.get(at).unwrap_or(0));
            Ok(fields)
        })
        .optional()?;
    let [debit, credit, amount_fen, code, subject, at_ms, debit_prev, credit_prev] = row.ok_or_else(forged)?;
    let (amount_fen, previous) = match account.key() {
        key if key == debit => (-amount_fen, debit_prev),
        key if key == credit => (amount_fen, credit_prev),
        _ => return Err(forged()),
    };
    let damaged = ProjectionError::Damaged { table: "transfer", key: transfer };
    let line = StatementLine {
        transfer: TransferId::from_key(transfer),
        at_ms: TimeMs::from_ms(at_ms),
        code: TransferCode::from_number(code).ok_or(damaged)?,
        amount: Money::from_fen(amount_fen),
        balance: Money::ZERO,
        subject,
    };
    Ok(Some(Entry { line, previous }))
}
