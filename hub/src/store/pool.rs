//! Read-only connections for everything that does not write.

use std::path::Path;
use std::sync::Arc;

use jikai_schema::store::StoreError;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;

/// A bounded pool of read-only connections, opened once: nothing on the request path opens one.
#[derive(Clone)]
pub struct ReadPool {
    idle: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

/// A read that did not take place.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// The server is shutting down.
    #[error("the store is closing")]
    Closed,
    /// The reading thread panicked or was cancelled.
    #[error("the read was interrupted")]
    Interrupted,
}

impl ReadPool {
    /// Opens `size` connections on the store in `data`.
    pub fn open(data: &Path, size: usize) -> Result<Self, StoreError> {
        let connections = (0..size).map(|_| super::open_reader(data)).collect::<Result<Vec<_>, _>>()?;
        Ok(ReadPool { idle: Arc::new(Mutex::new(connections)), permits: Arc::new(Semaphore::new(size)) })
    }

    /// Runs `read` on a free connection, off the async threads.
    pub async fn read<T, F>(&self, read: F) -> Result<T, PoolError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> T + Send + 'static,
    {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| PoolError::Closed)?;
        let idle = self.idle.clone();
        let outcome = tokio::task::spawn_blocking(move || {
            let mut connection = idle.lock().pop().expect("a permit stands for an idle connection");
            let value = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(&mut connection)));
            idle.lock().push(connection);
            drop(permit);
            value
        });
        outcome.await.map_err(|_| PoolError::Interrupted)?.map_err(|_| PoolError::Interrupted)
    }
}
