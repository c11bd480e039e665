//! The rows of one outlet in the shared tables, as they travel from node to node.
//!
//! What stays where it was: accounts, transfers, deposits and exceptions, which are kept per node; the balance goes along by the two
//! transfers of a handoff.

use std::collections::BTreeSet;

use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, OptionalExtension, params_from_iter};
use serde::{Deserialize, Serialize};

use crate::id::{NodeId, OutletId};
use crate::ledger::TransferId;
use crate::projection::{PackRow, ProjectionError};

/// Bytes of the names in a set.
const SET_NAMES_BYTES: usize = 300;
/// Packs that are read at once.
const PACKS_A_READ: u32 = 256;
/// Claims in one set: 30 bytes each at most.
const CLAIMS_A_SET: usize = 600;
/// Bytes of one set of rows: well within an event's limit. A longer row goes alone.
const ROW_SET_BYTES_MAX: usize = 20 * 1024;

/// The version of the shared tables that last changed one which goes with an outlet: a node with older ones cannot write the rows.
pub const ROWS_SCHEMA_VERSION: u32 = 8;

/// How the key of a row tells whose it is.
#[derive(Clone, Copy)]
enum KeyOf {
    /// The outlet itself.
    Outlet,
    /// 8 digits of the outlet, 2 of its own.
    Device,
    /// A pack; its row names the outlet.
    PackRow,
    /// A pack of the outlet.
    Pack,
    /// A ticket of such a pack.
    Ticket,
    /// Day, outlet and game.
    OutletDay,
}

/// A table whose rows go with the outlet, and which of them are the outlet's.
struct OutletTable {
    name: &'static str,
    /// The column of the key.
    key: &'static str,
    key_of: KeyOf,
    /// By `?1`, the outlet. By a range of keys or by an index: nobody decides for the outlet meanwhile, and the tables grow with the
    /// years.
    condition: &'static str,
    /// Whether a row says which node it belongs to.
    has_node: bool,
}

const fn table(
    name: &'static str,
    (key, key_of): (&'static str, KeyOf),
    condition: &'static str,
    has_node: bool,
) -> OutletTable {
    OutletTable { name, key, key_of, condition, has_node }
}

const OF_OUTLET: &str = "outlet = ?1";
const OF_TERMINAL: &str = "terminal BETWEEN ?1 * 100 AND ?1 * 100 + 99";
const OF_OPERATOR: &str = "operator BETWEEN ?1 * 100 AND ?1 * 100 + 99";
const OF_PACK: &str = "pack IN (SELECT pack FROM pack WHERE outlet = ?1)";
const OF_LOCKED_TICKET: &str = "ticket IN (SELECT t.ticket FROM pack CROSS JOIN ticket_lock t \
     WHERE pack.outlet = ?1 AND t.ticket BETWEEN pack.pack << 10 AND (pack.pack << 10) + 1023)";
const OF_PAID_TICKET: &str = "ticket IN (SELECT t.ticket FROM pack CROSS JOIN claim_history t \
     WHERE pack.outlet = ?1 AND t.ticket BETWEEN pack.pack << 10 AND (pack.pack << 10) + 1023)";
/// The day stands in front of the outlet: from one day that has rows to the next one, and of each the outlet's range.
const OF_DAY: &str = "outlet_day IN (WITH RECURSIVE day (number) AS (\
     SELECT (SELECT outlet_day >> 46 FROM outlet_day WHERE outlet_day >= 0 ORDER BY outlet_day LIMIT 1) UNION ALL \
     SELECT (SELECT outlet_day >> 46 FROM outlet_day WHERE outlet_day >= (day.number + 1) << 46 \
     ORDER BY outlet_day LIMIT 1) FROM day WHERE day.number IS NOT NULL) \
     SELECT of_day.outlet_day FROM day CROSS JOIN outlet_day of_day WHERE of_day.outlet_day \
     BETWEEN (day.number << 46) + (?1 << 19) AND (day.number << 46) + (?1 << 19) + 524287)";

/// In the order in which rows may be written: what others refer to comes first.
const TABLES: [OutletTable; 12] = [
    table("outlet", ("outlet", KeyOf::Outlet), OF_OUTLET, true),
    table("outlet_class", ("outlet", KeyOf::Outlet), OF_OUTLET, false),
    table("terminal", ("terminal", KeyOf::Device), OF_TERMINAL, true),
    table("operator", ("operator", KeyOf::Device), OF_OPERATOR, true),
    table("terminal_revoked", ("terminal", KeyOf::Device), OF_TERMINAL, false),
    table("operator_disabled", ("operator", KeyOf::Device), OF_OPERATOR, false),
    table("session", ("terminal", KeyOf::Device), OF_TERMINAL, false),
    table("pack", ("pack", KeyOf::PackRow), OF_OUTLET, true),
    table("pack_seal", ("pack", KeyOf::Pack), OF_PACK, false),
    table("ticket_lock", ("ticket", KeyOf::Ticket), OF_LOCKED_TICKET, false),
    table("claim_history", ("ticket", KeyOf::Ticket), OF_PAID_TICKET, false),
    table("outlet_day", ("outlet_day", KeyOf::OutletDay), OF_DAY, false),
];

/// Who paid a ticket, and when.
const PAID: &str = "SELECT credit & 4294967295, at_ms FROM transfer WHERE transfer = ?1";
/// Whose a pack is.
const OWNER: &str = "SELECT outlet FROM pack WHERE pack = ?1";

impl OutletTable {
    fn select(&self) -> String {
        format!("SELECT * FROM {} WHERE {} ORDER BY {}", self.name, self.condition, self.key)
    }

    fn delete(&self) -> String {
        format!("DELETE FROM {} WHERE {}", self.name, self.condition)
    }

    /// Gives the rows to node `?2`.
    fn give(&self) -> String {
        format!("UPDATE {} SET node = ?2 WHERE {}", self.name, self.condition)
    }
}

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

    /// Whether the rows can be written: by their tables and columns, and by their lengths.
    fn check_shape(&self, store: &Connection) -> Result<(), ProjectionError> {
        self.insert(store, self.table()?)?;
        if self.rows.iter().any(|row| row.len() != self.columns.len()) {
            return Err(ProjectionError::Contradiction("a row of another length than its columns"));
        }
        Ok(())
    }

    /// Whether each row is the outlet's. `brought`: the packs that come along, which the table may not hold yet.
    fn check_owner(
        &self,
        store: &Connection,
        outlet: OutletId,
        brought: &BTreeSet<i64>,
    ) -> Result<(), ProjectionError> {
        let table = self.table()?;
        let own = i64::from(outlet.get());
        for row in &self.rows {
            let key = self.number(row, table.key)?;
            let belongs = match table.key_of {
                KeyOf::Outlet => key == own,
                KeyOf::Device => key / 100 == own,
                // A pack has one outlet for ever: a row of it that is here already is this outlet's.
                KeyOf::PackRow => {
                    self.number(row, "outlet")? == own && owner(store, key)?.is_none_or(|owner| owner == own)
                }
                KeyOf::Pack => brought.contains(&key) || owner(store, key)? == Some(own),
                KeyOf::Ticket => brought.contains(&(key >> 10)) || owner(store, key >> 10)? == Some(own),
                KeyOf::OutletDay => key >= 0 && key >> 19 & 0x7ff_ffff == own,
            };
            if !belongs {
                return Err(ProjectionError::Contradiction("a row of another outlet than the one that moves"));
            }
        }
        Ok(())
    }

    /// What stands in a column that holds a number in every row.
    fn number(&self, row: &[RowValue], column: &str) -> Result<i64, ProjectionError> {
        let place = self.columns.iter().position(|name| name == column);
        match place.and_then(|place| row.get(place)) {
            Some(RowValue::Integer(number)) => Ok(*number),
            _ => Err(ProjectionError::Contradiction("a row without its key")),
        }
    }

    /// Bytes of it, about.
    fn len(&self) -> usize {
        self.rows.iter().flatten().map(RowValue::len).sum()
    }

    fn table(&self) -> Result<&'static OutletTable, ProjectionError> {
        let table = TABLES.iter().find(|table| table.name == self.table);
        table.ok_or_else(|| unknown(&self.table))
    }

    /// Writes checked rows in place of those with the same keys.
    pub(crate) fn write(&self, store: &Connection, outlet: OutletId, to: NodeId) -> Result<(), ProjectionError> {
        let table = self.table()?;
        let sql = self.insert(store, table)?;
        // From here on a row that a table refuses rolls the whole transaction back.
        let mut insert = store.prepare_cached(&sql)?;
        for row in &self.rows {
            insert.execute(params_from_iter(row.iter().map(RowValue::to_sql)))?;
        }
        if table.has_node {
            store.prepare_cached(&table.give())?.execute((outlet.get(), to.get()))?;
        }
        Ok(())
    }

    fn insert(&self, store: &Connection, table: &OutletTable) -> Result<String, ProjectionError> {
        let statement = store.prepare_cached(&format!("SELECT * FROM {} LIMIT 0", table.name))?;
        let known: Vec<&str> = statement.column_names().collect();
        if let Some(column) = self.columns.iter().find(|column| !known.contains(&column.as_str())) {
            return Err(unknown(column));
        }
        let places: Vec<String> = (1..=self.columns.len()).map(|place| format!("?{place}")).collect();
        let columns = self.columns.join(", ");
        Ok(format!("INSERT OR REPLACE INTO {} ({columns}) VALUES ({})", table.name, places.join(", ")))
    }
}

/// A name that a newer build may have given is too new; one that nobody gives to a table or a column is poison.
fn unknown(name: &str) -> ProjectionError {
    match name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_') {
        true => ProjectionError::TooNew { name: name.to_owned() },
        false => ProjectionError::Contradiction("rows with a name that no table and no column has"),
    }
}

/// The outlet of a pack that is here.
fn owner(store: &Connection, pack: i64) -> Result<Option<i64>, rusqlite::Error> {
    store.prepare_cached(OWNER)?.query_row([pack], |row| row.get(0)).optional()
}

/// Whether this build knows the tables and columns of all the rows.
pub fn are_known(store: &Connection, sets: &[RowSet]) -> Result<bool, ProjectionError> {
    match sets.iter().try_for_each(|set| set.check_shape(store)) {
        Err(ProjectionError::TooNew { .. }) => Ok(false),
        Err(error) if !error.is_poison() => Err(error),
        _ => Ok(true),
    }
}

/// Checks rows before the first is written. Poison: names that no table has, rows of another length than their columns, rows of another
/// outlet. Too new: tables and columns that this build does not know.
pub(crate) fn check(store: &Connection, outlet: OutletId, sets: &[RowSet]) -> Result<(), ProjectionError> {
    sets.iter().try_for_each(|set| set.check_shape(store))?;
    let mut brought = BTreeSet::new();
    for set in sets.iter().filter(|set| set.table == "pack") {
        for row in &set.rows {
            brought.insert(set.number(row, "pack")?);
        }
    }
    sets.iter().try_for_each(|set| set.check_owner(store, outlet, &brought))
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

/// All rows of an outlet, in groups of sets that each fit into an event, in an order in which they may be written. A projection over the same
/// store must have written what it keeps in memory.
pub fn export(store: &Connection, outlet: OutletId) -> Result<Vec<Vec<RowSet>>, ProjectionError> {
    let mut sets = Vec::new();
    for table in &TABLES {
        export_table(store, table, outlet, &mut sets)?;
    }
    export_claims(store, outlet, &mut sets)?;
    let mut groups: Vec<Vec<RowSet>> = Vec::new();
    let mut bytes = 0;
    for set in sets {
        // Names of a table and of its columns are shorter than this together.
        let more = set.len() + SET_NAMES_BYTES;
        match groups.last_mut().filter(|_| bytes + more <= ROW_SET_BYTES_MAX) {
            Some(group) => group.push(set),
            None => {
                groups.push(vec![set]);
                bytes = 0;
            }
        }
        bytes += more;
    }
    Ok(groups)
}

/// Who paid the tickets of the outlet's packs, from the transfers, which stay where they are.
fn export_claims(store: &Connection, outlet: OutletId, sets: &mut Vec<RowSet>) -> Result<(), ProjectionError> {
    let columns: Vec<String> = ["ticket", "outlet", "paid_at_ms"].map(str::to_owned).into();
    let mut rows = Vec::new();
    let mut paid = store.prepare_cached(PAID)?;
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
    let mut statement = store.prepare_cached(&table.select())?;
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
        store.prepare_cached(&table.delete())?.execute([outlet.get()])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{MIGRATIONS, migrate};

    fn store(migrations: usize) -> Connection {
        let mut store = Connection::open_in_memory().unwrap();
        migrate(&mut store, "projection", &MIGRATIONS[..migrations]).unwrap();
        store
    }

    /// How SQLite goes about a statement, line by line.
    fn plan(store: &Connection, sql: &str) -> Vec<String> {
        let mut statement = store.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        statement.raw_query().mapped(|row| row.get(3)).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn no_statement_reads_a_table_from_end_to_end() {
        let store = store(MIGRATIONS.len());
        let of_packs = "SELECT * FROM pack WHERE outlet = ?1 AND pack > ?2 ORDER BY pack LIMIT ?3";
        let mut statements: Vec<String> = [PAID, OWNER, of_packs].map(str::to_owned).into();
        for table in &TABLES {
            statements.extend([table.select(), table.delete()]);
            statements.extend(table.has_node.then(|| table.give()));
        }
        for sql in statements {
            let lines = plan(&store, &sql);
            assert!(lines.iter().any(|line| line.starts_with("SEARCH ")), "{sql}: {lines:?}");
            let is_fine = |line: &str| match line {
                // The days of the recursion are no table.
                "SCAN day" | "SCAN CONSTANT ROW" => true,
                line => !line.starts_with("SCAN "),
            };
            assert!(lines.iter().all(|line| is_fine(line)), "{sql}: {lines:?}");
        }
    }

    #[test]
    fn the_days_of_an_outlet_are_found_whichever_days_lie_between_them() {
        let store = store(MIGRATIONS.len());
        let key = |day: i64, outlet: i64, game: i64| day << 46 | outlet << 19 | game;
        let (own, others) = (13_010_002, [13_010_001, 13_010_003]);
        let mine = [(0, 0), (3, 0), (3, 524_287), (20_000, 7), (65_535, 1)].map(|(day, game)| key(day, own, game));
        let theirs = [0, 1, 3, 9_000, 65_535].map(|day| others.map(|outlet| [0, 524_287].map(|g| key(day, outlet, g))));
        for day in theirs.as_flattened().as_flattened().iter().chain(&mine) {
            let sql = "INSERT INTO outlet_day VALUES (?1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)";
            store.execute(sql, [day]).unwrap();
        }
        let table = TABLES.iter().find(|table| table.name == "outlet_day").unwrap();
        let found = |outlet: i64| -> Vec<i64> {
            let mut statement = store.prepare(&table.select()).unwrap();
            let rows = statement.query_map([outlet], |row| row.get(0)).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        };
        assert_eq!(found(own), mine);
        assert_eq!(found(13_010_009), Vec::<i64>::new());
        forget(&store, OutletId::new(own as u32).unwrap()).unwrap();
        let left: i64 = store.query_row("SELECT count(*) FROM outlet_day", [], |row| row.get(0)).unwrap();
        assert_eq!((found(own), left), (Vec::new(), 20));
    }

    #[test]
    fn the_version_of_the_rows_is_that_of_the_last_change_of_a_table_that_moves() {
        let columns = |version: u32| {
            let store = store(version as usize);
            let names = |table: &OutletTable| {
                let statement = store.prepare(&format!("SELECT * FROM {}", table.name));
                statement.ok().map(|statement| statement.column_names().map(str::to_owned).collect())
            };
            TABLES.iter().map(names).collect::<Vec<Option<Vec<String>>>>()
        };
        let now = columns(MIGRATIONS.len() as u32);
        assert_eq!(columns(ROWS_SCHEMA_VERSION), now, "raise it: nodes of older tables cannot write these rows");
        assert_ne!(columns(ROWS_SCHEMA_VERSION - 1), now);
    }
}
