//! openraft's own tests of a store, on the log file and on a state of SQLite with its folder of snapshots.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test may panic: that is how it fails")]

mod support;

use jikai_hub::raft::log_store::LogStore;
use jikai_hub::raft::snapshots::Snapshots;
use jikai_hub::raft::state::StateMachine;
use jikai_hub::raft::types::Types;
use openraft::StorageError;
use openraft::testing::{StoreBuilder, Suite};
use support::table::Table;
use tempfile::TempDir;

struct Stores;

impl StoreBuilder<Types, LogStore, StateMachine<Table>, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, StateMachine<Table>), StorageError<u64>> {
        let folder = tempfile::tempdir().unwrap();
        let log = LogStore::open(folder.path(), 0).unwrap();
        let table = Table::open(&folder.path().join("table.db"));
        let snapshots = Snapshots::open(&folder.path().join("snapshots")).unwrap();
        Ok((folder, log, StateMachine::start(1, table, snapshots).unwrap()))
    }
}

#[test]
fn openrafts_suite_passes() {
    Suite::test_all(Stores).unwrap();
}
