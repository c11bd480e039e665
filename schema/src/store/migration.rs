//! Migrations: numbered SQL scripts, each component with its own sequence.
//!
//! A store holds the shared tables and those of its host (node or hub). One `user_version` cannot count two
//! sequences that grow apart, so a small table keeps the version of each component. It also remembers the suite whose
//! hashes the store holds: another one would find every chain broken.

use rusqlite::{Connection, OptionalExtension, params};

use super::StoreError;
use crate::crypto::Suite;

/// One step: SQL that is run once, in a transaction with the step's number.
pub type Migration = &'static str;

/// The shared tables: what the projection writes, the same at node and hub.
pub const MIGRATIONS: &[Migration] = &[
    include_str!("0001_projection.sql"),
    include_str!("0002_access.sql"),
    include_str!("0003_parameter.sql"),
    include_str!("0004_suspense.sql"),
    include_str!("0005_outlet_class.sql"),
    include_str!("0006_hub_machine.sql"),
    include_str!("0007_scratched.sql"),
    include_str!("0008_handoff.sql"),
    include_str!("0009_directory.sql"),
    include_str!("0010_node_retired.sql"),
    include_str!("0011_of_outlet.sql"),
];

/// Name under which the suite's number stands beside the versions.
const SUITE: &str = "crypto_suite";

/// Brings one component's tables to the version of this build; all steps in one transaction. Refuses a store that was
/// made with another suite than this process's.
pub fn migrate(store: &mut Connection, component: &'static str, steps: &[Migration]) -> Result<(), StoreError> {
    migrate_in(Suite::configured(), store, component, steps)
}

fn migrate_in(
    suite: Suite,
    store: &mut Connection,
    component: &'static str,
    steps: &[Migration],
) -> Result<(), StoreError> {
    let transaction = store.transaction()?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS component_version (component TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT",
    )?;
    remember_suite(&transaction, suite)?;
    let found = version_of(&transaction, component)?.unwrap_or(0);
    let known = steps.len() as u32;
    if found > known {
        return Err(StoreError::Newer { component, found, known });
    }
    for step in &steps[found as usize..] {
        transaction.execute_batch(step)?;
    }
    set_version(&transaction, component, known)?;
    transaction.commit()?;
    Ok(())
}

/// A new store takes the suite of this process; one that a build before the suites made is international.
fn remember_suite(store: &Connection, suite: Suite) -> Result<(), StoreError> {
    let stored = match version_of(store, SUITE)? {
        Some(number) => number,
        None => {
            let components: u32 = store.query_row("SELECT count(*) FROM component_version", [], |row| row.get(0))?;
            let made_with = if components == 0 { suite } else { Suite::International };
            set_version(store, SUITE, made_with.number())?;
            made_with.number()
        }
    };
    if stored != suite.number() {
        let stored = Suite::from_number(stored).map_or_else(|| format!("number {stored}"), |suite| suite.to_string());
        return Err(StoreError::OtherSuite { stored, configured: suite });
    }
    Ok(())
}

fn version_of(store: &Connection, component: &str) -> Result<Option<u32>, rusqlite::Error> {
    store
        .query_row("SELECT version FROM component_version WHERE component = ?1", [component], |row| row.get(0))
        .optional()
}

fn set_version(store: &Connection, component: &str, version: u32) -> Result<(), rusqlite::Error> {
    let sql = "INSERT INTO component_version VALUES (?1, ?2) ON CONFLICT DO UPDATE SET version = excluded.version";
    store.execute(sql, params![component, version]).map(|_| ())
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
    fn a_store_keeps_the_suite_it_was_made_with() {
        let suites = [Suite::International, Suite::National];
        for (made_with, other) in [(suites[0], suites[1]), (suites[1], suites[0])] {
            let mut store = Connection::open_in_memory().unwrap();
            migrate_in(made_with, &mut store, "host", &[]).unwrap();
            migrate_in(made_with, &mut store, "other", &[]).unwrap();
            let error = migrate_in(other, &mut store, "host", &[]).unwrap_err();
            assert!(error.to_string().contains(&format!("crypto_suite = \"{made_with}\"")), "{error}");
        }
    }

    #[test]
    fn a_store_from_before_the_suites_is_international() {
        let mut store = Connection::open_in_memory().unwrap();
        migrate(&mut store, "host", &[]).unwrap();
        store.execute("DELETE FROM component_version WHERE component = ?1", [SUITE]).unwrap();
        assert!(migrate_in(Suite::National, &mut store, "host", &[]).is_err());
        migrate_in(Suite::International, &mut store, "host", &[]).unwrap();
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
