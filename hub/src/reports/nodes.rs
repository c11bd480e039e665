//! The registered nodes and how far their logs go.

use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rusqlite::Connection;

use super::{Page, ReportError, at_once};
use crate::machine::{EpochRow, RetiredRow, clone_refused_at_ms};

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLine {
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// Next position expected of its log.
    pub up_next: u64,
    /// Newest position of its feed.
    pub down_head: u64,
    /// Events of it in quarantine.
    pub quarantined: u64,
    /// Stores that took the place of earlier ones, by epoch.
    pub replacements: Vec<EpochRow>,
    /// When a copy of its present store was refused last.
    pub clone_refused_at_ms: Option<TimeMs>,
}

/// Whether a node is registered.
pub fn is_registered(store: &Connection, node: NodeId) -> Result<bool, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM node WHERE node = ?1)";
    store.prepare_cached(sql)?.query_row([node.get()], |row| row.get(0))
}

/// All registered nodes, and beside them those that were taken out of use.
pub fn nodes(store: &mut Connection) -> Result<Page<NodeLine, Vec<RetiredRow>>, ReportError> {
    at_once(store, |store, applied| {
        let sql = "SELECT node.node, name, coalesce(next_seq, 1), coalesce(feed_head.seq, 0), \
                   (SELECT count(*) FROM quarantine WHERE quarantine.node = node.node) \
                   FROM node LEFT JOIN node_cursor USING (node) LEFT JOIN feed_head USING (node) ORDER BY node.node";
        let mut statement = store.prepare_cached(sql)?;
        let replacements = EpochRow::all(store)?;
        let mut found = statement.query([])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let Ok(node) = NodeId::new(row.get(0)?) else { continue };
            let count = |at: usize| row.get::<_, i64>(at).map(|number| number as u64);
            rows.push(NodeLine {
                node,
                name: row.get(1)?,
                up_next: count(2)?,
                down_head: count(3)?,
                quarantined: count(4)?,
                replacements: replacements.iter().filter(|row| row.node == node.get()).cloned().collect(),
                clone_refused_at_ms: clone_refused_at_ms(store, node)?,
            });
        }
        Ok(Page { rows, totals: RetiredRow::all(store)?, applied, next: None })
    })
}
