//! The prize seal: a store that does not know which of its tickets win.
//!
//! Each ticket, winner or not, has one record of [`RECORD_BYTES`] bytes:
//!
//! ```text
//! tag   16  HMAC(batch key, "tag"   ‖ ticket id ‖ security code), truncated
//! level  1  prize level ⊕ k[0]
//! check  7  HMAC(k, level), truncated                   where k = HMAC(batch key, "level" ‖ ticket id ‖ code)
//! ```
//!
//! HMAC is of the environment's suite: HMAC-SHA256 or HMAC-SM3. `k` comes from the security code (75 bits), which only the buyer's ticket holds: whoever reads the database,
//! even with the batch key, cannot tell winners from the rest. `check` makes a changed level fail to open
//! instead of paying another prize.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::barcode::SecurityCode;
use crate::crypto::{Suite, equal, mac};
use crate::id::TicketId;

/// Bytes of one record.
pub const RECORD_BYTES: usize = TAG_BYTES + 1 + CHECK_BYTES;
const TAG_BYTES: usize = 16;
const CHECK_BYTES: usize = 7;

/// The key of one batch, 32 random bytes. In memory only while needed; at rest it is encrypted ([`crate::vault`]).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct BatchKey([u8; 32]);

impl BatchKey {
    /// Wraps 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        BatchKey(bytes)
    }

    /// The bytes, for wrapping and for the mutually authenticated channel to a node.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn mac(&self, purpose: &[u8], ticket: TicketId, code: &SecurityCode) -> [u8; 32] {
        mac(Suite::configured(), &self.0, &[purpose, &ticket.key().to_be_bytes(), code.letters()])
    }
}

impl fmt::Debug for BatchKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BatchKey(…)")
    }
}

/// Why a record did not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The code is not this ticket's.
    #[error("the security code does not belong to this ticket")]
    WrongCode,
    /// The code is right, the record was altered or truncated: never pay.
    #[error("the sealed record of this ticket is damaged")]
    Damaged,
}

/// Seals one ticket. `level` is 0 for no prize.
pub fn seal(key: &BatchKey, ticket: TicketId, code: &SecurityCode, level: u8) -> [u8; RECORD_BYTES] {
    let mut record = [0; RECORD_BYTES];
    record[..TAG_BYTES].copy_from_slice(&key.mac(b"tag", ticket, code)[..TAG_BYTES]);
    let level_key = key.mac(b"level", ticket, code);
    record[TAG_BYTES] = level ^ level_key[0];
    record[TAG_BYTES + 1..].copy_from_slice(&level_check(&level_key, level)[..CHECK_BYTES]);
    record
}

/// Opens one ticket's record with the code from under the latex; gives the prize level, 0 for none.
pub fn open(key: &BatchKey, ticket: TicketId, code: &SecurityCode, record: &[u8]) -> Result<u8, SealError> {
    if record.len() != RECORD_BYTES {
        return Err(SealError::Damaged);
    }
    if !equal(&key.mac(b"tag", ticket, code)[..TAG_BYTES], &record[..TAG_BYTES]) {
        return Err(SealError::WrongCode);
    }
    let level_key = key.mac(b"level", ticket, code);
    let level = record[TAG_BYTES] ^ level_key[0];
    if !equal(&level_check(&level_key, level)[..CHECK_BYTES], &record[TAG_BYTES + 1..]) {
        return Err(SealError::Damaged);
    }
    Ok(level)
}

/// The record of a ticket among those of its pack; `None` when the pack has no such ticket.
pub fn record_of(records: &[u8], ticket: TicketId) -> Option<&[u8]> {
    let start = usize::from(ticket.number()) * RECORD_BYTES;
    records.get(start..start + RECORD_BYTES)
}

/// Tag of a presented code, by which the same wrong code is told from another one without keeping it.
pub fn presented_tag(key: &BatchKey, ticket: TicketId, code: &SecurityCode) -> [u8; 16] {
    let mut tag = [0; 16];
    tag.copy_from_slice(&key.mac(b"presented", ticket, code)[..16]);
    tag
}

fn level_check(level_key: &[u8; 32], level: u8) -> [u8; 32] {
    mac(Suite::configured(), level_key, &[&[level]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{BatchNo, PackId};

    fn ticket(number: u16) -> TicketId {
        PackId::new(BatchNo::new(1).unwrap(), 7).unwrap().ticket(number).unwrap()
    }

    fn code(letter: char) -> SecurityCode {
        SecurityCode::new(&letter.to_string().repeat(16)).unwrap()
    }

    const KEY: BatchKey = BatchKey::from_bytes([7; 32]);

    #[test]
    fn the_right_code_opens_the_level_and_any_other_does_not() {
        for level in [0, 1, 10, 255] {
            let record = seal(&KEY, ticket(3), &code('A'), level);
            assert_eq!(open(&KEY, ticket(3), &code('A'), &record), Ok(level));
            assert_eq!(open(&KEY, ticket(3), &code('B'), &record), Err(SealError::WrongCode));
            assert_eq!(open(&KEY, ticket(4), &code('A'), &record), Err(SealError::WrongCode));
            let other_key = BatchKey::from_bytes([8; 32]);
            assert_eq!(open(&other_key, ticket(3), &code('A'), &record), Err(SealError::WrongCode));
        }
    }

    #[test]
    fn no_altered_byte_of_a_record_opens() {
        let record = seal(&KEY, ticket(3), &code('A'), 2);
        for at in 0..RECORD_BYTES {
            for bit in 0..8 {
                let mut altered = record;
                altered[at] ^= 1 << bit;
                assert!(open(&KEY, ticket(3), &code('A'), &altered).is_err());
            }
        }
        assert_eq!(open(&KEY, ticket(3), &code('A'), &record[1..]), Err(SealError::Damaged));
    }

    #[test]
    fn records_of_winners_and_losers_look_alike() {
        let bits = |level| -> u32 {
            (0..1000)
                .map(|n| {
                    seal(&KEY, ticket(n), &code('Q'), level)[TAG_BYTES..].iter().map(|b| b.count_ones()).sum::<u32>()
                })
                .sum()
        };
        let half = 1000 * 8 * (1 + CHECK_BYTES as u32) / 2;
        for level in [0, 1] {
            assert!(bits(level).abs_diff(half) < half / 50, "level {level}");
        }
    }
}
