//! How much of the server one caller may take: connections, time, headers, protocol versions, requests without a session.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "outlet/api.rs"]
#[expect(dead_code, reason = "each test binary uses its part of the outlet")]
mod api;
#[expect(dead_code, reason = "the rest is for the tests of the counter")]
mod outlet;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use api::{Api, problem};
use axum_server::Handle;
use jikai_schema::time::TimeMs;
use jikai_sync::https::{HttpsBounds, HttpsIdentity, https};
use jikai_sync::identity::{CertificateAuthority, HUB_NAME, Key, TlsIdentity, certified};
use outlet::terminal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

struct Server {
    address: SocketAddr,
    authority: CertificateAuthority,
    key: Key,
    shown: HttpsIdentity,
    handle: Handle<SocketAddr>,
    _api: Api,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}

async fn serve(bounds: HttpsBounds) -> Server {
    let authority = CertificateAuthority::create("test", TimeMs::now()).unwrap();
    let key = Key::generate().unwrap();
    let certificate = authority.certify_hub(&key, &[], TimeMs::now()).unwrap();
    let identity = TlsIdentity::from_pem(&certificate, &key, authority.certificate_pem()).unwrap();
    let (api, handle) = (Api::open(100).await, Handle::new());
    let (server, shown) = https("127.0.0.1:0".parse().unwrap(), &identity, bounds).unwrap();
    let service = api.router.clone().into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(server.handle(handle.clone()).serve(service));
    let address = handle.listening().await.unwrap();
    Server { address, authority, key, shown, handle, _api: api }
}

const BOUNDS: HttpsBounds =
    HttpsBounds { connections_max: 100, patience: Duration::from_secs(30), tls_1_2: false, front_doors: Vec::new() };

impl Server {
    async fn connect(&self, version: &'static SupportedProtocolVersion) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.certificate_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(HUB_NAME).unwrap(), stream).await
    }

    /// Sends text and reads until the server closes; an abrupt end is an end.
    async fn exchange(&self, text: &str) -> String {
        let mut stream = self.connect(&TLS13).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

/// Waits until the other end closes.
async fn is_closed(mut stream: TcpStream) -> bool {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.is_ok_and(|_| rest.is_empty()) || rest.is_empty()
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_closed_and_a_place_that_is_given_back_is_taken_again() {
    let server = serve(HttpsBounds { connections_max: 2, ..BOUNDS }).await;
    let first = server.connect(&TLS13).await.unwrap();
    let second = server.connect(&TLS13).await.unwrap();
    assert!(server.connect(&TLS13).await.is_err());
    assert!(is_closed(TcpStream::connect(server.address).await.unwrap()).await);
    drop(first);
    // The server learns of the end in its own time.
    let again = loop {
        if let Ok(stream) = server.connect(&TLS13).await {
            break stream;
        }
        tokio::task::yield_now().await;
    };
    drop((second, again));
}

#[tokio::test]
async fn a_terminal_that_is_silent_between_two_requests_keeps_its_connection() {
    let server = serve(HttpsBounds { patience: Duration::from_millis(50), ..BOUNDS }).await;
    let mut terminal = server.connect(&TLS13).await.unwrap();
    let mut buffer = [0; 4_096];
    for _ in 0..3 {
        terminal.write_all(b"GET /health/live HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
        let count = terminal.read(&mut buffer).await.unwrap();
        assert!(buffer[..count].starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&buffer[..count]));
        // Somebody else's patience runs out three times over meanwhile.
        server.exchange("GET /v1/stock HTTP/1.1\r\nhost: a\r\nx: ").await;
    }
}

#[tokio::test]
async fn who_dawdles_over_handshake_or_headers_is_closed() {
    let server = serve(HttpsBounds { patience: Duration::from_millis(50), ..BOUNDS }).await;
    assert!(is_closed(TcpStream::connect(server.address).await.unwrap()).await, "no handshake");
    let answer = server.exchange("GET /v1/stock HTTP/1.1\r\nhost: a\r\nx: ").await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn headers_are_bounded_in_number_and_size() {
    let server = serve(BOUNDS).await;
    let many: String = (0..100).map(|number| format!("x-{number}: a\r\n")).collect();
    let long = format!("x: {}\r\n", "a".repeat(40_000));
    for headers in [many, long] {
        let answer = server.exchange(&format!("GET /health/live HTTP/1.1\r\nhost: a\r\n{headers}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let answer = server.exchange("GET /health/live HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn two_lengths_of_one_body_are_refused() {
    let server = serve(BOUNDS).await;
    let both = "POST /v1/login HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET";
    let answer = server.exchange(both).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "one request, one answer: {answer}");
    let two = "POST /v1/login HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ncontent-length: 5\r\n\r\n{}{}";
    assert!(server.exchange(two).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn tls_1_2_is_spoken_only_where_it_is_asked_for() {
    let strict = serve(BOUNDS).await;
    assert!(strict.connect(&TLS12).await.is_err());
    strict.connect(&TLS13).await.unwrap();
    let lenient = serve(HttpsBounds { tls_1_2: true, ..BOUNDS }).await;
    lenient.connect(&TLS12).await.unwrap();
    lenient.connect(&TLS13).await.unwrap();
}

#[tokio::test]
async fn every_answer_carries_the_headers_that_protect_a_browser_and_no_origin_is_let_in() {
    let server = serve(BOUNDS).await;
    for path in ["/health/live", "/v1/stock", "/nowhere", "/docs/"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: a\r\norigin: https://evil.example\r\nconnection: close\r\n\r\n");
        let answer = server.exchange(&request).await.to_lowercase();
        let headers = answer.split("\r\n\r\n").next().unwrap();
        for header in [
            "strict-transport-security: max-age=31536000",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "content-security-policy: default-src",
            "frame-ancestors 'none'",
        ] {
            assert!(headers.contains(header), "{path}: {header} in {headers}");
        }
        assert!(!headers.contains("access-control-allow"), "{path}");
    }
    let preflight = "OPTIONS /v1/login HTTP/1.1\r\nhost: a\r\norigin: https://evil.example\r\n\
                     access-control-request-method: POST\r\nconnection: close\r\n\r\n";
    assert!(server.exchange(preflight).await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn a_stranger_who_asks_too_often_is_held_back() {
    let api = Api::open(100).await;
    let body = format!(r#"{{"terminal_id":"{}"}}"#, terminal(1));
    let mut codes = Vec::new();
    // Some hundred more come in every second: the loop is much faster than that.
    for _ in 0..50_000 {
        let answer = api.post(None, None, "/v1/login/challenge", body.clone()).await;
        codes.push(answer.status.as_u16());
        if answer.status.as_u16() == 429 {
            assert_eq!(problem(&answer, 429), "too_many_requests");
            break;
        }
    }
    assert!(codes.len() > 900 && codes.ends_with(&[429]), "{} answers", codes.len());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_whoever_connects_and_closes_no_open_connection() {
    let server = serve(BOUNDS).await;
    let live = "GET /health/live HTTP/1.1\r\nhost: hub.jikai\r\n\r\n";
    let leaf = |stream: &TlsStream<TcpStream>| {
        let shown = stream.get_ref().1.peer_certificates().unwrap();
        certified(&shown[0]).unwrap().serial
    };
    let mut open = server.connect(&TLS13).await.unwrap();
    let first = leaf(&open);
    let certificate = server.authority.certify_hub(&server.key, &[], TimeMs::now()).unwrap();
    let identity = TlsIdentity::from_pem(&certificate, &server.key, server.authority.certificate_pem()).unwrap();
    server.shown.present(&identity).unwrap();
    let newer = server.connect(&TLS13).await.unwrap();
    assert_ne!(leaf(&newer), first);
    for _ in 0..2 {
        open.write_all(live.as_bytes()).await.unwrap();
        let mut answer = [0; 15];
        open.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        // The rest of the answer, whose length its header tells.
        let mut rest = Vec::new();
        while !rest.ends_with(b"}") {
            rest.push(open.read_u8().await.unwrap());
        }
    }
}
