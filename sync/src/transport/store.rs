//! What the drivers need of the stores at both ends.

use std::pin::Pin;

use jikai_schema::chain::ChainHash;
use jikai_schema::id::NodeId;
use tokio::sync::watch;

use crate::identity::Certified;
use crate::session::{LogRecord, VerifiedBatch};
use crate::wire::{Cursor, Hello, Mark, RefusalV1, Welcome};

/// A boxed future, so that the stores can be trait objects.
pub type Future<'a, T> = Pin<Box<dyn std::future::Future<Output = T> + Send + 'a>>;

/// A log that cannot be read or written now; the session ends and is tried again.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct LogError(pub String);

/// A node's store.
pub trait NodeStore: Send + Sync + 'static {
    /// Who it is and where it stands now.
    fn hello(&self) -> Future<'_, Result<Hello, LogError>>;
    /// Which run of the store this is, by which copies are told apart; durable before it is told. `None` tells nothing.
    fn mark(&self) -> Option<Mark> {
        None
    }
    /// Whether it is ready for the hub's feed.
    fn takes_feed(&self) -> bool {
        true
    }
    /// Newest committed position of the own log, as it grows.
    fn up_head(&self) -> watch::Receiver<u64>;
    /// Events of the own log from a position on, at most so many events and about so many bytes (at least one event).
    fn read_up(
        &self,
        from_seq: u64,
        events_max: usize,
        bytes_max: usize,
    ) -> Future<'_, Result<Vec<LogRecord>, LogError>>;
    /// Chain of the own log after `seq`; genesis for 0, `None` for a position that it does not hold.
    fn chain_at(&self, seq: u64) -> Future<'_, Result<Option<ChainHash>, LogError>>;
    /// Applies a run of the hub's feed. Durable, with the cursor, when it returns.
    fn apply_down(&self, batch: VerifiedBatch) -> Future<'_, Result<Cursor, LogError>>;
    /// The hub has committed everything before this place. Grows in a session; the first of a session is where the hub stands.
    fn acked(&self, cursor: Cursor);
    /// The highest generation of the hub that was met; 0 before the first.
    fn hub_generation(&self) -> u32;
    /// A hub of this generation, not lower than [`NodeStore::hub_generation`], agrees with the own log and holds it up to this
    /// place. The generation is remembered durably when it returns; no session opens otherwise. The place may lie before what was
    /// acknowledged: that is for the store to tell of, the session sends again from there.
    fn met_hub(&self, generation: u32, up: Cursor) -> Future<'_, Result<(), LogError>>;
    /// A session was opened.
    fn connected(&self);
    /// The hub sends no more of its feed in this session: the node cannot read what comes next. The own log goes on to it.
    fn feed_stopped(&self, _refusal: &RefusalV1) {}
    /// The session ended; `refusal` says why where the peer or the protocol gave a reason.
    fn disconnected(&self, refusal: Option<&RefusalV1>);
}

/// The hub's answer to an accepted greeting.
#[derive(Debug, Clone)]
pub struct Admission {
    /// What the node is told.
    pub welcome: Welcome,
    /// Newest position of the node's feed, as it grows.
    pub down_head: watch::Receiver<u64>,
    /// Changes whenever some certificate was revoked.
    pub revocations: watch::Receiver<u64>,
}

/// The hub's store.
pub trait HubStore: Send + Sync + 'static {
    /// Whether this certificate may still be used.
    fn check_certificate<'a>(&'a self, certified: &'a Certified) -> Future<'a, Result<(), RefusalV1>>;
    /// Decides on a greeting. The certificate's node was compared already. Checks environment, registration, incarnation,
    /// epoch, schema version, and that the node's place in its feed is one of the feed's history.
    fn admit(&self, hello: Hello) -> Future<'_, Result<Admission, RefusalV1>>;
    /// Whether an admitted store may still be used: it was not replaced.
    fn check_store<'a>(&'a self, _hello: &'a Hello) -> Future<'a, Result<(), RefusalV1>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// An admitted store tells which run it is: that one follows the run that is known, or the store is a copy.
    fn begin_run<'a>(&'a self, _hello: &'a Hello, _mark: Mark) -> Future<'a, Result<(), RefusalV1>> {
        Box::pin(std::future::ready(Ok(())))
    }
    /// The run that wants to take the place of this admitted one, by way of another machine of the hub.
    fn claimant(&self, _node: NodeId, _mark: Mark) -> Future<'_, Option<[u8; 16]>> {
        Box::pin(std::future::ready(None))
    }
    /// A run is on a copy, for another process is at work on the store: it must never be admitted.
    fn is_clone(&self, _node: NodeId, _run: [u8; 16]) -> Future<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// Takes in a run of a node's log; committed and applied when it returns. Called in order for one node.
    fn ingest(
        &self,
        node: NodeId,
        incarnation: [u8; 16],
        batch: VerifiedBatch,
    ) -> Future<'_, Result<Cursor, RefusalV1>>;
    /// Events of the node's feed from a position on, those that it can read (`Hello::event_version`): one that it cannot
    /// stops the feed with [`RefusalV1::SchemaTooOld`], in front of it, until the node comes anew. Any other refusal ends the session.
    fn read_down(
        &self,
        node: NodeId,
        from_seq: u64,
        events_max: usize,
        bytes_max: usize,
    ) -> Future<'_, Result<Vec<LogRecord>, RefusalV1>>;
    /// Nothing more of its feed is sent to the node in this session, see [`HubStore::read_down`].
    fn feed_stopped(&self, _node: NodeId, _refusal: &RefusalV1) {}
    /// The node has applied its feed up to this place.
    fn down_acked(&self, node: NodeId, cursor: Cursor);
    /// A session of this certificate is open, and both ends agree about the node's log: the node has what it showed.
    fn agreed<'a>(&'a self, certified: &'a Certified) -> Future<'a, ()>;
    /// Answers a request of a connected node that showed this certificate; the bytes are the application's.
    fn answer<'a>(&'a self, certified: &'a Certified, request: Vec<u8>) -> Future<'a, Vec<u8>>;
    /// A node's session ended, and no newer one has taken its place.
    fn disconnected(&self, node: NodeId, refusal: Option<&RefusalV1>);
    /// A session of the node was refused beside the one that it may have: a copied, fenced or misdirected store knocks.
    fn refused(&self, node: NodeId, refusal: &RefusalV1);
}
