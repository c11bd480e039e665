//! A small state: keys and values in an SQLite file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jikai_hub::raft::state::{Applied, Payload, State, StateError, View};
use jikai_hub::raft::types::{Answer, LogId};
use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags, params};
use tokio::sync::Mutex;

const PAGES_PER_STEP: std::ffi::c_int = 1_000;

/// Puts of one entry.
pub type Puts = Vec<(u64, Vec<u8>)>;

pub fn encode(puts: &Puts) -> Vec<u8> {
    postcard::to_stdvec(puts).unwrap()
}

/// Keys and values.
pub struct Table {
    path: PathBuf,
    connection: Connection,
    gate: Gate,
}

/// Whoever holds it keeps a table from applying anything.
pub type Gate = Arc<Mutex<()>>;

struct TableView {
    connection: Connection,
    applied: Applied,
}

impl Table {
    pub fn open(path: &Path) -> Self {
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000;
                 CREATE TABLE IF NOT EXISTS pair (key INTEGER PRIMARY KEY, value BLOB NOT NULL) STRICT;
                 CREATE TABLE IF NOT EXISTS applied (
                     only_row INTEGER PRIMARY KEY CHECK (only_row = 1), place BLOB NOT NULL, membership BLOB NOT NULL
                 ) STRICT;",
            )
            .unwrap();
        Table { path: path.into(), connection, gate: Gate::default() }
    }

    /// The same, with a gate before what it applies.
    pub fn behind(self, gate: Gate) -> Self {
        Table { gate, ..self }
    }

    /// Keys that a file holds, in order.
    pub fn keys(path: &Path) -> Vec<u64> {
        let connection = Connection::open(path).unwrap();
        let mut statement = connection.prepare("SELECT key FROM pair ORDER BY key").unwrap();
        let keys = statement.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        keys.map(|key| key.unwrap() as u64).collect()
    }
}

fn applied(connection: &Connection) -> Result<Applied, StateError> {
    let mut statement =
        connection.prepare_cached("SELECT place, membership FROM applied").map_err(StateError::storage)?;
    let mut rows = statement.query([]).map_err(StateError::storage)?;
    let Some(row) = rows.next().map_err(StateError::storage)? else { return Ok(Applied::default()) };
    let blob = |column| row.get::<_, Vec<u8>>(column).map_err(StateError::storage);
    Ok(Applied { last: postcard::from_bytes(&blob(0)?)?, membership: postcard::from_bytes(&blob(1)?)? })
}

impl Table {
    fn write(&mut self, entries: Vec<(LogId, Payload)>) -> Result<Vec<Answer>, rusqlite::Error> {
        let mut now = applied(&self.connection).unwrap();
        let transaction = self.connection.transaction()?;
        let mut answers = Vec::new();
        for (id, payload) in entries {
            let mut answer = Vec::new();
            match payload {
                Payload::Blank => {}
                Payload::Commands(bytes) => {
                    let puts: Puts = postcard::from_bytes(&bytes).unwrap_or_default();
                    let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO pair VALUES (?1, ?2)")?;
                    for (key, value) in &puts {
                        put.execute(params![*key as i64, value])?;
                    }
                    answer = postcard::to_stdvec(&puts.len()).unwrap();
                }
                Payload::Membership(membership) => {
                    now.membership = jikai_hub::raft::types::StoredMembership::new(Some(id), membership);
                }
            }
            now.last = Some(id);
            answers.push(Answer(answer));
        }
        transaction
            .prepare_cached("INSERT OR REPLACE INTO applied VALUES (1, ?1, ?2)")?
            .execute(params![postcard::to_stdvec(&now.last).unwrap(), postcard::to_stdvec(&now.membership).unwrap()])?;
        transaction.commit()?;
        Ok(answers)
    }
}

impl State for Table {
    fn applied(&mut self) -> Result<Applied, StateError> {
        applied(&self.connection)
    }

    fn apply(&mut self, entries: Vec<(LogId, Payload)>) -> Result<Vec<Answer>, StateError> {
        let gate = self.gate.clone();
        let _open = gate.blocking_lock();
        self.write(entries).map_err(StateError::storage)
    }

    fn view(&mut self) -> Result<Box<dyn View>, StateError> {
        let connection = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY);
        let connection = connection.map_err(StateError::storage)?;
        connection.execute_batch("BEGIN").map_err(StateError::storage)?;
        // The first read fixes what this connection sees until its transaction ends.
        let applied = applied(&connection)?;
        Ok(Box::new(TableView { connection, applied }))
    }

    fn install(&mut self, from: &Path) -> Result<(), StateError> {
        // Immutable, so that SQLite makes no files beside it.
        let name = format!("file:{}?immutable=1", from.display());
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        let source = Connection::open_with_flags(name, flags).map_err(StateError::storage)?;
        let backup = Backup::new(&source, &mut self.connection).map_err(StateError::storage)?;
        backup.run_to_completion(PAGES_PER_STEP, Duration::ZERO, None).map_err(StateError::storage)
    }
}

impl View for TableView {
    fn applied(&self) -> &Applied {
        &self.applied
    }

    fn copy(self: Box<Self>, into: &Path) -> Result<(), StateError> {
        let mut copy = Connection::open(into).map_err(StateError::storage)?;
        let backup = Backup::new(&self.connection, &mut copy).map_err(StateError::storage)?;
        backup.run_to_completion(PAGES_PER_STEP, Duration::ZERO, None).map_err(StateError::storage)
    }
}
