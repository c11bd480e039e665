//! The link to the hub: what the node's store offers to a sync session, the ways there, and the batch keys it fetches.

mod acked;
mod contact;
mod gauges;
mod generation;
mod keys;
mod reached;
mod returns;
mod routes;
mod runs;
mod store;

use jikai_schema::time::TimeMs;

pub use acked::{HubAcked, HubMemory, keep_acked};
pub use contact::{Contact, keep_contact};
pub use gauges::keep_gauges;
pub use generation::HubGeneration;
pub use keys::{fetch_first_keys, fetch_keys};
pub use reached::keep_reached;
pub use returns::{Returning, return_feed};
pub use routes::HubRoutes;
pub use runs::Runs;
pub use store::UplinkStore;

/// How the link stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether a session with the hub is open.
    pub connected: bool,
    /// Newest event that the hub has committed, by its own word; falls where a hub comes back with less.
    pub acked_seq: u64,
    /// How often a hub came back with less than it had acknowledged, see [`HubMemory::forgot`].
    pub hub_forgot: u64,
    /// Why the hub refused this node, if it did.
    pub refused: Option<String>,
    /// Whether that refusal says that this store must not serve. Kept over restarts; a session that opens ends it.
    pub fenced: bool,
    /// How far the hub's feed was applied: what is new may name batches whose keys are missing.
    pub down_next_seq: u64,
    /// When the link was open last; means nothing while it is open.
    pub left_at_ms: TimeMs,
}

impl LinkState {
    /// When the hub was heard last.
    pub fn contact_at_ms(&self, now_ms: TimeMs) -> TimeMs {
        if self.connected { now_ms } else { self.left_at_ms }
    }
}
