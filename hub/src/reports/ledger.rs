//! Balances by kind of account. Their sum is zero, always.

use jikai_schema::ledger::AccountKind;
use jikai_schema::money::Money;
use rusqlite::Connection;

use super::{Page, ReportError, at_once};

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

/// Balances of every kind, and their sum.
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
