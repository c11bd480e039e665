//! Each store belongs to one environment for ever: a copy of one, opened under the settings of another, is refused.

use rusqlite::{Connection, OptionalExtension};

use super::StoreError;

/// In front of the environment's name, beside the versions of the components.
const MARK: &str = "environment ";

/// Binds a store to this environment, or finds it bound to it. A store that a build before this mark made is bound now.
pub fn claim_environment(store: &Connection, environment: &str) -> Result<(), StoreError> {
    store.execute_batch(
        "CREATE TABLE IF NOT EXISTS component_version (component TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT",
    )?;
    let sql = "SELECT component FROM component_version WHERE substr(component, 1, ?1) = ?2 ORDER BY component LIMIT 1";
    let marked: Option<String> = store.query_row(sql, (MARK.len() as i64, MARK), |row| row.get(0)).optional()?;
    match marked.as_deref().map(|marked| &marked[MARK.len()..]) {
        Some(stored) if stored == environment => Ok(()),
        Some(stored) => {
            let (stored, configured) = (stored.to_owned(), environment.to_owned());
            Err(StoreError::OtherEnvironment { stored, configured })
        }
        None => {
            store.execute("INSERT INTO component_version VALUES (?1, 1)", [format!("{MARK}{environment}")])?;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::migrate;

    #[test]
    fn a_store_stays_in_the_environment_that_it_was_made_for() {
        let mut store = Connection::open_in_memory().unwrap();
        migrate(&mut store, "host", &[]).unwrap();
        claim_environment(&store, "test").unwrap();
        claim_environment(&store, "test").unwrap();
        let error = claim_environment(&store, "production").unwrap_err().to_string();
        assert!(error.contains("made for the environment `test`, the settings say `production`"), "{error}");
        migrate(&mut store, "host", &[]).unwrap();
        claim_environment(&store, "test").unwrap();
    }

    #[test]
    fn a_store_without_versions_is_bound_too() {
        let store = Connection::open_in_memory().unwrap();
        claim_environment(&store, "training").unwrap();
        assert!(matches!(claim_environment(&store, "test"), Err(StoreError::OtherEnvironment { .. })));
    }
}
