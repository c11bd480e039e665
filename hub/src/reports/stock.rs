//! Packs by state and place.

use rusqlite::{Connection, Row};

use super::{Axis, Page, Query, ReportError, at_once, cut};
use crate::rights::Scope;

/// Packs of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StockCount {
    /// Shipped, not checked in.
    pub in_transit: i64,
    /// On sale.
    pub active: i64,
    /// Every ticket sold by scan.
    pub sold_out: i64,
    /// Sent back.
    pub returned: i64,
    /// Face value of what is on its way or on sale. Fen.
    pub face_fen: i64,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockLine {
    /// Text form of the key.
    pub key: String,
    /// Display name.
    pub name: String,
    /// The packs.
    pub count: StockCount,
}

const COLUMNS: &str = "sum(state = 0), sum(state = 1), sum(state = 2), sum(state = 3), \
     sum(CASE WHEN state < 2 THEN price_fen * tickets_per_pack ELSE 0 END)";
const TABLES: &str = "pack JOIN batch ON batch.batch = pack.pack >> 24 JOIN game ON game.game = batch.game";

/// Stock at the outlets, by an axis; as it is now, so days do not divide it.
pub fn stock(store: &mut Connection, query: &Query) -> Result<Page<StockLine, StockCount>, ReportError> {
    let key = match query.by {
        Axis::Prefecture => "pack.outlet / 10000",
        Axis::County => "coalesce((SELECT township / 1000 FROM outlet WHERE outlet = pack.outlet), 0)",
        Axis::Outlet => "pack.outlet",
        Axis::Game => "batch.game",
        Axis::Day => return Err(ReportError::BadAxis("day")),
    };
    let scope = Scope::condition("pack.outlet", "?1");
    let sql = format!(
        "SELECT {key} AS key, {COLUMNS} FROM {TABLES} WHERE {scope} GROUP BY 1 HAVING key > ?2 ORDER BY 1 LIMIT ?3"
    );
    let within = query.scope.filter_json();
    let after = query.by.key(query.after.as_deref())?;
    at_once(store, |store, applied| {
        let mut rows = Vec::new();
        let mut statement = store.prepare_cached(&sql)?;
        let mut found = statement.query((&within, after, query.limit as i64 + 1))?;
        while let Some(row) = found.next()? {
            let key: i64 = row.get(0)?;
            rows.push(StockLine { key: query.by.text(key), name: query.by.label(store, key)?, count: count(row)? });
        }
        let totals = format!("SELECT 0, {COLUMNS} FROM {TABLES} WHERE {scope}");
        let totals = store.prepare_cached(&totals)?.query_row([&within], count)?;
        let next = cut(&mut rows, query.limit, |line| line.key.clone());
        Ok(Page { rows, totals, applied, next })
    })
}

fn count(row: &Row<'_>) -> Result<StockCount, rusqlite::Error> {
    let number = |at: usize| row.get::<_, Option<i64>>(at).map(|number| number.unwrap_or(0));
    Ok(StockCount {
        in_transit: number(1)?,
        active: number(2)?,
        sold_out: number(3)?,
        returned: number(4)?,
        face_fen: number(5)?,
    })
}
