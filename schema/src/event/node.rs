//! Facts about the stores of nodes: replaced, copied.

use serde::{Deserialize, Serialize};

use super::Audience;
use crate::chain::ChainHash;
use crate::id::NodeId;

/// Facts about a node's store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeEvent {
    /// Another store takes the place of the one that the node had, which opens no session any more.
    Replaced {
        /// Which node.
        node: NodeId,
        /// Epoch of the new store; the first store of a node has 1.
        epoch: u32,
        /// Position at which the new store goes on: what the old one holds from here on never reached the hub.
        next_seq: u64,
        /// Chain before it.
        hash: ChainHash,
        /// Why, in a person's words. 1 to 200 bytes.
        reason: String,
    },
    /// A second process came with a copy of the node's store, and was turned away.
    CloneRefused {
        /// Which node.
        node: NodeId,
    },
}

impl NodeEvent {
    /// The hub's own business: the old store would not listen, and the new one begins behind it.
    pub(super) fn audience(&self) -> Audience {
        Audience::HubOnly
    }

    /// As other programs read it.
    pub(super) fn view(&self) -> serde_json::Value {
        match self {
            NodeEvent::Replaced { node, epoch, next_seq, hash, reason } => serde_json::json!({
                "kind": "node_replaced", "node": node, "epoch": epoch, "next_seq": next_seq, "hash": hash.to_string(),
                "reason": reason,
            }),
            NodeEvent::CloneRefused { node } => serde_json::json!({"kind": "node_clone_refused", "node": node}),
        }
    }
}
