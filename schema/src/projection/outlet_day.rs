//! Sums per outlet, game and business day.

use super::ProjectionError;
use crate::id::{GameCode, OutletId};
use crate::store::Statements;
use crate::time::BusinessDay;

/// Key of an `outlet_day` row: day (16 bits) ‖ outlet (27) ‖ game (19; 0 for money without a game). Day first: the
/// rows of today lie together, and old days can be cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutletDayKey(i64);

impl OutletDayKey {
    /// Joins the parts.
    pub fn new(day: BusinessDay, outlet: OutletId, game: Option<GameCode>) -> Self {
        let game = game.map_or(0, GameCode::packed);
        OutletDayKey(i64::from(day.number()) << 46 | i64::from(outlet.get()) << 19 | i64::from(game))
    }

    /// Reads the key of a row.
    pub const fn from_key(key: i64) -> Self {
        OutletDayKey(key)
    }

    /// The key of its row.
    pub const fn key(self) -> i64 {
        self.0
    }

    /// The business day.
    pub const fn day(self) -> BusinessDay {
        BusinessDay::from_number((self.0 >> 46) as u16)
    }

    /// The outlet's number.
    pub const fn outlet(self) -> u32 {
        (self.0 >> 19) as u32 & 0x7ff_ffff
    }

    /// The game; `None` for money without one.
    pub fn game(self) -> Option<GameCode> {
        let packed = self.0 as u32 & 0x7_ffff;
        if packed == 0 { None } else { GameCode::from_packed(packed).ok() }
    }
}

/// What is added to the sums of one outlet, game and day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OutletDay {
    /// Packs checked in.
    pub packs_checked_in: i64,
    /// Packs returned.
    pub packs_returned: i64,
    /// Face value charged at check-in. Fen.
    pub charge_fen: i64,
    /// Commission, less what returns took back. Fen.
    pub commission_fen: i64,
    /// Face value refunded at returns. Fen.
    pub return_fen: i64,
    /// Tickets sold by scan.
    pub tickets_sold: i64,
    /// Tickets paid.
    pub claims: i64,
    /// Prizes paid. Fen.
    pub prize_fen: i64,
    /// Deposits credited.
    pub deposits: i64,
    /// Amount of deposits. Fen.
    pub deposit_fen: i64,
    /// Money from suspense: the excess of charges beyond the balance, claims that no prize fund pays. Fen.
    pub suspense_fen: i64,
}

impl OutletDay {
    /// Adds the sums of another outlet, game or day.
    pub fn add(&mut self, other: &OutletDay) {
        self.packs_checked_in += other.packs_checked_in;
        self.packs_returned += other.packs_returned;
        self.charge_fen += other.charge_fen;
        self.commission_fen += other.commission_fen;
        self.return_fen += other.return_fen;
        self.tickets_sold += other.tickets_sold;
        self.claims += other.claims;
        self.prize_fen += other.prize_fen;
        self.deposits += other.deposits;
        self.deposit_fen += other.deposit_fen;
        self.suspense_fen += other.suspense_fen;
    }

    /// Reads a row of `SELECT * FROM outlet_day`, or one with the same sums behind its first column.
    pub fn from_row(row: &rusqlite::Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(OutletDay {
            packs_checked_in: row.get(1)?,
            packs_returned: row.get(2)?,
            charge_fen: row.get(3)?,
            commission_fen: row.get(4)?,
            return_fen: row.get(5)?,
            tickets_sold: row.get(6)?,
            claims: row.get(7)?,
            prize_fen: row.get(8)?,
            deposits: row.get(9)?,
            deposit_fen: row.get(10)?,
            suspense_fen: row.get(11)?,
        })
    }

    pub(super) fn add_to(&self, statements: &Statements<'_>, key: OutletDayKey) -> Result<(), ProjectionError> {
        let mut statement = statements.get(
            "INSERT INTO outlet_day VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT DO UPDATE SET \
             packs_checked_in = packs_checked_in + excluded.packs_checked_in, \
             packs_returned = packs_returned + excluded.packs_returned, charge_fen = charge_fen + excluded.charge_fen, \
             commission_fen = commission_fen + excluded.commission_fen, return_fen = return_fen + excluded.return_fen, \
             tickets_sold = tickets_sold + excluded.tickets_sold, claims = claims + excluded.claims, \
             prize_fen = prize_fen + excluded.prize_fen, deposits = deposits + excluded.deposits, \
             deposit_fen = deposit_fen + excluded.deposit_fen, \
             suspense_fen = suspense_fen + excluded.suspense_fen",
        )?;
        statement.execute((
            key.key(),
            self.packs_checked_in,
            self.packs_returned,
            self.charge_fen,
            self.commission_fen,
            self.return_fen,
            self.tickets_sold,
            self.claims,
            self.prize_fen,
            self.deposits,
            self.deposit_fen,
            self.suspense_fen,
        ))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_gives_back_day_outlet_and_game_and_sorts_by_day() {
        let outlet = OutletId::new(99_999_999).unwrap();
        let game = "W9999".parse().unwrap();
        let key = OutletDayKey::new(BusinessDay::from_number(u16::MAX), outlet, Some(game));
        assert!(key.key() > 0);
        assert_eq!((key.day().number(), key.outlet(), key.game()), (u16::MAX, 99_999_999, Some(game)));
        let without = OutletDayKey::new(BusinessDay::from_number(1), outlet, None);
        assert_eq!(without.game(), None);
        assert!(without < key);
    }
}
