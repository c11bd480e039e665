//! The rest of a request's body that nobody read. Over HTTP/2 an answer that goes out before it is followed by a reset of the
//! stream, and some clients lose the answer with it; over HTTP/1.1 the connection is closed, with the same effect.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http_body::{Body, Frame, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

/// A body on its way to a handler. It comes back when the handler lets go of it before its end.
pub struct Lent<B> {
    /// Nothing once its end was read, or it failed.
    body: Option<B>,
    back: Option<oneshot::Sender<B>>,
}

/// Where what is left of a [`Lent`] body comes back.
pub struct Rest<B>(oneshot::Receiver<B>);

/// Lends a body.
pub fn lend<B>(body: B) -> (Lent<B>, Rest<B>) {
    let (back, rest) = oneshot::channel();
    (Lent { body: Some(body), back: Some(back) }, Rest(rest))
}

impl<B> Drop for Lent<B> {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // Nobody waits for it: then it is dropped as any body is.
            let _ = back.send(body);
        }
    }
}

impl<B: Body + Unpin> Body for Lent<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body + Unpin> Rest<B> {
    /// Reads what came back and forgets it: at most so many bytes, and no longer than until then. A body that is still being
    /// read by somebody is left to them.
    pub async fn discard(mut self, bytes_max: usize, until: Instant) {
        let Ok(mut body) = self.0.try_recv() else { return };
        let reading = async {
            let mut bytes_left = bytes_max;
            while !body.is_end_stream() {
                let Some(Ok(frame)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else { return };
                let length = frame.data_ref().map_or(0, bytes::Buf::remaining);
                let Some(left) = bytes_left.checked_sub(length) else { return };
                bytes_left = left;
            }
        };
        // Whoever takes too long is answered without having been heard out.
        let _ = timeout_at(until, reading).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    /// Pieces that are there; then the end, or silence.
    struct Pieces {
        pieces: VecDeque<&'static [u8]>,
        ends: bool,
        read: Arc<AtomicUsize>,
    }

    impl Body for Pieces {
        type Data = &'static [u8];
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<&'static [u8]>, Infallible>>> {
            match self.pieces.pop_front() {
                Some(piece) => {
                    self.read.fetch_add(piece.len(), Ordering::Relaxed);
                    Poll::Ready(Some(Ok(Frame::data(piece))))
                }
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    fn body(ends: bool) -> (Pieces, Arc<AtomicUsize>) {
        let read = Arc::new(AtomicUsize::new(0));
        (Pieces { pieces: [&b"one"[..], b"two", b"three"].into(), ends, read: read.clone() }, read)
    }

    async fn next(body: &mut Lent<Pieces>) -> Option<&'static [u8]> {
        let frame = poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await?;
        frame.unwrap().into_data().ok()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn what_a_handler_leaves_unread_is_read_to_its_end() {
        let (pieces, read) = body(true);
        let (mut lent, rest) = lend(pieces);
        assert_eq!(next(&mut lent).await, Some(&b"one"[..]));
        drop(lent);
        rest.discard(100, soon()).await;
        assert_eq!(read.load(Ordering::Relaxed), 11);
    }

    #[tokio::test]
    async fn a_body_that_was_read_to_its_end_leaves_nothing() {
        let (pieces, read) = body(true);
        let (mut lent, rest) = lend(pieces);
        while next(&mut lent).await.is_some() {}
        assert!(lent.is_end_stream());
        drop(lent);
        rest.discard(100, soon()).await;
        assert_eq!(read.load(Ordering::Relaxed), 11);
    }

    #[tokio::test]
    async fn a_body_that_somebody_still_holds_is_left_to_them() {
        let (pieces, _) = body(false);
        let (mut lent, rest) = lend(pieces);
        rest.discard(100, soon()).await;
        assert_eq!(next(&mut lent).await, Some(&b"one"[..]));
    }

    #[tokio::test]
    async fn no_more_is_read_than_is_allowed_and_nobody_is_waited_for_beyond_the_time() {
        let (pieces, read) = body(false);
        let (lent, rest) = lend(pieces);
        drop(lent);
        rest.discard(5, soon()).await;
        assert_eq!(read.load(Ordering::Relaxed), 6, "it ends with the piece that goes beyond");
        let (silent, read) = body(false);
        let (lent, rest) = lend(silent);
        drop(lent);
        rest.discard(100, Instant::now()).await;
        assert_eq!(read.load(Ordering::Relaxed), 11);
    }
}
