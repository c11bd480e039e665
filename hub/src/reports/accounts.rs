//! Single accounts.

use jikai_schema::ledger::{AccountId, AccountKind};
use jikai_schema::money::Money;
use rusqlite::Connection;

use super::{Page, ReportError, at_once, cut};
use crate::rights::Scope;

/// One account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountLine {
    /// Its id.
    pub account: AccountId,
    /// Credits less debits.
    pub balance: Money,
}

/// Accounts behind `after`, the number of the last one of the page before. Within a part of the province: the outlets'.
pub fn accounts(
    store: &mut Connection,
    after: Option<&str>,
    limit: usize,
    scope: &Scope,
) -> Result<Page<AccountLine, ()>, ReportError> {
    let bad_cursor = |text: &str| ReportError::BadCursor(text.chars().take(40).collect());
    let after = after.map_or(Ok(-1), |text| text.parse::<i64>().map_err(|_| bad_cursor(text)))?;
    at_once(store, |store, applied| {
        let (kind, within) = (AccountKind::Outlet as i64, Scope::condition("account & 4294967295", "?3"));
        let sql = format!(
            "SELECT account, balance_fen FROM account WHERE account > ?1 AND (?3 IS NULL OR account >> 44 = {kind}) \
             AND {within} ORDER BY account LIMIT ?2"
        );
        let mut statement = store.prepare_cached(&sql)?;
        let mut found = statement.query((after, limit as i64 + 1, scope.filter_json()))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let key = row.get(0)?;
            let account = AccountId::from_key(key).map_err(|_| bad_cursor("account"))?;
            rows.push(AccountLine { account, balance: Money::from_fen(row.get(1)?) });
        }
        let next = cut(&mut rows, limit, |line| line.account.key().to_string());
        Ok(Page { rows, totals: (), applied, next })
    })
}
