//! What the parts of a running node share.

use std::sync::Arc;

use jikai_schema::barcode::SecurityBarcode;
use jikai_schema::event::{BatchNames, RequestKey};
use jikai_schema::id::{NodeId, OutletId};
use jikai_schema::money::Money;
use jikai_schema::projection::Projection;
use jikai_schema::rules::{Judgement, judge};
use jikai_schema::time::TimeMs;
use jikai_sync::identity::Certified;
use jikai_sync::transport::Requester;
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::RwLock;
use rand::RngExt;
use tokio::sync::{Semaphore, watch};

use crate::config::{Acknowledge, Config};
use crate::decide::Caller;
use crate::http::Strangers;
use crate::keyring::Keyring;
use crate::query::QueryError;
use crate::session::{Challenges, Guesses, Sessions};
use crate::store::{PoolError, ReadPool};
use crate::uplink::LinkState;
use crate::writer::{Clock, Reply, Request, WriteError, Writer};

/// How long a reply with `ack = "hub"` waits before it asks the terminal to come back with the same key.
const ACK_WAIT: std::time::Duration = std::time::Duration::from_secs(10);

/// A running node, shared by its handlers.
#[derive(Clone)]
pub struct App {
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
    pub strangers: Arc<Strangers>,
    /// Wrong passwords of operators.
    pub guesses: Arc<Guesses>,
    /// At most so many passwords are hashed at once: each takes memory and a core.
    pub hashing: Arc<Semaphore>,
    /// Printed names of batches.
    pub names: Arc<RwLock<Arc<BatchNames>>>,
    /// Asks the hub; `None` where there is none.
    pub hub: Option<Requester>,
    /// State of the link to the hub.
    pub link: watch::Receiver<LinkState>,
    /// The certificate in use.
    pub certificate: watch::Receiver<Certified>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
    /// The clock.
    pub clock: Clock,
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
    /// Asks the writer, and waits for the hub where `ack` or the amount demands it.
    pub async fn ask(&self, request: Request, amount_of: fn(&Reply) -> Money) -> Result<Reply, AskError> {
        let reply = self.writer.ask(request).await?;
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

    async fn wait_for_hub(&self, seq: u64) -> Result<(), AskError> {
        let mut link = self.link.clone();
        let passed = link.wait_for(|state| state.acked_seq >= seq);
        match tokio::time::timeout(ACK_WAIT, passed).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(AskError::AckPending),
        }
    }

    /// Judges codes for a claim at `here`, on a read-only connection.
    pub async fn judge(
        &self,
        here: OutletId,
        codes: Vec<SecurityBarcode>,
    ) -> Result<Result<Vec<Judgement>, QueryError>, PoolError> {
        let (keys, now_ms) = (self.keys.clone(), self.now_ms());
        let judge_all = move |store: &mut rusqlite::Connection| {
            let mut projection = Projection::new(store);
            let judged = codes.iter().map(|code| judge(&mut projection, keys.as_ref(), here, code, now_ms));
            Ok(judged.collect::<Result<_, _>>()?)
        };
        self.pool.read(judge_all).await
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

    /// Whether the hub was heard lately enough to know who may still work here.
    pub fn is_trusted(&self) -> bool {
        let now_ms = self.now_ms();
        now_ms.ms() - self.link.borrow().contact_at_ms(now_ms).ms() <= self.config.offline_ms_max
    }

    /// Printed names of batches as known now.
    pub fn names(&self) -> Arc<BatchNames> {
        self.names.read().clone()
    }
}
