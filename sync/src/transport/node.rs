//! The node's driver: keeps a session with the hub, address after address, try after try.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::TransportError;
use super::driver::{Writers, now_ms, read_streams, wake};
use super::limits::transport_config;
use super::requests::Requester;
use super::store::{LogError, NodeStore};
use crate::backoff::Backoff;
use crate::identity::{HUB_NAME, TlsIdentity, sync_client};
use crate::session::{Action, NodeSession};
use crate::wire::RefusalV1;

/// How long a connection may take to open.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Settings of an uplink.
#[derive(Debug, Clone)]
pub struct UplinkOptions {
    /// Addresses of the hub, tried in turn.
    pub hub: Vec<SocketAddr>,
    /// Local address; port 0 lets the system choose.
    pub bind: SocketAddr,
    /// UDP segmentation offload; some virtual network cards cannot do it.
    pub segmentation_offload: bool,
}

/// Keeps a node connected to the hub.
pub struct NodeUplink {
    endpoint: Endpoint,
    options: UplinkOptions,
    store: Arc<dyn NodeStore>,
    connection: watch::Sender<Option<Connection>>,
}

/// Why a session ended.
enum Ended {
    /// The protocol or the peer gave a reason.
    Refused(RefusalV1),
    /// The connection or the store failed.
    Failed(String),
    /// The node is shutting down.
    Cancelled,
}

impl NodeUplink {
    /// Binds the local address. Nothing is sent until [`NodeUplink::run`].
    pub fn bind(
        identity: &TlsIdentity,
        options: UplinkOptions,
        store: Arc<dyn NodeStore>,
    ) -> Result<Self, TransportError> {
        let address = options.bind;
        let mut endpoint = Endpoint::client(address).map_err(|source| TransportError::Bind { address, source })?;
        let crypto = QuicClientConfig::try_from(sync_client(identity)?).map_err(|_| TransportError::NoInitialCipher)?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport_config(options.segmentation_offload));
        endpoint.set_default_client_config(config);
        Ok(NodeUplink { endpoint, options, store, connection: watch::Sender::new(None) })
    }

    /// Sends requests beside the logs while a session is open.
    pub fn requester(&self) -> Requester {
        Requester { connection: self.connection.subscribe() }
    }

    /// Keeps sessions going until cancelled.
    pub async fn run(self, cancelled: CancellationToken) {
        let mut backoff = Backoff::default();
        for address in self.options.hub.iter().cycle() {
            let ended = tokio::select! {
                ended = self.session(*address, &mut backoff) => ended,
                () = cancelled.cancelled() => Ended::Cancelled,
            };
            self.connection.send_replace(None);
            match ended {
                Ended::Cancelled => break,
                Ended::Refused(refusal) => {
                    tracing::warn!(%address, %refusal, hint = refusal.hint(), "the session with the hub ended");
                    self.store.disconnected(Some(&refusal));
                }
                Ended::Failed(error) => {
                    tracing::info!(%address, error, "no session with the hub");
                    self.store.disconnected(None);
                }
            }
            let wait = Duration::from_millis(backoff.next_wait_ms(&mut rand::rng()));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = cancelled.cancelled() => break,
            }
        }
        self.endpoint.close(0u32.into(), b"stopping");
        self.endpoint.wait_idle().await;
    }

    async fn session(&self, address: SocketAddr, backoff: &mut Backoff) -> Ended {
        match self.try_session(address, backoff).await {
            Ok(refusal) => Ended::Refused(refusal),
            Err(error) => Ended::Failed(error),
        }
    }

    async fn try_session(&self, address: SocketAddr, backoff: &mut Backoff) -> Result<RefusalV1, String> {
        let connecting = self.endpoint.connect(address, HUB_NAME).map_err(|error| error.to_string())?;
        let opened = tokio::time::timeout(CONNECT_WAIT, connecting).await.map_err(|_| "no answer".to_string())?;
        let connection = opened.map_err(|error| error.to_string())?;
        let (up_send, up_receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
        let (down_send, down_receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
        let mut writers = Writers { up: up_send, down: down_send };
        let mut incoming = read_streams(up_receive, down_receive);
        let mut head = self.store.up_head();
        let hello = self.store.hello().await.map_err(|error| error.to_string())?;
        let mut session = NodeSession::new(hello, now_ms());
        loop {
            while let Some(action) = session.poll() {
                if let Action::Close(refusal) = action {
                    writers.finish().await;
                    connection.close(1u32.into(), b"refused");
                    return Ok(refusal);
                }
                if matches!(action, Action::LocateUp(_)) {
                    backoff.reset();
                    self.connection.send_replace(Some(connection.clone()));
                    self.store.connected();
                }
                self.perform(action, &mut session, &mut writers).await?;
            }
            tokio::select! {
                chunk = incoming.recv() => match chunk {
                    Some((stream, Some(bytes))) => session.on_bytes(stream, &bytes, now_ms()),
                    Some((_, None)) | None => return Err("the connection ended".into()),
                },
                changed = head.changed() => match changed {
                    Ok(()) => session.log_grew(*head.borrow_and_update()),
                    Err(_) => return Err("the store is closing".into()),
                },
                () = wake(session.wake_at_ms()) => session.tick(now_ms()),
            }
        }
    }

    async fn perform(&self, action: Action, session: &mut NodeSession, writers: &mut Writers) -> Result<(), String> {
        let failed = |error: LogError| error.to_string();
        match action {
            Action::Send(stream, bytes) => writers.send(stream, &bytes).await.map_err(|error| error.to_string())?,
            Action::LocateUp(welcome) => {
                let hash = self.store.chain_at(welcome.up.next_seq - 1).await.map_err(failed)?;
                session.located(hash, now_ms());
            }
            Action::ReadLog { from_seq, events_max, bytes_max } => {
                let records = self.store.read_up(from_seq, events_max, bytes_max).await.map_err(failed)?;
                session.log_read(&records, now_ms());
            }
            Action::Deliver(batch) => {
                let cursor = self.store.apply_down(batch).await.map_err(failed)?;
                session.delivered(cursor, now_ms());
            }
            Action::Acked(cursor) => self.store.acked(cursor),
            Action::Admit(_) | Action::Close(_) => {}
        }
        Ok(())
    }
}
