//! The ordered log of commands. The machine does not know which log it is: today a local file, later a replicated one.

mod local;

use serde::{Deserialize, Serialize};

pub use local::{LOG_FILE, LocalLog};

/// Place of an entry in the log, from 1. Default: before the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LogPosition(u64);

impl LogPosition {
    /// Wraps a number; 0 is before the first entry.
    pub const fn new(number: u64) -> Self {
        LogPosition(number)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The place behind this one.
    #[must_use]
    pub const fn next(self) -> Self {
        LogPosition(self.0 + 1)
    }
}

impl core::fmt::Display for LogPosition {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// One entry: the proposals that were committed together, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place.
    pub position: LogPosition,
    /// Its bytes, as appended.
    pub bytes: Vec<u8>,
}

/// A log that could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// No space left. Nothing was appended.
    #[error("the command log has no space left on its disk")]
    Full,
    /// Anything else. Whether the entry is on disk only the next start tells.
    #[error("the command log cannot be used: {0}")]
    Storage(String),
}

/// The seam to replication: an append-only sequence of entries in one order for everybody.
pub trait CommandLog: Send {
    /// Appends an entry. Durable (by a quorum, where there is one) when it returns; after
    /// [`LogError::Full`] nothing was appended, after another error the hub stops and reads the log again.
    fn append(&mut self, entry: &[u8]) -> Result<LogPosition, LogError>;
    /// Entries from a place on, in order, until so many bytes are gathered; at least one where there is one.
    fn read_from(&self, from: LogPosition, bytes_max: usize) -> Result<Vec<LogEntry>, LogError>;
    /// Place of the newest entry.
    fn last(&self) -> Result<LogPosition, LogError>;
}
