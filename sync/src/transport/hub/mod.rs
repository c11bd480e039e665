//! The hub's driver: accepts nodes, one session each; a newer session of a node ends the older.

mod run;
mod seats;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, ServerConfig, TokioRuntime};
use rustls_pki_types::CertificateDer;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::TransportError;
use super::agreed::{NO_VERSION_HINT, share_no_version, wire_version};
use super::closing::{ENDED, REFUSED, close, told};
use super::limits::{HUB_KEEP_ALIVE, OPENING_WAIT, transport_config};
use super::requests::serve;
use super::reset::endpoint_config;
use super::store::HubStore;
use crate::identity::{Certified, TlsIdentity, certified, sync_server};
use crate::wire::RefusalV1;
use run::Run;
use seats::Seats;

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
    options: HubOptions,
    shared: Arc<Shared>,
}

/// Gives a running endpoint another certificate.
pub struct HubIdentity {
    endpoint: Endpoint,
    options: HubOptions,
}

impl HubIdentity {
    /// Shows this certificate to whoever connects from now on; open sessions stay. The private key must be the one that the
    /// endpoint was bound with: what tells nodes of a restart hangs on it.
    pub fn present(&self, identity: &TlsIdentity) -> Result<(), TransportError> {
        self.endpoint.set_server_config(Some(server_config(identity, &self.options)?));
        Ok(())
    }
}

fn server_config(identity: &TlsIdentity, options: &HubOptions) -> Result<ServerConfig, TransportError> {
    let crypto = QuicServerConfig::try_from(sync_server(identity)?).map_err(|_| TransportError::NoInitialCipher)?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let transport = transport_config(options.segmentation_offload, HUB_KEEP_ALIVE);
    config.transport_config(transport).max_incoming(options.connections_max);
    Ok(config)
}

/// Sends the nodes of a running endpoint to other machines of the hub, and takes them back.
/// By default those of none.
#[derive(Clone, Default)]
pub struct HubDrain(watch::Sender<bool>);

impl HubDrain {
    /// While set, sessions end in order (what they were committing is acknowledged first) and no other opens: nodes are told
    /// `Draining`, and go on at another machine at once.
    pub fn set(&self, draining: bool) {
        self.0.send_replace(draining);
    }

    /// Whether it is set.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }
}

struct Shared {
    store: Arc<dyn HubStore>,
    seats: Seats,
    draining: watch::Sender<bool>,
}

impl HubEndpoint {
    /// Binds the address. Nodes are served by [`HubEndpoint::run`].
    pub fn bind(
        identity: &TlsIdentity,
        options: &HubOptions,
        store: Arc<dyn HubStore>,
    ) -> Result<Self, TransportError> {
        let config = server_config(identity, options)?;
        let address = options.listen;
        let cannot = |source| TransportError::Bind { address, source };
        let socket = std::net::UdpSocket::bind(address).map_err(cannot)?;
        let settings = endpoint_config(identity.private_key_der());
        let endpoint = Endpoint::new(settings, Some(config), socket, Arc::new(TokioRuntime)).map_err(cannot)?;
        let shared = Arc::new(Shared { store, seats: Seats::default(), draining: watch::Sender::new(false) });
        Ok(HubEndpoint { endpoint, options: options.clone(), shared })
    }

    /// To give it another certificate while it runs. The address stays taken for as long as this is kept.
    pub fn identity(&self) -> HubIdentity {
        HubIdentity { endpoint: self.endpoint.clone(), options: self.options.clone() }
    }

    /// To take this machine out of use while it runs.
    pub fn drain(&self) -> HubDrain {
        HubDrain(self.shared.draining.clone())
    }

    /// The address in use.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Serves nodes until cancelled.
    pub async fn run(self, cancelled: CancellationToken) {
        let connections_max = self.options.connections_max;
        let permits = Arc::new(Semaphore::new(connections_max));
        loop {
            let incoming = tokio::select! {
                incoming = self.endpoint.accept() => incoming,
                () = cancelled.cancelled() => None,
            };
            let Some(incoming) = incoming else { break };
            if permits.available_permits() <= connections_max / 2 && !incoming.remote_address_validated() {
                // Room grows short: from now on a caller proves that its address is its own before it takes any.
                if let Err(error) = incoming.retry() {
                    error.into_incoming().refuse();
                }
                continue;
            }
            let Ok(permit) = permits.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let shared = self.shared.clone();
            tokio::spawn(async move {
                shared.serve(incoming).await;
                drop(permit);
            });
        }
        self.endpoint.close(ENDED, b"stopping");
        self.endpoint.wait_idle().await;
    }
}

impl Shared {
    async fn serve(self: Arc<Self>, incoming: Incoming) {
        let connection = match tokio::time::timeout(OPENING_WAIT, incoming).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) if share_no_version(&error) => {
                return tracing::warn!(%error, hint = NO_VERSION_HINT, "a node and this hub share no version of the wire");
            }
            Ok(Err(error)) => return tracing::info!(%error, "a connection was not opened"),
            Err(_) => return tracing::info!("a connection took too long to open"),
        };
        let certified = match certified_peer(&connection) {
            Some(certified) if !certified.node.is_hub() => certified,
            _ => return connection.close(REFUSED, b"no node"),
        };
        let node = certified.node;
        let Some(version) = wire_version(&connection) else { return connection.close(REFUSED, b"no wire version") };
        if *self.draining.borrow() {
            return close(&connection, Some(&RefusalV1::Draining));
        }
        let Ok(Some((up, down))) = tokio::time::timeout(OPENING_WAIT, accept_streams(&connection)).await else {
            return connection.close(REFUSED, b"no session");
        };
        let agreed = (connection.clone(), version);
        let ended = Run::new(self.clone(), certified, agreed, up, down).until_end().await;
        let refusal = told(&connection).or(ended.err());
        match &refusal {
            Some(RefusalV1::Draining) => tracing::info!(%node, "a node was sent to another machine"),
            Some(refusal) => tracing::warn!(%node, %refusal, hint = refusal.hint(), "a session ended"),
            None => {}
        }
        let left = self.seats.leave(node, &connection, || self.store.disconnected(node, refusal.as_ref()));
        if let (false, Some(refusal)) = (left, &refusal) {
            self.store.refused(node, refusal);
        }
        close(&connection, refusal.as_ref());
    }

    async fn answer_requests(self: Arc<Self>, certified: Certified, connection: Connection) {
        let certified = Arc::new(certified);
        // The stream limit of the connection bounds how many are answered at once.
        while let Ok((send, receive)) = connection.accept_bi().await {
            let (shared, certified) = (self.clone(), certified.clone());
            tokio::spawn(async move { serve(send, receive, |request| shared.store.answer(&certified, request)).await });
        }
    }
}

type Duplex = (SendStream, RecvStream);

/// The session's streams: a node opens up before down.
async fn accept_streams(connection: &Connection) -> Option<(Duplex, Duplex)> {
    Some((connection.accept_bi().await.ok()?, connection.accept_bi().await.ok()?))
}

fn certified_peer(connection: &Connection) -> Option<Certified> {
    let identity = connection.peer_identity()?;
    let chain = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
    certified(chain.first()?).ok()
}
