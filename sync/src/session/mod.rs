//! The session: a sans-I/O state machine at each end.
//!
//! Bytes and `now_ms` go in, [`Action`]s come out; the driver performs them and reports back. So the very code that runs
//! in production runs under a virtual clock, with streams cut at any byte.
//!
//! ```text
//! node                                   hub
//!  Mark, Hello ─────── up ──────────────▶  Admit → admitted / refused
//!  LocateUp ◀───────── up ── Welcome ────
//!  located ─ Ack ───── up ──────────────▶  Agreed
//!  Batch … ─────────── up ──────────────▶  Deliver → delivered
//!  ◀────────────────── up ───── Ack ─────
//!  Deliver → delivered ◀── down ─ Batch ─  ReadLog → log_read
//!  Ack ─────────────── down ────────────▶
//! ```

mod hub;
mod node;
mod peer;
mod receiver;
mod sender;

use jikai_schema::chain::ChainHash;

pub use hub::HubSession;
pub use node::NodeSession;
pub use receiver::{BatchReceiver, Received};
pub use sender::{BatchSender, WINDOW_BATCHES, WINDOW_BYTES};

use crate::wire::{Cursor, FRAME_BYTES_MAX, Hello, Mark, RefusalV1, Welcome};

/// Silence after which an end says something.
pub const KEEP_ALIVE_MS: i64 = 3_000;
/// Silence after which an end gives the session up.
pub const SILENCE_MS_MAX: i64 = 15_000;

/// How long a node may take to greet.
pub const GREETING_MS_MAX: i64 = 15_000;
/// Most received bytes that wait to be read as frames: one frame that is not whole yet and what came with it, or the
/// window of a stream that must wait for the handshake.
pub const WAITING_BYTES_MAX: usize = 2 * FRAME_BYTES_MAX;

/// One event of a log, as its decider hashed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Position, from 1.
    pub seq: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A run of a log whose chain was checked from `prev_hash` to `last_hash`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedBatch {
    /// Position of the first event.
    pub first_seq: u64,
    /// Chain before it.
    pub prev_hash: ChainHash,
    /// Chain after the last.
    pub last_hash: ChainHash,
    /// The sender's newest position when it sent this.
    pub head_seq: u64,
    /// The events' bytes, in order.
    pub events: Vec<Vec<u8>>,
}

impl VerifiedBatch {
    /// The place behind the batch.
    pub fn end(&self) -> Cursor {
        Cursor { next_seq: self.first_seq + self.events.len() as u64, hash: self.last_hash }
    }
}

/// The two streams of a session, each carrying frames both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    /// Handshake, the node's log, and its acknowledgements.
    Up,
    /// The hub's feed and its acknowledgements.
    Down,
}

/// What the driver is to do. Each is answered by the call named behind it, or by none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes to a stream.
    Send(Stream, Vec<u8>),
    /// Hub: decide on the node's greeting. → `admitted` or `refuse`
    Admit(Hello, Option<Mark>),
    /// Node: the hub accepted; find the chain of the own log before `Welcome::up`. → `located`
    LocateUp(Welcome),
    /// Hub: the node's log agrees with the hub's place in it; it may be given what it asks for.
    Agreed,
    /// Read the own log from here, at most so many events and bytes. → `log_read`; at the hub also `feed_stopped`
    ReadLog {
        /// First position wanted.
        from_seq: u64,
        /// Most events.
        events_max: usize,
        /// Most bytes; one event may exceed it.
        bytes_max: usize,
    },
    /// Make a received batch durable. In order. → `delivered`
    Deliver(VerifiedBatch),
    /// The peer has made everything before this place durable.
    Acked(Cursor),
    /// Node: the hub sends no more of its feed in this session, which goes on.
    FeedStopped(RefusalV1),
    /// Send what is queued, then end the session.
    Close(RefusalV1),
}
