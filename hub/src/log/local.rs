//! The log of a hub with one machine: its own SQLite file, every append on disk before it returns.

use std::path::Path;

use jikai_schema::store::is_disk_full;
use jikai_schema::store::{Durability, Migration, StoreError, migrate, open_reader, open_writer};
use rusqlite::Connection;

use super::{CommandLog, LogEntry, LogError, LogPosition};

/// File name inside the data directory.
pub const LOG_FILE: &str = "commands.db";

const MIGRATIONS: &[Migration] = &["CREATE TABLE entry (
    position INTEGER PRIMARY KEY CHECK (position > 0),
    bytes    BLOB NOT NULL
) STRICT"];

/// Entries in a local file.
pub struct LocalLog {
    store: Connection,
    last: LogPosition,
}

impl LocalLog {
    /// Opens the log in `data`, creating it where it is missing.
    pub fn open(data: &Path) -> Result<Self, StoreError> {
        let mut store = open_writer(&data.join(LOG_FILE), Durability::Full)?;
        migrate(&mut store, "log", MIGRATIONS)?;
        let last = newest(&store)?;
        Ok(LocalLog { store, last })
    }

    /// Opens the log only for reading.
    pub fn open_reader(data: &Path) -> Result<Self, StoreError> {
        let store = open_reader(&data.join(LOG_FILE))?;
        let last = newest(&store)?;
        Ok(LocalLog { store, last })
    }
}

fn newest(store: &Connection) -> Result<LogPosition, rusqlite::Error> {
    let last: i64 = store.query_row("SELECT coalesce(max(position), 0) FROM entry", [], |row| row.get(0))?;
    Ok(LogPosition::new(last as u64))
}

impl CommandLog for LocalLog {
    fn append(&mut self, entry: &[u8]) -> Result<LogPosition, LogError> {
        let position = self.last.next();
        self.store.prepare_cached("INSERT INTO entry VALUES (?1, ?2)")?.execute((position.get() as i64, entry))?;
        self.last = position;
        Ok(position)
    }

    fn read_from(&self, from: LogPosition, bytes_max: usize) -> Result<Vec<LogEntry>, LogError> {
        let mut statement =
            self.store.prepare_cached("SELECT position, bytes FROM entry WHERE position >= ?1 ORDER BY position")?;
        let mut rows = statement.query([from.get() as i64])?;
        let (mut entries, mut gathered_bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(1)?;
            gathered_bytes += bytes.len();
            entries.push(LogEntry { position: LogPosition::new(row.get::<_, i64>(0)? as u64), bytes });
            if gathered_bytes >= bytes_max {
                break;
            }
        }
        Ok(entries)
    }

    fn last(&self) -> Result<LogPosition, LogError> {
        Ok(self.last)
    }
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        if is_disk_full(&error) { LogError::Full } else { LogError::Storage(error.to_string()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order_also_after_reopening() {
        let data = tempfile::tempdir().unwrap();
        let mut log = LocalLog::open(data.path()).unwrap();
        assert_eq!(log.last(), Ok(LogPosition::default()));
        for number in 1..=5u8 {
            assert_eq!(log.append(&[number; 10]), Ok(LogPosition::new(u64::from(number))));
        }
        drop(log);
        let log = LocalLog::open(data.path()).unwrap();
        assert_eq!(log.last(), Ok(LogPosition::new(5)));
        let read = log.read_from(LogPosition::new(3), 20).unwrap();
        assert_eq!(
            read.iter().map(|entry| (entry.position.get(), entry.bytes[0])).collect::<Vec<_>>(),
            [(3, 3), (4, 4)]
        );
        assert_eq!(log.read_from(LogPosition::new(6), 20), Ok(Vec::new()));
    }

    #[test]
    fn a_full_disk_refuses_the_entry_and_the_log_goes_on_when_space_returns() {
        let data = tempfile::tempdir().unwrap();
        let mut log = LocalLog::open(data.path()).unwrap();
        log.append(&[1]).unwrap();
        let pages: i64 = log.store.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
        log.store.execute_batch(&format!("PRAGMA max_page_count = {pages}")).unwrap();
        assert_eq!(log.append(&[2; 100_000]), Err(LogError::Full));
        assert_eq!(log.last(), Ok(LogPosition::new(1)));
        log.store.execute_batch("PRAGMA max_page_count = 100000").unwrap();
        assert_eq!(log.append(&[3; 100_000]), Ok(LogPosition::new(2)));
    }
}
