//! The hub's state: the shared tables and its own, rebuilt from the command log where they fall behind.

mod digest;
mod environment;
mod pool;

use std::path::Path;

use jikai_schema::store::{self, Durability, MIGRATIONS, Migration, StoreError, migrate, open_writer};
use rusqlite::Connection;

pub use digest::{TABLES_VERSION, digest_all};
pub use environment::claim_environment_of;
pub use pool::{PoolError, ReadPool};

/// Tables of the hub alone.
pub const HUB_MIGRATIONS: &[Migration] = &[
    include_str!("0001_hub.sql"),
    include_str!("0002_staff.sql"),
    include_str!("0003_support.sql"),
    include_str!("0004_access.sql"),
    include_str!("0005_change.sql"),
    include_str!("0006_certificate.sql"),
    include_str!("0007_release.sql"),
    include_str!("0008_personal.sql"),
    include_str!("0009_login_lock.sql"),
    include_str!("0010_answered.sql"),
    include_str!("0011_confirmation.sql"),
    include_str!("0012_replicated.sql"),
    include_str!("0013_cluster.sql"),
    include_str!("0014_handoff.sql"),
    include_str!("0016_node_epoch.sql"),
    include_str!("0017_recovery.sql"),
    include_str!("0018_redefined.sql"),
    include_str!("0019_met_store.sql"),
];

/// File name of the state inside the data directory.
pub const STATE_FILE: &str = "state.db";

/// Opens the writing connection and brings both sets of tables to this build's version.
pub fn open(data: &Path) -> Result<Connection, StoreError> {
    let mut connection = open_writer(&data.join(STATE_FILE), Durability::Replayable)?;
    prepare(&mut connection)?;
    Ok(connection)
}

/// Brings both sets of tables to this build's version.
pub fn prepare(connection: &mut Connection) -> Result<(), StoreError> {
    migrate(connection, "projection", MIGRATIONS)?;
    migrate(connection, "hub", HUB_MIGRATIONS)
}

/// Opens a connection that only reads.
pub fn open_reader(data: &Path) -> Result<Connection, StoreError> {
    store::open_reader(&data.join(STATE_FILE))
}
