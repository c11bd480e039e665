//! Serves the calls of the peers.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream};
use tokio::sync::Semaphore;

use super::endpoint::{Identify, peer_of};
use super::frame::{self, FrameError};
use super::message::{Reply, Request};

/// Connections at once; a cluster has a handful of machines, each may have one old and one new connection.
const CONNECTIONS_MAX: usize = 32;
/// Calls at once, of all peers together.
const CALLS_MAX: usize = 256;
/// Memory for long messages of all peers together. KiB.
const ROOM_KIB: usize = 64 * 1024;
/// How long TLS may take.
const OPENING_WAIT: Duration = Duration::from_secs(5);
/// How long a call may take to arrive.
const ARRIVAL_WAIT: Duration = Duration::from_secs(30);
/// How long a reply may take to be taken.
const DEPARTURE_WAIT: Duration = Duration::from_secs(30);
/// Close code of a caller without a certificate of a machine.
const REFUSED: u32 = 1;

/// Answers calls.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Answers one call of machine `from`. Runs to its end even if the caller goes away.
    fn handle(&self, from: u64, request: Request) -> impl Future<Output = Reply> + Send;
}

/// What all connections share.
struct Server<H> {
    handler: H,
    identify: Identify,
    calls: Arc<Semaphore>,
    room: Semaphore,
}

/// Serves until the endpoint is closed.
pub(crate) async fn serve<H: Handler>(endpoint: Endpoint, identify: Identify, handler: H) {
    let (calls, room) = (Arc::new(Semaphore::new(CALLS_MAX)), Semaphore::new(ROOM_KIB));
    let server = Arc::new(Server { handler, identify, calls, room });
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Some(incoming) = endpoint.accept().await {
        if connections.available_permits() <= CONNECTIONS_MAX / 2 && !incoming.remote_address_validated() {
            // Room grows short: from now on a caller proves that its address is its own before it takes any.
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            continue;
        }
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let server = server.clone();
        tokio::spawn(async move {
            server.connection(incoming).await;
            drop(permit);
        });
    }
}

impl<H: Handler> Server<H> {
    async fn connection(self: Arc<Self>, incoming: Incoming) {
        let connection = match tokio::time::timeout(OPENING_WAIT, incoming).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return tracing::info!(%error, "a connection was not opened"),
            Err(_) => return tracing::info!("a connection took too long to open"),
        };
        let Some(from) = peer_of(&connection, &self.identify) else {
            tracing::warn!(address = %connection.remote_address(), "a caller without a machine's certificate");
            return connection.close(REFUSED.into(), b"no machine of this cluster");
        };
        self.streams(from, connection).await;
    }

    async fn streams(self: Arc<Self>, from: u64, connection: Connection) {
        while let Ok((send, receive)) = connection.accept_bi().await {
            let Ok(permit) = self.calls.clone().acquire_owned().await else { return };
            let server = self.clone();
            // Never aborted: openraft's handling of a snapshot does not survive being dropped halfway, the next piece
            // would land at the wrong place of the file.
            tokio::spawn(async move {
                if let Err(error) = server.stream(from, send, receive).await {
                    tracing::debug!(from, %error, "a call was not answered");
                }
                drop(permit);
            });
        }
    }

    async fn stream(&self, from: u64, mut send: SendStream, mut receive: RecvStream) -> Result<(), FrameError> {
        let request: Request = match tokio::time::timeout(ARRIVAL_WAIT, frame::read(&mut receive, &self.room)).await {
            Ok(request) => request?,
            Err(_) => return Err(FrameError::TooSlow),
        };
        let reply = match request.call.speaker() {
            Some(speaker) if speaker != from => Reply::Failed(format!("machine {from} speaks for {speaker}")),
            _ => self.handler.handle(from, request).await,
        };
        let frame = frame::encode(&reply)?;
        let sent = tokio::time::timeout(DEPARTURE_WAIT, frame::write(&mut send, &frame)).await;
        sent.map_err(|_| FrameError::TooSlow)?
    }
}
