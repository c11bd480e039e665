//! The packs of an outlet.

use jikai_schema::event::BatchNames;
use jikai_schema::id::OutletId;
use jikai_schema::money::Money;
use jikai_schema::projection::{PackRow, PackState, Projection};
use rusqlite::Connection;

use super::QueryError;

/// Rows read at most for one page: a filter that matches little ends early and gives a mark to go on from.
const ROWS_SCANNED_MAX: usize = 2_000;

/// A pack as listed.
pub struct PackLine {
    /// Its row.
    pub row: PackRow,
    /// Printed name.
    pub name: String,
    /// Printed game code.
    pub game: String,
    /// Printed batch code.
    pub batch: String,
    /// Price × tickets.
    pub face: Money,
    /// Tickets in it.
    pub tickets: u16,
}

/// Packs behind `after` (a pack key), at most `limit`, in one state or all. The second value is the mark to go on from.
pub fn packs_of(
    store: &Connection,
    outlet: OutletId,
    state: Option<PackState>,
    after: i64,
    limit: u32,
) -> Result<(Vec<PackLine>, Option<i64>), QueryError> {
    let names = BatchNames::load(store)?;
    let mut projection = Projection::new(store);
    let (mut lines, mut at, mut scanned) = (Vec::new(), after, 0);
    loop {
        let rows = PackRow::of_outlet(store, outlet, at, limit)?;
        let Some(last) = rows.last() else { return Ok((lines, None)) };
        let run_end = last.pack.key();
        let full_run = rows.len() == limit as usize;
        for row in rows {
            at = row.pack.key();
            scanned += 1;
            if state.is_some_and(|state| state != row.state) {
                continue;
            }
            let Some(batch) = projection.batch(row.pack.batch())? else { continue };
            let price = projection.game(batch.game)?.map_or(Money::ZERO, |game| game.price);
            let face = price.checked_mul(i64::from(batch.tickets_per_pack)).unwrap_or(Money::ZERO);
            lines.push(PackLine {
                name: names.pack(row.pack),
                game: batch.game.to_string(),
                batch: batch.code.to_string(),
                tickets: batch.tickets_per_pack,
                face,
                row,
            });
            if lines.len() == limit as usize {
                let more = full_run || at != run_end;
                return Ok((lines, more.then_some(at)));
            }
        }
        if !full_run {
            return Ok((lines, None));
        }
        if scanned >= ROWS_SCANNED_MAX {
            return Ok((lines, Some(at)));
        }
    }
}
