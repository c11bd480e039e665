//! Sales of an outlet by day or game.

use std::collections::BTreeMap;

use jikai_schema::id::OutletId;
use jikai_schema::projection::{OutletDay, OutletDayKey};
use jikai_schema::time::BusinessDay;
use rusqlite::Connection;

use super::QueryError;

/// Longest period of one question.
pub const SALES_DAYS_MAX: u16 = 92;

/// How the lines are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SalesBy {
    /// A line a business day.
    Day,
    /// A line a game.
    Game,
}

/// Sums of one day or game.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SalesLine {
    /// The day, or the game's code.
    pub key: String,
    /// The sums.
    pub sums: OutletDay,
}

/// Sums of the days from `from` to `to`, both included; at most [`SALES_DAYS_MAX`] days are read.
pub fn sales_of(
    store: &Connection,
    outlet: OutletId,
    from: BusinessDay,
    to: BusinessDay,
    by: SalesBy,
) -> Result<Vec<SalesLine>, QueryError> {
    let mut statement =
        store.prepare_cached("SELECT * FROM outlet_day WHERE outlet_day BETWEEN ?1 AND ?2 ORDER BY outlet_day")?;
    let mut lines: BTreeMap<String, OutletDay> = BTreeMap::new();
    let last = to.number().min(from.number().saturating_add(SALES_DAYS_MAX - 1));
    for day in (from.number()..=last).map(BusinessDay::from_number) {
        // The game is the lowest part of the key: all games of one outlet and day lie together.
        let first_key = OutletDayKey::new(day, outlet, None).key();
        let mut rows = statement.query([first_key, first_key | 0x7_ffff])?;
        while let Some(row) = rows.next()? {
            let Some(game) = OutletDayKey::from_key(row.get(0)?).game() else { continue };
            let key = match by {
                SalesBy::Day => day.to_string(),
                SalesBy::Game => game.to_string(),
            };
            lines.entry(key).or_default().add(&OutletDay::from_row(row)?);
        }
    }
    Ok(lines.into_iter().map(|(key, sums)| SalesLine { key, sums }).collect())
}
