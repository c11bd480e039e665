//! Requests that a node sends to the hub beside the logs, over the mutually authenticated connection.

use core::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::codec::{self, CodecError};
use crate::id::BatchNo;

/// Largest request or reply: the keys of about 3,000 batches.
pub const PEER_BYTES_MAX: usize = 128 * 1024;
/// Most batches whose keys are asked for at once.
pub const KEYS_MAX: usize = 1_000;

/// What a node asks. Append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRequest {
    /// The keys of these batches, at most [`KEYS_MAX`]. They travel here and never in a log.
    BatchKeys {
        /// Which batches.
        batches: Vec<BatchNo>,
    },
}

/// What the hub answers. Append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HubReply {
    /// Keys of those of the asked batches that this node may have.
    BatchKeys(Vec<(BatchNo, PlainKey)>),
    /// The request was refused, for this reason.
    Refused(String),
}

/// A batch key on its way. `Debug` hides it, dropping wipes it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct PlainKey(pub [u8; 32]);

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PlainKey(…)")
    }
}

impl NodeRequest {
    /// The bytes to send.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self, PEER_BYTES_MAX)
    }

    /// Reads what a node sent.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, PEER_BYTES_MAX)
    }
}

impl HubReply {
    /// The bytes to send.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self, PEER_BYTES_MAX)
    }

    /// Reads what the hub sent.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, PEER_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_travel_and_are_never_printed() {
        let reply = HubReply::BatchKeys(vec![(BatchNo::new(1).unwrap(), PlainKey([0xab; 32]))]);
        assert_eq!(HubReply::decode(&reply.encode().unwrap()), Ok(reply.clone()));
        assert!(!format!("{reply:?}").contains("171") && !format!("{reply:?}").contains("ab"));
        assert!(NodeRequest::decode(&[1, 9]).is_err());
    }
}
