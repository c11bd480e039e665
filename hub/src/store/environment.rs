//! State and log of a machine belong to one environment.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use jikai_schema::store::{StoreFiles, claim_environment};
use rusqlite::{Connection, OpenFlags};

use super::STATE_FILE;
use crate::raft::log_store::LOG_FILE;

/// How long a writer of the same file is waited for.
const BUSY_WAIT: Duration = Duration::from_secs(10);

/// Binds the databases that are there in `data` to this environment; refuses one that was made for another.
pub fn claim_environment_of(data: &Path, environment: &str) -> anyhow::Result<()> {
    for name in [STATE_FILE, LOG_FILE] {
        let path = data.join(name);
        if !path.exists() {
            continue;
        }
        // First: a process that died may have left the file so that closing it brings each page of a long log to disk by itself.
        StoreFiles::of(&path).with_context(|| format!("open {}", path.display()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let store = Connection::open_with_flags(&path, flags).with_context(|| format!("open {}", path.display()))?;
        store.busy_timeout(BUSY_WAIT)?;
        claim_environment(&store, environment).with_context(|| format!("open {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::province::Running;

    #[tokio::test]
    async fn state_and_log_of_another_environment_are_refused_each_by_itself() {
        let data = Running::set_up().await.stop().await;
        claim_environment_of(data.path(), "test").unwrap();
        claim_environment_of(data.path(), "test").unwrap();
        for copied in [STATE_FILE, LOG_FILE] {
            let error = format!("{:#}", claim_environment_of(data.path(), "production").unwrap_err());
            assert!(error.contains(copied) && error.contains("made for the environment `test`"), "{error}");
            std::fs::remove_file(data.path().join(copied)).unwrap();
        }
        claim_environment_of(data.path(), "production").unwrap();
    }

    #[tokio::test]
    async fn a_bound_state_goes_on() {
        let running = Running::set_up().await;
        let data = running.data.clone();
        claim_environment_of(data.path(), "test").unwrap();
        let data = running.stop().await;
        let running = Running::over(data).await;
        running.stop().await;
    }
}
