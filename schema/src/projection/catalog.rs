//! Master data as rules need it: batches, games, outlets. Read once, and kept from one transaction to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension};

use super::{Projection, ProjectionError};
use crate::event::{OutletStatus, PrizeLevel, SaleState};
use crate::id::{BatchCode, BatchNo, GameCode, NodeId, OutletClass, OutletId};
use crate::money::{Money, RatePpm, SaleShares};
use crate::parameter::{Parameter, Place, Settings};
use crate::time::{BusinessDay, TimeMs};

/// Rows of master data that were read. Whoever writes a store keeps it between transactions: [`Projection::flush`] gives it
/// back, and it must be dropped when that transaction is not committed. Only what exists is kept, so the store bounds it.
#[derive(Debug, Default)]
pub struct Catalog {
    batches: BTreeMap<BatchNo, Arc<BatchRow>>,
    games: BTreeMap<GameCode, GameRow>,
    outlets: BTreeMap<OutletId, OutletRow>,
    settings: BTreeMap<Parameter, Arc<Settings>>,
}

/// A batch with its prize list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// Its game.
    pub game: GameCode,
    /// The printer's code.
    pub code: BatchCode,
    /// Tickets in each pack.
    pub tickets_per_pack: u16,
    /// Packs printed.
    pub packs: u32,
    /// Whether packs may be put on sale.
    pub sale_state: SaleState,
    /// Its age counts from here.
    pub print_completed_on: BusinessDay,
    /// From then on claims are refused; `None` until announced.
    pub redemption_ends_at_ms: Option<TimeMs>,
    /// Prize levels, ascending.
    pub levels: Vec<PrizeLevel>,
}

impl BatchRow {
    /// The prize of a level; `None` for a level that is not in the signed list.
    pub fn prize(&self, level: u8) -> Option<Money> {
        self.levels.iter().find(|line| line.level == level).map(|line| line.amount)
    }
}

/// A game with its price and limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GameRow {
    /// Display name.
    pub name: String,
    /// Price of a ticket.
    pub price: Money,
    /// Division of sales.
    pub shares: SaleShares,
    /// Highest prize that an outlet pays.
    pub outlet_limit: Money,
    /// Highest prize that a city centre pays.
    pub city_limit: Money,
}

/// An outlet and the node that serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutletRow {
    /// The node that serves it.
    pub node: NodeId,
    /// Whether it may trade.
    pub status: OutletStatus,
    /// Its class.
    pub class: OutletClass,
}

impl Projection<'_> {
    /// The batch with this number; shared, because its prize list is long.
    pub fn batch(&mut self, batch: BatchNo) -> Result<Option<Arc<BatchRow>>, ProjectionError> {
        if let Some(row) = self.catalog.batches.get(&batch) {
            return Ok(Some(row.clone()));
        }
        let row = read_batch(self.store, batch)?.map(Arc::new);
        if let Some(row) = &row {
            self.catalog.batches.insert(batch, row.clone());
        }
        Ok(row)
    }

    /// The number of the batch that a code on paper names.
    pub fn batch_no(&mut self, game: GameCode, code: BatchCode) -> Result<Option<BatchNo>, ProjectionError> {
        let known = self.catalog.batches.iter().find(|(_, row)| row.game == game && row.code == code);
        if let Some((batch, _)) = known {
            return Ok(Some(*batch));
        }
        let number: Option<u32> = self
            .store
            .prepare_cached("SELECT batch FROM batch WHERE game = ?1 AND code = ?2")?
            .query_row((game.packed(), code.get()), |row| row.get(0))
            .optional()?;
        Ok(number.and_then(|number| BatchNo::new(number).ok()))
    }

    /// The game with this code.
    pub fn game(&mut self, game: GameCode) -> Result<Option<&GameRow>, ProjectionError> {
        use std::collections::btree_map::Entry;
        match self.catalog.games.entry(game) {
            Entry::Occupied(entry) => Ok(Some(entry.into_mut())),
            Entry::Vacant(entry) => Ok(read_game(self.store, game)?.map(|row| &*entry.insert(row))),
        }
    }

    /// The outlet with this id.
    pub fn outlet(&mut self, outlet: OutletId) -> Result<Option<OutletRow>, ProjectionError> {
        if let Some(row) = self.catalog.outlets.get(&outlet) {
            return Ok(Some(*row));
        }
        let row = read_outlet(self.store, outlet)?;
        if let Some(row) = row {
            self.catalog.outlets.insert(outlet, row);
        }
        Ok(row)
    }

    /// The value of a parameter in force at a place and time.
    pub fn parameter(&mut self, parameter: Parameter, place: &Place, at_ms: TimeMs) -> Result<i64, ProjectionError> {
        let settings = match self.catalog.settings.get(&parameter) {
            Some(settings) => settings.clone(),
            None => {
                let settings = Arc::new(Settings::read(self.store, parameter)?);
                self.catalog.settings.insert(parameter, settings.clone());
                settings
            }
        };
        Ok(settings.at(place, at_ms))
    }

    pub(super) fn forget_catalog(&mut self) {
        self.catalog = Catalog::default();
    }

    pub(super) fn game_of(&mut self, batch: BatchNo) -> Result<GameCode, ProjectionError> {
        let unknown = ProjectionError::Unknown { kind: "batch", key: i64::from(batch.get()) };
        self.batch(batch)?.map(|row| row.game).ok_or(unknown)
    }
}

fn read_outlet(store: &Connection, outlet: OutletId) -> Result<Option<OutletRow>, ProjectionError> {
    let row: Option<(u16, i64, Option<u8>)> = store
        .prepare_cached(
            "SELECT node, status, class FROM outlet LEFT JOIN outlet_class USING (outlet) WHERE outlet = ?1",
        )?
        .query_row([outlet.get()], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((node, status, class)) = row else { return Ok(None) };
    let damaged = || ProjectionError::Damaged { table: "outlet", key: i64::from(outlet.get()) };
    let class = class.map_or(Ok(OutletClass::FIRST), OutletClass::new).map_err(|_| damaged())?;
    let status = if status == 0 { OutletStatus::Active } else { OutletStatus::Suspended };
    Ok(Some(OutletRow { node: NodeId::new(node).map_err(|_| damaged())?, status, class }))
}

fn read_batch(store: &Connection, batch: BatchNo) -> Result<Option<BatchRow>, ProjectionError> {
    let damaged = || ProjectionError::Damaged { table: "batch", key: i64::from(batch.get()) };
    let found = store
        .prepare_cached(
            "SELECT game, code, tickets_per_pack, packs, sale_state, print_completed_on, redemption_ends_at_ms \
             FROM batch WHERE batch = ?1",
        )?
        .query_row([batch.get()], |row| {
            let ends: Option<i64> = row.get(6)?;
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get::<_, i64>(4)?, row.get(5)?, ends))
        })
        .optional()?;
    let Some((game, code, tickets_per_pack, packs, sale_state, printed, ends)) = found else { return Ok(None) };
    let mut statement = store
        .prepare_cached("SELECT level, amount_fen, ticket_count FROM prize_level WHERE batch = ?1 ORDER BY level")?;
    let levels = statement.query_map([batch.get()], |row| {
        Ok(PrizeLevel { level: row.get(0)?, amount: Money::from_fen(row.get(1)?), ticket_count: row.get(2)? })
    })?;
    Ok(Some(BatchRow {
        game: GameCode::from_packed(game).map_err(|_| damaged())?,
        code: BatchCode::new(code).map_err(|_| damaged())?,
        tickets_per_pack,
        packs,
        sale_state: SaleState::from_number(sale_state).ok_or_else(damaged)?,
        print_completed_on: BusinessDay::from_number(printed),
        redemption_ends_at_ms: ends.map(TimeMs::from_ms),
        levels: levels.collect::<Result<_, _>>()?,
    }))
}

fn read_game(store: &Connection, game: GameCode) -> Result<Option<GameRow>, ProjectionError> {
    let damaged = || ProjectionError::Damaged { table: "game", key: i64::from(game.packed()) };
    let found = store
        .prepare_cached(
            "SELECT name, price_fen, prize_fund_ppm, welfare_fund_ppm, commission_ppm, outlet_limit_fen, city_limit_fen \
             FROM game WHERE game = ?1",
        )?
        .query_row([game.packed()], |row| {
            let rates: [u32; 3] = [row.get(2)?, row.get(3)?, row.get(4)?];
            let fen: [i64; 3] = [row.get(1)?, row.get(5)?, row.get(6)?];
            Ok((row.get::<_, String>(0)?, rates, fen))
        })
        .optional()?;
    let Some((name, [prize_fund, welfare_fund, commission], [price, outlet_limit, city_limit])) = found else {
        return Ok(None);
    };
    let rate = |ppm| RatePpm::new(ppm).ok_or_else(damaged);
    let shares = SaleShares::new(rate(prize_fund)?, rate(welfare_fund)?, rate(commission)?).ok_or_else(damaged)?;
    let fen = Money::from_fen;
    Ok(Some(GameRow { name, price: fen(price), shares, outlet_limit: fen(outlet_limit), city_limit: fen(city_limit) }))
}

impl SaleState {
    /// The name in interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            SaleState::Imported => "imported",
            SaleState::Open => "open",
            SaleState::Paused => "paused",
            SaleState::Stopped => "stopped",
        }
    }

    /// Reads a stored number.
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            0 => Some(SaleState::Imported),
            1 => Some(SaleState::Open),
            2 => Some(SaleState::Paused),
            3 => Some(SaleState::Stopped),
            _ => None,
        }
    }
}
