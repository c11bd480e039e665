//! HTTPS servers of hub and node: TLS, and how much of the server one caller may take.
//!
//! A connection beyond the limit is closed before its handshake. A caller who dawdles over handshake or request is closed
//! too ([`Patient`]); bodies have their own limit in time and size where they are read, and what nobody reads is heard out
//! before the answer ([`lend`]). A terminal that is silent between two
//! requests keeps its connection.

mod allowances;
mod announced;
mod headers;
mod patience;
mod rest;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::Server;
use axum_server::accept::Accept;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::identity::{IdentityError, TlsIdentity, https_server};

pub use allowances::Allowances;
pub use announced::{Announced, CallerAddress};
pub use headers::{HEADERS_ONCE, protective_headers};
pub use patience::{Patient, Timed};
pub use rest::{Lent, Rest, lend};

/// Bytes of all headers of a request.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// Streams that a caller opens and takes back before they were looked at.
const RESETS_MAX: usize = 32;
/// A connection over HTTP/1.1 that is silent between two requests is closed after so long.
const IDLE_MAX: Duration = Duration::from_secs(15 * 60);
/// From the first byte of a request to the first of its answer: so many times the patience. Headers, body and what is done
/// each have their own.
const ANSWER_PATIENCE: u32 = 3;
/// A silent HTTP/2 connection is asked after so long, and closed when it does not answer.
const SILENCE: Duration = Duration::from_secs(60);

/// How much of the server one caller may take.
#[derive(Debug, Clone)]
pub struct HttpsBounds {
    /// Connections at once, of all callers.
    pub connections_max: usize,
    /// How long a handshake, and then the headers of a request, may take.
    pub patience: Duration,
    /// Whether TLS 1.2 is spoken beside 1.3.
    pub tls_1_2: bool,
    /// Addresses that are believed about who is behind them.
    pub front_doors: Vec<IpAddr>,
}

/// A server that is bound by serving from it.
pub type HttpsServer = Server<SocketAddr, Patient<RustlsAcceptor<Announced<Bounded>>>>;

/// Gives a running server another certificate.
#[derive(Clone)]
pub struct HttpsIdentity {
    tls: RustlsConfig,
    tls_1_2: bool,
}

impl HttpsIdentity {
    /// Shows this certificate in every handshake from now on; open connections stay.
    pub fn present(&self, identity: &TlsIdentity) -> Result<(), IdentityError> {
        self.tls.reload_from_config(Arc::new(https_server(identity, self.tls_1_2)?));
        Ok(())
    }
}

/// Makes a server of this identity, which can be given another one while it runs.
pub fn https(
    listen: SocketAddr,
    identity: &TlsIdentity,
    bounds: HttpsBounds,
) -> Result<(HttpsServer, HttpsIdentity), IdentityError> {
    let tls = RustlsConfig::from_config(Arc::new(https_server(identity, bounds.tls_1_2)?));
    let bounded = Bounded(Arc::new(Semaphore::new(bounds.connections_max)));
    let announced = Announced::new(bounded, &bounds.front_doors, bounds.patience);
    let acceptor = RustlsAcceptor::new(tls.clone()).handshake_timeout(bounds.patience).acceptor(announced);
    let acceptor = Patient::new(acceptor, bounds.patience * ANSWER_PATIENCE);
    let mut server = axum_server::bind(listen).acceptor(acceptor).first_request_timeout(bounds.patience);
    let http = server.http_builder();
    http.http1()
        .timer(TokioTimer::new())
        // It runs between two requests too: who has begun one is bounded by [`Patient`].
        .header_read_timeout(IDLE_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_BYTES_MAX as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_local_error_reset_streams(RESETS_MAX)
        .keep_alive_interval(SILENCE)
        .keep_alive_timeout(bounds.patience);
    Ok((server, HttpsIdentity { tls, tls_1_2: bounds.tls_1_2 }))
}

/// Counts connections and closes those beyond the limit.
#[derive(Debug, Clone)]
pub struct Bounded(Arc<Semaphore>);

impl<I, S> Accept<I, S> for Bounded {
    type Stream = Counted<I>;
    type Service = S;
    type Future = std::future::Ready<io::Result<(Counted<I>, S)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let permit = self.0.clone().try_acquire_owned();
        let full = |_| io::Error::new(io::ErrorKind::ConnectionRefused, "as many connections as are allowed are open");
        std::future::ready(permit.map_err(full).map(|permit| (Counted { stream, _permit: permit }, service)))
    }
}

/// A connection that gives its place back when it is dropped.
#[derive(Debug)]
pub struct Counted<I> {
    stream: I,
    _permit: OwnedSemaphorePermit,
}

impl<I: AsyncRead + Unpin> AsyncRead for Counted<I> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Counted<I> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
