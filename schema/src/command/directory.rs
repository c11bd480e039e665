//! Commands about where terminals reach the nodes.

use serde::{Deserialize, Serialize};

use crate::id::NodeId;

/// What is asked about the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryCommand {
    /// A node tells where terminals reach it; equal words change nothing.
    Reach {
        /// By its certificate.
        node: NodeId,
        /// `HOST:PORT`, the one to be tried first in front.
        addresses: Vec<String>,
    },
    /// A job has signed what terminals are to be told.
    Publish {
        /// The lease under which it did.
        fence: u64,
        /// The document.
        bytes: Vec<u8>,
        /// Ed25519, 64 bytes.
        signature: Vec<u8>,
    },
}
