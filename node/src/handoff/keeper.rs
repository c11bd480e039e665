//! Lets go of what the hub orders away.

use std::sync::Arc;
use std::time::Duration;

use jikai_schema::id::{NodeId, OutletId};
use rusqlite::Connection;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Moved;
use crate::store::ReadPool;
use crate::writer::Writer;

/// Outlets that are let go of in one transaction.
const RELEASED_MAX: usize = 50;
/// How long to wait before it is tried again, where it failed.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// Lets go of what is ordered, at the start and whenever `ordered` is told, until cancelled.
pub async fn keep_released(
    node: NodeId,
    (writer, pool): (Writer, ReadPool),
    moved: Arc<Moved>,
    ordered: Arc<Notify>,
    cancelled: CancellationToken,
) {
    loop {
        let wait = match release_all(node, &writer, &pool, &moved).await {
            Ok(()) => None,
            Err(error) => {
                tracing::warn!(error, "outlets that move could not be let go of yet");
                Some(TRY_AGAIN)
            }
        };
        let again = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ordered.notified() => {}
            () = again => {}
            () = cancelled.cancelled() => return,
        }
    }
}

async fn release_all(node: NodeId, writer: &Writer, pool: &ReadPool, moved: &Arc<Moved>) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let ordered = pool.read(move |store| ordered(store, node)).await.map_err(|error| words(&error))?;
    let ordered = ordered.map_err(|error| words(&error))?;
    for outlets in ordered.chunks(RELEASED_MAX) {
        writer.release(outlets.to_vec()).await.map_err(|error| words(&error))?;
        tracing::info!(outlets = outlets.len(), "outlets were let go of: they move to other nodes");
    }
    if !ordered.is_empty() {
        // By what the store says: the hub may have taken some back meanwhile, or others may have come back.
        let moved = moved.clone();
        let read = pool.read(move |store| moved.read_released(store, node)).await.map_err(|error| words(&error))?;
        read.map_err(|error| words(&error))?;
    }
    Ok(())
}

fn ordered(store: &Connection, node: NodeId) -> Result<Vec<OutletId>, rusqlite::Error> {
    let mut statement =
        store.prepare_cached("SELECT outlet FROM handoff WHERE node = ?1 AND released = 0 ORDER BY outlet")?;
    let rows = statement.query_map([node.get()], |row| row.get::<_, u32>(0))?;
    let outlets = rows.collect::<Result<Vec<_>, _>>()?;
    Ok(outlets.into_iter().filter_map(|outlet| OutletId::new(outlet).ok()).collect())
}
