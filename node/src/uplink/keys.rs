//! Fetching the keys of batches that the feed has defined.

use std::sync::Arc;

use jikai_schema::id::BatchNo;
use jikai_schema::peer::{HubReply, KEYS_MAX, NodeRequest};
use jikai_schema::seal::BatchKey;
use jikai_sync::backoff::Backoff;
use jikai_sync::transport::Requester;
use rusqlite::Connection;
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
    let missing = keys.missing(defined.map_err(|error| error.to_string())?);
    let asked = missing.len().min(KEYS_MAX);
    let received = ask_for_keys(requester, missing).await?;
    let complete = received.len() >= asked;
    for (batch, key) in received {
        writer.keep_key(batch, key).await.map_err(|error| error.to_string())?;
    }
    if complete { Ok(()) } else { Err("the hub did not give all keys".into()) }
}

/// Keeps the keys of all batches of a store that nobody writes to yet: whoever is served next would find them missing.
pub async fn fetch_first_keys(requester: &Requester, store: &Connection, keys: &Keyring) -> Result<(), String> {
    let missing = keys.missing(defined_batches(store).map_err(|error| error.to_string())?);
    for (batch, key) in ask_for_keys(requester, missing).await? {
        keys.keep(store, batch, key).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The keys of these batches, as far as the hub gives them; at most [`KEYS_MAX`].
async fn ask_for_keys(requester: &Requester, mut batches: Vec<BatchNo>) -> Result<Vec<(BatchNo, BatchKey)>, String> {
    batches.truncate(KEYS_MAX);
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let request = NodeRequest::BatchKeys { batches }.encode().map_err(|error| error.to_string())?;
    let reply = requester.request(&request).await.map_err(|error| error.to_string())?;
    match HubReply::decode(&reply).map_err(|error| error.to_string())? {
        HubReply::BatchKeys(received) => {
            Ok(received.into_iter().map(|(batch, key)| (batch, BatchKey::from_bytes(key.0))).collect())
        }
        HubReply::Refused(reason) => Err(reason),
        _ => Err("the hub answered another question".into()),
    }
}

fn defined_batches(store: &Connection) -> Result<Vec<BatchNo>, rusqlite::Error> {
    let mut statement = store.prepare_cached("SELECT batch FROM batch ORDER BY batch")?;
    let rows = statement.query_map([], |row| row.get::<_, u32>(0))?;
    let numbers: Vec<u32> = rows.collect::<Result<_, _>>()?;
    Ok(numbers.into_iter().filter_map(|number| BatchNo::new(number).ok()).collect())
}
