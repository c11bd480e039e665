//! Sums of sales, claims and deposits from the rows that every event adds to.

use jikai_schema::projection::OutletDay;
use rusqlite::{Connection, Row};

use super::{Axis, Page, Query, ReportError, at_once, cut};
use crate::log::LogPosition;
use crate::rights::Scope;

/// Which rows a report sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sums {
    /// Rows of games: sales and claims.
    OfGames,
    /// Rows without a game: deposits.
    OfMoney,
    /// All rows: everything that moved an outlet's money.
    OfLedger,
}

/// One line of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RollupLine {
    /// Text form of the key.
    pub key: String,
    /// Display name.
    pub name: String,
    /// The sums.
    pub sums: OutletDay,
}

const COLUMNS: &str = "sum(packs_checked_in), sum(packs_returned), sum(charge_fen), sum(commission_fen), sum(return_fen), \
     sum(tickets_sold), sum(claims), sum(prize_fen), sum(deposits), sum(deposit_fen), \
     sum(suspense_fen)";

/// Sums by an axis.
pub fn rollup(store: &mut Connection, sums: Sums, query: &Query) -> Result<Page<RollupLine, OutletDay>, ReportError> {
    at_once(store, |store, applied| rollup_at(store, applied, sums, query))
}

/// Sums by an axis, in a transaction that is open.
pub(super) fn rollup_at(
    store: &Connection,
    applied: LogPosition,
    sums: Sums,
    query: &Query,
) -> Result<Page<RollupLine, OutletDay>, ReportError> {
    if sums == Sums::OfMoney && query.by == Axis::Game {
        return Err(ReportError::BadAxis("game"));
    }
    let key = match query.by {
        Axis::Prefecture => "(outlet_day >> 19 & 134217727) / 10000",
        Axis::County => {
            "coalesce((SELECT township / 1000 FROM outlet WHERE outlet = (outlet_day >> 19 & 134217727)), 0)"
        }
        Axis::Outlet => "outlet_day >> 19 & 134217727",
        Axis::Game => "outlet_day & 524287",
        Axis::Day => "outlet_day >> 46",
    };
    let filter = match sums {
        Sums::OfGames => "outlet_day & 524287 <> 0",
        Sums::OfMoney => "outlet_day & 524287 = 0",
        // A deposit belongs to no game.
        Sums::OfLedger if query.by == Axis::Game => "outlet_day & 524287 <> 0",
        Sums::OfLedger => "1",
    };
    let scope = Scope::condition("outlet_day >> 19 & 134217727", "?3");
    let range = format!("outlet_day >= ?1 AND outlet_day < ?2 AND {scope}");
    let sql = format!(
        "SELECT {key} AS key, {COLUMNS} FROM outlet_day WHERE {range} AND {filter} \
         GROUP BY key HAVING key > ?4 ORDER BY key LIMIT ?5"
    );
    // The day stands in the highest bits of the key: a span of days is a range of rows.
    let (first, end) = (i64::from(query.from.number()) << 46, (i64::from(query.to.number()) + 1) << 46);
    let after = query.by.key(query.after.as_deref())?;
    let within = query.scope.filter_json();
    let mut rows = Vec::new();
    let mut statement = store.prepare_cached(&sql)?;
    let mut found = statement.query((first, end, &within, after, query.limit as i64 + 1))?;
    while let Some(row) = found.next()? {
        let key: i64 = row.get(0)?;
        let (text, name) = (query.by.text(key), query.by.label(store, key)?);
        rows.push(RollupLine { key: text, name, sums: OutletDay::from_row(row)? });
    }
    let totals = format!("SELECT 0, {COLUMNS} FROM outlet_day WHERE {range} AND {filter}");
    let totals = store.prepare_cached(&totals)?.query_row((first, end, &within), sums_or_nothing)?;
    let next = cut(&mut rows, query.limit, |line| line.key.clone());
    Ok(Page { rows, totals, applied, next })
}

/// The sums of no row at all are null.
fn sums_or_nothing(row: &Row<'_>) -> Result<OutletDay, rusqlite::Error> {
    match row.get::<_, Option<i64>>(1)? {
        Some(_) => OutletDay::from_row(row),
        None => Ok(OutletDay::default()),
    }
}
