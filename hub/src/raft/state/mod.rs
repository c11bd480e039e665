//! The seam to what the entries change: the hub plugs in its database here.

mod machine;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;

pub(crate) use machine::COPYING;
pub use machine::StateMachine;

use crate::raft::digests::Digests;
use crate::raft::types::{Answer, LogId, Membership, StoredMembership};

/// The place up to which a state has applied the log, and the membership there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Newest applied entry.
    pub last: Option<LogId>,
    /// Newest applied membership with its entry.
    pub membership: StoredMembership,
}

/// What an entry asks of the state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing: a new leader's first entry. It counts as applied.
    Blank,
    /// Commands, encoded by whoever proposed them.
    Commands(Vec<u8>),
    /// Other voters or learners, to be kept and handed out by [`State::applied`].
    Membership(Membership),
}

/// A state that failed. The engine of this machine stops: a replica that skips an entry is no replica.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Its storage failed.
    #[error("the state: {0}")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file of a snapshot could not be read or written.
    #[error("a snapshot: {0}")]
    Io(#[from] std::io::Error),
    /// A snapshot is not what its name says.
    #[error("the snapshot has the checksum {found}, {expected} was promised")]
    Checksum {
        /// Checksum of the file.
        found: String,
        /// Checksum in the snapshot's id.
        expected: String,
    },
    /// A snapshot that holds less than the state: only a corrupted peer sends one.
    #[error("a snapshot up to {offered:?} would replace a state up to {applied:?}")]
    Older {
        /// Up to where the snapshot goes.
        offered: Option<LogId>,
        /// Up to where the state goes.
        applied: Option<LogId>,
    },
    /// A snapshot that ends in another entry than the state, at the same index: one of both was never committed.
    #[error("a snapshot up to {offered:?} contradicts a state up to {applied:?}")]
    Conflict {
        /// Up to where the snapshot goes.
        offered: Option<LogId>,
        /// Up to where the state goes.
        applied: Option<LogId>,
    },
    /// The contents of a snapshot name other machines than its description.
    #[error("the snapshot holds another membership than was promised")]
    OtherMembership,
    /// The contents of a snapshot are of another place than its description.
    #[error("the snapshot holds {found:?}, {expected:?} was promised")]
    OtherPlace {
        /// Place in the contents.
        found: Option<LogId>,
        /// Place in the description.
        expected: Option<LogId>,
    },
    /// The description of a snapshot cannot be read.
    #[error("the description of a snapshot: {0}")]
    Description(#[from] postcard::Error),
    /// The number of answers differs from the number of entries.
    #[error("{answers} answers to {entries} entries")]
    Answers {
        /// Entries applied.
        entries: usize,
        /// Answers given.
        answers: usize,
    },
    /// The thread that owns the state panicked.
    #[error("the state: {0}")]
    Ended(#[from] crate::raft::worker::Ended),
}

impl StateError {
    /// Wraps what the state's own storage reports.
    pub fn storage(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        StateError::Storage(Box::new(error))
    }
}

/// The state that the log builds. Lives on a thread of its own: its functions may block.
///
/// The state may lose its newest entries in a power failure (SQLite's `synchronous=NORMAL`), never a part of one: the
/// log, or where that is already shortened the newest snapshot, gives them back at the next start.
pub trait State: Send + 'static {
    /// Up to where the log is applied. Written in the same transaction as what the entries change.
    fn applied(&mut self) -> Result<Applied, StateError>;

    /// Applies entries in order, each transaction with the place of its last one; one answer each. Few transactions are
    /// best: several are for states that others must find at certain places. The same
    /// entries lead to the same state and the same answers on every machine: no clock, no random number, no I/O.
    fn apply(&mut self, entries: Vec<(LogId, Payload)>) -> Result<Vec<Answer>, StateError>;

    /// Takes hold of the state as it is now, to be copied by another thread while entries go on being applied.
    fn view(&mut self) -> Result<Box<dyn View>, StateError>;

    /// Machines that were removed for ever, by the state as it is now: the log turns them away from its first moment on.
    fn turned_away(&mut self) -> Result<BTreeSet<u64>, StateError> {
        Ok(BTreeSet::new())
    }

    /// Replaces the state by a copy. The file is complete and its checksum right; it must not be changed. What a crash
    /// in the middle leaves behind is the old state or the new one.
    fn install(&mut self, from: &Path) -> Result<(), StateError>;

    /// Whether it shall make digests of itself from now on: not while it is brought to where the others were long ago.
    fn set_digesting(&mut self, _digesting: bool) {}

    /// The digests that it makes of itself, for the other machines to compare; never any unless it says otherwise.
    fn digests(&self) -> Digests {
        Digests::default()
    }
}

/// The state at one moment.
pub trait View: Send {
    /// Where it is.
    fn applied(&self) -> &Applied;
    /// Copies it into a file that does not exist yet. May block for long.
    fn copy(self: Box<Self>, into: &Path) -> Result<(), StateError>;
}
