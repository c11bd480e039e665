//! What became of a command.

use serde::{Deserialize, Serialize};

use crate::chain::ChainHash;
use crate::id::{BatchNo, MachineNo, NodeId, PackId};

/// What became of a command. The same on every replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done; so many events were written, and so many parts were there already, equal.
    Done {
        /// Events written.
        events: u64,
        /// Parts that were there already.
        existing: u64,
    },
    /// Events of a node were taken in up to here.
    Ingested {
        /// Position of the next event expected.
        next_seq: u64,
        /// Chain before it.
        hash: ChainHash,
        /// Events that could not be applied and wait in quarantine.
        quarantined: u64,
    },
    /// The number of a batch.
    Batch {
        /// The number.
        batch: BatchNo,
    },
    /// Nothing was changed.
    Refused(Refusal),
    /// A change was proposed.
    Change {
        /// Its number.
        number: u32,
    },
    /// The number of a machine that may join.
    Invited {
        /// The number.
        machine: MachineNo,
    },
    /// The jobs are the proposer's.
    Leased {
        /// Place in the log at which the lease was taken: higher than any before.
        fence: u64,
    },
    /// Another store takes a node's place.
    Replaced {
        /// Its epoch.
        epoch: u32,
        /// Position at which it goes on.
        next_seq: u64,
        /// Chain before it.
        hash: ChainHash,
    },
}

/// Why a command was refused. Each has a stable [`Refusal::code`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The batch does not begin where the log ends.
    #[error("node {node} sent events from {first_seq}, expected {next_seq}")]
    Gap {
        /// Whose log.
        node: NodeId,
        /// Position expected.
        next_seq: u64,
        /// Position met.
        first_seq: u64,
    },
    /// The batch continues another history than the one taken in.
    #[error("node {node} has another history before event {next_seq}")]
    Fork {
        /// Whose log.
        node: NodeId,
        /// Position at which the histories must agree.
        next_seq: u64,
    },
    /// The store of the node is not the one known.
    #[error("node {node} reports with another store than the one known")]
    Incarnation {
        /// Which node.
        node: NodeId,
    },
    /// Something named is not known.
    #[error("{kind} {id} is not known")]
    Unknown {
        /// Kind of subject.
        kind: String,
        /// Its id in text form.
        id: String,
    },
    /// The same id exists with other contents.
    #[error("{kind} {id} exists with other contents")]
    ExistsWithOther {
        /// Kind of subject.
        kind: String,
        /// Its id in text form.
        id: String,
    },
    /// The pack is not in the warehouse.
    #[error("pack {pack} is not in the warehouse")]
    PackNotInWarehouse {
        /// Which pack.
        pack: PackId,
    },
    /// The change breaks a rule of the subject's life cycle or of its values.
    #[error("{rule}")]
    Rule {
        /// Stable code.
        code: String,
        /// The rule in a sentence.
        rule: String,
    },
}

impl Refusal {
    /// The stable code in interfaces.
    pub fn code(&self) -> &str {
        match self {
            Refusal::Gap { .. } => "gap",
            Refusal::Fork { .. } => "fork",
            Refusal::Incarnation { .. } => "incarnation",
            Refusal::Unknown { .. } => "unknown",
            Refusal::ExistsWithOther { .. } => "exists_with_other",
            Refusal::PackNotInWarehouse { .. } => "pack_not_in_warehouse",
            Refusal::Rule { code, .. } => code,
        }
    }
}
