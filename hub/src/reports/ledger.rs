//! The ledger: balances by kind of account, whose sum is zero, always; and what moved the outlets' money, by division,
//! outlet, game and day.

use std::collections::BTreeMap;

use jikai_schema::ledger::AccountKind;
use jikai_schema::money::Money;
use jikai_schema::projection::OutletDay;
use rusqlite::Connection;

use super::rollup::rollup_at;
use super::{Axis, Page, Query, ReportError, Sums, at_once};
use crate::rights::Scope;

/// One kind of account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerLine {
    /// Which.
    pub kind: AccountKind,
    /// Accounts of this kind.
    pub accounts: i64,
    /// Their balances, summed.
    pub balance: Money,
}

/// What moved the prepaid accounts of some outlets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovementLine {
    /// Text form of the key.
    pub key: String,
    /// Display name.
    pub name: String,
    /// The movements.
    pub movements: Movements,
}

/// Movements of prepaid accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Movements {
    /// Charges, commissions, returns, prizes and deposits of the days asked for.
    pub sums: OutletDay,
    /// What they changed: deposits, commissions, returns, prizes and money from suspense, less charges.
    pub change: Money,
    /// Balance of the outlets' accounts now; only where the report is divided by place.
    pub balance: Option<Money>,
}

impl Movements {
    fn new(sums: OutletDay, balance: Option<Money>) -> Result<Self, ReportError> {
        let fen = Money::from_fen;
        let credits = [sums.deposit_fen, sums.commission_fen, sums.return_fen, sums.prize_fen, sums.suspense_fen];
        let credited = credits.into_iter().try_fold(Money::ZERO, |sum, part| sum.checked_add(fen(part)))?;
        Ok(Movements { sums, change: credited.checked_sub(fen(sums.charge_fen))?, balance })
    }
}

/// Balances of every kind, and their sum: of the whole province, for only that adds up to zero.
pub fn ledger(store: &mut Connection) -> Result<Page<LedgerLine, Money>, ReportError> {
    at_once(store, |store, applied| {
        let sql = "SELECT account >> 44, count(*), sum(balance_fen) FROM account GROUP BY 1 ORDER BY 1";
        let mut statement = store.prepare_cached(sql)?;
        let mut found = statement.query([])?;
        let (mut rows, mut total) = (Vec::new(), Money::ZERO);
        while let Some(row) = found.next()? {
            let (number, accounts, balance): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let balance = Money::from_fen(balance);
            total = total.checked_add(balance)?;
            if let Some(kind) = AccountKind::ALL.into_iter().find(|kind| *kind as i64 == number) {
                rows.push(LedgerLine { kind, accounts, balance });
            }
        }
        Ok(Page { rows, totals: total, applied, next: None })
    })
}

/// What moved the outlets' money, by an axis. A deposit belongs to no game.
pub fn movements(store: &mut Connection, query: &Query) -> Result<Page<MovementLine, Movements>, ReportError> {
    at_once(store, |store, applied| {
        let Page { rows, totals, applied, next } = rollup_at(store, applied, Sums::OfLedger, query)?;
        let balances = balances(store, query.by, &query.scope)?;
        let all = balances.as_ref().map(|balances| sum(balances.values().copied())).transpose()?;
        let line = |line: super::RollupLine| {
            let balance = balances.as_ref().map(|known| known.get(&line.key).copied().unwrap_or(Money::ZERO));
            let movements = Movements::new(line.sums, balance)?;
            Ok(MovementLine { key: line.key, name: line.name, movements })
        };
        let rows = rows.into_iter().map(line).collect::<Result<_, ReportError>>()?;
        Ok(Page { rows, totals: Movements::new(totals, all)?, applied, next })
    })
}

/// Balances of the outlets' accounts by place; `None` where the axis is no place.
fn balances(store: &Connection, by: Axis, scope: &Scope) -> Result<Option<BTreeMap<String, Money>>, ReportError> {
    let key = match by {
        Axis::Prefecture => "(account & 4294967295) / 10000",
        Axis::County => "coalesce((SELECT township / 1000 FROM outlet WHERE outlet = (account & 4294967295)), 0)",
        Axis::Outlet => "account & 4294967295",
        Axis::Game | Axis::Day => return Ok(None),
    };
    // The kind stands in the highest bits of the key: the outlets' accounts are a range of rows.
    let within = Scope::condition("account & 4294967295", "?3");
    let sql = format!(
        "SELECT {key} AS key, sum(balance_fen) FROM account WHERE account >= ?1 AND account < ?2 AND {within} GROUP BY key"
    );
    let kind = AccountKind::Outlet as i64;
    let mut statement = store.prepare_cached(&sql)?;
    let rows = statement.query_map((kind << 44, (kind + 1) << 44, scope.filter_json()), |row| {
        Ok((by.text(row.get(0)?), Money::from_fen(row.get(1)?)))
    })?;
    Ok(Some(rows.collect::<Result<_, _>>()?))
}

fn sum(mut amounts: impl Iterator<Item = Money>) -> Result<Money, ReportError> {
    Ok(amounts.try_fold(Money::ZERO, |sum, amount| sum.checked_add(amount))?)
}
