//! Codes on what packs travel in: cases and the boxes inside. They say which packs are in it; nothing is paid by them.

use core::fmt;

use super::{BarcodeError, batch, game, pack};
use crate::id::{BatchCode, GameCode, digits};

/// Characters of a case's code.
pub const CASE_LENGTH: usize = 63;
/// Characters of a box's code.
pub const BOX_LENGTH: usize = 33;

/// The code on a case: 63 characters = game5 batch5 case5 packs/case3 tickets/pack3 pool4 cases/pool4 pool-first-case5 lot6 date6
/// first-pack7 weight4 spare6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaseBarcode {
    /// The game.
    pub game: GameCode,
    /// The printer's code of the batch.
    pub batch: BatchCode,
    /// Number of the case, from 1.
    pub case: u32,
    /// Packs in it.
    pub packs_per_case: u16,
    /// Tickets in each.
    pub tickets_per_pack: u16,
    /// The pool that its tickets belong to.
    pub pool: u16,
    /// Cases of that pool.
    pub cases_per_pool: u16,
    /// First case of that pool.
    pub pool_first_case: u32,
    /// Lot of the printer.
    pub lot: u32,
    /// Day of printing: year, month, day, two digits each.
    pub printed_on: u32,
    /// Its first pack; the others follow.
    pub first_pack: u32,
    /// Weight as printed; the public material names no unit.
    pub weight: u16,
}

/// The code on a box: 33 characters = game5 batch5 boxes/case3 packs/case3 tickets/pack3 first-pack7 last-pack7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BoxBarcode {
    /// The game.
    pub game: GameCode,
    /// The printer's code of the batch.
    pub batch: BatchCode,
    /// Boxes in a case.
    pub boxes_per_case: u16,
    /// Packs in a case.
    pub packs_per_case: u16,
    /// Tickets in a pack.
    pub tickets_per_pack: u16,
    /// Its first pack.
    pub first_pack: u32,
    /// Its last pack, not before the first.
    pub last_pack: u32,
}

/// Reads fields of fixed width, one after the other.
struct Fields<'a>(&'a str);

impl<'a> Fields<'a> {
    fn of(text: &'a str, length: usize) -> Result<Self, BarcodeError> {
        match text.len() == length && text.is_ascii() {
            true => Ok(Fields(text)),
            false => Err(BarcodeError::UnknownLength(text.chars().count())),
        }
    }

    fn text(&mut self, width: usize) -> &'a str {
        let (field, rest) = self.0.split_at(width.min(self.0.len()));
        self.0 = rest;
        field
    }

    fn number(&mut self, width: usize, name: &'static str) -> Result<u32, BarcodeError> {
        let number = digits(self.text(width), width).and_then(|number| u32::try_from(number).ok());
        number.ok_or(BarcodeError::Field(name))
    }

    /// Of at most four digits.
    fn short(&mut self, width: usize, name: &'static str) -> Result<u16, BarcodeError> {
        u16::try_from(self.number(width, name)?).map_err(|_| BarcodeError::Field(name))
    }
}

impl CaseBarcode {
    /// Reads the 63 characters on a case. The last six are spare and mean nothing.
    pub fn parse(text: &str) -> Result<Self, BarcodeError> {
        let mut fields = Fields::of(text, CASE_LENGTH)?;
        let (game, batch) = (game(fields.text(5))?, batch(fields.text(5))?);
        let case = fields.number(5, "case")?;
        let (packs_per_case, tickets_per_pack) =
            (fields.short(3, "packs_per_case")?, fields.short(3, "tickets_per_pack")?);
        let (pool, cases_per_pool) = (fields.short(4, "pool")?, fields.short(4, "cases_per_pool")?);
        let pool_first_case = fields.number(5, "pool_first_case")?;
        let (lot, printed_on) = (fields.number(6, "lot")?, fields.number(6, "date")?);
        let (first_pack, weight) = (pack(fields.text(7))?, fields.short(4, "weight")?);
        if case == 0 || packs_per_case == 0 {
            return Err(BarcodeError::Field(if case == 0 { "case" } else { "packs_per_case" }));
        }
        if !(1..=12).contains(&(printed_on / 100 % 100)) || !(1..=31).contains(&(printed_on % 100)) {
            return Err(BarcodeError::Field("date"));
        }
        Ok(CaseBarcode {
            game,
            batch,
            case,
            packs_per_case,
            tickets_per_pack,
            pool,
            cases_per_pool,
            pool_first_case,
            lot,
            printed_on,
            first_pack,
            weight,
        })
    }
}

impl fmt::Display for CaseBarcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}{:05}{:03}{:03}{:04}{:04}{:05}{:06}{:06}{:07}{:04}000000",
            self.game,
            self.batch,
            self.case,
            self.packs_per_case,
            self.tickets_per_pack,
            self.pool,
            self.cases_per_pool,
            self.pool_first_case,
            self.lot,
            self.printed_on,
            self.first_pack,
            self.weight
        )
    }
}

impl BoxBarcode {
    /// Reads the 33 characters on a box.
    pub fn parse(text: &str) -> Result<Self, BarcodeError> {
        let mut fields = Fields::of(text, BOX_LENGTH)?;
        let (game, batch) = (game(fields.text(5))?, batch(fields.text(5))?);
        let boxes_per_case = fields.short(3, "boxes_per_case")?;
        let (packs_per_case, tickets_per_pack) =
            (fields.short(3, "packs_per_case")?, fields.short(3, "tickets_per_pack")?);
        let (first_pack, last_pack) = (pack(fields.text(7))?, pack(fields.text(7))?);
        if last_pack < first_pack {
            return Err(BarcodeError::Field("last_pack"));
        }
        Ok(BoxBarcode { game, batch, boxes_per_case, packs_per_case, tickets_per_pack, first_pack, last_pack })
    }
}

impl fmt::Display for BoxBarcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BoxBarcode { game, batch, boxes_per_case, packs_per_case, tickets_per_pack, first_pack, last_pack } = self;
        write!(
            f,
            "{game}{batch}{boxes_per_case:03}{packs_per_case:03}{tickets_per_pack:03}{first_pack:07}{last_pack:07}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = "G02012600100002050300000100400000100000126011500000510125000000";
    const BOX: &str = "G02012600100205030000000510000075";

    #[test]
    fn a_case_names_its_packs_and_is_written_as_it_was_read() {
        let code = CaseBarcode::parse(CASE).unwrap();
        assert_eq!((code.case, code.packs_per_case, code.tickets_per_pack, code.first_pack), (2, 50, 300, 51));
        assert_eq!((code.pool, code.cases_per_pool, code.pool_first_case), (1, 40, 1));
        assert_eq!((code.lot, code.printed_on, code.weight), (1, 260_115, 125));
        assert_eq!(code.to_string(), CASE);
    }

    #[test]
    fn a_box_names_its_first_and_last_pack_and_is_written_as_it_was_read() {
        let code = BoxBarcode::parse(BOX).unwrap();
        assert_eq!((code.boxes_per_case, code.packs_per_case, code.tickets_per_pack), (2, 50, 300));
        assert_eq!((code.first_pack, code.last_pack), (51, 75));
        assert_eq!(code.to_string(), BOX);
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_field() {
        let bent = |text: &str, at: usize, with: &str| {
            let mut bent = text.to_owned();
            bent.replace_range(at..at + with.len(), with);
            bent
        };
        for (at, with, field) in [
            (0, "g", "game"),
            (10, "00000", "case"),
            (15, "000", "packs_per_case"),
            (18, "x", "tickets_per_pack"),
            (42, "13", "date"),
            (46, "0000000", "pack"),
        ] {
            assert_eq!(CaseBarcode::parse(&bent(CASE, at, with)), Err(BarcodeError::Field(field)), "{field}");
        }
        assert_eq!(BoxBarcode::parse(&bent(BOX, 26, "0000050")), Err(BarcodeError::Field("last_pack")));
        assert_eq!(BoxBarcode::parse(CASE), Err(BarcodeError::UnknownLength(63)));
        assert!(CaseBarcode::parse(BOX).unwrap_err().is_foreign());
    }
}
