//! The ordered log of commands, as the hub sees it: an entry goes in, and comes back committed and applied. Which engine
//! replicates it is behind this seam (`crate::raft`); one machine is a cluster of one voter.

mod room;

use std::pin::Pin;

use serde::{Deserialize, Serialize};

pub use room::DiskRoom;

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

/// An entry that was not committed, or whose fate is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Too little space left. Nothing was changed.
    #[error("the disk of the hub is nearly full")]
    Full,
    /// No leader with a quorum took it in time. Nothing was changed.
    #[error("no machine of the hub leads with a quorum: {0}")]
    NotTaken(String),
    /// It was sent, and its answer got lost: it may be committed, now or later.
    #[error("the outcome is not known yet")]
    Unknown,
    /// The log of this machine has stopped.
    #[error("the command log has stopped: {0}")]
    Stopped(String),
}

/// What a call to the log gives in time.
pub type Reply<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogError>> + Send + 'a>>;

/// The seam to replication.
pub trait ReplicatedLog: Send + Sync + 'static {
    /// Has an entry (encoded proposals) committed by a quorum and applied; gives the encoded outcomes of its commands.
    fn commit(&self, entry: Vec<u8>) -> Reply<'_, Vec<u8>>;

    /// Waits until the state of this machine holds everything that any machine had answered before.
    fn catch_up(&self) -> Reply<'_, ()>;
}
