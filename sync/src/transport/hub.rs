//! The hub's driver: accepts nodes, one session each; a newer session of a node ends the older.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use jikai_schema::id::NodeId;
use parking_lot::Mutex;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, ServerConfig};
use rustls_pki_types::CertificateDer;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::TransportError;
use super::driver::{Incoming, Writers, now_ms, read_streams, wake};
use super::limits::transport_config;
use super::requests::serve;
use super::store::{Admission, HubStore};
use crate::identity::{TlsIdentity, node_of_certificate, sync_server};
use crate::session::{Action, HubSession, VerifiedBatch, WINDOW_BATCHES};
use crate::wire::{Cursor, RefusalV1};

/// Settings of the hub's endpoint.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// Where nodes connect.
    pub listen: SocketAddr,
    /// Most connections at once.
    pub connections_max: usize,
    /// UDP segmentation offload; some virtual network cards cannot do it.
    pub segmentation_offload: bool,
}

/// Accepts the sessions of nodes.
pub struct HubEndpoint {
    endpoint: Endpoint,
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn HubStore>,
    /// The newest connection of each node.
    sessions: Mutex<HashMap<NodeId, Connection>>,
    permits: Arc<Semaphore>,
}

impl HubEndpoint {
    /// Binds the address. Nodes are served by [`HubEndpoint::run`].
    pub fn bind(
        identity: &TlsIdentity,
        options: &HubOptions,
        store: Arc<dyn HubStore>,
    ) -> Result<Self, TransportError> {
        let crypto = QuicServerConfig::try_from(sync_server(identity)?).map_err(|_| TransportError::NoInitialCipher)?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(transport_config(options.segmentation_offload)).max_incoming(options.connections_max);
        let address = options.listen;
        let endpoint = Endpoint::server(config, address).map_err(|source| TransportError::Bind { address, source })?;
        let permits = Arc::new(Semaphore::new(options.connections_max));
        Ok(HubEndpoint { endpoint, shared: Arc::new(Shared { store, sessions: Mutex::default(), permits }) })
    }

    /// The address in use.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Serves nodes until cancelled.
    pub async fn run(self, cancelled: CancellationToken) {
        loop {
            let incoming = tokio::select! {
                incoming = self.endpoint.accept() => incoming,
                () = cancelled.cancelled() => None,
            };
            let Some(incoming) = incoming else { break };
            let Ok(permit) = self.shared.permits.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let shared = self.shared.clone();
            tokio::spawn(async move {
                match incoming.await {
                    Ok(connection) => shared.serve(connection).await,
                    Err(error) => tracing::info!(%error, "a connection was not opened"),
                }
                drop(permit);
            });
        }
        self.endpoint.close(0u32.into(), b"stopping");
        self.endpoint.wait_idle().await;
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, connection: Connection) {
        let node = match certified_node(&connection) {
            Some(node) if !node.is_hub() => node,
            _ => return connection.close(1u32.into(), b"no node"),
        };
        if let Some(older) = self.sessions.lock().insert(node, connection.clone()) {
            tracing::info!(%node, "a newer session takes over");
            older.close(2u32.into(), b"superseded");
        }
        let ended = self.clone().session(node, &connection).await;
        let newest = {
            let mut sessions = self.sessions.lock();
            let newest = sessions.get(&node).is_some_and(|newest| newest.stable_id() == connection.stable_id());
            if newest {
                sessions.remove(&node);
            }
            newest
        };
        let refusal = ended.err();
        if let Some(refusal) = &refusal {
            tracing::warn!(%node, %refusal, hint = refusal.hint(), "a session ended");
        }
        if newest {
            self.store.disconnected(node, refusal.as_ref());
        }
        connection.close(0u32.into(), b"ended");
    }

    /// `Err` with the reason where the protocol gave one.
    async fn session(self: Arc<Self>, node: NodeId, connection: &Connection) -> Result<(), RefusalV1> {
        let (Ok((up_send, up_receive)), Ok((down_send, down_receive))) =
            (connection.accept_bi().await, connection.accept_bi().await)
        else {
            return Ok(());
        };
        let answering = tokio::spawn(self.clone().answer_requests(node, connection.clone()));
        let mut run = Run {
            shared: &self,
            node,
            session: HubSession::new(now_ms()),
            writers: Writers { up: up_send, down: down_send },
            incoming: read_streams(up_receive, down_receive),
            ingest: None,
            down_head: watch::channel(0).1,
        };
        let ended = run.drive().await;
        answering.abort();
        ended
    }

    async fn answer_requests(self: Arc<Self>, node: NodeId, connection: Connection) {
        // The stream limit of the connection bounds how many are answered at once.
        while let Ok((send, receive)) = connection.accept_bi().await {
            let shared = self.clone();
            tokio::spawn(async move { serve(send, receive, |request| shared.store.answer(node, request)).await });
        }
    }
}

/// One session while it runs.
struct Run<'a> {
    shared: &'a Arc<Shared>,
    node: NodeId,
    session: HubSession,
    writers: Writers,
    incoming: mpsc::Receiver<Incoming>,
    ingest: Option<Ingest>,
    down_head: watch::Receiver<u64>,
}

/// Takes batches in, in order, beside the loop that verifies the next ones.
struct Ingest {
    batches: mpsc::Sender<VerifiedBatch>,
    done: mpsc::Receiver<Result<Cursor, RefusalV1>>,
}

impl Run<'_> {
    async fn drive(&mut self) -> Result<(), RefusalV1> {
        loop {
            while let Some(action) = self.session.poll() {
                if let Action::Close(refusal) = action {
                    self.writers.finish().await;
                    return Err(refusal);
                }
                if !self.perform(action).await {
                    return Ok(());
                }
            }
            let admitted = self.ingest.is_some();
            let done = async {
                match &mut self.ingest {
                    Some(ingest) => ingest.done.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                chunk = self.incoming.recv() => match chunk {
                    Some((stream, Some(bytes))) => self.session.on_bytes(stream, &bytes, now_ms()),
                    Some((_, None)) | None => return Ok(()),
                },
                outcome = done => match outcome {
                    Some(Ok(cursor)) => self.session.delivered(cursor, now_ms()),
                    Some(Err(refusal)) => self.session.refuse(refusal, now_ms()),
                    None => return Ok(()),
                },
                changed = self.down_head.changed(), if admitted => match changed {
                    Ok(()) => self.session.feed_grew(*self.down_head.borrow_and_update()),
                    Err(_) => return Ok(()),
                },
                () = wake(self.session.wake_at_ms()) => self.session.tick(now_ms()),
            }
        }
    }

    /// `false` when the connection is gone.
    async fn perform(&mut self, action: Action) -> bool {
        let store = &self.shared.store;
        match action {
            Action::Send(stream, bytes) => return self.writers.send(stream, &bytes).await.is_ok(),
            Action::Admit(hello) => self.admit(hello).await,
            Action::ReadLog { from_seq, events_max, bytes_max } => {
                match store.read_down(self.node, from_seq, events_max, bytes_max).await {
                    Ok(records) => self.session.log_read(&records, now_ms()),
                    Err(error) => self.session.refuse(RefusalV1::Unavailable { why: error.to_string() }, now_ms()),
                }
            }
            Action::Deliver(batch) => {
                if let Some(ingest) = &self.ingest {
                    return ingest.batches.send(batch).await.is_ok();
                }
            }
            Action::Acked(cursor) => store.down_acked(self.node, cursor),
            Action::LocateUp(_) | Action::Close(_) => {}
        }
        true
    }

    async fn admit(&mut self, hello: crate::wire::Hello) {
        let (claimed, incarnation) = (hello.node, hello.incarnation);
        let admitted = if claimed == self.node {
            self.shared.store.admit(hello).await
        } else {
            Err(RefusalV1::WrongNode { certified: self.node, claimed })
        };
        match admitted {
            Ok(Admission { welcome, mut down_head }) => {
                let head_seq = *down_head.borrow_and_update();
                self.down_head = down_head;
                self.ingest = Some(start_ingest(self.shared.store.clone(), self.node, incarnation));
                self.session.admitted(welcome, head_seq, now_ms());
            }
            Err(refusal) => self.session.refuse(refusal, now_ms()),
        }
    }
}

fn start_ingest(store: Arc<dyn HubStore>, node: NodeId, incarnation: [u8; 16]) -> Ingest {
    let (batches, mut queue) = mpsc::channel::<VerifiedBatch>(WINDOW_BATCHES);
    let (outcomes, done) = mpsc::channel(WINDOW_BATCHES);
    tokio::spawn(async move {
        while let Some(batch) = queue.recv().await {
            let outcome = store.ingest(node, incarnation, batch).await;
            let failed = outcome.is_err();
            if outcomes.send(outcome).await.is_err() || failed {
                return;
            }
        }
    });
    Ingest { batches, done }
}

fn certified_node(connection: &Connection) -> Option<NodeId> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    node_of_certificate(chain.first()?).ok()
}
