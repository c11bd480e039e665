//! Packs and tickets: one 64-bit integer each, which is the SQLite rowid.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::{BatchNo, IdError};

/// Bits of a pack number inside its batch.
const PACK_BITS: u32 = 24;
/// Bits of a ticket number inside its pack.
const TICKET_BITS: u32 = 10;

/// A pack (本): batch number (20 bits) ‖ pack number (24 bits). Shown as `G0201-26001-0000123` once the
/// batch is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct PackId(u64);

impl PackId {
    /// Largest printed pack number: 7 digits (they fit the 24 bits of the key).
    pub const NUMBER_MAX: u32 = 9_999_999;

    /// Joins a batch and the printed pack number, 1..=9_999_999.
    pub fn new(batch: BatchNo, number: u32) -> Result<Self, IdError> {
        if (1..=Self::NUMBER_MAX).contains(&number) {
            Ok(PackId(u64::from(batch.get()) << PACK_BITS | u64::from(number)))
        } else {
            Err(IdError::new("pack number", number, "a number from 1 to 9999999"))
        }
    }

    /// Reads the key of a row.
    pub fn from_key(key: i64) -> Result<Self, IdError> {
        let refuse = || IdError::new("pack id", key, "a batch number and a pack number in 44 bits");
        let packed = u64::try_from(key).map_err(|_| refuse())?;
        let batch = u32::try_from(packed >> PACK_BITS).map_err(|_| refuse())?;
        let number = (packed & ((1 << PACK_BITS) - 1)) as u32;
        PackId::new(BatchNo::new(batch).map_err(|_| refuse())?, number).map_err(|_| refuse())
    }

    /// The key of its row.
    pub const fn key(self) -> i64 {
        self.0 as i64
    }

    /// The batch it was printed in.
    pub fn batch(self) -> BatchNo {
        BatchNo::new((self.0 >> PACK_BITS) as u32).expect("a pack id is only built from a valid batch number")
    }

    /// The printed pack number.
    pub const fn number(self) -> u32 {
        (self.0 & ((1 << PACK_BITS) - 1)) as u32
    }

    /// The ticket with this printed number in this pack.
    pub fn ticket(self, number: u16) -> Result<TicketId, IdError> {
        if number <= TicketId::NUMBER_MAX {
            Ok(TicketId(self.0 << TICKET_BITS | u64::from(number)))
        } else {
            Err(IdError::new("ticket number", number, "3 digits"))
        }
    }
}

/// A ticket (张): pack id (44 bits) ‖ ticket number (10 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct TicketId(u64);

impl TicketId {
    /// Largest printed ticket number: 3 digits.
    pub const NUMBER_MAX: u16 = 999;

    /// Reads the key of a row.
    pub fn from_key(key: i64) -> Result<Self, IdError> {
        let pack = PackId::from_key(key >> TICKET_BITS)?;
        pack.ticket((key & ((1 << TICKET_BITS) - 1)) as u16)
    }

    /// The key of its row.
    pub const fn key(self) -> i64 {
        self.0 as i64
    }

    /// The pack it was bound in.
    pub const fn pack(self) -> PackId {
        PackId(self.0 >> TICKET_BITS)
    }

    /// The printed ticket number.
    pub const fn number(self) -> u16 {
        (self.0 & ((1 << TICKET_BITS) - 1)) as u16
    }
}

impl TryFrom<u64> for TicketId {
    type Error = IdError;
    fn try_from(value: u64) -> Result<Self, IdError> {
        i64::try_from(value).map_err(|_| IdError::new("ticket id", value, "54 bits")).and_then(TicketId::from_key)
    }
}

impl fmt::Display for TicketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:07}/{:03}", self.pack().batch(), self.pack().number(), self.number())
    }
}

impl TryFrom<u64> for PackId {
    type Error = IdError;
    fn try_from(value: u64) -> Result<Self, IdError> {
        i64::try_from(value).map_err(|_| IdError::new("pack id", value, "44 bits")).and_then(PackId::from_key)
    }
}

impl fmt::Display for PackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:07}", self.batch(), self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(batch: u32, number: u32) -> PackId {
        PackId::new(BatchNo::new(batch).unwrap(), number).unwrap()
    }

    #[test]
    fn a_ticket_key_gives_back_batch_pack_and_ticket() {
        let ticket = pack(BatchNo::MAX, PackId::NUMBER_MAX).ticket(999).unwrap();
        assert!(ticket.key() > 0);
        assert_eq!(TicketId::from_key(ticket.key()), Ok(ticket));
        assert_eq!(PackId::from_key(ticket.pack().key()), Ok(ticket.pack()));
        assert_eq!(
            (ticket.pack().batch().get(), ticket.pack().number(), ticket.number()),
            (BatchNo::MAX, 9_999_999, 999)
        );
    }

    #[test]
    fn numbers_that_no_printer_prints_are_refused() {
        assert!(PackId::new(BatchNo::new(1).unwrap(), 0).is_err());
        assert!(PackId::new(BatchNo::new(1).unwrap(), 10_000_000).is_err());
        assert!(pack(1, 1).ticket(1000).is_err());
        for key in [0, -1, i64::MAX, 1 << 24, 5] {
            assert!(PackId::from_key(key).is_err(), "{key}");
        }
        assert!(TicketId::from_key(pack(1, 1).key() << 10 | 1001).is_err());
    }
}
