//! Reading the commands of a log file from outside, beside a machine that runs on it.

use std::path::Path;

use openraft::EntryPayload;
use rusqlite::{Connection, OpenFlags};

use super::{LOG_FILE, LogError, read};
use crate::raft::types::EntryBytes;

/// Walks through the commands that the log still has, oldest first.
pub struct CommandReader {
    file: Connection,
    next: u64,
}

impl CommandReader {
    /// Opens the log in the directory `data` for reading.
    pub fn open(data: &Path) -> Result<Self, LogError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let file = Connection::open_with_flags(data.join(LOG_FILE), flags)?;
        file.execute_batch("PRAGMA busy_timeout = 5000")?;
        Ok(CommandReader { file, next: 0 })
    }

    /// The encoded commands of the next entries, while they fit into `bytes_max`; at least one, or none at the end.
    pub fn next(&mut self, bytes_max: usize) -> Result<Vec<Vec<u8>>, LogError> {
        loop {
            let entries = read::entries(&self.file, self.next, u64::MAX, bytes_max)?;
            let Some(last) = entries.last() else { return Ok(Vec::new()) };
            self.next = last.log_id.index + 1;
            let commands = entries.into_iter().filter_map(|entry| match entry.payload {
                EntryPayload::Normal(EntryBytes(bytes)) => Some(bytes),
                EntryPayload::Blank | EntryPayload::Membership(_) => None,
            });
            let commands: Vec<Vec<u8>> = commands.collect();
            if !commands.is_empty() {
                return Ok(commands);
            }
        }
    }
}
