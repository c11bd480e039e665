//! The link to the hub: what the node's store offers to a sync session, and the batch keys it fetches.

mod keys;
mod store;

pub use keys::fetch_keys;
pub use store::UplinkStore;

/// How the link stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Whether a session with the hub is open.
    pub connected: bool,
    /// Newest event that the hub has committed.
    pub acked_seq: u64,
    /// Why the hub refused this node, if it did.
    pub refused: Option<String>,
    /// How far the hub's feed was applied: what is new may name batches whose keys are missing.
    pub down_next_seq: u64,
}
