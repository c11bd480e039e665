//! At the start: the state follows the log.

use jikai_schema::codec::CodecError;
use jikai_schema::command::decode_entry;
use jikai_schema::projection::Catalog;
use rusqlite::Connection;

use crate::log::{CommandLog, LogEntry, LogError, LogPosition};
use crate::machine::{self, StorageError, applied_position};

/// Bytes of entries that are applied in one transaction.
const CHUNK_BYTES: usize = 8 << 20;

/// A state that cannot follow its log.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// An entry that this build cannot read.
    #[error("entry {at} of the command log cannot be read: {source}")]
    Entry {
        /// Which.
        at: LogPosition,
        /// Why.
        source: CodecError,
    },
    /// The state cannot be written.
    #[error(transparent)]
    Machine(#[from] StorageError),
    /// SQLite said no.
    #[error("the state cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The state is ahead of the log: the log was lost or belongs to another hub.
    #[error(
        "the command log ends at entry {log}, the state has applied entry {state}: restore commands.db from its backup"
    )]
    LogBehind {
        /// Newest entry of the log.
        log: LogPosition,
        /// Entry applied last.
        state: LogPosition,
    },
}

/// Applies every entry that the state has not seen. Gives the place reached.
pub fn replay(log: &dyn CommandLog, state: &mut Connection) -> Result<LogPosition, ReplayError> {
    let mut applied = applied_position(state)?;
    let last = log.last()?;
    if last < applied {
        return Err(ReplayError::LogBehind { log: last, state: applied });
    }
    if applied < last {
        tracing::info!(%applied, %last, "applying the command log");
    }
    while applied < last {
        let entries = log.read_from(applied.next(), CHUNK_BYTES)?;
        applied = apply_entries(state, &entries)?;
    }
    Ok(applied)
}

pub(super) fn apply_entries(state: &mut Connection, entries: &[LogEntry]) -> Result<LogPosition, ReplayError> {
    let decode = |entry: &LogEntry| match decode_entry(&entry.bytes) {
        Ok(proposals) => Ok((entry.position, proposals)),
        Err(source) => Err(ReplayError::Entry { at: entry.position, source }),
    };
    let entries: Vec<_> = entries.iter().map(decode).collect::<Result<_, _>>()?;
    let (_, applied) = machine::commit(state, &mut Catalog::default(), &entries)?;
    Ok(applied.position)
}
