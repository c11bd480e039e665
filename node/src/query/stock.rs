//! The stock of an outlet, by game.

use std::collections::BTreeMap;

use jikai_schema::id::{BatchNo, GameCode, OutletId};
use jikai_schema::money::Money;
use jikai_schema::projection::{PackState, Projection};
use rusqlite::Connection;

use super::QueryError;

/// Packs of one game.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockLine {
    /// Its code.
    pub game: GameCode,
    /// Its name.
    pub name: String,
    /// Packs in each [`PackState`], in the order of their numbers.
    pub packs: [i64; 4],
    /// Face value of what is on its way or on sale.
    pub face: Money,
}

/// Counts the packs of an outlet.
pub fn stock_of(store: &Connection, outlet: OutletId) -> Result<Vec<StockLine>, QueryError> {
    let mut projection = Projection::new(store);
    let mut statement = store
        .prepare_cached("SELECT pack >> 24, state, count(*) FROM pack WHERE outlet = ?1 GROUP BY 1, 2 ORDER BY 1, 2")?;
    let mut rows = statement.query([outlet.get()])?;
    let mut games: BTreeMap<GameCode, StockLine> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let (batch, state, count): (u32, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let Ok(batch) = BatchNo::new(batch) else { continue };
        let Some(batch) = projection.batch(batch)? else { continue };
        let Some(game) = projection.game(batch.game)? else { continue };
        let face = game.price.checked_mul(i64::from(batch.tickets_per_pack)).and_then(|face| face.checked_mul(count));
        let name = game.name.clone();
        let line =
            games.entry(batch.game).or_insert(StockLine { game: batch.game, name, packs: [0; 4], face: Money::ZERO });
        if let Some(state) = PackState::from_number(state) {
            line.packs[state as usize] += count;
            if matches!(state, PackState::InTransit | PackState::Active) {
                let face = face.and_then(|face| line.face.checked_add(face));
                line.face = face.map_err(jikai_schema::projection::ProjectionError::from)?;
            }
        }
    }
    Ok(games.into_values().collect())
}
