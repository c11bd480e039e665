//! One connection and what travels on it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Read and write buffer of one connection. Bytes; the smallest that hyper allows.
const BUFFER_BYTES: usize = 8 * 1024;
/// A longer reply is an error. The longest are pages of events with sealed records.
const REPLY_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Where a server listens and how it proves itself.
#[derive(Clone)]
pub struct Endpoint {
    address: SocketAddr,
    server_name: ServerName<'static>,
    tls: Arc<ClientConfig>,
}

impl Endpoint {
    /// A server at `address` that must show a certificate for `server_name`.
    pub fn new(address: SocketAddr, server_name: &str, tls: Arc<ClientConfig>) -> Result<Self> {
        let server_name =
            ServerName::try_from(server_name.to_owned()).with_context(|| format!("{server_name} is no DNS name"))?;
        Ok(Endpoint { address, server_name, tls })
    }

    /// The endpoint of a node.
    pub fn of_node(node: u16, address: SocketAddr, tls: Arc<ClientConfig>) -> Result<Self> {
        Endpoint::new(address, &format!("node-{node}.jikai"), tls)
    }

    /// The endpoint of the hub.
    pub fn of_hub(address: SocketAddr, tls: Arc<ClientConfig>) -> Result<Self> {
        Endpoint::new(address, "hub.jikai", tls)
    }
}

/// TLS with one private CA as the only root. Sessions are not resumed, so that each terminal pays its own handshake.
pub fn trust(ca_file: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let hint = || format!("read the CA certificate {}; the hub's `init` writes it as ca/ca.pem", ca_file.display());
    for certificate in CertificateDer::pem_file_iter(ca_file).with_context(hint)? {
        roots.add(certificate.with_context(hint)?).with_context(hint)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = versions.context("choose TLS versions")?.with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// One request.
#[derive(Debug, Clone)]
pub struct Call {
    /// GET or POST.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// JSON, or nothing.
    pub body: Option<Bytes>,
    /// `Idempotency-Key` of a mutation.
    pub key: Option<String>,
}

impl Call {
    /// A look-up.
    pub fn get(path: impl Into<String>) -> Self {
        Call { method: Method::GET, path: path.into(), body: None, key: None }
    }

    /// A question with a body.
    pub fn post(path: impl Into<String>, body: &serde_json::Value) -> Self {
        Call { method: Method::POST, path: path.into(), body: Some(Bytes::from(body.to_string())), key: None }
    }

    /// A mutation.
    pub fn mutation(path: impl Into<String>, body: &serde_json::Value, key: String) -> Self {
        Call { key: Some(key), ..Call::post(path, body) }
    }

    fn request(&self, host: &str, token: Option<&str>) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(&self.method).uri(&self.path).header(HOST, host);
        if self.body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        if let Some(key) = &self.key {
            request = request.header("idempotency-key", key);
        }
        request
            .body(Full::new(self.body.clone().unwrap_or_default()))
            .with_context(|| format!("build the request {}", self.path))
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, if given. Seconds.
    pub retry_after_s: Option<u64>,
    /// `Jikai-Directory`, if given: the newest directory's version.
    pub directory_version: Option<u64>,
    /// The body, whole.
    pub body: Bytes,
}

impl Reply {
    /// The body as JSON; `Null` when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or(serde_json::Value::Null)
    }
}

/// No reply came.
#[derive(Debug)]
pub struct TransportError {
    /// Why.
    pub error: anyhow::Error,
    /// Whether the request had been handed over: then nobody knows what became of it.
    pub was_sent: bool,
}

impl TransportError {
    fn before_sending(error: anyhow::Error) -> Self {
        TransportError { error, was_sent: false }
    }
}

/// An open connection. Dropping it closes the socket.
pub struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: tokio::task::JoinHandle<()>,
    host: String,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connection {
    /// TCP, TLS and HTTP handshakes within `limit`.
    pub async fn open(endpoint: &Endpoint, limit: Duration) -> Result<Self, TransportError> {
        let handshakes = Connection::handshakes(endpoint);
        let opened = tokio::time::timeout(limit, handshakes).await;
        let opened = opened.unwrap_or_else(|_| Err(anyhow!("no connection to {} within {limit:?}", endpoint.address)));
        opened.map_err(TransportError::before_sending)
    }

    async fn handshakes(endpoint: &Endpoint) -> Result<Self> {
        let address = endpoint.address;
        let stream = TcpStream::connect(address).await.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true).context("set TCP_NODELAY")?;
        let tls = TlsConnector::from(endpoint.tls.clone()).connect(endpoint.server_name.clone(), stream);
        let stream =
            tls.await.with_context(|| format!("TLS handshake with {address} as {}", endpoint.server_name.to_str()))?;
        let builder = http1::Builder::new().max_buf_size(BUFFER_BYTES.max(8192)).to_owned();
        let (sender, driver) = builder.handshake(TokioIo::new(stream)).await.context("begin HTTP/1.1")?;
        let driver = tokio::spawn(async move {
            // An error here reaches the caller through its pending request.
            let _ = driver.await;
        });
        Ok(Connection { sender, driver, host: endpoint.server_name.to_str().into_owned() })
    }

    /// Sends one request and reads the reply whole, within `limit`.
    pub async fn exchange(
        &mut self,
        call: &Call,
        token: Option<&str>,
        limit: Duration,
    ) -> Result<Reply, TransportError> {
        let request = call.request(&self.host, token).map_err(TransportError::before_sending)?;
        let mut was_sent = false;
        let exchange = async {
            self.sender.ready().await.context("the connection is closed")?;
            was_sent = true;
            let response = self.sender.send_request(request).await.map_err(|error| {
                // hyper gives back what it never began to write.
                was_sent = !error.is_canceled();
                anyhow::Error::new(error).context("send the request")
            })?;
            read_reply(response).await
        };
        let replied = tokio::time::timeout(limit, exchange).await;
        let replied = replied.unwrap_or_else(|_| Err(anyhow!("no reply to {} within {limit:?}", call.path)));
        replied.map_err(|error| TransportError { error, was_sent })
    }

    /// Whether the other end still holds it, as far as is known here.
    pub fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }
}

async fn read_reply(response: Response<hyper::body::Incoming>) -> Result<Reply> {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after_s = retry_after.and_then(|text| text.parse().ok());
    let directory_version = response.headers().get("jikai-directory").and_then(|value| value.to_str().ok());
    let directory_version = directory_version.and_then(|text| text.parse().ok());
    let body = Limited::new(response.into_body(), REPLY_BYTES_MAX).collect().await;
    let body = body.map_err(|error| anyhow!("read the reply: {error}"))?.to_bytes();
    Ok(Reply { status, retry_after_s, directory_version, body })
}
