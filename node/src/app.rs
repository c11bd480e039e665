//! What the parts of a running node share.

use std::ops::Deref;
use std::sync::Arc;

use jikai_schema::codec::decode_event;
use jikai_schema::event::{BatchNames, Event, RequestKey};
use jikai_schema::id::NodeId;
use jikai_schema::money::Money;
use jikai_schema::peer::{HubReply, NodeRequest};
use jikai_schema::time::TimeMs;
use jikai_sync::identity::Certified;
use metrics_exporter_prometheus::PrometheusHandle;
use rand::RngExt;
use tokio::sync::watch;

use crate::config::{Acknowledge, Config};
use crate::decide::{Caller, PACKS_MAX, Verb};
use crate::directory::{DirectoryBoard, Whereabouts};
use crate::handoff::Moved;
use crate::http::Allowances;
use crate::keyring::Keyring;
use crate::renewal::AskHub;
use crate::session::{Challenges, Guesses, Hashing, Sessions};
use crate::store::ReadPool;
use crate::uplink::LinkState;
use crate::writer::{Clock, Reply, Request, SharedNames, WriteError, Writer, repeat};

/// How long a reply with `ack = "hub"` waits before it asks the terminal to come back with the same key.
const ACK_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// A running node, shared by its handlers. Cheap to clone: every layer of the API does so with every request.
#[derive(Clone)]
pub struct App(Arc<Parts>);

impl From<Parts> for App {
    fn from(parts: Parts) -> Self {
        App(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What a running node is made of.
#[derive(Clone)]
pub struct Parts {
    /// This node.
    pub node: NodeId,
    /// Settings.
    pub config: Arc<Config>,
    /// The writing thread.
    pub writer: Writer,
    /// Read-only connections.
    pub pool: ReadPool,
    /// Decrypted batch keys.
    pub keys: Arc<Keyring>,
    /// Live sessions.
    pub sessions: Arc<Sessions>,
    /// Challenges not yet answered.
    pub challenges: Arc<Challenges>,
    /// How often one address may ask without a session.
    pub strangers: Arc<Allowances>,
    /// Outlets that were let go of.
    pub moved: Arc<Moved>,
    /// Wrong passwords of operators.
    pub guesses: Arc<Guesses>,
    /// Room for hashing passwords.
    pub hashing: Arc<Hashing>,
    /// Printed names of batches.
    pub names: SharedNames,
    /// Asks the hub; `None` where there is none.
    pub hub: Option<Arc<dyn AskHub>>,
    /// Where outlets are that are not served here.
    pub whereabouts: Arc<Whereabouts>,
    /// What terminals are told of all nodes.
    pub directory: DirectoryBoard,
    /// State of the link to the hub.
    pub link: watch::Receiver<LinkState>,
    /// The certificate in use.
    pub certificate: watch::Receiver<Certified>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// The clock.
    pub clock: Clock,
}

/// Why a node serves nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The hub refused this store for good: it was replaced, copied or rewound, or its certificate was revoked.
    Fenced,
    /// The hub was not heard for so long that the node no longer knows who may still work here.
    OfflineTooLong,
}

/// A request that was done here, but whose acknowledgement by the hub is still out.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Not done.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// Done and durable here; the hub has not confirmed it in time.
    #[error("the operation is stored here, the hub has not confirmed it yet")]
    AckPending,
}

impl App {
    /// Asks the writer for what moves money or custody, and waits for the hub where `ack` or the amount demands it.
    pub async fn ask(&self, request: Request, amount_of: fn(&Reply) -> Money) -> Result<Reply, AskError> {
        let reply = match self.writer.ask(request.clone()).await {
            Err(WriteError::AnsweredElsewhere { origin, seq }) => self.ask_again(request, origin, seq).await?,
            answer => answer?,
        };
        let must_wait = match self.config.ack {
            Acknowledge::Hub => true,
            Acknowledge::Local => {
                self.config.hub_ack_from_fen.is_some_and(|from_fen| amount_of(&reply).fen() >= from_fen)
            }
        };
        if must_wait && reply.seq > 0 {
            self.wait_for_hub(reply.seq).await?;
        }
        Ok(reply)
    }

    /// Looks up at the hub what another node answered, before the outlet came here. A request that was not answered there is decided.
    async fn ask_again(&self, request: Request, origin: NodeId, seq: u64) -> Result<Reply, WriteError> {
        let unknown = |_| WriteError::AnsweredElsewhere { origin, seq };
        let hub = self.hub.as_ref().ok_or(WriteError::AnsweredElsewhere { origin, seq })?;
        let asked = NodeRequest::PastEvents { origin, seq, events_max: PACKS_MAX as u16 };
        let asked = asked.encode().map_err(|_| unknown(()))?;
        let reply = hub.ask(asked).await.map_err(|_| unknown(()))?;
        let Ok(HubReply::PastEvents(past)) = HubReply::decode(&reply) else { return Err(unknown(())) };
        // What cannot be read may be the answer.
        past.first().and_then(|bytes| decode_event(bytes).ok()).ok_or_else(|| unknown(()))?;
        let events = past.iter().map_while(|bytes| decode_event(bytes).ok());
        let is_answer = |event: &Event| event.request.is_some_and(|known| known.id == request.key.id);
        let events: Vec<Event> = events.take_while(is_answer).collect();
        if events.is_empty() {
            return self.writer.ask(Request { is_new: true, ..request }).await;
        }
        // Nothing waits for the hub: it is where the answer came from.
        repeat(events, &request.key).map(|reply| Reply { seq: 0, ..reply })
    }

    /// Notes that somebody asked for what the person may not do, by the right's words.
    pub async fn note_refusal(&self, caller: Caller, request: &str) -> Result<(), WriteError> {
        let key = self.fresh_key(&caller, "note");
        let verb = Verb::NoteRefusal { request: request.to_string() };
        self.writer.ask(Request::new(caller, key, verb)).await.map(drop)
    }

    async fn wait_for_hub(&self, seq: u64) -> Result<(), AskError> {
        let mut link = self.link.clone();
        let passed = link.wait_for(|state| state.acked_seq >= seq);
        match tokio::time::timeout(ACK_WAIT, passed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(AskError::AckPending),
        }
    }

    /// A key for a request that is never repeated: logging in and out, inquiries.
    pub fn fresh_key(&self, caller: &Caller, verb: &str) -> RequestKey {
        let key = hex::encode(rand::rng().random::<[u8; 16]>());
        RequestKey::of_terminal(caller.terminal, &key, verb, &[])
    }

    /// The clock's time.
    pub fn now_ms(&self) -> TimeMs {
        (self.clock)()
    }

    /// Why nobody is served now, if so.
    pub fn closed(&self) -> Option<Closed> {
        let (link, now_ms) = (self.link.borrow(), self.now_ms());
        if link.fenced {
            return Some(Closed::Fenced);
        }
        let silent_ms = now_ms.ms() - link.contact_at_ms(now_ms).ms();
        (silent_ms > self.config.offline_ms_max).then_some(Closed::OfflineTooLong)
    }

    /// Printed names of batches as known now.
    pub fn names(&self) -> Arc<BatchNames> {
        self.names.read().clone()
    }
}
