//! A node's slice on its way from the hub into a new store: all rows of every table, in bounded parts.
//!
//! [`export`] reads them in one read transaction and hashes what it reads; [`SliceImport`] writes them in one write transaction
//! and holds the digest of every table against the sender's. Neither knows a column: rows travel as the tables have them, so both
//! ends must have the same [`SCHEMA_VERSION`](crate::store::SCHEMA_VERSION).

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, params_from_iter};
use serde::{Deserialize, Serialize};

use crate::codec::{self, CodecError};
use crate::crypto::Hasher;
use crate::digest::{KeyedTable, add_value, digest_whole, projection_tables, slice_tables};
use crate::id::NodeId;

/// Bytes of rows or events after which a part is closed.
pub const PART_BYTES: usize = 64 * 1024;
/// Largest part once unpacked: [`PART_BYTES`], one event or row over the limit, and lengths.
const PART_BYTES_MAX: usize = 256 * 1024;
/// Parts are small, and a new store waits for them.
const LEVEL: i32 = 1;

/// A part of a slice. Append only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlicePart {
    /// Rows of a table, in key order.
    Rows {
        /// The table.
        table: String,
        /// Values of a row.
        columns: u16,
        /// The rows' values.
        rows: Vec<Vec<u8>>,
    },
    /// The table is whole.
    TableEnd {
        /// The table.
        table: String,
        /// Its rows.
        rows: u64,
        /// Its digest at the hub.
        hash: [u8; 32],
    },
    /// A run of the node's own log.
    Log {
        /// Position of the first event.
        first_seq: u64,
        /// The events as they were hashed.
        events: Vec<Vec<u8>>,
    },
    /// Facts of the hub that tell what no table does: they may have ended sessions which are shown as open, or brought along which
    /// requests of a moved outlet were answered elsewhere. Newest first.
    Facts {
        /// The events.
        events: Vec<Vec<u8>>,
    },
    /// Nothing follows.
    End,
    /// A run of the newest events of the node's feed, up to where the slice stands; their effects are in the tables.
    Feed {
        /// Position of the first event.
        first_seq: u64,
        /// The events as they were hashed.
        events: Vec<Vec<u8>>,
    },
}

/// A slice that cannot be sent or taken in.
#[derive(Debug, thiserror::Error)]
pub enum SliceError {
    /// The store failed.
    #[error("the store failed: {0}")]
    Storage(#[from] rusqlite::Error),
    /// Bytes that are no part, or no row of the table.
    #[error("a part of the slice cannot be read: {0}")]
    Malformed(&'static str),
    /// A table of which this build knows nothing, or with other columns.
    #[error("table {0} is not known here, or has other columns: hub and node must run the same version")]
    Table(String),
    /// What was written is not what was sent.
    #[error("table {0} differs from the hub's")]
    Differs(String),
    /// The receiver is gone.
    #[error("nobody takes the slice any more")]
    Gone,
}

impl From<CodecError> for SliceError {
    fn from(_: CodecError) -> Self {
        SliceError::Malformed("it is no part of this version")
    }
}

impl SlicePart {
    /// The bytes to send, compressed.
    pub fn encode(&self) -> Result<Vec<u8>, SliceError> {
        let plain = codec::encode(self, PART_BYTES_MAX)?;
        zstd::bulk::compress(&plain, LEVEL).map_err(|_| SliceError::Malformed("it cannot be compressed"))
    }

    /// Reads what [`SlicePart::encode`] wrote; never unpacks more than its bound.
    pub fn decode(bytes: &[u8]) -> Result<Self, SliceError> {
        let plain = zstd::bulk::decompress(bytes, PART_BYTES_MAX);
        Ok(codec::decode(&plain.map_err(|_| SliceError::Malformed("it does not unpack"))?, PART_BYTES_MAX)?)
    }
}

/// Sends every table of a node's slice, as `store` sees them now: in one read transaction if the caller opened one.
pub fn export(
    store: &Connection,
    node: NodeId,
    send: &mut dyn FnMut(SlicePart) -> Result<(), SliceError>,
) -> Result<(), SliceError> {
    for (table, slice) in slice_tables() {
        export_table(store, node, table, slice, send)?;
    }
    Ok(())
}

fn export_table(
    store: &Connection,
    node: NodeId,
    table: KeyedTable,
    slice: &str,
    send: &mut dyn FnMut(SlicePart) -> Result<(), SliceError>,
) -> Result<(), SliceError> {
    let mut statement =
        store.prepare(&format!("SELECT * FROM {} WHERE {slice} ORDER BY {}", table.name, table.order))?;
    let columns = u16::try_from(statement.column_count()).map_err(|_| SliceError::Table(table.name.into()))?;
    let part = |rows| SlicePart::Rows { table: table.name.into(), columns, rows };
    let (mut found, mut hasher, mut count) = (statement.query([node.get()])?, Hasher::configured(), 0);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(row) = found.next()? {
        let mut encoded = Vec::new();
        for column in 0..usize::from(columns) {
            let value = row.get_ref(column)?;
            add_value(&mut hasher, value);
            write_value(&mut encoded, value);
        }
        count += 1;
        bytes += encoded.len();
        rows.push(encoded);
        if bytes >= PART_BYTES {
            send(part(std::mem::take(&mut rows)))?;
            bytes = 0;
        }
    }
    if !rows.is_empty() {
        send(part(rows))?;
    }
    send(SlicePart::TableEnd { table: table.name.into(), rows: count, hash: hasher.finish() })
}

fn write_value(bytes: &mut Vec<u8>, value: ValueRef<'_>) {
    let mut sized = |kind: u8, value: &[u8]| {
        bytes.push(kind);
        bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
        bytes.extend_from_slice(value);
    };
    match value {
        ValueRef::Text(value) => sized(3, value),
        ValueRef::Blob(value) => sized(4, value),
        ValueRef::Null => bytes.push(0),
        ValueRef::Integer(number) => {
            bytes.push(1);
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        ValueRef::Real(number) => {
            bytes.push(2);
            bytes.extend_from_slice(&number.to_bits().to_le_bytes());
        }
    }
}

/// Reads a value and what follows it; `None` where the bytes are none.
fn read_value(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let (kind, rest) = bytes.split_first()?;
    if *kind == 0 {
        return Some((Value::Null, rest));
    }
    if matches!(kind, 1 | 2) {
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let number = i64::from_le_bytes(*number);
        let real = || Value::Real(f64::from_bits(number as u64));
        return Some((if *kind == 1 { Value::Integer(number) } else { real() }, rest));
    }
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    match kind {
        3 => Some((Value::Text(String::from_utf8(value.to_vec()).ok()?), rest)),
        4 => Some((Value::Blob(value.to_vec()), rest)),
        _ => None,
    }
}

fn read_row(mut bytes: &[u8], columns: usize) -> Option<Vec<Value>> {
    let mut values = Vec::with_capacity(columns);
    for _ in 0..columns {
        let (value, rest) = read_value(bytes)?;
        values.push(value);
        bytes = rest;
    }
    bytes.is_empty().then_some(values)
}

/// A slice on its way into a store, in the caller's transaction: it is whole or not there.
pub struct SliceImport<'store> {
    store: &'store Connection,
    ended: Vec<(String, u64, [u8; 32])>,
}

impl<'store> SliceImport<'store> {
    /// Empties the tables. Rows may name others that come later: they are checked when the transaction is committed.
    pub fn begin(store: &'store Connection) -> Result<Self, SliceError> {
        store.pragma_update(None, "defer_foreign_keys", true)?;
        for table in projection_tables() {
            store.execute(&format!("DELETE FROM {}", table.name), [])?;
        }
        Ok(SliceImport { store, ended: Vec::new() })
    }

    /// Writes rows of a table.
    pub fn rows(&mut self, table: &str, columns: u16, rows: &[Vec<u8>]) -> Result<(), SliceError> {
        let known = projection_tables().find(|known| known.name == table);
        let name = known.ok_or_else(|| SliceError::Table(table.escape_default().to_string()))?.name;
        let columns = usize::from(columns);
        if self.store.prepare_cached(&format!("SELECT * FROM {name}"))?.column_count() != columns {
            return Err(SliceError::Table(name.into()));
        }
        let places = vec!["?"; columns].join(", ");
        let mut insert = self.store.prepare_cached(&format!("INSERT INTO {name} VALUES ({places})"))?;
        for row in rows {
            let values = read_row(row, columns).ok_or(SliceError::Malformed("a row does not fit its table"))?;
            insert.execute(params_from_iter(values))?;
        }
        Ok(())
    }

    /// The table is whole by the sender's word.
    pub fn table_end(&mut self, table: String, rows: u64, hash: [u8; 32]) {
        if self.ended.len() < slice_tables().count() {
            self.ended.push((table, rows, hash));
        }
    }

    /// Checks that every table came, and that each has the digest that the sender's has.
    pub fn finish(self) -> Result<(), SliceError> {
        for digest in digest_whole(self.store, projection_tables())? {
            let sent = self.ended.iter().find(|(table, ..)| table == digest.table);
            if sent.is_none_or(|(_, rows, hash)| (*rows, *hash) != (digest.rows, digest.hash)) {
                return Err(SliceError::Differs(digest.table.into()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MIGRATIONS, migrate};

    fn store() -> Connection {
        let mut store = Connection::open_in_memory().unwrap();
        store.pragma_update(None, "foreign_keys", true).unwrap();
        migrate(&mut store, "projection", MIGRATIONS).unwrap();
        store
    }

    /// Two outlets of two nodes, with terminals and sessions.
    fn hub() -> Connection {
        let hub = store();
        hub.execute_batch(
            "INSERT INTO outlet VALUES (13010001, 1, 9, '甲', 0), (13020001, 2, 9, 'b', 0); \
             INSERT INTO terminal VALUES (1301000101, 13010001, 1, 0, zeroblob(32)), (1302000101, 13020001, 2, 0, zeroblob(32)); \
             INSERT INTO session VALUES (1301000101, 1301000101, zeroblob(16), 5, 9, NULL);",
        )
        .unwrap();
        hub
    }

    fn parts(hub: &Connection) -> Vec<SlicePart> {
        let mut parts = Vec::new();
        let mut send = |part: SlicePart| {
            parts.push(SlicePart::decode(&part.encode()?)?);
            Ok(())
        };
        export(hub, NodeId::new(1).unwrap(), &mut send).unwrap();
        parts
    }

    fn import(store: &mut Connection, parts: Vec<SlicePart>) -> Result<(), SliceError> {
        let transaction = store.transaction()?;
        let mut import = SliceImport::begin(&transaction)?;
        for part in parts {
            match part {
                SlicePart::Rows { table, columns, rows } => import.rows(&table, columns, &rows)?,
                SlicePart::TableEnd { table, rows, hash } => import.table_end(table, rows, hash),
                other => panic!("{other:?}"),
            }
        }
        import.finish()?;
        Ok(transaction.commit()?)
    }

    #[test]
    fn a_slice_arrives_as_it_is_at_the_hub_and_in_the_place_of_what_was_there() {
        let (mut hub, mut node) = (hub(), store());
        node.execute_batch("INSERT INTO outlet VALUES (13990001, 1, 9, 'left over', 0)").unwrap();
        import(&mut node, parts(&hub)).unwrap();
        let digest = |store: &mut Connection, node| crate::digest::digest(store, node).unwrap();
        assert_eq!(digest(&mut node, None), digest(&mut hub, Some(NodeId::new(1).unwrap())));
        let outlets: i64 = node.query_row("SELECT count(*) FROM outlet", [], |row| row.get(0)).unwrap();
        assert_eq!(outlets, 1, "of the other node nothing comes");
    }

    #[test]
    fn a_slice_of_which_a_row_or_a_table_is_missing_or_altered_leaves_no_trace() {
        let hub = hub();
        let is_of = |part: &SlicePart, name: &str| matches!(part, SlicePart::Rows { table, .. } if table == name);
        let without =
            |wanted: &dyn Fn(&SlicePart) -> bool| parts(&hub).into_iter().filter(|part| !wanted(part)).collect();
        let mut altered = parts(&hub);
        for part in &mut altered {
            if let SlicePart::Rows { table, rows, .. } = part
                && table == "outlet"
            {
                let at = rows[0].len() - 10;
                rows[0][at] ^= 1;
            }
        }
        let cases: [(&str, Vec<SlicePart>); 3] = [
            ("a session", without(&|part| is_of(part, "session"))),
            ("an end", without(&|part| matches!(part, SlicePart::TableEnd { table, .. } if table == "pack"))),
            ("a value", altered),
        ];
        for (what, parts) in cases {
            let mut node = store();
            assert!(matches!(import(&mut node, parts), Err(SliceError::Differs(_))), "{what}");
            let outlets: i64 = node.query_row("SELECT count(*) FROM outlet", [], |row| row.get(0)).unwrap();
            assert_eq!(outlets, 0, "{what}");
        }
    }

    #[test]
    fn tables_and_rows_that_are_none_are_refused() {
        let node = store();
        let mut import = SliceImport::begin(&node).unwrap();
        assert!(matches!(import.rows("own_log; DROP TABLE outlet", 1, &[]), Err(SliceError::Table(_))));
        assert!(matches!(import.rows("outlet", 4, &[]), Err(SliceError::Table(_))));
        for bad in [&[][..], &[9], &[1, 0], &[3, 255, 255, 255, 255], &[0, 0, 0, 0, 0, 0]] {
            assert!(matches!(import.rows("outlet", 5, &[bad.to_vec()]), Err(SliceError::Malformed(_))), "{bad:?}");
        }
    }

    #[test]
    fn bytes_that_would_unpack_without_end_are_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        assert!(matches!(SlicePart::decode(&bomb), Err(SliceError::Malformed(_))));
        assert!(matches!(SlicePart::decode(b"no part"), Err(SliceError::Malformed(_))));
    }
}
