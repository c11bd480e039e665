//! What can go wrong with the log file.

use jikai_schema::store::StoreError;
use openraft::{AnyError, StorageIOError};
use rusqlite::ErrorCode;

use crate::raft::types::{LogId, StorageError};
use crate::raft::worker::Ended;

/// A log file that cannot be used. Every one of them stops the engine: a log that lost a write must not vote.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No space left. What was under way is not in the log; the machine stops, and goes on after a start with space.
    #[error("the disk of the replicated log is full")]
    Full,
    /// SQLite failed.
    #[error("the replicated log: {0}")]
    Sqlite(rusqlite::Error),
    /// The file could not be made or opened.
    #[error("the replicated log: {0}")]
    Io(#[from] std::io::Error),
    /// What moves SQLite's log could not begin.
    #[error("the replicated log: {0}")]
    Store(StoreError),
    /// The file was made for another machine.
    #[error("the replicated log belongs to machine {owner}, this is machine {node}")]
    OtherMachine {
        /// Whose log it is.
        owner: u64,
        /// Who opened it.
        node: u64,
    },
    /// Made by a build of another time.
    #[error("the replicated log has schema version {0}, this build knows {SCHEMA_VERSION}")]
    Version(i64),
    /// Entries are missing in the middle, or in front of the first one.
    #[error("the replicated log has a hole: {expected} expected, {found} found")]
    Hole {
        /// Index that should come.
        expected: u64,
        /// Index that came.
        found: u64,
    },
    /// Entries that a quorum has would be deleted: only a corrupted peer asks for that.
    #[error("entries from {since} would be deleted, {committed} is committed")]
    Committed {
        /// First index to be deleted.
        since: u64,
        /// Newest committed one.
        committed: LogId,
    },
    /// A number that SQLite cannot hold, or a row that says what it cannot.
    #[error("the replicated log has an impossible {0}")]
    Impossible(&'static str),
    /// A membership that cannot be read or written.
    #[error("a membership in the replicated log: {0}")]
    Membership(#[from] postcard::Error),
    /// The thread that owns the file panicked.
    #[error("the replicated log: {0}")]
    Ended(#[from] Ended),
}

pub(super) const SCHEMA_VERSION: i64 = 1;

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => LogError::Full,
            _ => LogError::Sqlite(error),
        }
    }
}

impl From<StoreError> for LogError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Sqlite(error) => error.into(),
            StoreError::Io(error) => error.into(),
            error => LogError::Store(error),
        }
    }
}

pub(super) fn writing(error: LogError) -> StorageError {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

pub(super) fn reading(error: LogError) -> StorageError {
    StorageIOError::read_logs(AnyError::new(&error)).into()
}

pub(super) fn writing_vote(error: LogError) -> StorageError {
    StorageIOError::write_vote(AnyError::new(&error)).into()
}

pub(super) fn reading_vote(error: LogError) -> StorageError {
    StorageIOError::read_vote(AnyError::new(&error)).into()
}
