//! The node's store as the sync driver sees it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jikai_schema::chain::ChainHash;
use jikai_schema::codec::{EVENT_VERSION, decode_event};
use jikai_schema::directory::SignedDirectory;
use jikai_schema::event::{EventBody, HandoffEvent};
use jikai_schema::id::OutletId;
use jikai_schema::store::SCHEMA_VERSION;
use jikai_sync::session::{LogRecord, VerifiedBatch};
use jikai_sync::transport::{Future, LogError, NodeStore};
use jikai_sync::wire::{Cursor, Hello, Mark, RefusalV1};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use super::routes::{changes_routes, routes};
use super::{HubAcked, HubGeneration, HubRoutes, LinkState, REPLACED, Runs};
use crate::directory::{DirectoryBoard, changes_directory};
use crate::handoff::Moved;
use crate::session::{Ended, Sessions};
use crate::store::{DownCursor, OwnLog, ReadPool, StoreIdentity};
use crate::writer::{Clock, DownBatch, Writer};

/// Tries of a read behind a commit.
const READS_MAX: u32 = 3;
/// How long to wait before such a read is tried again.
const READ_AGAIN: Duration = Duration::from_millis(100);

/// Feeds the sync driver from the writer and the read pool.
pub struct UplinkStore {
    identity: StoreIdentity,
    writer: Writer,
    pool: ReadPool,
    link: watch::Sender<LinkState>,
    up_head: watch::Receiver<u64>,
    sessions: Arc<Sessions>,
    clock: Clock,
    generation: HubGeneration,
    hub_acked: HubAcked,
    /// `None` where nothing tells runs apart.
    runs: Option<Runs>,
    /// `None` where nobody follows them.
    routes: Option<HubRoutes>,
    moved: Arc<Moved>,
    /// Told when the hub orders outlets away.
    ordered: Arc<Notify>,
    directory: DirectoryBoard,
    /// Bounded by the outlets of the region.
    behind: Mutex<Behind>,
}

impl UplinkStore {
    /// Joins the parts. `up_head` follows the writer's head.
    pub fn new(
        identity: StoreIdentity,
        writer: Writer,
        pool: ReadPool,
        link: watch::Sender<LinkState>,
        sessions: Arc<Sessions>,
        clock: Clock,
    ) -> Self {
        let mut head = writer.head();
        let (sender, up_head) = watch::channel(head.borrow().seq);
        tokio::spawn(async move {
            while head.changed().await.is_ok() {
                let seq = head.borrow_and_update().seq;
                sender.send_replace(seq);
            }
        });
        let (generation, hub_acked) = (HubGeneration::default(), HubAcked::default());
        let (moved, ordered, routes) = (Arc::default(), Arc::default(), None);
        let directory = DirectoryBoard::new(&identity.environment);
        UplinkStore {
            identity,
            writer,
            pool,
            link,
            up_head,
            sessions,
            clock,
            generation,
            hub_acked,
            runs: None,
            routes,
            moved,
            ordered,
            directory,
            behind: Mutex::default(),
        }
    }

    /// Follows outlets that move.
    pub fn with_handoff(self, moved: Arc<Moved>, ordered: Arc<Notify>) -> Self {
        UplinkStore { moved, ordered, ..self }
    }

    /// Remembers the hub's generation and what it acknowledged, and follows what the hub tells of its machines.
    pub fn with_hub(self, generation: HubGeneration, hub_acked: HubAcked, routes: HubRoutes) -> Self {
        UplinkStore { generation, hub_acked, routes: Some(routes), ..self }
    }

    /// Tells the hub which run of the store this is.
    pub fn with_runs(self, runs: Runs) -> Self {
        UplinkStore { runs: Some(runs), ..self }
    }

    /// Shows the directories that the hub publishes on this board.
    pub fn with_directory(self, directory: DirectoryBoard) -> Self {
        UplinkStore { directory, ..self }
    }

    /// Nothing is lost by a hub that forgot: the session opens all the same, and sends again from where the hub stands.
    async fn met(&self, generation: u32, up: Cursor) -> Result<(), LogError> {
        self.catch_up().await?;
        self.generation.raise(generation).await?;
        if let Some(runs) = &self.runs {
            runs.admitted().await?;
        }
        let acked_seq = up.next_seq - 1;
        let kept = self.hub_acked.met(generation, acked_seq).await;
        let hub_forgot = self.hub_acked.memory().forgot;
        // Before the link is told to be open, or the node would seem to have nothing that waits.
        self.link.send_modify(|state| (state.acked_seq, state.hub_forgot) = (acked_seq, hub_forgot));
        kept
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&rusqlite::Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, LogError> {
        let outcome = self.pool.read(move |store| read(store)).await;
        outcome.map_err(|error| LogError(error.to_string()))?.map_err(|error| LogError(error.to_string()))
    }

    async fn apply(&self, batch: VerifiedBatch) -> Result<Cursor, LogError> {
        let VerifiedBatch { first_seq, prev_hash, last_hash, events, .. } = batch;
        let bodies: Vec<EventBody> =
            events.iter().filter_map(|bytes| decode_event(bytes).ok()).map(|event| event.body).collect();
        let ended: Vec<Ended> = bodies.iter().filter_map(Ended::by).collect();
        let applied = self.writer.apply_down(DownBatch { first_seq, prev_hash, last_hash, events }).await;
        let DownCursor { next_seq, hash } = applied.map_err(|error| LogError(error.to_string()))?;
        // After the commit: a node that falls between the two reads the same from its store when it starts. Nothing that may fail
        // comes before the last fact is followed: the cursor has moved, so no fact comes twice.
        self.sessions.obey(&ended);
        self.follow_moves(&bodies);
        self.behind.lock().note(&bodies);
        self.catch_up().await?;
        self.link.send_modify(|state| state.fed(next_seq, (self.clock)()));
        Ok(Cursor { next_seq, hash })
    }
}

impl UplinkStore {
    /// What moves of outlets mean beside the store: who is sent on, whose sessions are not as they were, and what is to be let go of.
    fn follow_moves(&self, facts: &[EventBody]) {
        let mut is_ordered = false;
        for fact in facts {
            let EventBody::Handoff(handoff) = fact else { continue };
            is_ordered |= matches!(handoff, HandoffEvent::Ordered { .. });
            if is_here_again(handoff) {
                // Who was logged in when it left may have been put out of use elsewhere: the store tells who still is.
                self.sessions.close_outlet(handoff.outlet());
            }
            self.moved.follow(handoff);
        }
        if is_ordered {
            self.ordered.notify_one();
        }
    }

    /// Reads what facts changed in the store that memory has too. What cannot be read stays noted and ends the session: it is read
    /// before the next one opens.
    async fn catch_up(&self) -> Result<(), LogError> {
        let Behind { outlets, routes: has_routes, directory: has_directory } = self.behind.lock().clone();
        for outlet in outlets {
            let (sessions, moved, node) = (self.sessions.clone(), self.moved.clone(), self.identity.node);
            let now_ms = (self.clock)();
            self.read_surely(move |store| {
                // One that came back may have been let go of again meanwhile, on a later order.
                moved.read_released(store, node)?;
                sessions.load_outlet(store, outlet, now_ms)
            })
            .await?;
            self.behind.lock().outlets.remove(&outlet);
        }
        if let (Some(known), true) = (&self.routes, has_routes) {
            let settings = known.settings();
            known.publish(self.read_surely(move |store| routes(store, &settings)).await?);
        }
        self.behind.lock().routes = false;
        if has_directory {
            self.directory.publish(self.read_surely(SignedDirectory::load).await?);
            self.behind.lock().directory = false;
        }
        Ok(())
    }

    /// A read that is tried again a few times where it fails.
    async fn read_surely<T: Send + 'static>(
        &self,
        read: impl Fn(&rusqlite::Connection) -> Result<T, rusqlite::Error> + Clone + Send + 'static,
    ) -> Result<T, LogError> {
        for _ in 1..READS_MAX {
            match self.read(read.clone()).await {
                Ok(value) => return Ok(value),
                Err(error) => tracing::warn!(%error, "what the hub told could not be read from the store yet"),
            }
            tokio::time::sleep(READ_AGAIN).await;
        }
        self.read(read).await
    }
}

/// What the store knows and memory does not yet.
#[derive(Clone, Default)]
struct Behind {
    /// Came back: their sessions are to be read.
    outlets: BTreeSet<OutletId>,
    routes: bool,
    directory: bool,
}

impl Behind {
    fn note(&mut self, facts: &[EventBody]) {
        for fact in facts {
            match fact {
                EventBody::Handoff(handoff) if is_here_again(handoff) => {
                    self.outlets.insert(handoff.outlet());
                }
                _ => {}
            }
        }
        self.routes |= facts.iter().any(changes_routes);
        self.directory |= facts.iter().any(changes_directory);
    }
}

fn is_here_again(handoff: &HandoffEvent) -> bool {
    matches!(handoff, HandoffEvent::Arrived { .. } | HandoffEvent::Returned { .. })
}

impl NodeStore for UplinkStore {
    fn hello(&self) -> Future<'_, Result<Hello, LogError>> {
        Box::pin(async {
            if self.link.borrow().replaced {
                return Err(LogError(REPLACED.into()));
            }
            let head = *self.writer.head().borrow();
            let down = self.read(DownCursor::load).await?;
            Ok(Hello {
                environment: self.identity.environment.clone(),
                node: self.identity.node,
                incarnation: self.identity.incarnation,
                epoch: self.identity.epoch,
                schema_version: SCHEMA_VERSION,
                up_head: Cursor { next_seq: head.seq + 1, hash: head.hash },
                down: Cursor { next_seq: down.next_seq, hash: down.hash },
                event_version: EVENT_VERSION,
            })
        })
    }

    fn mark(&self) -> Option<Mark> {
        self.runs.as_ref().map(Runs::mark)
    }

    fn up_head(&self) -> watch::Receiver<u64> {
        self.up_head.clone()
    }

    fn read_up(
        &self,
        from_seq: u64,
        events_max: usize,
        bytes_max: usize,
    ) -> Future<'_, Result<Vec<LogRecord>, LogError>> {
        Box::pin(async move {
            let events = self.read(move |store| OwnLog(store).read(from_seq, events_max, bytes_max)).await?;
            Ok(events.into_iter().map(|event| LogRecord { seq: event.seq, bytes: event.bytes }).collect())
        })
    }

    fn chain_at(&self, seq: u64) -> Future<'_, Result<Option<ChainHash>, LogError>> {
        Box::pin(self.read(move |store| OwnLog(store).hash_at(seq)))
    }

    fn apply_down(&self, batch: VerifiedBatch) -> Future<'_, Result<Cursor, LogError>> {
        Box::pin(self.apply(batch))
    }

    fn acked(&self, cursor: Cursor) {
        let acked_seq = cursor.next_seq - 1;
        self.hub_acked.acked(acked_seq);
        // Not the highest ever: who waits for the hub must wait again for what it forgot.
        self.link.send_modify(|state| state.acked_seq = acked_seq);
    }

    fn hub_generation(&self) -> u32 {
        self.generation.met()
    }

    fn met_hub(&self, generation: u32, up: Cursor) -> Future<'_, Result<(), LogError>> {
        Box::pin(self.met(generation, up))
    }

    fn connected(&self) {
        self.link.send_modify(LinkState::opened);
    }

    /// The session goes on, so nothing is fenced; but the time that a node may be cut off runs, also over sessions.
    fn feed_stopped(&self, refusal: &RefusalV1) {
        tracing::error!(%refusal, hint = refusal.hint(), "the hub's feed is stopped");
        self.link.send_modify(|state| {
            state.stop_feed((self.clock)());
            state.refused = Some(refusal.to_string());
        });
    }

    fn disconnected(&self, refusal: Option<&RefusalV1>) {
        self.link.send_modify(|state| {
            if state.connected {
                state.left_at_ms = state.contact_at_ms((self.clock)());
            }
            state.connected = false;
            // It stands until a session opens. That another store runs as this node passes by itself only for the moment.
            if let Some(refusal) = refusal.filter(|refusal| !refusal.is_passing() || **refusal == RefusalV1::Superseded)
            {
                state.refused = Some(refusal.to_string());
                if refusal.is_fence() && !state.fenced {
                    tracing::error!(%refusal, hint = refusal.hint(), "this store is fenced: no terminal is served any more");
                    state.fenced = true;
                }
                state.replaced |= matches!(refusal, RefusalV1::Fenced { .. });
            }
        });
    }
}
