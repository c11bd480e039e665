//! A store that takes the place of a lost one receives its slice from the hub.
//!
//! It opens a session like any node, asks for the slice over the connection's requests, and writes it in one transaction: killed in the
//! middle, nothing is there, and the next start begins anew. It serves nobody before.

mod store;
mod take_in;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use jikai_schema::peer::{HubReply, NodeRequest, SliceHead};
use jikai_schema::slice::SlicePart;
use jikai_schema::store::SCHEMA_VERSION;
use jikai_sync::backoff::Backoff;
use jikai_sync::identity::TlsIdentity;
use jikai_sync::transport::{NodeUplink, Requester, UplinkOptions};
use jikai_sync::wire::RefusalV1;
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::keyring::Keyring;
use crate::store::{Joining, StoreIdentity};
use crate::uplink::{HubGeneration, Runs, fetch_first_keys};
use store::JoiningStore;
use take_in::TakeIn;

/// Parts on their way from the connection to the store.
const PARTS_AHEAD: usize = 4;
/// How often a part that is not ready is asked for again before the transfer begins anew: each waits some seconds at the hub.
const ASKED_MAX: u32 = 60;
/// Tries of one question: a session that moves to another route fails what is on its way.
const TRIES_MAX: u32 = 10;
/// Between two of them.
const TRY_PAUSE: Duration = Duration::from_millis(200);
/// Between two tellings of how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Receives the slice of a store that has none yet; `store` holds it, whole and equal to the hub's, when this returns, and `keys` those of
/// its batches if the hub gave them.
pub async fn receive_slice(
    store: &mut Connection,
    identity: &StoreIdentity,
    joining: Joining,
    link: (&TlsIdentity, UplinkOptions),
    memory: (HubGeneration, Runs),
    keys: &Keyring,
) -> anyhow::Result<()> {
    let (refused, mut refusals) = watch::channel(None);
    let over = CancellationToken::new();
    let joining_store = JoiningStore::new(identity.clone(), joining, memory, refused);
    let (tls, options) = link;
    let uplink = NodeUplink::bind(tls, options, Arc::new(joining_store))?;
    let requester = uplink.requester();
    let syncing = tokio::spawn(uplink.run(over.clone()));
    tracing::info!(node = %identity.node, epoch = identity.epoch, "the store has no slice yet: the hub is asked for it");
    let mut backoff = Backoff::default();
    let outcome = loop {
        let received = tokio::select! {
            received = receive_once(store, joining, &requester) => received,
            refusal = refused_for_good(&mut refusals) => {
                break Err(anyhow::anyhow!("the hub refuses this store: {refusal}. {}", refusal.hint()));
            }
        };
        match received {
            // Without them claims would have to wait a moment; they are asked for again when the node runs.
            Ok(()) => match fetch_first_keys(&requester, store, keys).await {
                Ok(()) => break Ok(()),
                Err(error) => {
                    tracing::warn!(error, "the slice has come without the keys of its batches");
                    break Ok(());
                }
            },
            Err(error) => tracing::warn!(error = format!("{error:#}"), "the slice did not come; it is asked for anew"),
        }
        tokio::time::sleep(Duration::from_millis(backoff.next_wait_ms(&mut rand::rng()))).await;
    };
    over.cancel();
    let _ = syncing.await;
    outcome
}

/// Waits for a refusal that trying again does not mend.
async fn refused_for_good(refusals: &mut watch::Receiver<Option<RefusalV1>>) -> RefusalV1 {
    let is_final = |refusal: &Option<RefusalV1>| refusal.as_ref().is_some_and(|refusal| refusal.is_fence());
    match refusals.wait_for(is_final).await {
        Ok(refusal) => refusal.clone().unwrap_or(RefusalV1::Superseded),
        Err(_) => std::future::pending().await,
    }
}

/// One transfer, from its beginning to the commit.
async fn receive_once(store: &mut Connection, joining: Joining, requester: &Requester) -> anyhow::Result<()> {
    let head = match ask(requester, &NodeRequest::OpenSliceWithFeed).await? {
        HubReply::SliceOpened(head) => head,
        other => bail!("the hub does not give the slice: {}", words(other)),
    };
    if head.schema_version != SCHEMA_VERSION {
        bail!(
            "the hub's tables have version {}, this node's {SCHEMA_VERSION}: install the same version of both",
            head.schema_version
        );
    }
    if head.up != (joining.up_next, joining.up_hash) {
        bail!("the node's log has grown at the hub since this store was invited: have the node replaced anew");
    }
    let (sink, mut source) = mpsc::channel::<SlicePart>(PARTS_AHEAD);
    let fetching = tokio::spawn(fetch(requester.clone(), head.transfer, sink));
    // The transaction lives where the store is: this thread does nothing else meanwhile.
    let written = tokio::task::block_in_place(|| write(store, &head, joining, &mut source));
    drop(source);
    fetching.await??;
    written
}

fn write(
    store: &mut Connection,
    head: &SliceHead,
    joining: Joining,
    source: &mut mpsc::Receiver<SlicePart>,
) -> anyhow::Result<()> {
    let transaction = store.transaction_with_behavior(TransactionBehavior::Immediate).context("write the slice")?;
    let mut taking = TakeIn::begin(&transaction)?;
    let (began_at, mut told_at) = (Instant::now(), Instant::now());
    loop {
        let Some(part) = source.blocking_recv() else { bail!("the slice ended before its end") };
        if part == SlicePart::End {
            break;
        }
        taking.part(part)?;
        if told_at.elapsed() > TELL_EVERY {
            told_at = Instant::now();
            tracing::info!(rows = taking.rows(), events = taking.events(), "the slice is coming");
        }
    }
    let (rows, events) = (taking.rows(), taking.events());
    taking.finish(head, joining)?;
    transaction.commit().context("commit the slice")?;
    let took_ms = began_at.elapsed().as_millis() as u64;
    tracing::info!(rows, events, took_ms, "the slice has come: every table equals the hub's");
    Ok(())
}

async fn fetch(requester: Requester, transfer: u64, sink: mpsc::Sender<SlicePart>) -> anyhow::Result<()> {
    let (mut number, mut asked) = (0, 0);
    loop {
        match ask(&requester, &NodeRequest::SlicePart { transfer, part: number }).await? {
            HubReply::SlicePart(bytes) => {
                let part = SlicePart::decode(&bytes)?;
                let is_end = part == SlicePart::End;
                // Gone: the writer has failed, and says why.
                if sink.send(part).await.is_err() || is_end {
                    return Ok(());
                }
                (number, asked) = (number + 1, 0);
            }
            HubReply::SlicePending if asked < ASKED_MAX => asked += 1,
            other => bail!("part {number} of the slice does not come: {}", words(other)),
        }
    }
}

async fn ask(requester: &Requester, request: &NodeRequest) -> anyhow::Result<HubReply> {
    let bytes = request.encode()?;
    let mut tries = 1;
    loop {
        match requester.request(&bytes).await {
            Ok(reply) => return Ok(HubReply::decode(&reply)?),
            Err(error) if tries == TRIES_MAX => return Err(error.into()),
            Err(_) => tries += 1,
        }
        tokio::time::sleep(TRY_PAUSE).await;
    }
}

fn words(reply: HubReply) -> String {
    match reply {
        HubReply::Refused(reason) => reason,
        _ => "it answered another question".into(),
    }
}
