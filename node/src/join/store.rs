//! A store without its slice, as the sync driver sees it: it has nothing to send, and takes nothing of the feed.

use jikai_schema::chain::ChainHash;
use jikai_schema::codec::EVENT_VERSION;
use jikai_schema::store::SCHEMA_VERSION;
use jikai_sync::session::{LogRecord, VerifiedBatch};
use jikai_sync::transport::{Future, LogError, NodeStore};
use jikai_sync::wire::{Cursor, Hello, Mark, RefusalV1};
use tokio::sync::watch;

use crate::store::{Joining, StoreIdentity};
use crate::uplink::{HubGeneration, Runs};

/// Greets with the place at which the hub said that the log goes on.
pub(super) struct JoiningStore {
    identity: StoreIdentity,
    joining: Joining,
    generation: HubGeneration,
    runs: Runs,
    up_head: watch::Sender<u64>,
    refused: watch::Sender<Option<RefusalV1>>,
}

impl JoiningStore {
    /// Tells of refusals.
    pub(super) fn new(
        identity: StoreIdentity,
        joining: Joining,
        (generation, runs): (HubGeneration, Runs),
        refused: watch::Sender<Option<RefusalV1>>,
    ) -> Self {
        let up_head = watch::Sender::new(joining.up_next - 1);
        JoiningStore { identity, joining, generation, runs, up_head, refused }
    }

    async fn met(&self, generation: u32) -> Result<(), LogError> {
        self.generation.raise(generation).await?;
        self.runs.admitted().await
    }
}

impl NodeStore for JoiningStore {
    fn hello(&self) -> Future<'_, Result<Hello, LogError>> {
        let StoreIdentity { environment, node, incarnation, epoch } = self.identity.clone();
        let up_head = Cursor { next_seq: self.joining.up_next, hash: self.joining.up_hash };
        let (schema_version, event_version, down) = (SCHEMA_VERSION, EVENT_VERSION, Cursor::START);
        let hello = Hello { environment, node, incarnation, epoch, schema_version, up_head, down, event_version };
        Box::pin(std::future::ready(Ok(hello)))
    }

    fn mark(&self) -> Option<Mark> {
        Some(self.runs.mark())
    }

    fn up_head(&self) -> watch::Receiver<u64> {
        self.up_head.subscribe()
    }

    fn read_up(&self, _: u64, _: usize, _: usize) -> Future<'_, Result<Vec<LogRecord>, LogError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    fn chain_at(&self, seq: u64) -> Future<'_, Result<Option<ChainHash>, LogError>> {
        let hash = (seq + 1 == self.joining.up_next).then_some(self.joining.up_hash);
        Box::pin(std::future::ready(Ok(hash)))
    }

    /// It goes on behind the slice: what comes before that is not taken, and so not acknowledged.
    fn takes_feed(&self) -> bool {
        false
    }

    fn apply_down(&self, _: VerifiedBatch) -> Future<'_, Result<Cursor, LogError>> {
        Box::pin(std::future::ready(Err(LogError("the slice comes first".into()))))
    }

    fn acked(&self, _: Cursor) {}

    fn hub_generation(&self) -> u32 {
        self.generation.met()
    }

    fn met_hub(&self, generation: u32, _: Cursor) -> Future<'_, Result<(), LogError>> {
        Box::pin(self.met(generation))
    }

    fn connected(&self) {}

    fn disconnected(&self, refusal: Option<&RefusalV1>) {
        self.refused.send_replace(refusal.cloned());
    }
}
