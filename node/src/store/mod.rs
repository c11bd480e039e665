//! The node's SQLite store: the shared tables, its own log, and who it is.

mod identity;
mod joining;
mod log;
mod pool;
mod received;
mod request_index;

use std::path::Path;
use std::sync::Arc;

use jikai_schema::store::{
    self, Checkpointer, Durability, MIGRATIONS, Migration, StoreError, StoreFiles, migrate, open_writer,
};
use rusqlite::Connection;

pub use identity::{DownCursor, StoreIdentity};
pub use joining::Joining;
pub use log::{LogHead, OwnLog, StoredEvent, append};
pub use pool::{PoolError, ReadPool};
pub use received::{FeedRetention, ReceivedFeed};
pub use request_index::{RequestIndex, outlet_of_event, take_moved};

const NODE_MIGRATIONS: &[Migration] = &[
    include_str!("0001_node.sql"),
    include_str!("0002_session_end.sql"),
    include_str!("0003_down_at.sql"),
    include_str!("0004_request_index.sql"),
    include_str!("0007_joining.sql"),
    include_str!("0008_received_feed.sql"),
];

/// File name of the store inside the data directory.
pub const STORE_FILE: &str = "node.db";

/// What of SQLite's log is moved into the store at once: few of its pages are different ones, those of the outlets' days.
const MOVED_EACH_BYTES: i64 = 8 * 1024 * 1024;

/// Opens the writing connection and brings both sets of tables to this build's version.
pub fn open(data: &Path) -> Result<Connection, StoreError> {
    let mut connection = open_writer(&data.join(STORE_FILE), Durability::Full)?;
    migrate(&mut connection, "projection", MIGRATIONS)?;
    migrate(&mut connection, "node", NODE_MIGRATIONS)?;
    Ok(connection)
}

/// Has SQLite's log moved into the store beside `writer`, its writing connection, as long as what this gives lives.
pub fn checkpoint_beside(data: &Path, writer: &Connection) -> Result<Checkpointer, StoreError> {
    let files = Arc::new(StoreFiles::of(&data.join(STORE_FILE))?);
    Checkpointer::start(&files, writer, Durability::Full, MOVED_EACH_BYTES)
}

/// Opens a connection that only reads.
pub fn open_reader(data: &Path) -> Result<Connection, StoreError> {
    store::open_reader(&data.join(STORE_FILE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commits_leave_the_moving_of_sqlites_log_to_who_does_it_beside_them() {
        let data = tempfile::tempdir().unwrap();
        let writer = open(data.path()).unwrap();
        let pages = || -> i64 { writer.pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0)).unwrap() };
        let alone = pages();
        let _checkpointer = checkpoint_beside(data.path(), &writer).unwrap();
        assert!(pages() > 100 * alone, "{} instead of {alone}", pages());
    }
}
