//! What machines say to each other. Variants are append-only: postcard stores their position.

use openraft::error::SnapshotMismatch;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, InstallSnapshotResponse, VoteRequest,
    VoteResponse,
};
use serde::{Deserialize, Serialize};

use crate::raft::cluster::{Change, Refused, Status};
use crate::raft::digests::Told;
use crate::raft::types::{Answer, EntryBytes, InstanceId, Types};

/// A call with the log that the caller believes the callee to have.
#[derive(Serialize, Deserialize)]
pub(crate) struct Request {
    /// A machine with another one was wiped and must not answer. All zero: not known yet.
    pub to_instance: InstanceId,
    pub call: Call,
}

#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Call {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<u64>),
    Snapshot(InstallSnapshotRequest<Types>),
    /// Asks the leader to append an entry.
    Propose(EntryBytes),
    Status,
    /// Asks the leader how far a read must have applied.
    ReadIndex,
    /// Asks the machine to stand for election now.
    Elect,
    /// Asks the leader to change the cluster.
    Change(Change),
    /// Asks for the digests of its state.
    Digests,
    /// The leader asks to vote for its successor.
    Yield {
        term: u64,
        to: u64,
    },
    /// Asks how the links of its nodes stand.
    Links,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    Snapshot(InstallSnapshotResponse<u64>),
    SnapshotMismatch(SnapshotMismatch),
    Proposed(Proposed),
    Status(Box<Status>),
    /// Index that a read must have applied, none where nothing is committed; an error where this is not a leader with
    /// a quorum.
    ReadIndex(Result<Option<u64>, String>),
    Elected,
    /// The machine was wiped: its log is not the one in the membership.
    OtherInstance,
    /// The engine of the machine has stopped, or the call was not allowed.
    Failed(String),
    /// Whether the leader changed the cluster.
    Changed(Result<(), Refused>),
    Digests(Box<Told>),
    Yielded,
    /// The caller was removed for ever: it must serve nobody any more.
    Removed,
    /// How the links of its nodes stand, encoded.
    Links(Vec<u8>),
}

/// What became of a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proposed {
    Committed {
        index: u64,
        answer: Answer,
    },
    /// Certainly not in the log.
    NotTaken(String),
    /// Perhaps in the log, perhaps later.
    Unknown,
}

impl Call {
    /// In whose name an engine speaks here; its certificate must say the same.
    pub fn speaker(&self) -> Option<u64> {
        match self {
            Call::Append(append) => append.vote.leader_id().voted_for(),
            Call::Vote(vote) => vote.vote.leader_id().voted_for(),
            Call::Snapshot(snapshot) => snapshot.vote.leader_id().voted_for(),
            Call::Propose(_) | Call::Status | Call::ReadIndex | Call::Elect => None,
            Call::Change(_) | Call::Digests | Call::Yield { .. } | Call::Links => None,
        }
    }
}
