//! Fetching the keys of batches that the feed has defined.

use std::sync::Arc;

use jikai_schema::id::BatchNo;
use jikai_schema::peer::{HubReply, KEYS_MAX, NodeRequest};
use jikai_schema::seal::BatchKey;
use jikai_sync::backoff::Backoff;
use jikai_sync::transport::Requester;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::LinkState;
use crate::keyring::Keyring;
use crate::store::ReadPool;
use crate::writer::Writer;

/// Keeps the keyring complete: whenever the link opens or the feed grows, asks for what is missing.
pub async fn fetch_keys(
    requester: Requester,
    writer: Writer,
    pool: ReadPool,
    keys: Arc<Keyring>,
    mut link: watch::Receiver<LinkState>,
    cancelled: CancellationToken,
) {
    let mut backoff = Backoff::default();
    loop {
        link.borrow_and_update();
        let wait = match fetch_missing(&requester, &writer, &pool, &keys).await {
            Ok(()) => {
                backoff.reset();
                None
            }
            Err(error) => {
                tracing::info!(error, "batch keys are still missing");
                Some(std::time::Duration::from_millis(backoff.next_wait_ms(&mut rand::rng())))
            }
        };
        let again = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            changed = link.changed(), if wait.is_none() => if changed.is_err() { return },
            () = again => {}
            () = cancelled.cancelled() => return,
        }
    }
}

async fn fetch_missing(requester: &Requester, writer: &Writer, pool: &ReadPool, keys: &Keyring) -> Result<(), String> {
    let defined = pool.read(|store| defined_batches(store)).await.map_err(|error| error.to_string())?;
    let mut missing = keys.missing(defined.map_err(|error| error.to_string())?);
    missing.truncate(KEYS_MAX);
    if missing.is_empty() {
        return Ok(());
    }
    let asked = missing.len();
    let request = NodeRequest::BatchKeys { batches: missing }.encode().map_err(|error| error.to_string())?;
    let reply = requester.request(&request).await.map_err(|error| error.to_string())?;
    match HubReply::decode(&reply).map_err(|error| error.to_string())? {
        HubReply::BatchKeys(received) => {
            let complete = received.len() >= asked;
            for (batch, key) in received {
                writer.keep_key(batch, BatchKey::from_bytes(key.0)).await.map_err(|error| error.to_string())?;
            }
            if complete { Ok(()) } else { Err("the hub did not give all keys".into()) }
        }
        HubReply::Refused(reason) => Err(reason),
        _ => Err("the hub answered another question".into()),
    }
}

fn defined_batches(store: &rusqlite::Connection) -> Result<Vec<BatchNo>, rusqlite::Error> {
    let mut statement = store.prepare_cached("SELECT batch FROM batch ORDER BY batch")?;
    let rows = statement.query_map([], |row| row.get::<_, u32>(0))?;
    let numbers: Vec<u32> = rows.collect::<Result<_, _>>()?;
    Ok(numbers.into_iter().filter_map(|number| BatchNo::new(number).ok()).collect())
}
