//! Requests beside the logs: each on its own stream, bounded in size and time.

use std::time::Duration;

use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::watch;

use super::closing::ENDED;

/// Largest request or answer.
pub(super) const REQUEST_BYTES_MAX: usize = 256 * 1024;
/// How long an answer may take.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// How long a request waits for a session: one that moves to another route is between two for a moment.
const SESSION_WAIT: Duration = Duration::from_millis(500);
/// First bytes of a request stream.
pub(super) const REQUEST_MARK: &[u8; 4] = b"req1";

/// A request without an answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// No session is open.
    #[error("the hub is not connected")]
    NotConnected,
    /// The connection failed on the way.
    #[error("the connection to the hub failed: {0}")]
    Failed(String),
    /// No answer in time.
    #[error("the hub did not answer in time")]
    TimedOut,
}

/// Sends requests over whatever connection is open now.
#[derive(Clone)]
pub struct Requester {
    pub(super) connection: watch::Receiver<Option<Connection>>,
}

impl Requester {
    /// Sends a request and waits for its answer. Without a session it waits for one for a moment.
    pub async fn request(&self, request: &[u8]) -> Result<Vec<u8>, RequestError> {
        if request.len() > REQUEST_BYTES_MAX - REQUEST_MARK.len() {
            return Err(failed(format!("a request of {} bytes is too large", request.len())));
        }
        let connection = self.open().await.ok_or(RequestError::NotConnected)?;
        let exchange = async {
            let (mut send, mut receive) = connection.open_bi().await.map_err(failed)?;
            send.write_all(REQUEST_MARK).await.map_err(failed)?;
            send.write_all(request).await.map_err(failed)?;
            send.finish().map_err(failed)?;
            receive.read_to_end(REQUEST_BYTES_MAX).await.map_err(failed)
        };
        tokio::time::timeout(ANSWER_WAIT, exchange).await.map_err(|_| RequestError::TimedOut)?
    }
}

impl Requester {
    async fn open(&self) -> Option<Connection> {
        let mut connection = self.connection.clone();
        let open = async {
            match connection.wait_for(Option::is_some).await {
                Ok(open) => open.clone(),
                Err(_) => None,
            }
        };
        tokio::time::timeout(SESSION_WAIT, open).await.ok().flatten()
    }
}

fn failed(error: impl std::fmt::Display) -> RequestError {
    RequestError::Failed(error.to_string())
}

/// Answers one request stream.
pub(super) async fn serve<F>(mut send: SendStream, mut receive: RecvStream, answer: impl FnOnce(Vec<u8>) -> F)
where
    F: Future<Output = Vec<u8>>,
{
    let request = match tokio::time::timeout(ANSWER_WAIT, receive.read_to_end(REQUEST_BYTES_MAX)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) | Err(_) => return,
    };
    let Some(body) = request.strip_prefix(REQUEST_MARK.as_slice()) else { return };
    // Late answers find nobody who waits for them, and would hold the stream.
    let replied = tokio::time::timeout(ANSWER_WAIT, async {
        let reply = answer(body.to_vec()).await;
        send.write_all(&reply).await
    });
    match replied.await {
        Ok(Ok(())) => drop(send.finish()),
        Ok(Err(_)) | Err(_) => drop(send.reset(ENDED)),
    }
}
