//! Requests that a node sends to the hub beside the logs, over the mutually authenticated connection.

use core::fmt;

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use ed25519_dalek::{Signature, VerifyingKey};

use crate::chain::ChainHash;
use crate::codec::{self, CodecError};
use crate::crypto::{Suite, hash};
use crate::id::{BatchNo, NodeId, OutletId, TerminalId};
use crate::time::TimeMs;

/// Largest request or reply: the keys of about 3,000 batches.
pub const PEER_BYTES_MAX: usize = 128 * 1024;
/// Most batches whose keys are asked for at once.
pub const KEYS_MAX: usize = 1_000;
/// Bytes of events in one [`NodeRequest::ReturnFeed`].
pub const RETURN_BYTES_MAX: usize = 64 * 1024;

/// Most events of another node's log that are asked for at once: those of one request.
pub const PAST_EVENTS_MAX: u16 = 256;

/// What a node asks. Append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRequest {
    /// The keys of these batches, at most [`KEYS_MAX`]. They travel here and never in a log.
    BatchKeys {
        /// Which batches.
        batches: Vec<BatchNo>,
    },
    /// A device wants to bind its key to the terminal number of its one-time code.
    Enrol(Enrolment),
    /// Another certificate for the node whose certificate the connection showed. The same bytes are answered with the same
    /// certificate, in case the answer was lost.
    RenewCertificate {
        /// The request that proves the new key, PEM. What it says of its holder is not taken.
        request_pem: String,
    },
    /// Events of a node's log, of an outlet that the asking node serves now and the other one served then.
    PastEvents {
        /// Whose log.
        origin: NodeId,
        /// The first.
        seq: u64,
        /// At most so many, 1 to [`PAST_EVENTS_MAX`].
        events_max: u16,
    },
    /// Terminals reach the node at these addresses, the one to be tried first in front. Equal words change nothing.
    Reached {
        /// `HOST:PORT`, at most [`ADDRESSES_MAX`](crate::directory::ADDRESSES_MAX).
        addresses: Vec<String>,
    },
    /// Which node serves an outlet that this one does not know.
    WhereIs {
        /// Which outlet.
        outlet: OutletId,
    },
    /// The node's slice, for a store that is to take the place of another one. Answered with [`HubReply::SliceOpened`]; a slice that
    /// was being sent before is forgotten. Of nodes that do not take [`SlicePart::Feed`](crate::slice::SlicePart::Feed).
    OpenSlice,
    /// A part of the slice that was opened last, in order from 0; the newest may be asked for again.
    SlicePart {
        /// Number of the transfer.
        transfer: u64,
        /// Number of the part.
        part: u64,
    },
    /// Whether the hub wants its feed back, since it was put back from an older copy.
    FeedPlace,
    /// A run of the feed as the node received it, see [`crate::command::FeedReturn`].
    ReturnFeed {
        /// Identity of the node's store.
        incarnation: [u8; 16],
        /// Generation of the hub that asked for it.
        generation: u32,
        /// Position of the first event in the feed.
        first_seq: u64,
        /// The events' bytes, together at most [`RETURN_BYTES_MAX`] or one.
        events: Vec<Vec<u8>>,
        /// Position behind the last event that the node has received.
        end_seq: u64,
        /// Chain of the feed before that position.
        end_hash: ChainHash,
    },
    /// Keys of batches that were defined in what the node returns, at most [`KEYS_MAX`]: nobody else may have them.
    ReturnKeys {
        /// The keys.
        keys: Vec<(BatchNo, PlainKey)>,
    },
    /// A run of the node's own log, for a hub that needs it to go on, see [`HubReply::LogWanted`].
    ReturnLog {
        /// Identity of the node's store.
        incarnation: [u8; 16],
        /// Position of the first event.
        first_seq: u64,
        /// Chain before it.
        prev_hash: ChainHash,
        /// The events' bytes, together at most [`RETURN_BYTES_MAX`] or one.
        events: Vec<Vec<u8>>,
    },
    /// The node's slice as for [`NodeRequest::OpenSlice`], with the newest events of its feed: a hub that is put back from an older copy
    /// gets them back from the new store too.
    OpenSliceWithFeed,
}

/// What a device shows to be enrolled. `Debug` hides the code, dropping wipes it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct Enrolment {
    /// The terminal's number.
    #[zeroize(skip)]
    pub terminal: TerminalId,
    /// The one-time code.
    pub code: String,
    /// Ed25519 public key.
    pub public_key: [u8; 32],
    /// Signature by that key over [`Enrolment::signed_text`]: the device has the key.
    pub signature: Vec<u8>,
}

impl Enrolment {
    /// What the device signs.
    pub fn signed_text(terminal: TerminalId, code: &str, public_key: &[u8; 32]) -> Vec<u8> {
        format!("jikai-enrol-v1\n{terminal}\n{code}\n{}", hex::encode(public_key)).into_bytes()
    }

    /// What is kept of a code.
    pub fn code_hash(terminal: TerminalId, code: &str) -> [u8; 32] {
        hash(Suite::configured(), &[b"jikai enrolment\n", terminal.to_string().as_bytes(), b"\n", code.as_bytes()])
    }

    /// Whether the device has the key that it shows.
    pub fn is_signed(&self) -> bool {
        let text = Enrolment::signed_text(self.terminal, &self.code, &self.public_key);
        let (key, signature) = (VerifyingKey::from_bytes(&self.public_key), Signature::from_slice(&self.signature));
        match (key, signature) {
            (Ok(key), Ok(signature)) => key.verify_strict(&text, &signature).is_ok(),
            _ => false,
        }
    }
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enrolment({})", self.terminal)
    }
}

/// What the hub answers. Append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HubReply {
    /// Keys of those of the asked batches that this node may have.
    BatchKeys(Vec<(BatchNo, PlainKey)>),
    /// The request was refused, for this reason.
    Refused(String),
    /// The device was enrolled; its definition follows in the feed.
    Enrolled,
    /// The code does not enrol this terminal here.
    NotEnrolled,
    /// The certificate for the key of the request.
    CertificateRenewed {
        /// PEM.
        certificate_pem: String,
    },
    /// Events as they were hashed, in order; none behind the first that is not of an outlet of the asking node.
    PastEvents(Vec<Vec<u8>>),
    /// The hub knows where terminals reach the node.
    Noted,
    /// The node that serves the outlet; `None`: there is no such outlet.
    OutletAt(Option<NodeId>),
    /// Where the slice stands: its parts may be asked for.
    SliceOpened(SliceHead),
    /// A part, see [`SlicePart`](crate::slice::SlicePart).
    SlicePart(Vec<u8>),
    /// The part is not ready yet: ask again.
    SlicePending,
    /// The hub wants its feed back from this place on.
    FeedWanted {
        /// Generation of the hub.
        generation: u32,
        /// Position in the node's feed that comes next.
        next_seq: u64,
        /// Whether it has all that this node has received.
        complete: bool,
    },
    /// The hub has what it told.
    FeedNotWanted,
    /// The hub has what it told this node, and needs the node's log from this place on before it can go on.
    LogWanted {
        /// Position in the node's log that comes next.
        next_seq: u64,
    },
}

/// The places in both logs at which a slice was read, all in one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SliceHead {
    /// Names its parts.
    pub transfer: u64,
    /// Version of the tables.
    pub schema_version: u32,
    /// Next position of the node's own log, and the chain before it.
    pub up: (u64, ChainHash),
    /// Next position of the node's feed, and the chain before it.
    pub down: (u64, ChainHash),
    /// Stamp of the newest event of that feed; 0 before the first.
    pub down_at_ms: TimeMs,
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

    #[test]
    fn no_bytes_have_changed() {
        let (terminal, public_key) = (TerminalId::new(1_301_000_101).unwrap(), [7; 32]);
        let enrolment = Enrolment { terminal, code: "ABCD".into(), public_key, signature: vec![9; 2] };
        let enrol = format!("0101a5dfaeec040441424344{}020909", "07".repeat(32));
        let returned = NodeRequest::ReturnFeed {
            incarnation: [1; 16],
            generation: 2,
            first_seq: 300,
            events: vec![vec![9]],
            end_seq: 301,
            end_hash: ChainHash::from_bytes([8; 32]),
        };
        let returned_golden = format!("0109{}02ac02010109ad02{}", "01".repeat(16), "08".repeat(32));
        let prev_hash = ChainHash::from_bytes([8; 32]);
        let log = NodeRequest::ReturnLog { incarnation: [1; 16], first_seq: 300, prev_hash, events: vec![vec![9]] };
        let log_golden = format!("010b{}ac02{}010109", "01".repeat(16), "08".repeat(32));
        let requests = [
            (NodeRequest::BatchKeys { batches: vec![BatchNo::new(300).unwrap()] }, "010001ac02"),
            (NodeRequest::Enrol(enrolment), enrol.as_str()),
            (NodeRequest::RenewCertificate { request_pem: "pem".into() }, "01020370656d"),
            (NodeRequest::PastEvents { origin: NodeId::new(7).unwrap(), seq: 300, events_max: 5 }, "010307ac0205"),
            (NodeRequest::Reached { addresses: vec!["a:1".into()] }, "01040103613a31"),
            (NodeRequest::WhereIs { outlet: OutletId::new(13_010_001).unwrap() }, "0105d1889a06"),
            (NodeRequest::OpenSlice, "0106"),
            (NodeRequest::SlicePart { transfer: 5, part: 300 }, "010705ac02"),
            (NodeRequest::FeedPlace, "0108"),
            (returned, returned_golden.as_str()),
            (NodeRequest::ReturnKeys { keys: Vec::new() }, "010a00"),
            (log, log_golden.as_str()),
            (NodeRequest::OpenSliceWithFeed, "010c"),
        ];
        for (request, golden) in requests {
            let bytes = request.encode().unwrap();
            assert_eq!(hex::encode(&bytes), golden, "{request:?}");
            assert_eq!(NodeRequest::decode(&bytes), Ok(request));
        }
        let genesis = (1, ChainHash::GENESIS);
        let head =
            SliceHead { transfer: 5, schema_version: 7, up: genesis, down: genesis, down_at_ms: TimeMs::from_ms(1) };
        let opened = format!("01080507{0}{0}02", format!("01{}", "00".repeat(32)));
        let replies = [
            (HubReply::BatchKeys(Vec::new()), "010000"),
            (HubReply::Refused("no".into()), "0101026e6f"),
            (HubReply::Enrolled, "0102"),
            (HubReply::NotEnrolled, "0103"),
            (HubReply::CertificateRenewed { certificate_pem: "pem".into() }, "01040370656d"),
            (HubReply::PastEvents(vec![vec![9]]), "0105010109"),
            (HubReply::Noted, "0106"),
            (HubReply::OutletAt(Some(NodeId::new(3).unwrap())), "01070103"),
            (HubReply::OutletAt(None), "010700"),
            (HubReply::SliceOpened(head), opened.as_str()),
            (HubReply::SlicePart(vec![7]), "01090107"),
            (HubReply::SlicePending, "010a"),
            (HubReply::FeedWanted { generation: 2, next_seq: 300, complete: false }, "010b02ac0200"),
            (HubReply::FeedNotWanted, "010c"),
            (HubReply::LogWanted { next_seq: 300 }, "010dac02"),
        ];
        for (reply, golden) in replies {
            let bytes = reply.encode().unwrap();
            assert_eq!(hex::encode(&bytes), golden, "{reply:?}");
            assert_eq!(HubReply::decode(&bytes), Ok(reply));
        }
    }
}
