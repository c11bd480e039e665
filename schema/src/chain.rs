//! The hash chain that ties every event of a log to all events before it.
//!
//! `hash(n) = H(hash(n-1) ‖ bytes(n))`, starting from 32 zero bytes; `H` is the hash of the environment's suite. A log
//! with one altered, removed or swapped event no longer reproduces its head.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::crypto::{Hasher, Suite};

/// Head of a hash chain: 32 bytes. [`ChainHash::GENESIS`] before the first event.
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
        self.next_in(Suite::configured(), bytes)
    }

    /// The head after an event with these `bytes` in a chain of this suite.
    #[must_use]
    pub fn next_in(&self, suite: Suite, bytes: &[u8]) -> ChainHash {
        let mut hasher = Hasher::new(suite);
        hasher.update(self.0);
        hasher.update(bytes);
        ChainHash(hasher.finish())
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
    fn each_suite_has_its_own_chain_and_the_default_is_sha256() {
        // SHA-256 and SM3 of 32 zero bytes and "abc".
        let of = |suite| ChainHash::GENESIS.next_in(suite, b"abc").to_string();
        assert_eq!(of(Suite::International), "365aa7d8f7f9402c4b9434502b4cc89ddb09fe50d7cd95b493b834c62d5a5370");
        assert_eq!(of(Suite::National), "454ad3b7cebd18f2879d672612b4a8e8403584a6d66685009b198429b6819514");
        assert_eq!(ChainHash::GENESIS.next(b"abc").to_string(), of(Suite::International));
    }

    #[test]
    fn a_head_is_read_only_from_exactly_32_bytes() {
        assert!(ChainHash::from_slice(&[0; 31]).is_none());
        assert_eq!(ChainHash::from_slice(&[0; 32]), Some(ChainHash::GENESIS));
    }
}
