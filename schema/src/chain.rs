//! The hash chain that ties every event of a log to all events before it.
//!
//! `hash(n) = SHA-256(hash(n-1) ‖ bytes(n))`, starting from 32 zero bytes. A log with one altered, removed
//! or swapped event no longer reproduces its head.

use core::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Head of a hash chain: 32 bytes of SHA-256. [`ChainHash::GENESIS`] before the first event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChainHash([u8; 32]);

impl ChainHash {
    /// The head of an empty log.
    pub const GENESIS: ChainHash = ChainHash([0; 32]);

    /// Wraps 32 bytes read from a store or a frame.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        ChainHash(bytes)
    }

    /// Reads a head from a slice; `None` unless it is exactly 32 bytes long.
    pub fn from_slice(slice: &[u8]) -> Option<Self> {
        slice.try_into().ok().map(ChainHash)
    }

    /// The raw bytes, as stored.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The head after an event with these `bytes`.
    #[must_use]
    pub fn next(&self, bytes: &[u8]) -> ChainHash {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(bytes);
        ChainHash(hasher.finalize().into())
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChainHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(records: &[&[u8]]) -> ChainHash {
        records.iter().fold(ChainHash::GENESIS, |head, bytes| head.next(bytes))
    }

    #[test]
    fn altering_removing_or_swapping_a_record_changes_the_head() {
        let whole = head(&[b"a", b"b", b"c"]);
        assert_ne!(whole, head(&[b"a", b"x", b"c"]));
        assert_ne!(whole, head(&[b"a", b"c"]));
        assert_ne!(whole, head(&[b"b", b"a", b"c"]));
        assert_eq!(whole, head(&[b"a", b"b", b"c"]));
    }

    #[test]
    fn a_head_is_read_only_from_exactly_32_bytes() {
        assert!(ChainHash::from_slice(&[0; 31]).is_none());
        assert_eq!(ChainHash::from_slice(&[0; 32]), Some(ChainHash::GENESIS));
    }
}
