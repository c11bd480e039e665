//! Facts about where terminals reach the nodes. Written by the hub.

use serde::{Deserialize, Serialize};

use super::Audience;
use crate::directory::Directory;
use crate::id::NodeId;

/// Where terminals reach the nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryEvent {
    /// A node told where terminals reach it. Replaces what it told before.
    NodeReached {
        /// Which.
        node: NodeId,
        /// `HOST:PORT`, the one to be tried first in front; at most
        /// [`ADDRESSES_MAX`](crate::directory::ADDRESSES_MAX).
        addresses: Vec<String>,
    },
    /// What terminals are told of all nodes from now on.
    DirectoryPublished {
        /// Grows with each.
        version: u64,
        /// The document, JSON, see [`Directory`].
        bytes: Vec<u8>,
        /// Ed25519, 64 bytes, see [`Directory::signed_text`].
        signature: Vec<u8>,
    },
}

impl DirectoryEvent {
    /// Every node sends terminals on, whichever they came to.
    pub(super) fn audience(&self) -> Audience {
        match self {
            DirectoryEvent::NodeReached { .. } | DirectoryEvent::DirectoryPublished { .. } => Audience::All,
        }
    }

    /// As other programs read it.
    pub(super) fn view(&self) -> serde_json::Value {
        match self {
            DirectoryEvent::NodeReached { node, addresses } => {
                serde_json::json!({"kind": "node_reached", "node": node.get(), "addresses": addresses})
            }
            DirectoryEvent::DirectoryPublished { version, bytes, signature } => serde_json::json!({
                "kind": "directory_published", "version": version, "directory": Directory::read(bytes).ok(),
                "signature": hex::encode(signature),
            }),
        }
    }
}
