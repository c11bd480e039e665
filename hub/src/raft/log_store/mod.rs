//! The replicated log in an SQLite file of its own: entries, the vote, and what is committed and purged.
//!
//! One thread owns the writing connection: openraft's writes must happen in its order, votes included. Reads have a
//! connection and a thread of their own, so that a machine that catches up does not hold up appends. A transaction is
//! on disk (WAL, `synchronous=FULL`) before openraft hears of it. The writing connection closes last: only that one
//! can bring the WAL into the file, so that the log of a stopped machine is one file and not two that belong together.
//!
//! **A full disk** or any other failure is a storage error: the engine of this machine stops, the others go on. Whoever
//! proposes should refuse work while there is still a reserve of space. After a start with space the machine goes on.

mod claim;
mod commands;
mod error;
mod file;
mod read;
mod row;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

pub use claim::claim_alone;
pub use commands::CommandReader;
pub use error::LogError;

use crate::raft::settings::READ_BYTES_MAX;
use crate::raft::types::{Entry, InstanceId, LogId, StorageError, Types, Vote};
use crate::raft::worker::Worker;
use error::{reading, reading_vote, writing, writing_vote};
use file::LogFile;
use row::EntryRow;

/// File name inside the data directory.
pub const LOG_FILE: &str = "raft.db";

/// The log of one machine. Cheap to clone; the file is closed when every clone is gone.
#[derive(Clone)]
pub struct LogStore {
    file: Worker<LogFile>,
    reader: LogReader,
    instance: InstanceId,
}

/// Reads the log. Cheap to clone; the file is closed when every clone is gone.
#[derive(Clone)]
pub struct LogReader(Worker<Connection>);

impl LogStore {
    /// Opens the log of machine `node` in the directory `data`, making it where it is missing. Blocks.
    pub fn open(data: &Path, node: u64) -> Result<Self, LogError> {
        let path = data.join(LOG_FILE);
        let (file, instance) = LogFile::open(&path, node)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let reader = Connection::open_with_flags(&path, flags)?;
        reader.execute_batch("PRAGMA busy_timeout = 5000")?;
        // Nothing is sent through it: the other end fails once this one is gone.
        let (closed, reader_closed) = mpsc::channel::<()>();
        let reader = Worker::start_until("raft-log-read", reader, move |reader| {
            drop(reader);
            drop(closed);
        })?;
        let file = Worker::start_until("raft-log", file, move |file| {
            let _ = reader_closed.recv();
            drop(file);
        })?;
        Ok(LogStore { file, reader: LogReader(reader), instance })
    }

    /// Made at random with the file.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Resolves its `changed` with an error when the file is closed.
    pub fn closed(&self) -> watch::Receiver<()> {
        self.file.ended()
    }

    async fn write<R: Send + 'static>(
        &self,
        write: impl FnOnce(&mut LogFile) -> Result<R, LogError> + Send + 'static,
    ) -> Result<R, LogError> {
        self.file.call(write).await?
    }
}

impl LogReader {
    /// Entries from `start` on and before `end` while they fit into `bytes_max`; at least one where there is one.
    pub async fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, LogError> {
        self.0.call(move |connection| read::entries(connection, start, end, bytes_max)).await?
    }
}

impl RaftLogReader<Types> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        // openraft insists on all of them here; it asks for what one append brought, or for 64 at its start.
        self.read(start, end, usize::MAX).await.map_err(reading)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let entries = self.read(start, end, READ_BYTES_MAX).await.map_err(reading)?;
        // Purged in between: entries from later on would be a hole in the log of whoever gets them. The engine takes
        // none as a heartbeat and finds out.
        Ok(if entries.first().is_some_and(|first| first.log_id.index != start) { Vec::new() } else { entries })
    }
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.reader.try_get_log_entries(range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.reader.limited_get_log_entries(start, end).await
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        self.write(|file| Ok(file.state())).await.map_err(reading)
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.write(move |file| file.save_vote(&vote)).await.map_err(writing_vote)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        self.write(|file| file.vote()).await.map_err(reading_vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.write(move |file| {
            file.set_committed(committed);
            Ok(())
        })
        .await
        .map_err(writing)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        self.write(|file| Ok(file.committed())).await.map_err(reading)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let rows = entries.into_iter().map(EntryRow::new).collect::<Result<Vec<_>, _>>().map_err(writing)?;
        // Waiting here costs nothing: the engine of 0.9 awaits the callback before it does anything else.
        let started = Instant::now();
        self.write(move |file| file.append(&rows)).await.map_err(writing)?;
        metrics::histogram!("jikai_log_append_ms").record(started.elapsed().as_secs_f64() * 1e3);
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        self.write(move |file| file.truncate(since.index)).await.map_err(writing)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        self.write(move |file| file.purge(&upto)).await.map_err(writing)
    }
}
