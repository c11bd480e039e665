//! Why the machine stops, or refuses.

use jikai_schema::codec::CodecError;
use jikai_schema::command::Refusal;
use jikai_schema::event::EventKey;
use jikai_schema::projection::ProjectionError;
use jikai_schema::store::is_disk_full;

use crate::log::LogPosition;

/// The state cannot be read or written, or is not what the machine wrote: the replica stops, the log wins.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// SQLite said no.
    #[error("the state cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A checked event did not fit the tables: a defect, or a damaged state.
    #[error("an event of the hub could not be applied: {0}")]
    Projection(#[from] ProjectionError),
    /// An event of the hub that is too long.
    #[error("an event of the hub could not be written: {0}")]
    Codec(#[from] CodecError),
    /// A row that this build did not write.
    #[error("row {key} of table {table} is damaged")]
    Damaged {
        /// The table.
        table: &'static str,
        /// The row's key.
        key: i64,
    },
    /// A table refused an event of a node in the middle: [`super::commit`] rolls back and puts it in quarantine.
    #[error("event {} of node {} breaks a rule of the tables: {reason}", key.seq, key.origin)]
    HalfApplied {
        /// Which event.
        key: EventKey,
        /// Which rule.
        reason: String,
    },
    /// The log was not applied in order.
    #[error("entry {at} cannot follow entry {applied}")]
    OutOfOrder {
        /// Entry met.
        at: LogPosition,
        /// Entry applied last.
        applied: LogPosition,
    },
}

impl StorageError {
    /// Whether the disk is full: the process may try again once space returns.
    pub fn is_disk_full(&self) -> bool {
        match self {
            StorageError::Sqlite(error) | StorageError::Projection(ProjectionError::Storage(error)) => {
                is_disk_full(error)
            }
            _ => false,
        }
    }
}

/// Ends a command early.
pub(super) enum Stop {
    /// Nothing was changed.
    Refused(Refusal),
    /// The replica stops.
    Storage(StorageError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<StorageError> for Stop {
    fn from(error: StorageError) -> Self {
        Stop::Storage(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Stop::Storage(error.into())
    }
}

impl From<ProjectionError> for Stop {
    fn from(error: ProjectionError) -> Self {
        Stop::Storage(error.into())
    }
}
