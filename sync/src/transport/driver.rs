//! What both drivers share: readers that feed frames' bytes into the session loop, and time.

use jikai_schema::time::TimeMs;
use quinn::{RecvStream, SendStream};
use tokio::sync::mpsc;

use crate::session::Stream;

/// Bytes of one read.
const CHUNK_BYTES_MAX: usize = 64 * 1024;
/// Chunks waiting for the session loop; a stream's flow-control window bounds them in bytes.
const CHUNKS_MAX: usize = 64;

/// A stream's incoming bytes, or its end.
pub(super) type Incoming = (Stream, Option<Vec<u8>>);

/// The write halves of both streams.
pub(super) struct Writers {
    pub up: SendStream,
    pub down: SendStream,
}

impl Writers {
    pub(super) async fn send(&mut self, stream: Stream, bytes: &[u8]) -> Result<(), quinn::WriteError> {
        let half = match stream {
            Stream::Up => &mut self.up,
            Stream::Down => &mut self.down,
        };
        half.write_all(bytes).await
    }

    /// Lets what was written arrive before the connection closes.
    pub(super) async fn finish(&mut self) {
        let _ = self.up.finish();
        let _ = self.down.finish();
        let stopped = async {
            let _ = self.up.stopped().await;
        };
        let _ = tokio::time::timeout(std::time::Duration::from_secs(1), stopped).await;
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
    loop {
        let chunk = match half.read_chunk(CHUNK_BYTES_MAX, true).await {
            Ok(Some(chunk)) => Some(chunk.bytes.to_vec()),
            Ok(None) | Err(_) => None,
        };
        let ended = chunk.is_none();
        if chunks.send((stream, chunk)).await.is_err() || ended {
            return;
        }
    }
}

pub(super) fn now_ms() -> i64 {
    TimeMs::now().ms()
}

/// Sleeps until a session wants to be woken.
pub(super) async fn wake(at_ms: i64) {
    let wait_ms = (at_ms - now_ms()).max(0) as u64;
    tokio::time::sleep(std::time::Duration::from_millis(wait_ms)).await;
}
