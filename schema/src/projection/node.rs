//! Nodes that were taken out of use. Their stores are the hub's own business.

use rusqlite::params;

use super::{Projection, ProjectionError};
use crate::event::NodeEvent;
use crate::id::NodeId;
use crate::time::TimeMs;

impl Projection<'_> {
    pub(super) fn apply_node(&mut self, at_ms: TimeMs, event: &NodeEvent) -> Result<(), ProjectionError> {
        match event {
            NodeEvent::Retired { node, next_seq, reason, .. } => self.retire(at_ms, *node, *next_seq, reason),
            // Rows about stores are the hub's own; the fact itself is the trail.
            NodeEvent::Replaced { .. } | NodeEvent::CloneRefused { .. } | NodeEvent::Invited { .. } => Ok(()),
        }
    }

    /// What it did stays: accounts, transfers and days name it by its number.
    fn retire(&mut self, at_ms: TimeMs, node: NodeId, next_seq: u64, reason: &str) -> Result<(), ProjectionError> {
        let number = i64::from(node.get());
        let sql = "SELECT EXISTS (SELECT 1 FROM node WHERE node = ?1)";
        if !self.store.prepare_cached(sql)?.query_row([number], |row| row.get::<_, bool>(0))? {
            return Err(ProjectionError::Unknown { kind: "node", key: number });
        }
        let next_seq = i64::try_from(next_seq).ok().filter(|next_seq| *next_seq > 0);
        let next_seq = next_seq.ok_or(ProjectionError::Contradiction("a position is 1 to 2^63 - 1"))?;
        self.write(
            "INSERT INTO node_retired SELECT node, name, prefectures, ?2, ?3, ?4 FROM node WHERE node = ?1",
            params![number, next_seq, at_ms.ms(), reason],
        )?;
        self.write("DELETE FROM node_address WHERE node = ?1", [number])?;
        self.write("DELETE FROM node WHERE node = ?1", [number])
    }
}
