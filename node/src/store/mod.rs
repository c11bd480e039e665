//! The node's SQLite store: the shared tables, its own log, and who it is.

mod identity;
mod joining;
mod log;
mod pool;
mod received;
mod request_index;

use std::path::Path;

use jikai_schema::store::{self, Durability, MIGRATIONS, Migration, StoreError, migrate, open_writer};
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

/// Opens the writing connection and brings both sets of tables to this build's version.
pub fn open(data: &Path) -> Result<Connection, StoreError> {
    let mut connection = open_writer(&data.join(STORE_FILE), Durability::Full)?;
    migrate(&mut connection, "projection", MIGRATIONS)?;
    migrate(&mut connection, "node", NODE_MIGRATIONS)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub fn open_reader(data: &Path) -> Result<Connection, StoreError> {
    store::open_reader(&data.join(STORE_FILE))
}
