//! Reads: sums by division, outlet, game and day; stock; the ledger; the logs. Every answer says how far the log was
//! applied when it was read.

mod access;
mod accounts;
mod events;
mod ledger;
mod nodes;
mod rollup;
mod stock;
#[cfg(test)]
mod tests;
mod worklist;

use jikai_schema::id::{GameCode, OutletId, PrefectureCode};
use jikai_schema::money::MoneyError;
use jikai_schema::time::BusinessDay;
use rusqlite::{Connection, OptionalExtension, Transaction};

use crate::log::LogPosition;
use crate::machine::{StorageError, applied_position};
use crate::rights::Scope;

pub use access::{OperatorLine, TerminalLine, operators_of, outlet_is_within, pack_is_within, terminals_of};
pub use accounts::{AccountLine, accounts};
pub use events::{hub_events, node_events};
pub use ledger::{LedgerLine, MovementLine, Movements, ledger, movements};
pub use nodes::{NodeLine, is_registered, nodes};
pub use rollup::{RollupLine, Sums, rollup};
pub use stock::{StockCount, StockLine, stock};
pub use worklist::{ExceptionLine, QuarantineLine, exceptions, quarantine};

/// A report that cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The state could not be read.
    #[error("the state could not be read: {0}")]
    Store(#[from] rusqlite::Error),
    /// The kept history could not be read.
    #[error(transparent)]
    History(#[from] StorageError),
    /// A sum left 63 bits.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// `after` is not a key of this report.
    #[error("`{0}` is not a key of this report")]
    BadCursor(String),
    /// The report is not divided like that.
    #[error("this report cannot be divided by {0}")]
    BadAxis(&'static str),
}

/// What a report is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Prefecture, 4 digits.
    Prefecture,
    /// County, 6 digits.
    County,
    /// Outlet.
    Outlet,
    /// Game.
    Game,
    /// Business day.
    Day,
}

impl Axis {
    /// The name in addresses.
    pub const fn name(self) -> &'static str {
        match self {
            Axis::Prefecture => "prefecture",
            Axis::County => "county",
            Axis::Outlet => "outlet",
            Axis::Game => "game",
            Axis::Day => "day",
        }
    }

    /// The axis with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Axis::Prefecture, Axis::County, Axis::Outlet, Axis::Game, Axis::Day]
            .into_iter()
            .find(|axis| axis.name() == name)
    }

    /// The text form of a key.
    fn text(self, key: i64) -> String {
        match self {
            Axis::Game => u32::try_from(key)
                .ok()
                .and_then(|packed| GameCode::from_packed(packed).ok())
                .map_or_else(|| key.to_string(), |game| game.to_string()),
            Axis::Day => BusinessDay::from_number(key.clamp(0, i64::from(u16::MAX)) as u16).to_string(),
            Axis::Prefecture | Axis::County | Axis::Outlet => key.to_string(),
        }
    }

    /// The key behind which a page begins.
    fn key(self, after: Option<&str>) -> Result<i64, ReportError> {
        let Some(text) = after else { return Ok(-1) };
        let key = match self {
            Axis::Game => text.parse::<GameCode>().ok().map(|game| i64::from(game.packed())),
            Axis::Day => text.parse::<BusinessDay>().ok().map(|day| i64::from(day.number())),
            Axis::Outlet => text.parse::<OutletId>().ok().map(|outlet| i64::from(outlet.get())),
            Axis::Prefecture => text.parse::<PrefectureCode>().ok().map(|code| i64::from(code.get())),
            Axis::County => text.parse::<u32>().ok().map(i64::from),
        };
        key.ok_or_else(|| ReportError::BadCursor(text.chars().take(40).collect()))
    }

    /// The display name of a key.
    fn label(self, store: &Connection, key: i64) -> Result<String, rusqlite::Error> {
        let sql = match self {
            Axis::Prefecture | Axis::County => "SELECT name FROM division WHERE code = ?1",
            Axis::Outlet => "SELECT name FROM outlet WHERE outlet = ?1",
            Axis::Game => "SELECT name FROM game WHERE game = ?1",
            Axis::Day => return Ok(self.text(key)),
        };
        let name: Option<String> = store.prepare_cached(sql)?.query_row([key], |row| row.get(0)).optional()?;
        Ok(name.unwrap_or_else(|| self.text(key)))
    }
}

/// Which part of a report is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Divided by.
    pub by: Axis,
    /// First business day.
    pub from: BusinessDay,
    /// Last business day.
    pub to: BusinessDay,
    /// Most rows.
    pub limit: usize,
    /// Only keys behind this one.
    pub after: Option<String>,
    /// Only outlets within; what lies outside is not even counted.
    pub scope: Scope,
}

impl Query {
    /// Everything, on one page of at most `limit` rows.
    pub fn all(by: Axis, limit: usize) -> Self {
        let (from, to) = (BusinessDay::from_number(0), BusinessDay::from_number(u16::MAX));
        Query { by, from, to, limit, after: None, scope: Scope::Everywhere }
    }
}

/// A page of a report, read at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<Row, Totals> {
    /// The rows, by key.
    pub rows: Vec<Row>,
    /// Sums over the whole report, not only this page.
    pub totals: Totals,
    /// Place up to which the log was applied.
    pub applied: LogPosition,
    /// The key to go on behind; `None` on the last page.
    pub next: Option<String>,
}

/// Reads in one transaction, so that rows, totals and applied position belong together.
fn at_once<T, E: From<rusqlite::Error>>(
    store: &mut Connection,
    read: impl FnOnce(&Transaction<'_>, LogPosition) -> Result<T, E>,
) -> Result<T, E> {
    let tx = store.transaction()?;
    let applied = applied_position(&tx)?;
    read(&tx, applied)
}

/// Cuts the row that was read to see whether there are more; gives the key to go on behind.
fn cut<Row>(rows: &mut Vec<Row>, limit: usize, key: impl Fn(&Row) -> String) -> Option<String> {
    if rows.len() <= limit {
        return None;
    }
    rows.truncate(limit);
    rows.last().map(key)
}
