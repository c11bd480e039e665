//! What goes over the wire: length-prefixed frames, each a version byte and a postcard value.

mod body;
mod decoder;
mod refusal;
mod version;

use jikai_schema::chain::ChainHash;
use jikai_schema::id::NodeId;
use serde::{Deserialize, Serialize};

pub use body::{BODY_BYTES_MAX, BodyError, decode_body, encode_body};
pub use decoder::{FrameDecoder, FrameError, encode_frame, encode_frame_as};
pub use refusal::RefusalV1;
pub use version::WireVersion;

/// Most events in one batch.
pub const BATCH_EVENTS_MAX: usize = 512;
/// Bytes of events after which a batch is closed.
pub const BATCH_BYTES_MAX: usize = 64 * 1024;
/// Largest event that travels: it fills a batch alone. The schema's own limit is half of it.
pub const RECORD_BYTES_MAX: usize = BATCH_BYTES_MAX;
/// Largest frame: a batch that one event at its limit (32 KiB) made longer than [`BATCH_BYTES_MAX`], uncompressed, and its
/// header; the rest is room for requests.
pub const FRAME_BYTES_MAX: usize = 1 << 20;

/// A place in a log: the next position and the chain before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// Position of the next event, from 1.
    pub next_seq: u64,
    /// Chain before it; genesis at position 1.
    pub hash: ChainHash,
}

impl Cursor {
    /// The beginning of every log.
    pub const START: Cursor = Cursor { next_seq: 1, hash: ChainHash::GENESIS };

    /// Whether a store can hold the position: 1 to `i64::MAX`. Asked of every position that comes from a peer.
    pub fn is_in_bounds(&self) -> bool {
        (1..=i64::MAX as u64).contains(&self.next_seq)
    }
}

/// Who a node's store is and where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// production, training or test.
    pub environment: String,
    /// The node; must be the certificate's.
    pub node: NodeId,
    /// Made with the store: a copy or a new store is seen at once.
    pub incarnation: [u8; 16],
    /// Given by the hub; a replaced node is fenced by it.
    pub epoch: u32,
    /// Version of the shared tables.
    pub schema_version: u32,
    /// Head of the node's own log: what it claims to have.
    pub up_head: Cursor,
    /// How far it has applied the hub's feed.
    pub down: Cursor,
    /// Newest version byte of an event that the node can read. It travels beside, in a [`Greeting`].
    #[serde(skip)]
    pub event_version: u8,
}

/// Who a node's store is, and what the node can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Greeting {
    /// Who it is.
    pub hello: Hello,
    /// Newest version byte of an event that the node can read: no newer one is sent to it.
    pub event_version: u8,
}

/// The hub's answer to an accepted [`Hello`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// How far the hub has committed the node's log.
    pub up: Cursor,
    /// Rises when the hub is restored; the node sends again from `up`.
    pub hub_generation: u32,
    /// Addresses at which the hub can be reached.
    pub endpoints: Vec<String>,
}

/// A run of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Position of the first event.
    pub first_seq: u64,
    /// Chain before it.
    pub prev_hash: ChainHash,
    /// Number of events.
    pub count: u32,
    /// Chain after the last.
    pub last_hash: ChainHash,
    /// The sender's newest position: what "caught up" is measured against.
    pub head_seq: u64,
    /// The events, see [`encode_body`].
    pub body: Vec<u8>,
}

/// Which process on which store greets. Two processes on copies of one store are told apart by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// This run of the store: drawn at a start, durable at the node before it is shown, and kept until the hub has admitted it.
    pub run: [u8; 16],
    /// The run that the hub admitted before; `None` before the first.
    pub after: Option<[u8; 16]>,
    /// Drawn by the process, never on disk: a process that comes again is not another one.
    pub process: [u8; 16],
}

/// A frame. Append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// First frame of the up stream, from the node, in the first version of the wire.
    Hello(Hello),
    /// The hub accepts.
    Welcome(Welcome),
    /// The hub or the node ends the session, and says why.
    Refused(RefusalV1),
    /// Events.
    Batch(Batch),
    /// Everything before this place is durable at the receiver. Cumulative: a lost one is harmless.
    Ack(Cursor),
    /// Nothing to say: keeps the session alive.
    KeepAlive,
    /// First frame of the up stream, from the node, since the second version of the wire.
    Greeting(Greeting),
    /// Before the [`Greeting`], from a node that tells its runs apart.
    Mark(Mark),
    /// From the hub, on the up stream: no more of the feed is sent in this session, because the node cannot read what comes next.
    FeedStopped(RefusalV1),
}
