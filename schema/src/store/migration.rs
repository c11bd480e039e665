//! Migrations: numbered SQL scripts, each component with its own sequence.
//!
//! A store holds the shared tables and those of its host (node or hub). One `user_version` cannot count two
//! sequences that grow apart, so a small table keeps the version of each component.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;

/// One step: SQL that is run once, in a transaction with the step's number.
pub type Migration = &'static str;

/// The shared tables: what the projection writes, the same at node and hub.
pub const MIGRATIONS: &[Migration] = &[include_str!("0001_projection.sql")];

/// Brings one component's tables to the version of this build; all steps in one transaction.
pub fn migrate(store: &mut Connection, component: &'static str, steps: &[Migration]) -> Result<(), StoreError> {
    let transaction = store.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS component_version (component TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT",
    )?;
    let found: u32 = transaction
        .query_row("SELECT version FROM component_version WHERE component = ?1", [component], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    let known = steps.len() as u32;
    if found > known {
        return Err(StoreError::Newer { component, found, known });
    }
    for step in &steps[found as usize..] {
        transaction.execute_batch(step)?;
    }
    transaction.execute(
        "INSERT INTO component_version VALUES (?1, ?2) ON CONFLICT DO UPDATE SET version = excluded.version",
        params![component, known],
    )?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_once_and_a_newer_store_is_refused() {
        let mut store = Connection::open_in_memory().unwrap();
        let steps: &[Migration] = &["CREATE TABLE a (x INTEGER) STRICT", "CREATE TABLE b (x INTEGER) STRICT"];
        migrate(&mut store, "host", &steps[..1]).unwrap();
        migrate(&mut store, "host", steps).unwrap();
        migrate(&mut store, "host", steps).unwrap();
        migrate(&mut store, "other", &[]).unwrap();
        assert!(matches!(migrate(&mut store, "host", &steps[..1]), Err(StoreError::Newer { found: 2, known: 1, .. })));
    }

    #[test]
    fn a_failing_step_leaves_the_store_as_it_was() {
        let mut store = Connection::open_in_memory().unwrap();
        let steps: &[Migration] = &["CREATE TABLE a (x INTEGER) STRICT", "CREATE TABLE broken ("];
        assert!(migrate(&mut store, "host", steps).is_err());
        let tables: i64 = store.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 0);
    }
}
