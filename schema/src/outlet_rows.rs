//! The rows of one outlet in the shared tables, as they travel from node to node.
//!
//! What stays where it was: accounts, transfers, deposits and exceptions, which are kept per node; the balance goes along by the two
//! transfers of a handoff.

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use serde::{Deserialize, Serialize};

use crate::id::{NodeId, OutletId};
use crate::ledger::TransferId;
use crate::projection::{PackRow, ProjectionError};

/// Packs that are read at once.
const PACKS_A_READ: u32 = 256;
/// Claims in one set: 30 bytes each at most.
const CLAIMS_A_SET: usize = 600;
/// Bytes of one set of rows: well within an event's limit. A longer row goes alone.
const ROW_SET_BYTES_MAX: usize = 20 * 1024;

/// A table whose rows go with the outlet, and which of them are the outlet's.
struct OutletTable {
    name: &'static str,
    order: &'static str,
    /// By `?1`, the outlet.
    condition: &'static str,
    /// Whether a row says which node it belongs to.
    has_node: bool,
}

const fn table(name: &'static str, order: &'static str, condition: &'static str, has_node: bool) -> OutletTable {
    OutletTable { name, order, condition, has_node }
}

const OF_DEVICE: &str = "terminal / 100 = ?1";
const OF_PACK: &str = "pack IN (SELECT pack FROM pack WHERE outlet = ?1)";

/// In the order in which rows may be written: what others refer to comes first.
const TABLES: [OutletTable; 12] = [
    table("outlet", "outlet", "outlet = ?1", true),
    table("outlet_class", "outlet", "outlet = ?1", false),
    table("terminal", "terminal", OF_DEVICE, true),
    table("operator", "operator", "operator / 100 = ?1", true),
    table("terminal_revoked", "terminal", OF_DEVICE, false),
    table("operator_disabled", "operator", "operator / 100 = ?1", false),
    table("session", "terminal", OF_DEVICE, false),
    table("pack", "pack", "outlet = ?1", true),
    table("pack_seal", "pack", OF_PACK, false),
    table("ticket_lock", "ticket", "ticket >> 10 IN (SELECT pack FROM pack WHERE outlet = ?1)", false),
    table("claim_history", "ticket", "ticket >> 10 IN (SELECT pack FROM pack WHERE outlet = ?1)", false),
    table("outlet_day", "outlet_day", "outlet_day >> 19 & 134217727 = ?1", false),
];

/// A value of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowValue {
    /// Nothing.
    Null,
    /// A number.
    Integer(i64),
    /// Text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// Rows of one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowSet {
    table: String,
    columns: Vec<String>,
    rows: Vec<Vec<RowValue>>,
}

impl RowSet {
    /// Rows in it.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// A set of one row of an outlet's table, for tests of what carries it.
    #[cfg(test)]
    pub(crate) fn example() -> Self {
        let rows = vec![vec![RowValue::Integer(13_010_001), RowValue::Integer(2)]];
        RowSet { table: "outlet_class".into(), columns: vec!["outlet".into(), "class".into()], rows }
    }

    /// Writes the rows in place of those with the same keys. Poison: a table that does not move with an outlet, columns that it has
    /// not, rows of another length, a row of another outlet or another node than these.
    pub(crate) fn write(&self, store: &Connection, outlet: OutletId, to: NodeId) -> Result<(), ProjectionError> {
        let Some(table) = TABLES.iter().find(|table| table.name == self.table) else {
            return Err(ProjectionError::Contradiction("rows of a table that does not move with an outlet"));
        };
        let (count, sql) = (self.columns.len(), self.insert(store, table)?);
        if self.rows.iter().any(|row| row.len() != count) {
            return Err(ProjectionError::Contradiction("a row of another length than its columns"));
        }
        // From here on a row that a table refuses rolls the whole transaction back.
        let mut insert = store.prepare_cached(&sql)?;
        for row in &self.rows {
            insert.execute(params_from_iter(row.iter().map(RowValue::to_sql)))?;
        }
        if table.has_node {
            let sql = format!("UPDATE {} SET node = ?2 WHERE {}", table.name, table.condition);
            store.prepare_cached(&sql)?.execute((outlet.get(), to.get()))?;
        }
        Ok(())
    }

    fn insert(&self, store: &Connection, table: &OutletTable) -> Result<String, ProjectionError> {
        let statement = store.prepare_cached(&format!("SELECT * FROM {} LIMIT 0", table.name))?;
        let known: Vec<&str> = statement.column_names().collect();
        if !self.columns.iter().all(|column| known.contains(&column.as_str())) {
            return Err(ProjectionError::Contradiction("a row has a column that this build does not know"));
        }
        let places: Vec<String> = (1..=self.columns.len()).map(|place| format!("?{place}")).collect();
        let columns = self.columns.join(", ");
        Ok(format!("INSERT OR REPLACE INTO {} ({columns}) VALUES ({})", table.name, places.join(", ")))
    }
}

impl RowValue {
    fn read(value: ValueRef<'_>) -> Result<Self, rusqlite::Error> {
        Ok(match value {
            ValueRef::Null => RowValue::Null,
            ValueRef::Integer(number) => RowValue::Integer(number),
            ValueRef::Text(bytes) => RowValue::Text(String::from_utf8_lossy(bytes).into_owned()),
            ValueRef::Blob(bytes) => RowValue::Blob(bytes.to_vec()),
            // No shared table holds one.
            ValueRef::Real(_) => {
                return Err(rusqlite::Error::InvalidColumnType(0, "real".into(), rusqlite::types::Type::Real));
            }
        })
    }

    fn to_sql(&self) -> Value {
        match self {
            RowValue::Null => Value::Null,
            RowValue::Integer(number) => Value::Integer(*number),
            RowValue::Text(text) => Value::Text(text.clone()),
            RowValue::Blob(bytes) => Value::Blob(bytes.clone()),
        }
    }

    fn len(&self) -> usize {
        match self {
            RowValue::Null => 1,
            RowValue::Integer(_) => 10,
            RowValue::Text(text) => text.len() + 4,
            RowValue::Blob(bytes) => bytes.len() + 4,
        }
    }
}

/// All rows of an outlet, in sets that each fit into an event, in an order in which they may be written. A projection over the same
/// store must have written what it keeps in memory.
pub fn export(store: &Connection, outlet: OutletId) -> Result<Vec<RowSet>, ProjectionError> {
    let mut sets = Vec::new();
    for table in &TABLES {
        export_table(store, table, outlet, &mut sets)?;
    }
    export_claims(store, outlet, &mut sets)?;
    Ok(sets)
}

/// Who paid the tickets of the outlet's packs, from the transfers, which stay where they are.
fn export_claims(store: &Connection, outlet: OutletId, sets: &mut Vec<RowSet>) -> Result<(), ProjectionError> {
    let columns: Vec<String> = ["ticket", "outlet", "paid_at_ms"].map(str::to_owned).into();
    let mut rows = Vec::new();
    let mut paid = store.prepare_cached("SELECT credit & 4294967295, at_ms FROM transfer WHERE transfer = ?1")?;
    let mut after = 0;
    loop {
        let packs = PackRow::of_outlet(store, outlet, after, PACKS_A_READ)?;
        let Some(last) = packs.last() else { break };
        after = last.pack.key();
        for (pack, claim) in packs.iter().flat_map(|pack| pack.claims().map(|claim| (pack.pack, claim))) {
            let Ok(ticket) = pack.ticket(claim.ticket) else { continue };
            let transfer = TransferId::new(claim.event, 0).key();
            let found: Option<(i64, i64)> =
                paid.query_row([transfer], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            let Some((payer, at_ms)) = found else { continue };
            rows.push([ticket.key(), payer, at_ms].map(RowValue::Integer).to_vec());
        }
    }
    for rows in rows.chunks(CLAIMS_A_SET) {
        sets.push(RowSet { table: "claim_history".to_owned(), columns: columns.clone(), rows: rows.to_vec() });
    }
    Ok(())
}

fn export_table(
    store: &Connection,
    table: &OutletTable,
    outlet: OutletId,
    sets: &mut Vec<RowSet>,
) -> Result<(), rusqlite::Error> {
    let sql = format!("SELECT * FROM {} WHERE {} ORDER BY {}", table.name, table.condition, table.order);
    let mut statement = store.prepare_cached(&sql)?;
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let empty = || RowSet { table: table.name.to_owned(), columns: columns.clone(), rows: Vec::new() };
    let (mut set, mut bytes) = (empty(), 0);
    let mut rows = statement.query([outlet.get()])?;
    while let Some(row) = rows.next()? {
        let values: Result<Vec<RowValue>, _> = (0..columns.len()).map(|at| RowValue::read(row.get_ref(at)?)).collect();
        let values = values?;
        let more: usize = values.iter().map(RowValue::len).sum();
        if bytes + more > ROW_SET_BYTES_MAX && !set.rows.is_empty() {
            sets.push(std::mem::replace(&mut set, empty()));
            bytes = 0;
        }
        bytes += more;
        set.rows.push(values);
    }
    if !set.rows.is_empty() {
        sets.push(set);
    }
    Ok(())
}

/// Takes an outlet's rows out.
pub(crate) fn forget(store: &Connection, outlet: OutletId) -> Result<(), rusqlite::Error> {
    for table in TABLES.iter().rev() {
        let sql = format!("DELETE FROM {} WHERE {}", table.name, table.condition);
        store.prepare_cached(&sql)?.execute([outlet.get()])?;
    }
    Ok(())
}
