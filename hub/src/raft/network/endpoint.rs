//! The UDP endpoint of a machine: it accepts its peers and calls them from the same port.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;

use jikai_sync::identity::{HUB_NAME, IdentityError, TlsIdentity, machine_of_certificate, sync_client, sync_server};
use jikai_sync::transport::endpoint_settings;

use super::frame::FRAME_BYTES_MAX;

/// Protocol name inside TLS: nothing else answers here.
const ALPN: &[u8] = b"jikai-raft/1";
/// Calls that one peer may have under way.
const STREAMS_MAX: u32 = 64;
/// A connection without any packet for so long is gone. About an election: a machine that restarts without a word is
/// called again by then.
const IDLE_MS_MAX: u32 = 2_000;
const KEEP_ALIVE: Duration = Duration::from_millis(500);
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Receive buffer of one stream.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
/// Receive buffer of one connection: the longest message and as much again for the others.
const CONNECTION_WINDOW_BYTES: u32 = 2 * FRAME_BYTES_MAX as u32;
/// Handshakes that may wait to be accepted.
const INCOMING_MAX: usize = 64;

/// Tells which machine a chain of certificates belongs to; `None`: to none.
pub type Identify = Arc<dyn Fn(&[CertificateDer<'_>]) -> Option<u64> + Send + Sync>;

/// How a machine proves who it is, and how it knows its peers.
#[derive(Clone)]
pub struct Identity {
    /// Must demand client certificates.
    pub server: Arc<rustls::ServerConfig>,
    /// Must show the machine's certificate.
    pub client: Arc<rustls::ClientConfig>,
    /// Name that every peer's certificate carries; which peer it is, [`Identity::identify`] tells.
    pub server_name: String,
    /// Which machine a certificate belongs to.
    pub identify: Identify,
    /// With a key for stateless resets derived from the machine's own, peers notice its restart at once.
    pub endpoint: EndpointConfig,
}

impl Identity {
    /// What a machine of the hub shows and demands: certificates of the hub's own authority.
    pub fn of(identity: &TlsIdentity) -> Result<Self, IdentityError> {
        Ok(Identity {
            server: Arc::new(sync_server(identity)?),
            client: Arc::new(sync_client(identity)?),
            server_name: HUB_NAME.to_owned(),
            identify: Arc::new(|chain| machine_of_certificate(chain.first()?).ok().flatten().map(u64::from)),
            endpoint: endpoint_settings(identity, "jikai-raft/1"),
        })
    }
}

/// An endpoint that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// The TLS settings have no cipher that QUIC starts with (AES-128-GCM).
    #[error("the TLS settings lack the initial cipher of QUIC")]
    NoInitialCipher,
    /// The address cannot be used.
    #[error("listening on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

/// Binds the address. Calls are made with [`client_config`].
pub(crate) fn bind(identity: &Identity, address: SocketAddr) -> Result<Endpoint, EndpointError> {
    let server = server_config(identity)?;
    let cannot = |source| EndpointError::Bind { address, source };
    let socket = std::net::UdpSocket::bind(address).map_err(cannot)?;
    let runtime = Arc::new(quinn::TokioRuntime);
    Endpoint::new(identity.endpoint.clone(), Some(server), socket, runtime).map_err(cannot)
}

/// How a machine answers its peers.
pub(crate) fn server_config(identity: &Identity) -> Result<ServerConfig, EndpointError> {
    let mut tls = rustls::ServerConfig::clone(&identity.server);
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicServerConfig::try_from(tls).map_err(|_| EndpointError::NoInitialCipher)?;
    let mut server = ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(transport()).max_incoming(INCOMING_MAX);
    Ok(server)
}

/// How a machine calls its peers.
pub(crate) fn client_config(identity: &Identity) -> Result<ClientConfig, EndpointError> {
    let mut tls = rustls::ClientConfig::clone(&identity.client);
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).map_err(|_| EndpointError::NoInitialCipher)?;
    let mut client = ClientConfig::new(Arc::new(crypto));
    client.transport_config(transport());
    Ok(client)
}

/// The machine at the other end.
pub(super) fn peer_of(connection: &Connection, identify: &Identify) -> Option<u64> {
    let chain = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    identify(&chain)
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .initial_rtt(INITIAL_RTT)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_MS_MAX))));
    Arc::new(config)
}
