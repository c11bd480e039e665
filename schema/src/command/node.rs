//! Commands about nodes and their stores.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, PrefectureCode};

/// What is asked about a node, or its store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeCommand {
    /// Let another store take the place of the one that the node has.
    Replace {
        /// Which node.
        node: NodeId,
        /// Identity of the new store, drawn by the proposer.
        incarnation: [u8; 16],
        /// Why. 1 to 200 bytes on one line.
        reason: String,
    },
    /// A process begins to run on the node's store. Refused unless it follows the run that is known: then it runs on a copy.
    BeginRun {
        /// Which node.
        node: NodeId,
        /// The store.
        incarnation: [u8; 16],
        /// The run that was admitted before, by the store's memory; `None` before the first.
        after: Option<[u8; 16]>,
        /// This run, drawn by the process.
        run: [u8; 16],
    },
    /// A process wants to begin a run, and another one may be at work on the store at another machine of the hub: that one has some
    /// seconds to note that it lives. Refused like [`NodeCommand::BeginRun`].
    ClaimRun {
        /// Which node.
        node: NodeId,
        /// The store.
        incarnation: [u8; 16],
        /// The run that was admitted before, by the store's memory.
        after: Option<[u8; 16]>,
        /// The run that is to begin.
        run: [u8; 16],
    },
    /// Remember that a run was refused because it is on a copy: it is never admitted.
    NoteClone {
        /// Which node.
        node: NodeId,
        /// The run.
        run: [u8; 16],
    },
    /// Add a node, as a definition would, with the one store that may open its log. Refused for a number that was ever given.
    Add {
        /// Its number.
        node: NodeId,
        /// Display name.
        name: String,
        /// Prefectures whose new outlets it serves; none: it gets outlets by handoff.
        prefectures: Vec<PrefectureCode>,
        /// Identity of its first store, drawn by the proposer.
        incarnation: [u8; 16],
    },
    /// Take a node out of use for ever. Refused while it serves outlets, or some are on their way from or to it.
    Retire {
        /// Which node.
        node: NodeId,
        /// Why. 1 to 200 bytes on one line.
        reason: String,
    },
}
