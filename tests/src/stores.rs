//! Databases of running processes, looked into and held from outside.
//!
//! A process whose database is held cannot take its next step: that is how a test stops a procedure at a place of its choice, without
//! a hook in what it tests.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use crate::process::wait_until;

/// A database of a process.
#[derive(Debug, Clone)]
pub struct Store(PathBuf);

/// Nobody else writes to the database until this is dropped (a process of ours waits 5 to 10 s before it gives up).
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "its end ends the transaction")] Connection);

impl Store {
    /// The store of a node.
    pub fn of_node(data: &Path) -> Store {
        Store(data.join("node.db"))
    }

    /// The state of a machine of the hub.
    pub fn of_hub(data: &Path) -> Store {
        Store(data.join("state.db"))
    }

    /// The command log of a machine of the hub.
    pub fn of_hub_log(data: &Path) -> Store {
        Store(data.join("raft.db"))
    }

    /// What a query gives in the first column of its first row; 0 without one.
    ///
    /// # Panics
    /// When it cannot be asked.
    pub fn number(&self, sql: &str) -> i64 {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        // Opened anew each time: who starts again must find the files as the kill left them, in nobody's hands.
        let store = Connection::open_with_flags(&self.0, flags).expect("the database is there");
        store.busy_timeout(Duration::from_secs(10)).expect("it can be set");
        number(&store, sql)
    }

    /// Newest event in a node's own log.
    ///
    /// # Panics
    /// When there is none.
    pub fn newest_event(&self) -> Vec<u8> {
        let store = Connection::open_with_flags(&self.0, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the store is there");
        let sql = "SELECT bytes FROM own_log ORDER BY seq DESC LIMIT 1";
        store.query_row(sql, [], |row| row.get(0)).expect("the node has decided something")
    }

    /// Holds it.
    ///
    /// # Panics
    /// When the process does not let it go.
    pub fn hold(&self) -> Held {
        self.hold_where("SELECT 1", "SELECT 0").expect("it is so at once")
    }

    /// Holds it as soon as `is_so` gives a number above 0: between two transactions of the process. `None` where `is_past` does, since the
    /// process was faster.
    ///
    /// # Panics
    /// When neither comes.
    pub fn hold_where(&self, is_so: &str, is_past: &str) -> Option<Held> {
        let store = Connection::open(&self.0).expect("the database is there");
        // A killed process leaves its WAL to whoever starts again, not to this test.
        store.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).expect("it can be set");
        store.busy_timeout(Duration::ZERO).expect("it can be set");
        let (mut held, mut past) = (false, false);
        wait_until(is_so, || {
            match store.execute_batch("BEGIN IMMEDIATE") {
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => return false,
                begun => begun.expect("a transaction can be begun"),
            }
            held = number(&store, is_so) > 0;
            past = !held && number(&store, is_past) > 0;
            if !held {
                store.execute_batch("ROLLBACK").expect("it was begun");
            }
            held || past
        });
        held.then_some(Held(store))
    }
}

fn number(store: &Connection, sql: &str) -> i64 {
    let found =
        store.prepare_cached(sql).and_then(|mut statement| statement.query_row([], |row| row.get(0)).optional());
    found.unwrap_or_else(|error| panic!("{sql}: {error}")).unwrap_or(0)
}
