//! What both drivers share: readers that feed frames' bytes into the session loop, writers, durability beside it, and time.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;

use crate::session::Stream;

/// Bytes of one read.
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// Chunks waiting for the session loop: 1 MiB; then the reader stops, and the stream's flow control stops the peer.
const CHUNKS_MAX: usize = 16;
/// How long a write may wait for the peer's reader. Within the session's window it never does.
const WRITE_WAIT: Duration = Duration::from_secs(15);
/// How long what was written last may take to arrive before the connection closes.
const FINISH_WAIT: Duration = Duration::from_secs(1);

/// A stream's incoming bytes, or its end.
pub(super) type Incoming = (Stream, Option<Vec<u8>>);

/// The write halves of both streams.
pub(super) struct Writers {
    pub up: SendStream,
    pub down: SendStream,
}

/// Bytes that did not get out.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteFailure {
    /// The stream or the connection is gone.
    #[error("the connection failed: {0}")]
    Gone(#[from] quinn::WriteError),
    /// The peer does not read.
    #[error("the peer stopped reading")]
    Stuck,
}

impl Writers {
    pub(super) async fn send(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), WriteFailure> {
        let half = match stream {
            Stream::Up => &mut self.up,
            Stream::Down => &mut self.down,
        };
        tokio::time::timeout(WRITE_WAIT, half.write_all(bytes)).await.map_err(|_| WriteFailure::Stuck)??;
        Ok(())
    }

    /// Lets what was written arrive before the connection closes.
    pub(super) async fn finish(&mut self) {
        let _ = self.up.finish();
        let _ = self.down.finish();
        let _ = tokio::time::timeout(FINISH_WAIT, self.up.stopped()).await;
    }
}

/// Starts the readers of both streams. They end with their streams, or when the loop is gone.
pub(super) fn read_streams(up: RecvStream, down: RecvStream) -> mpsc::Receiver<Incoming> {
    let (chunks, incoming) = mpsc::channel(CHUNKS_MAX);
    tokio::spawn(read(Stream::Up, up, chunks.clone()));
    tokio::spawn(read(Stream::Down, down, chunks));
    incoming
}

async fn read(stream: Stream, mut half: RecvStream, chunks: mpsc::Sender<Incoming>) {
    while let Ok(Some(chunk)) = half.read_chunk(CHUNK_BYTES_MAX, true).await {
        if chunks.send((stream, Some(chunk.bytes.to_vec()))).await.is_err() {
            return;
        }
    }
    if stream == Stream::Down {
        // A peer that ends the session says why on the up stream, and ends both: the reason must not lose this race.
        let _ = tokio::time::timeout(FINISH_WAIT, chunks.closed()).await;
    }
    let _ = chunks.send((stream, None)).await;
}

/// Milliseconds of a clock that nobody can set: a session must not end, or fall asleep, when the machine's time is corrected.
pub(super) fn now_ms() -> i64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    i64::try_from(START.elapsed().as_millis()).unwrap_or(i64::MAX)
}

/// Sleeps until a session wants to be woken.
pub(super) async fn wake(at_ms: i64) {
    let wait_ms = (at_ms - now_ms()).max(0) as u64;
    tokio::time::sleep(Duration::from_millis(wait_ms)).await;
}

/// Waits until then; without a time, for ever.
pub(super) async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
