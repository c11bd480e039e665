//! Facts about nodes and their stores: invited, replaced, copied, taken out of use.

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
    /// The first store of a new node was invited: no other one may open its log.
    Invited {
        /// Which node.
        node: NodeId,
    },
    /// The node was taken out of use: it is no node any more, its stores open no session, and its number is given to no other.
    Retired {
        /// Which node.
        node: NodeId,
        /// Position that would have come next: what its store holds from here on never reached the hub.
        next_seq: u64,
        /// Chain before it.
        hash: ChainHash,
        /// Why, in a person's words. 1 to 200 bytes.
        reason: String,
    },
}

impl NodeEvent {
    /// Stores are the hub's own business: an old one would not listen, and a new one begins behind it. That a node is none any more
    /// concerns everybody who knows it.
    pub(super) fn audience(&self) -> Audience {
        match self {
            NodeEvent::Replaced { .. } | NodeEvent::CloneRefused { .. } | NodeEvent::Invited { .. } => {
                Audience::HubOnly
            }
            NodeEvent::Retired { .. } => Audience::All,
        }
    }

    /// As other programs read it.
    pub(super) fn view(&self) -> serde_json::Value {
        match self {
            NodeEvent::Replaced { node, epoch, next_seq, hash, reason } => serde_json::json!({
                "kind": "node_replaced", "node": node, "epoch": epoch, "next_seq": next_seq, "hash": hash.to_string(),
                "reason": reason,
            }),
            NodeEvent::CloneRefused { node } => serde_json::json!({"kind": "node_clone_refused", "node": node}),
            NodeEvent::Invited { node } => serde_json::json!({"kind": "node_invited", "node": node}),
            NodeEvent::Retired { node, next_seq, hash, reason } => serde_json::json!({
                "kind": "node_retired", "node": node, "next_seq": next_seq, "hash": hash.to_string(), "reason": reason,
            }),
        }
    }
}
