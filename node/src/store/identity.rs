//! Who a store is: environment, node, incarnation; and how far it has applied the hub's log.

use jikai_schema::chain::ChainHash;
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension, params};

/// What the store says of itself in every handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreIdentity {
    /// production, training or test: never mixed.
    pub environment: String,
    /// The node it was made for.
    pub node: NodeId,
    /// Made with the store, so that a copy or a new one is never taken for this one.
    pub incarnation: [u8; 16],
    /// Given by the hub; a replaced node is fenced by it.
    pub epoch: u32,
}

/// The next event of the hub's feed and the chain before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownCursor {
    /// Position expected next, from 1.
    pub next_seq: u64,
    /// Chain before it.
    pub hash: ChainHash,
}

impl StoreIdentity {
    /// Writes the identity of a new store. An existing one is never overwritten: `false`.
    pub fn create(&self, store: &Connection) -> Result<bool, rusqlite::Error> {
        let written = store.execute(
            "INSERT INTO node_state (only, environment, node, incarnation, epoch, down_next, down_hash) \
             VALUES (1, ?1, ?2, ?3, ?4, 1, ?5) ON CONFLICT DO NOTHING",
            params![self.environment, self.node.get(), self.incarnation, self.epoch, ChainHash::GENESIS.as_bytes()],
        )?;
        Ok(written == 1)
    }

    /// Reads the identity; `None` for a store that was never initialised.
    pub fn load(store: &Connection) -> Result<Option<Self>, rusqlite::Error> {
        let sql = "SELECT environment, node, incarnation, epoch FROM node_state";
        store
            .query_row(sql, [], |row| {
                let node = NodeId::new(row.get(1)?).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(1, 0))?;
                Ok(StoreIdentity { environment: row.get(0)?, node, incarnation: row.get(2)?, epoch: row.get(3)? })
            })
            .optional()
    }
}

impl DownCursor {
    /// Reads the cursor.
    pub fn load(store: &Connection) -> Result<Self, rusqlite::Error> {
        store.prepare_cached("SELECT down_next, down_hash FROM node_state")?.query_row([], |row| {
            Ok(DownCursor { next_seq: row.get::<_, i64>(0)? as u64, hash: ChainHash::from_bytes(row.get(1)?) })
        })
    }

    /// Moves the cursor, in the transaction of the effects.
    pub fn save(&self, store: &Connection) -> Result<(), rusqlite::Error> {
        store
            .prepare_cached("UPDATE node_state SET down_next = ?1, down_hash = ?2")?
            .execute(params![self.next_seq as i64, self.hash.as_bytes()])?;
        Ok(())
    }

    /// The latest stamp of the hub's events that were applied; 0 before the first.
    pub fn latest_at_ms(store: &Connection) -> Result<TimeMs, rusqlite::Error> {
        store.query_row("SELECT down_at_ms FROM node_state", [], |row| row.get(0).map(TimeMs::from_ms))
    }

    /// Moves the latest stamp, in the transaction of the effects.
    pub fn save_latest_at_ms(store: &Connection, at_ms: TimeMs) -> Result<(), rusqlite::Error> {
        store.prepare_cached("UPDATE node_state SET down_at_ms = ?1")?.execute([at_ms.ms()])?;
        Ok(())
    }
}
