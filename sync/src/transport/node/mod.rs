//! The node's driver: keeps a session with the hub, address after address, try after try.

mod run;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, TransportErrorCode};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::TransportError;
use super::closing::{ENDED, close, told};
use super::limits::{OPENING_WAIT, transport_config};
use super::requests::Requester;
use super::store::NodeStore;
use crate::backoff::Backoff;
use crate::identity::{HUB_NAME, TlsIdentity, sync_client};
use crate::wire::RefusalV1;
use run::Run;

/// A session that lasted so long counts as a success, even if nothing had to be sent.
const STEADY: Duration = Duration::from_secs(10);

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
    /// How the next connection proves who we are.
    identity: watch::Sender<ClientConfig>,
}

/// Gives a running uplink another certificate.
#[derive(Clone)]
pub struct UplinkIdentity {
    identity: watch::Sender<ClientConfig>,
    connection: watch::Sender<Option<Connection>>,
    segmentation_offload: bool,
}

impl UplinkIdentity {
    /// Shows this certificate from now on: the open session ends in order, and the next one follows at once. No request is sent
    /// over the older certificate's connection any more.
    pub fn present(&self, identity: &TlsIdentity) -> Result<(), TransportError> {
        self.identity.send_replace(client_config(identity, self.segmentation_offload)?);
        self.connection.send_replace(None);
        Ok(())
    }
}

fn client_config(identity: &TlsIdentity, segmentation_offload: bool) -> Result<ClientConfig, TransportError> {
    let crypto = QuicClientConfig::try_from(sync_client(identity)?).map_err(|_| TransportError::NoInitialCipher)?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport_config(segmentation_offload));
    Ok(config)
}

/// What to do where hub and node do not trust each other.
const STRANGERS_HINT: &str = "correct `hub` in node.toml, or enrol the node at this hub: `jikai-hub ca sign`, and `jikai-node enrol` \
                              with the ca.pem of this hub (`jikai-hub ca show`)";
/// What TLS says of a certificate that no known authority signed: it knows none of this name (48), or one of this name with
/// another key (51), for all authorities of an environment are called the same.
const OTHER_AUTHORITY: [u8; 2] = [48, 51];

/// Why there was no session, where the protocol gave no reason.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    error: String,
    /// Whether one end's certificate is of an authority that the other does not know.
    strangers: bool,
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Failure { error, strangers: false }
    }
}

/// Whether a connection ended because one end does not know the authority of the other.
fn are_strangers(error: &ConnectionError) -> bool {
    let is_other = |code| OTHER_AUTHORITY.map(TransportErrorCode::crypto).contains(&code);
    match error {
        // This end does not know the hub's authority.
        ConnectionError::TransportError(ours) => is_other(ours.code),
        // The hub does not know this node's.
        ConnectionError::ConnectionClosed(theirs) => is_other(theirs.error_code),
        _ => false,
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        Failure { error: error.to_string(), strangers: are_strangers(&error) }
    }
}

/// How a session went.
struct Ended {
    /// The reason that the protocol or the peer gave, or else what failed.
    reason: Result<RefusalV1, Failure>,
    /// Whether the hub took events in, or the session lasted: then the next try comes soon.
    succeeded: bool,
}

impl NodeUplink {
    /// Binds the local address. Nothing is sent until [`NodeUplink::run`].
    pub fn bind(
        identity: &TlsIdentity,
        options: UplinkOptions,
        store: Arc<dyn NodeStore>,
    ) -> Result<Self, TransportError> {
        let address = options.bind;
        let endpoint = Endpoint::client(address).map_err(|source| TransportError::Bind { address, source })?;
        let identity = watch::Sender::new(client_config(identity, options.segmentation_offload)?);
        Ok(NodeUplink { endpoint, options, store, connection: watch::Sender::new(None), identity })
    }

    /// To give it another certificate while it runs.
    pub fn identity(&self) -> UplinkIdentity {
        UplinkIdentity {
            identity: self.identity.clone(),
            connection: self.connection.clone(),
            segmentation_offload: self.options.segmentation_offload,
        }
    }

    /// Sends requests beside the logs while a session is open.
    pub fn requester(&self) -> Requester {
        Requester { connection: self.connection.subscribe() }
    }

    /// Keeps sessions going until cancelled.
    pub async fn run(self, cancelled: CancellationToken) {
        let (mut backoff, mut identity) = (Backoff::default(), self.identity.subscribe());
        for address in self.options.hub.iter().cycle() {
            let config = identity.borrow_and_update().clone();
            let ended = tokio::select! {
                ended = self.session(*address, config, identity.clone()) => ended,
                () = cancelled.cancelled() => break,
            };
            match &ended.reason {
                Ok(refusal) => {
                    tracing::warn!(%address, %refusal, hint = refusal.hint(), "the session with the hub ended");
                }
                Err(Failure { error, strangers: true }) => {
                    tracing::warn!(%address, error, hint = STRANGERS_HINT, "the hub at this address and this node are of different authorities");
                }
                Err(Failure { error, .. }) => tracing::info!(%address, error, "no session with the hub"),
            }
            self.store.disconnected(ended.reason.as_ref().ok());
            if ended.succeeded {
                backoff.reset();
            }
            let wait = Duration::from_millis(backoff.next_wait_ms(&mut rand::rng()));
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Whoever shows another certificate begins anew.
                _ = identity.changed() => backoff.reset(),
                () = cancelled.cancelled() => break,
            }
        }
        self.connection.send_replace(None);
        self.endpoint.close(ENDED, b"stopping");
        self.endpoint.wait_idle().await;
    }

    async fn session(&self, address: SocketAddr, config: ClientConfig, newer: watch::Receiver<ClientConfig>) -> Ended {
        let connection = match self.connect(address, config).await {
            Ok(connection) => connection,
            Err(error) => return Ended { reason: Err(error), succeeded: false },
        };
        let opened_at = Instant::now();
        let (reason, sent) = match Run::open(self, &connection, newer).await {
            Ok(run) => run.until_end().await,
            Err(error) => (Err(error), false),
        };
        // TLS 1.3 tells a client what its certificate is worth only after its handshake.
        let strangers = connection.close_reason().is_some_and(|closed| are_strangers(&closed));
        let mut reason = reason.map_err(|error| Failure { error, strangers });
        self.connection.send_replace(None);
        if let Some(told) = told(&connection) {
            reason = Ok(told);
        }
        close(&connection, reason.as_ref().ok());
        // Two machines that run as one node push each other out: that must slow down, not go round and round.
        let superseded = reason == Ok(RefusalV1::Superseded);
        Ended { reason, succeeded: !superseded && (sent || opened_at.elapsed() >= STEADY) }
    }

    async fn connect(&self, address: SocketAddr, config: ClientConfig) -> Result<Connection, Failure> {
        let connecting = self.endpoint.connect_with(config, address, HUB_NAME).map_err(|error| error.to_string())?;
        let opened = tokio::time::timeout(OPENING_WAIT, connecting).await.map_err(|_| "no answer".to_string())?;
        Ok(opened?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_authority_makes_strangers() {
        let alert = |alert| ConnectionError::from(quinn_proto::TransportError::from(TransportErrorCode::crypto(alert)));
        assert!(OTHER_AUTHORITY.into_iter().all(|code| Failure::from(alert(code)).strangers));
        assert!(!Failure::from(alert(45)).strangers, "an ended certificate is of the same authority");
        assert!(!Failure::from(ConnectionError::TimedOut).strangers);
    }
}
