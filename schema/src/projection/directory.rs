//! Where terminals reach the nodes.

use rusqlite::{OptionalExtension, params};

use super::{Projection, ProjectionError};
use crate::directory::{ADDRESS_BYTES_MAX, ADDRESSES_MAX, SIGNATURE_BYTES};
use crate::event::DirectoryEvent;
use crate::id::NodeId;

impl Projection<'_> {
    pub(super) fn apply_directory(&mut self, event: &DirectoryEvent) -> Result<(), ProjectionError> {
        match event {
            DirectoryEvent::NodeReached { node, addresses } => self.apply_reached(*node, addresses),
            DirectoryEvent::DirectoryPublished { version, bytes, signature } => {
                self.apply_published(*version, bytes, signature)
            }
        }
    }

    fn apply_reached(&mut self, node: NodeId, addresses: &[String]) -> Result<(), ProjectionError> {
        let number = i64::from(node.get());
        let sql = "SELECT EXISTS (SELECT 1 FROM node WHERE node = ?1)";
        if !self.store.prepare_cached(sql)?.query_row([number], |row| row.get::<_, bool>(0))? {
            return Err(ProjectionError::Unknown { kind: "node", key: number });
        }
        let fits = |address: &String| (3..=ADDRESS_BYTES_MAX).contains(&address.chars().count());
        if addresses.len() > ADDRESSES_MAX || !addresses.iter().all(fits) {
            return Err(ProjectionError::Contradiction("a node has at most 8 addresses, of 3 to 260 letters"));
        }
        self.write("DELETE FROM node_address WHERE node = ?1", [number])?;
        for (place, address) in (0i64..).zip(addresses) {
            self.write("INSERT INTO node_address VALUES (?1, ?2, ?3)", params![number, place, address])?;
        }
        Ok(())
    }

    /// The newest stays: one that is older, or as old, changes nothing.
    fn apply_published(&mut self, version: u64, bytes: &[u8], signature: &[u8]) -> Result<(), ProjectionError> {
        let number = i64::try_from(version).ok().filter(|number| *number > 0);
        let number = number.ok_or(ProjectionError::Contradiction("a directory's version is 1 to 2^63 - 1"))?;
        if signature.len() != SIGNATURE_BYTES {
            return Err(ProjectionError::Contradiction("a signature has 64 bytes"));
        }
        let sql = "SELECT version FROM directory";
        let known: Option<i64> = self.store.prepare_cached(sql)?.query_row([], |row| row.get(0)).optional()?;
        if known.is_some_and(|known| known >= number) {
            return Ok(());
        }
        self.write("INSERT OR REPLACE INTO directory VALUES (1, ?1, ?2, ?3)", params![number, bytes, signature])
    }
}
