//! Opening SQLite stores: settings, migrations, version guard.

mod checkpoint;
mod environment;
mod files;
mod migration;
mod statements;
mod step_back;

use std::io;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::crypto::Suite;

pub use checkpoint::{Checkpointer, checkpoint};
pub use environment::claim_environment;
pub use files::StoreFiles;
pub use migration::{MIGRATIONS, Migration, migrate};
pub use statements::Statements;
pub use step_back::step_back;

/// Version of the shared tables, told in the handshake of a sync session.
pub const SCHEMA_VERSION: u32 = MIGRATIONS.len() as u32;

/// Pages between the checkpoints of commits, where no [`Checkpointer`] does it: 40 MiB of WAL. Fewer checkpoints write fewer dirty pages twice.
const CHECKPOINT_PAGES: u32 = 10_000;
/// Page cache of a writing connection, in KiB.
const WRITER_CACHE_KIB: i32 = 64 * 1024;
/// Page cache of a reading connection, in KiB.
const READER_CACHE_KIB: i32 = 4 * 1024;
/// First SQLite without the WAL-reset corruption (3.7.0 to 3.51.2).
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// How far a commit goes before it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// On disk: for what is acknowledged to anybody.
    Full,
    /// May lose its last commits on a power cut: only for what a durable log can rebuild.
    Replayable,
}

/// A store that cannot be opened or moved to this build's version.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite said no.
    #[error("the store cannot be used: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The system said no.
    #[error("the store's files cannot be used: {0}")]
    Io(#[from] io::Error),
    /// Written by a newer build.
    #[error("the store's `{component}` tables have version {found}, this build knows {known}: use the newer build")]
    Newer {
        /// Whose tables.
        component: &'static str,
        /// Version in the file.
        found: u32,
        /// Version of this build.
        known: u32,
    },
    /// Made with another suite.
    #[error(
        "the store was made with the {stored} suite, the settings say {configured}: its chains hold hashes of its own \
         suite for ever. Set crypto_suite = \"{stored}\", or make a new store"
    )]
    OtherSuite {
        /// Suite of the store.
        stored: String,
        /// Suite of this process.
        configured: Suite,
    },
    /// Made for another environment.
    #[error(
        "the store was made for the environment `{stored}`, the settings say `{configured}`: it was copied, or the settings were \
         changed. No store ever goes from one environment to another: set environment = \"{stored}\", or make a new store"
    )]
    OtherEnvironment {
        /// Environment of the store.
        stored: String,
        /// Environment of this process.
        configured: String,
    },
    /// Linked against an SQLite with a known corruption.
    #[error("SQLite {0} has a WAL corruption bug: build with 3.51.3 or later")]
    OldSqlite(String),
}

/// Opens (creating it where missing) the one writing connection of a store.
pub fn open_writer(path: &Path, durability: Durability) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(StoreError::OldSqlite(rusqlite::version().to_string()));
    }
    let connection = Connection::open(path)?;
    let synchronous = match durability {
        Durability::Full => "FULL",
        Durability::Replayable => "NORMAL",
    };
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    settle(&connection)?;
    Ok(connection)
}

/// Opens a connection that cannot write, for the read pool and for commands beside a running server.
pub fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    settle(&connection)?;
    Ok(connection)
}

/// Whether a store failed for want of space. SQLite tells it of the shared-memory file beside the WAL by another code.
pub fn is_disk_full(error: &rusqlite::Error) -> bool {
    use rusqlite::ffi;
    let Some(failure) = error.sqlite_error() else { return false };
    failure.code == rusqlite::ErrorCode::DiskFull || failure.extended_code == ffi::SQLITE_IOERR_SHMSIZE
}

fn settle(connection: &Connection) -> Result<(), StoreError> {
    // Otherwise a statement with a bound LIMIT or range is compiled again each time that its values change.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::StatementStatus;

    #[test]
    fn statements_with_bound_limits_and_ranges_are_compiled_once() {
        let directory = tempfile::tempdir().unwrap();
        let store = open_writer(&directory.path().join("store.db"), Durability::Full).unwrap();
        store
            .execute_batch("CREATE TABLE row (id INTEGER PRIMARY KEY, day INTEGER); CREATE INDEX days ON row (day)")
            .unwrap();
        let mut statement = store.prepare("SELECT id FROM row WHERE day >= ?1 ORDER BY day LIMIT ?2").unwrap();
        for limit in 1..=5 {
            assert!(!statement.exists((limit * 10, limit)).unwrap());
        }
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
