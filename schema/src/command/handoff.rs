//! Commands about outlets that move from node to node.

use serde::{Deserialize, Serialize};

use crate::id::{NodeId, OutletId};

/// Most moves in one command.
pub const MOVES_MAX: usize = 20_000;
/// Most outlets on their way at once.
pub const WINDOW_MAX: u16 = 500;

/// An outlet and the node that shall serve it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutletMove {
    /// The outlet.
    pub outlet: OutletId,
    /// Where it goes.
    pub to: NodeId,
}

/// What is asked about moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandoffCommand {
    /// Move these outlets, some at a time. One that is there already is skipped; one that waits for another move goes where the
    /// newer word says.
    Move {
        /// Which, where to; each outlet once.
        moves: Vec<OutletMove>,
        /// Most outlets on their way at once from now on, 1 to [`WINDOW_MAX`].
        window: u16,
    },
    /// Let those that wait stay where they are, and take back what was ordered and not done. Empty: all of them.
    Cancel {
        /// Which.
        outlets: Vec<OutletId>,
    },
}
