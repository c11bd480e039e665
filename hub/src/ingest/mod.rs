//! The nodes' side of the hub: their logs in, their feeds out, and the keys of their batches.

mod admission;
mod directory;
mod enrolment;
mod keys;
mod links;
mod readable;
mod recovery;
mod renewal;
mod signer;
mod slices;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use jikai_schema::codec;
use jikai_schema::command::{Command, NodeBatch, Outcome, Refusal};
use jikai_schema::event::Actor;
use jikai_schema::id::NodeId;
use jikai_sync::identity::Certified;
use jikai_sync::session::{LogRecord, VerifiedBatch};
use jikai_sync::transport::{Admission, Future, HubStore, LogError};
use jikai_sync::wire::{Cursor, Hello, Mark, RefusalV1};
use rusqlite::Connection;

use crate::machine::RECOVERING;
use crate::sequencer::{ProposeError, Sequencer};
use crate::store::ReadPool;

use readable::Readers;

pub use keys::{KeyError, KeyVault};
pub use links::{LinkView, Links};
pub use signer::Signer;
use slices::Slices;

/// The hub as the sync driver sees it.
pub struct NodeGate {
    environment: String,
    sequencer: Sequencer,
    pool: ReadPool,
    vault: Arc<KeyVault>,
    links: Arc<Links>,
    signer: Option<Arc<Signer>>,
    readers: Readers,
    slices: Arc<Slices>,
    standstill: recovery::Standstill,
}

impl NodeGate {
    /// Joins the parts.
    pub fn new(
        environment: String,
        sequencer: Sequencer,
        pool: ReadPool,
        vault: Arc<KeyVault>,
        links: Arc<Links>,
    ) -> Self {
        let (signer, readers, slices) = (None, Readers::default(), Arc::default());
        let standstill = recovery::Standstill::default();
        NodeGate { environment, sequencer, pool, vault, links, signer, readers, slices, standstill }
    }

    /// Renews certificates of nodes too.
    pub fn with_signer(self, signer: Signer) -> Self {
        NodeGate { signer: Some(Arc::new(signer)), ..self }
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, LogError> {
        let outcome = self.pool.read(move |store| read(store)).await;
        outcome.map_err(|error| LogError(error.to_string()))?.map_err(|error| LogError(error.to_string()))
    }

    async fn take_in(&self, node: NodeId, incarnation: [u8; 16], batch: VerifiedBatch) -> Result<Cursor, RefusalV1> {
        let head_seq = batch.head_seq;
        let VerifiedBatch { first_seq, prev_hash, last_hash, events, .. } = batch;
        let decided_at =
            |bytes: Option<&Vec<u8>>| bytes.and_then(|bytes| codec::decode_event(bytes).ok()).map(|event| event.at_ms);
        let (oldest, newest, count) = (decided_at(events.first()), decided_at(events.last()), events.len());
        let end = Cursor { next_seq: first_seq + count as u64, hash: last_hash };
        let command = Command::IngestEvents(NodeBatch { node, incarnation, first_seq, prev_hash, last_hash, events });
        match self.sequencer.propose(Actor::System, command).await.map_err(unavailable)? {
            Outcome::Ingested { next_seq, hash, quarantined } => {
                let now_ms = self.sequencer.now_ms();
                self.links.ingested(node, next_seq, head_seq, newest, now_ms);
                metrics::counter!("jikai_ingested_events_total").increment(count as u64);
                if let Some(oldest) = oldest {
                    metrics::histogram!("jikai_ingest_lag_ms").record((now_ms.ms() - oldest.ms()).max(0) as f64);
                }
                if quarantined > 0 {
                    metrics::counter!("jikai_quarantined_events_total").increment(quarantined);
                    tracing::error!(%node, first_seq, quarantined, "events of a node are in quarantine");
                }
                // What a session at another machine brought since this one opened is known beyond the batch. The node hears of
                // what it sent here, which agrees with what is known.
                Ok(if next_seq > end.next_seq { end } else { Cursor { next_seq, hash } })
            }
            Outcome::Refused(refusal) if refusal.code() == RECOVERING => Err(recovery::stand_still(self, node).await),
            Outcome::Refused(refusal) => Err(as_session_refusal(node, refusal)),
            other => Err(RefusalV1::Unavailable { why: format!("unexpected outcome {other:?}") }),
        }
    }
}

impl HubStore for NodeGate {
    fn check_certificate<'a>(&'a self, certified: &'a Certified) -> Future<'a, Result<(), RefusalV1>> {
        Box::pin(admission::check_certificate(self, certified))
    }

    fn admit(&self, hello: Hello) -> Future<'_, Result<Admission, RefusalV1>> {
        Box::pin(admission::admit(self, hello))
    }

    fn check_store<'a>(&'a self, hello: &'a Hello) -> Future<'a, Result<(), RefusalV1>> {
        Box::pin(admission::check_store(self, hello))
    }

    fn begin_run<'a>(&'a self, hello: &'a Hello, mark: Mark) -> Future<'a, Result<(), RefusalV1>> {
        Box::pin(admission::begin_run(self, hello, mark))
    }

    fn claimant(&self, node: NodeId, mark: Mark) -> Future<'_, Option<[u8; 16]>> {
        Box::pin(admission::claimant(self, node, mark))
    }

    fn is_clone(&self, node: NodeId, run: [u8; 16]) -> Future<'_, ()> {
        Box::pin(admission::note_clone(self, node, run))
    }

    fn ingest(
        &self,
        node: NodeId,
        incarnation: [u8; 16],
        batch: VerifiedBatch,
    ) -> Future<'_, Result<Cursor, RefusalV1>> {
        Box::pin(self.take_in(node, incarnation, batch))
    }

    fn read_down(
        &self,
        node: NodeId,
        from_seq: u64,
        events_max: usize,
        bytes_max: usize,
    ) -> Future<'_, Result<Vec<LogRecord>, RefusalV1>> {
        Box::pin(async move {
            let read = self.read(move |store| read_feed(store, node, from_seq, events_max, bytes_max)).await;
            let records = read.map_err(|error| RefusalV1::Unavailable { why: error.to_string() })?;
            self.readers.readable(node, records)
        })
    }

    fn feed_stopped(&self, node: NodeId, refusal: &RefusalV1) {
        tracing::error!(%node, %refusal, hint = refusal.hint(), "a node's feed is stopped in front of what it cannot read");
        metrics::counter!("jikai_feeds_stopped_total").increment(1);
        self.links.feed_stopped(node, refusal.to_string());
    }

    fn down_acked(&self, node: NodeId, cursor: Cursor) {
        self.links.down_acked(node, cursor.next_seq - 1, self.sequencer.now_ms());
    }

    fn agreed<'a>(&'a self, certified: &'a Certified) -> Future<'a, ()> {
        Box::pin(renewal::used(self, certified))
    }

    fn answer<'a>(&'a self, certified: &'a Certified, request: Vec<u8>) -> Future<'a, Vec<u8>> {
        Box::pin(keys::answer(self, certified, request))
    }

    fn disconnected(&self, node: NodeId, refusal: Option<&RefusalV1>) {
        self.links.disconnected(node, refusal.map(RefusalV1::to_string), self.sequencer.now_ms());
    }

    fn refused(&self, node: NodeId, refusal: &RefusalV1) {
        metrics::counter!("jikai_sessions_refused_total").increment(1);
        self.links.refused(node, refusal.to_string(), self.sequencer.now_ms());
    }
}

fn read_feed(
    store: &Connection,
    node: NodeId,
    from_seq: u64,
    events_max: usize,
    bytes_max: usize,
) -> Result<Vec<LogRecord>, rusqlite::Error> {
    let sql = "SELECT down_feed.seq, hub_log.bytes FROM down_feed JOIN hub_log ON hub_log.seq = down_feed.hub_seq \
               WHERE node = ?1 AND down_feed.seq >= ?2 ORDER BY down_feed.seq LIMIT ?3";
    let mut statement = store.prepare_cached(sql)?;
    let mut rows = statement.query((node.get(), from_seq as i64, events_max as i64))?;
    let (mut records, mut gathered_bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let record = LogRecord { seq: row.get::<_, i64>(0)? as u64, bytes: row.get(1)? };
        gathered_bytes += record.bytes.len();
        if gathered_bytes > bytes_max && !records.is_empty() {
            break;
        }
        records.push(record);
    }
    Ok(records)
}

fn unavailable(error: ProposeError) -> RefusalV1 {
    RefusalV1::Unavailable { why: error.to_string() }
}

fn as_session_refusal(node: NodeId, refusal: Refusal) -> RefusalV1 {
    match refusal {
        Refusal::Gap { next_seq, first_seq, .. } => RefusalV1::Gap { expected: next_seq, found: first_seq },
        Refusal::Fork { next_seq, .. } => RefusalV1::Fork { at: next_seq },
        Refusal::Incarnation { node } => RefusalV1::Incarnation { node },
        Refusal::Unknown { .. } => RefusalV1::UnknownNode { node },
        // Passes once the hub is upgraded: the node keeps its events and tries again.
        Refusal::Rule { rule, .. } => RefusalV1::Unavailable { why: rule },
        other => RefusalV1::Malformed { what: other.to_string() },
    }
}
