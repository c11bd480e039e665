//! Patience with a caller who has begun a request over HTTP/1.1: between its first byte and the first byte of the answer only
//! so much time passes, however the bytes trickle. A terminal that is silent between two requests keeps its connection.
//!
//! HTTP/2 bounds its headers by itself, and its frames do not alternate: there nothing is measured.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_rustls::server::TlsStream;

/// Makes connections of `Inner` patient for so long.
#[derive(Debug, Clone)]
pub struct Patient<Inner> {
    inner: Inner,
    patience: Duration,
}

impl<Inner> Patient<Inner> {
    /// So long from the first byte of a request to the first of its answer.
    pub fn new(inner: Inner, patience: Duration) -> Self {
        Patient { inner, patience }
    }
}

impl<Inner, I, S, Raw> Accept<I, S> for Patient<Inner>
where
    Inner: Accept<I, S, Stream = TlsStream<Raw>>,
    Inner::Future: Send + 'static,
{
    type Stream = Timed<TlsStream<Raw>>;
    type Service = Inner::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let (accepting, patience) = (self.inner.accept(stream, service), self.patience);
        Box::pin(async move {
            let (stream, service) = accepting.await?;
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            Ok((Timed { stream, patience: (!is_http2).then_some(patience), ends: None }, service))
        })
    }
}

/// A connection with the time by which the running request must have its answer begun.
#[derive(Debug)]
pub struct Timed<Stream> {
    stream: Stream,
    patience: Option<Duration>,
    ends: Option<Pin<Box<Sleep>>>,
}

impl<Stream: AsyncRead + Unpin> AsyncRead for Timed<Stream> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request took too long")));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if let (None, Some(patience)) = (&self.ends, self.patience)
            && buffer.filled().len() > before
        {
            self.ends = Some(Box::pin(sleep_until(Instant::now() + patience)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<Stream: AsyncWrite + Unpin> Timed<Stream> {
    /// The answer has begun: the next request gets its own time.
    fn answered(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.ends = None;
        }
        written
    }
}

impl<Stream: AsyncWrite + Unpin> AsyncWrite for Timed<Stream> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.answered(written)
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
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.answered(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
