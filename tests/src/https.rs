//! A client that sends whatever bytes it is given: what no well-behaved library would let through.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;

use crate::process::PATIENCE;

/// A TLS connection over TCP.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A server and whom it must prove to be.
#[derive(Clone)]
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    name: ServerName<'static>,
    roots: Arc<RootCertStore>,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer.
    Answered(Answer),
    /// The server closed the connection without one.
    Closed,
}

/// An answer of HTTP/1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head; hyper writes names in lower case.
    pub head: String,
    /// Its body, as it came.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(header, _)| *header == name).map(|(_, value)| value).next()
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    fn read(bytes: &[u8]) -> Option<Answer> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
        let body = &bytes[end + 4..];
        let chunked = head.contains("transfer-encoding: chunked");
        let body = if chunked { joined(body) } else { body.to_vec() };
        Some(Answer { status, head, body })
    }
}

/// The bytes of a chunked body.
fn joined(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let Some(chunk) = size.filter(|size| *size > 0).and_then(|size| bytes.get(end + 2..end + 2 + size)) else {
            break;
        };
        body.extend_from_slice(chunk);
        bytes = bytes.get(end + 4 + chunk.len()..).unwrap_or_default();
    }
    body
}

impl Server {
    /// A server that shows a certificate of this authority for this name.
    ///
    /// # Panics
    /// When the authority's certificate cannot be read.
    pub fn new(address: SocketAddr, name: &str, authority_pem: &str) -> Server {
        let mut roots = RootCertStore::empty();
        let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes()).expect("the authority is PEM");
        roots.add(authority).expect("the authority is a certificate");
        let name = ServerName::try_from(name.to_string()).expect("a DNS name");
        Server { address, name, roots: Arc::new(roots) }
    }

    /// Opens a TLS connection that speaks one protocol: `http/1.1` or `h2`.
    pub fn dial(&self, protocol: &str) -> std::io::Result<Stream> {
        self.dial_behind(&[], protocol)
    }

    /// The same; `announcement` goes out before TLS begins.
    pub fn dial_behind(&self, announcement: &[u8], protocol: &str) -> std::io::Result<Stream> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]);
        let config = config.expect("TLS 1.3 is known").with_root_certificates(self.roots.clone());
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let tls = ClientConnection::new(Arc::new(config), self.name.clone()).expect("the settings fit");
        let mut bare = self.dial_tcp()?;
        bare.write_all(announcement)?;
        let mut stream = StreamOwned::new(tls, bare);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }

    /// Opens a bare connection.
    pub fn dial_tcp(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends bytes on a connection of their own and reads until the server closes it.
    ///
    /// # Panics
    /// When the server neither answers nor closes.
    pub fn exchange(&self, bytes: &[u8]) -> Outcome {
        self.exchange_behind(&[], bytes)
    }

    fn exchange_behind(&self, announcement: &[u8], bytes: &[u8]) -> Outcome {
        let Ok(mut stream) = self.dial_behind(announcement, "http/1.1") else { return Outcome::Closed };
        // A server that has heard enough may close before all is sent: what it said is read all the same.
        let _ = stream.write_all(bytes).and_then(|()| stream.flush());
        outcome(&read_all(&mut stream))
    }

    /// Sends a request that is answered.
    ///
    /// # Panics
    /// When the server closes instead.
    pub fn ask(&self, request: &Request) -> Answer {
        self.ask_behind(&[], request)
    }

    /// The same; `announcement` goes out before TLS begins.
    ///
    /// # Panics
    /// When the server closes instead.
    pub fn ask_behind(&self, announcement: &[u8], request: &Request) -> Answer {
        match self.exchange_behind(announcement, &request.bytes()) {
            Outcome::Answered(answer) => answer,
            Outcome::Closed => panic!("{} {} was not answered", request.method, request.path),
        }
    }
}

/// What bytes of a server mean.
pub fn outcome(bytes: &[u8]) -> Outcome {
    Answer::read(bytes).map_or(Outcome::Closed, Outcome::Answered)
}

/// All that comes until the server closes; an abrupt end is an end.
///
/// # Panics
/// When it neither sends nor closes: that is a hang.
pub fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let (mut all, mut part) = (Vec::new(), [0; 16 * 1024]);
    loop {
        match stream.read(&mut part) {
            Ok(0) => return all,
            Ok(count) => all.extend_from_slice(&part[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("the server neither answers nor closes")
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return all,
        }
    }
}

/// A request of HTTP/1.1 whose parts may be anything.
#[derive(Debug, Clone)]
pub struct Request {
    /// Any word.
    pub method: String,
    /// Path and query, sent as they are.
    pub path: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: &str, path: &str) -> Request {
        Request { method: method.to_string(), path: path.to_string(), headers: Vec::new(), body: None }
    }

    /// The same request to another path.
    pub fn at(self, path: &str) -> Request {
        Request { path: path.to_string(), ..self }
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Request {
        self.headers.push((name.to_string(), value.as_ref().to_vec()));
        self
    }

    /// With a body.
    pub fn body(mut self, kind: &str, body: impl Into<Vec<u8>>) -> Request {
        self.body = Some(body.into());
        self.header("content-type", kind)
    }

    /// With a JSON body.
    pub fn json(self, body: &Value) -> Request {
        self.body("application/json", body.to_string())
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes =
            format!("{} {} HTTP/1.1\r\nhost: jikai\r\nconnection: close\r\n", self.method, self.path).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        if let Some(body) = &self.body {
            bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(self.body.as_deref().unwrap_or_default());
        bytes
    }
}
