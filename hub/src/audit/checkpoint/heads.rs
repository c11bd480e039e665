//! The heads that the state holds, and whether it still holds what was signed.

use jikai_schema::chain::ChainHash;
use jikai_schema::id::NodeId;
use rusqlite::{Connection, OptionalExtension};

use super::{CheckpointError, Head, HeadLog, SignedCheckpoint};
use crate::audit::AuditError;
use crate::machine::NodeHistory;

/// The head of every chain, as stored.
pub(super) fn stored(store: &Connection) -> Result<Vec<Head>, AuditError> {
    let mut heads = Vec::new();
    let mut read = |sql: &str, log: fn(i64) -> HeadLog| -> Result<(), AuditError> {
        let mut statement = store.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (node, events, hash): (i64, i64, [u8; 32]) = (row.get(0)?, row.get(1)?, row.get(2)?);
            heads.push(Head { log: log(node), node, events: events.max(0) as u64, hash: hex::encode(hash) });
        }
        Ok(())
    };
    let of_feed = |node| if node == 0 { HeadLog::Hub } else { HeadLog::Feed };
    read("SELECT node, seq, hash FROM feed_head ORDER BY node", of_feed)?;
    read("SELECT node, next_seq - 1, hash FROM node_cursor ORDER BY node", |_| HeadLog::Node)?;
    Ok(heads)
}

/// Refuses unless every chain still holds the event that the checkpoint signed as its head. A look at each head alone;
/// `audit verify` looks at everything between.
pub(super) fn still_there(store: &Connection, last: &SignedCheckpoint) -> Result<(), CheckpointError> {
    for head in last.checkpoint.heads.iter().filter(|head| head.events > 0) {
        let found = hash_at(store, head)?;
        if found.map(|hash| hash.to_string()).as_ref() != Some(&head.hash) {
            let (chain, number) = (head.chain(), last.checkpoint.number);
            return Err(CheckpointError::Rewritten { chain, seq: head.events, number });
        }
    }
    Ok(())
}

fn hash_at(store: &Connection, head: &Head) -> Result<Option<ChainHash>, AuditError> {
    let stored = |sql: &str| -> Result<Option<ChainHash>, AuditError> {
        let row = store.query_row(sql, (head.node, head.events as i64), |row| row.get(0)).optional()?;
        Ok(row.map(ChainHash::from_bytes))
    };
    match head.log {
        HeadLog::Hub => stored("SELECT hash FROM hub_log WHERE ?1 = 0 AND seq = ?2"),
        HeadLog::Feed => stored("SELECT hash FROM down_feed WHERE node = ?1 AND seq = ?2"),
        HeadLog::Node => {
            let node = u16::try_from(head.node).ok().and_then(|node| NodeId::new(node).ok());
            let Some(node) = node else { return Ok(None) };
            Ok(NodeHistory::new(store, node).chain_before(head.events.saturating_add(1))?)
        }
    }
}
