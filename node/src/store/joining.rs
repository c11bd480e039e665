//! What a store that takes the place of a lost one still waits for.

use jikai_schema::chain::ChainHash;
use rusqlite::{Connection, OptionalExtension};

/// A store without its slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Joining {
    /// Next position of the node's log, which the hub has up to there.
    pub up_next: u64,
    /// Chain before it.
    pub up_hash: ChainHash,
}

impl Joining {
    /// Notes that the slice is missing.
    pub fn save(&self, store: &Connection) -> Result<(), rusqlite::Error> {
        let insert = "INSERT INTO joining VALUES (1, ?1, ?2)";
        store.execute(insert, (self.up_next as i64, self.up_hash.as_bytes())).map(drop)
    }

    /// What is missing; `None` for a store that is whole.
    pub fn load(store: &Connection) -> Result<Option<Self>, rusqlite::Error> {
        let row = |row: &rusqlite::Row<'_>| {
            Ok(Joining { up_next: row.get::<_, i64>(0)? as u64, up_hash: ChainHash::from_bytes(row.get(1)?) })
        };
        store.query_row("SELECT up_next, up_hash FROM joining", [], row).optional()
    }

    /// The slice has come, in this transaction.
    pub fn end(store: &Connection) -> Result<(), rusqlite::Error> {
        store.execute("DELETE FROM joining", []).map(drop)
    }
}
