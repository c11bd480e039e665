//! Why a cluster could not be started, changed or asked.

use crate::raft::log_store::LogError;
use crate::raft::network::EndpointError;
use crate::raft::state::StateError;
use crate::raft::types::{ENTRY_BYTES_MAX, LogId};

/// A machine that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directory cannot be used, or another process uses it.
    #[error("the directory of the machine: {0}")]
    Directory(std::io::Error),
    /// Its log cannot be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// It cannot listen.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// Its times contradict each other.
    #[error("settings: {0}")]
    Settings(#[from] openraft::ConfigError),
    /// There is a state and no log: votes and entries that others count on are lost. It must be removed from the
    /// cluster and join again, empty, under a new id.
    #[error("the log of this machine is gone, its state is not: it must join again under a new id")]
    LogLost,
    /// The state ends before the log begins, and no snapshot fills the gap.
    #[error("the state ends at {applied:?}, the log begins behind {purged:?}, and there is no snapshot of between")]
    StateBehind {
        /// Newest index in the state.
        applied: Option<u64>,
        /// Newest index that is no longer in the log.
        purged: Option<u64>,
    },
    /// The log has another entry where the state ends: one of both was never committed.
    #[error(
        "the state ends in {applied:?}, the log has {found:?} there: files of two machines, or of two times, lie together"
    )]
    Conflict {
        /// Newest entry in the state.
        applied: LogId,
        /// The entry in the log.
        found: LogId,
    },
    /// The engine did not start.
    #[error("the engine: {0}")]
    Engine(#[from] openraft::error::Fatal<u64>),
}

/// A proposal that was not committed, or whose fate is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Longer than an entry may be. Nothing was changed.
    #[error("the entry has {bytes} bytes, {ENTRY_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// No leader with a quorum took it in time. Nothing was changed.
    #[error("no leader took the entry: {why}")]
    NotTaken {
        /// What the last one that was asked said.
        why: String,
    },
    /// It may be committed, now or later: only the log, or a command with the same key, tells.
    #[error("the entry was sent, its outcome is not known")]
    Unknown,
    /// The engine of this machine has stopped. Nothing was changed.
    #[error("the engine has stopped: {why}")]
    Stopped {
        /// Why.
        why: String,
    },
}

/// A read that cannot be shown to be up to date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no leader with a quorum confirmed the read: {why}")]
pub struct ReadError {
    /// What was said.
    pub why: String,
}

/// A change of the cluster that was not made, or not to its end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// Only the leader changes the cluster.
    #[error("this machine does not lead; {leader:?} does")]
    NotLeader {
        /// The leader, if there is one.
        leader: Option<u64>,
    },
    /// The machine is not in the cluster.
    #[error("machine {0} is not in the cluster")]
    NotMember(u64),
    /// The only voter cannot go.
    #[error("machine {0} is the only voter")]
    LastVoter(u64),
    /// A leader does not remove itself: it hands over first.
    #[error("machine {0} leads: hand over first")]
    Leads(u64),
    /// A machine answers at this address, but another one.
    #[error("machine {found} answers at the address of machine {expected}")]
    OtherMachine {
        /// Who should.
        expected: u64,
        /// Who does.
        found: u64,
    },
    /// The id is in the cluster with another log: the machine was wiped, or another one joined with its invitation. The id must never be used
    /// for this log.
    #[error(
        "machine {0} has another log than the one it was taken in with: it was wiped, or another one joined under its number; invite it under a new one"
    )]
    Wiped(u64),
    /// It was removed for ever.
    #[error("machine {0} was removed: its number is not used again")]
    Removed(u64),
    /// The machine cannot be reached.
    #[error("machine {id}: {why}. Does it run, and is its address the right one?")]
    Unreachable {
        /// The machine.
        id: u64,
        /// Why.
        why: String,
    },
    /// It did not catch up, or take over, in time. The change stands where it stood; it may be asked for again.
    #[error("machine {0} was too slow")]
    TooSlow(u64),
    /// It has not caught up: as a voter it would hold up the others.
    #[error("machine {id} has not caught up: it is {} entries behind", behind.map_or("unknown".to_owned(), |behind| behind.to_string()))]
    Behind {
        /// The machine.
        id: u64,
        /// How far; none where it does not answer.
        behind: Option<u64>,
    },
    /// The leader refused.
    #[error("the leader: {0}")]
    Refused(String),
    /// The engine refused: another change is under way, or it has stopped.
    #[error("the engine: {0}")]
    Engine(String),
}

impl ChangeError {
    /// A machine answered to something else than it was asked.
    pub(super) fn other_answer(id: u64) -> Self {
        ChangeError::Unreachable { id, why: "an answer to something else".to_owned() }
    }
}
