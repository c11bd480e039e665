//! What is known of an outlet.

use jikai_schema::id::OutletId;
use rusqlite::{Connection, OptionalExtension};

use super::QueryError;

/// Its name; empty for one that this node does not know.
pub fn outlet_name(store: &Connection, outlet: OutletId) -> Result<String, QueryError> {
    let mut statement = store.prepare_cached("SELECT name FROM outlet WHERE outlet = ?1")?;
    Ok(statement.query_row([outlet.get()], |row| row.get(0)).optional()?.unwrap_or_default())
}
