//! The proof that two stores agree: one digest per table, of all rows or of one node's slice.
//!
//! A digest is the hash (of the environment's suite) over the rows in key order, each value as a type byte, its length where it has one, and its
//! bytes. A node's tables and the hub's slice of that node have equal digests once both logs have drained.

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::crypto::Hasher;
use crate::id::NodeId;

/// A table and the order of its keys, which no two of its rows share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyedTable {
    /// Table name.
    pub name: &'static str,
    /// Its key's columns as `ORDER BY` takes them.
    pub order: &'static str,
}

/// A table that the projection writes, and which of its rows lie in node `?1`'s slice.
struct SliceTable {
    keyed: KeyedTable,
    slice: &'static str,
}

const fn table(name: &'static str, order: &'static str, slice: &'static str) -> SliceTable {
    SliceTable { keyed: KeyedTable { name, order }, slice }
}

/// Master data that every node has whole.
const EVERYWHERE: &str = "?1 = ?1";
/// The outlet sits in bits 19..46 of the key.
const OUTLET_DAY: &str = "outlet_day >> 19 & 134217727 IN (SELECT outlet FROM outlet WHERE node = ?1)";

/// All tables of the projection.
const TABLES: &[SliceTable] = &[
    table("division", "code", EVERYWHERE),
    table("node", "node", EVERYWHERE),
    table("node_retired", "node", EVERYWHERE),
    table("hub_machine", "machine", EVERYWHERE),
    table("hub_link", "machine, name", EVERYWHERE),
    table("node_address", "node, place", EVERYWHERE),
    table("directory", "only_row", EVERYWHERE),
    table("game", "game", EVERYWHERE),
    table("parameter", "key, scope, effective_from_ms, seq", EVERYWHERE),
    table("batch", "batch", EVERYWHERE),
    table("prize_level", "batch, level", EVERYWHERE),
    table("outlet", "outlet", "node = ?1"),
    table("outlet_class", "outlet", "outlet IN (SELECT outlet FROM outlet WHERE node = ?1)"),
    table("terminal", "terminal", "node = ?1"),
    table("operator", "operator", "node = ?1"),
    table("terminal_revoked", "terminal", "terminal IN (SELECT terminal FROM terminal WHERE node = ?1)"),
    table("operator_disabled", "operator", "operator IN (SELECT operator FROM operator WHERE node = ?1)"),
    table("session", "terminal", "terminal IN (SELECT terminal FROM terminal WHERE node = ?1)"),
    table("pack", "pack", "node = ?1"),
    table("pack_seal", "pack", "pack IN (SELECT pack FROM pack WHERE node = ?1)"),
    table("ticket_lock", "ticket", "ticket >> 10 IN (SELECT pack FROM pack WHERE node = ?1)"),
    table("account", "account", "account >> 32 & 4095 = ?1"),
    table("transfer", "transfer", "debit >> 32 & 4095 = ?1"),
    table("deposit", "deposit", "node = ?1"),
    table("outlet_day", "outlet_day", OUTLET_DAY),
    table("exception", "origin, seq", "node = ?1"),
    table("handoff", "outlet", "node = ?1"),
    table("claim_history", "ticket", "ticket >> 10 IN (SELECT pack FROM pack WHERE node = ?1)"),
    table("outlet_moved", "outlet, node", "node = ?1"),
];

/// Digest of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableDigest {
    /// Table name.
    pub table: &'static str,
    /// Rows counted in.
    pub rows: u64,
    /// Hash over them.
    pub hash: [u8; 32],
}

impl core::fmt::Display for TableDigest {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{} {} {}", self.table, self.rows, hex::encode(self.hash))
    }
}

/// Digests every table in one read transaction: whole, or only the slice of `node`.
pub fn digest(store: &mut Connection, node: Option<NodeId>) -> Result<Vec<TableDigest>, rusqlite::Error> {
    let transaction = store.transaction()?;
    TABLES
        .iter()
        .map(|SliceTable { keyed, slice }| digest_table(&transaction, *keyed, node.map(|node| (node, *slice))))
        .collect()
}

/// The tables of the projection.
pub fn projection_tables() -> impl Iterator<Item = KeyedTable> {
    TABLES.iter().map(|table| table.keyed)
}

/// The tables of the projection, each with the condition that its rows of node `?1`'s slice meet.
pub(crate) fn slice_tables() -> impl Iterator<Item = (KeyedTable, &'static str)> {
    TABLES.iter().map(|table| (table.keyed, table.slice))
}

/// Digests these tables whole, as `store` sees them now: in one read transaction if the caller opened one.
pub fn digest_whole(
    store: &Connection,
    tables: impl IntoIterator<Item = KeyedTable>,
) -> Result<Vec<TableDigest>, rusqlite::Error> {
    tables.into_iter().map(|table| digest_table(store, table, None)).collect()
}

/// Digests one table, or of it what a condition says lies in a node's slice.
fn digest_table(
    store: &Connection,
    table: KeyedTable,
    slice: Option<(NodeId, &str)>,
) -> Result<TableDigest, rusqlite::Error> {
    let (node, condition) = slice.map_or((0, EVERYWHERE), |(node, condition)| (node.get(), condition));
    let sql = format!("SELECT * FROM {} WHERE {condition} ORDER BY {}", table.name, table.order);
    let mut statement = store.prepare(&sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([node])?;
    let (mut hasher, mut count) = (Hasher::configured(), 0);
    while let Some(row) = rows.next()? {
        count += 1;
        for column in 0..columns {
            add_value(&mut hasher, row.get_ref(column)?);
        }
    }
    Ok(TableDigest { table: table.name, rows: count, hash: hasher.finish() })
}

pub(crate) fn add_value(hasher: &mut Hasher, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => hasher.update([0]),
        ValueRef::Integer(number) => {
            hasher.update([1]);
            hasher.update(number.to_be_bytes());
        }
        ValueRef::Real(number) => {
            hasher.update([2]);
            hasher.update(number.to_bits().to_be_bytes());
        }
        ValueRef::Text(bytes) => add_bytes(hasher, 3, bytes),
        ValueRef::Blob(bytes) => add_bytes(hasher, 4, bytes),
    }
}

fn add_bytes(hasher: &mut Hasher, kind: u8, bytes: &[u8]) {
    hasher.update([kind]);
    hasher.update((bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MIGRATIONS, migrate};

    fn store() -> Connection {
        let mut store = Connection::open_in_memory().unwrap();
        migrate(&mut store, "projection", MIGRATIONS).unwrap();
        store.execute_batch("INSERT INTO outlet VALUES (13010001, 1, 9, 'a', 0), (13020001, 2, 9, 'b', 0)").unwrap();
        store
    }

    fn of(store: &mut Connection, node: Option<u16>, table: &str) -> TableDigest {
        let node = node.map(|node| NodeId::new(node).unwrap());
        digest(store, node).unwrap().into_iter().find(|digest| digest.table == table).unwrap()
    }

    #[test]
    fn every_table_of_the_projection_has_a_digest() {
        let mut store = store();
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name <> 'component_version'";
        let tables: i64 = store.query_row(sql, [], |row| row.get(0)).unwrap();
        assert_eq!(digest(&mut store, None).unwrap().len() as i64, tables);
    }

    #[test]
    fn a_slice_holds_only_its_nodes_rows_and_every_change_shows() {
        let mut both = store();
        let mut first = store();
        first.execute_batch("DELETE FROM outlet WHERE node = 2").unwrap();
        assert_eq!(of(&mut both, Some(1), "outlet"), of(&mut first, None, "outlet"));
        assert_ne!(of(&mut both, Some(2), "outlet").hash, of(&mut first, None, "outlet").hash);
        first.execute_batch("UPDATE outlet SET name = 'c'").unwrap();
        assert_ne!(of(&mut both, Some(1), "outlet").hash, of(&mut first, None, "outlet").hash);
    }
}
