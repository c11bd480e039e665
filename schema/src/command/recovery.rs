//! Commands by which a hub that was put back from an older copy gets back what its nodes had received of it.

use serde::{Deserialize, Serialize};

use super::NodeBatch;
use crate::chain::ChainHash;
use crate::id::{BatchNo, MachineNo, NodeId};
use crate::time::TimeMs;

/// What is asked about a recovery. While one is on, the machine refuses every other command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecoveryCommand {
    /// A person has put this machine's directory back from a copy: the generation rises, the nodes are awaited.
    Begin {
        /// Which machine; the others are retired at the end.
        machine: MachineNo,
        /// When the person said so.
        said_at_ms: TimeMs,
    },
    /// Keep a run of the feed that a node returned.
    Return(FeedReturn),
    /// Keep the key of a batch that a node returned, if none is known.
    ReturnKey {
        /// The batch.
        batch: BatchNo,
        /// The key, encrypted under the hub's keys.
        wrapped_key: Vec<u8>,
    },
    /// Await nobody any more. Refused while a node is awaited that is not named.
    Finish {
        /// Nodes that have not returned and are left out, for good.
        without: Vec<NodeId>,
    },
    /// Append the next of the returned events to the hub's log; the last such command ends the recovery.
    Merge {
        /// Position of the hub's log that comes next: a proposal made twice changes nothing.
        from_seq: u64,
    },
    /// Take in the node's own log up to the release on which the next returned event rests. Refused while another log, or none, is
    /// awaited.
    ReturnLog(NodeBatch),
    /// A store came that took its node's place since the copy was made. Refused unless its epoch is later than the copy knows, and once
    /// nobody is awaited any more.
    MeetStore {
        /// The node.
        node: NodeId,
        /// The store's identity.
        incarnation: [u8; 16],
        /// Its epoch, 2 or later.
        epoch: u32,
    },
}

/// A run of a node's feed as the node received it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedReturn {
    /// Whose feed.
    pub node: NodeId,
    /// Identity of the store that kept it.
    pub incarnation: [u8; 16],
    /// Generation of the hub that asked for it.
    pub generation: u32,
    /// Position of the first event in the feed.
    pub first_seq: u64,
    /// The events' bytes as they were received; none from a node that knows no more than the hub.
    pub events: Vec<Vec<u8>>,
    /// Position behind the last event that the node has received.
    pub end_seq: u64,
    /// Chain of the feed before that position.
    pub end_hash: ChainHash,
}
