//! One peer: a connection that is kept open, and calls over it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::endpoint::{Identify, peer_of};
use super::frame::{self, FRAME_BYTES_MAX, FrameError};
use super::message::{Call, Reply, Request};
use crate::raft::types::Machine;

/// How long a connection may take to open.
const OPENING_WAIT: Duration = Duration::from_secs(3);
/// First and longest pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Close code of a peer that is not who it should be.
const WRONG_PEER: u32 = 2;

/// A call without a reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing was sent.
    #[error("machine {peer} cannot be reached")]
    NotConnected { peer: u64 },
    /// Perhaps it arrived, perhaps not.
    #[error("machine {peer} did not reply within {waited:?}")]
    NoReply { peer: u64, waited: Duration },
    /// Perhaps it arrived, perhaps not.
    #[error("the connection to machine {peer} broke: {source}")]
    Broken { peer: u64, source: FrameError },
    /// Too long, or cannot be encoded: nothing was sent.
    #[error("a call that cannot be sent: {0}")]
    Unsendable(FrameError),
    /// It must not be listened to.
    #[error("machine {peer} was wiped: its log is not the one it joined with")]
    OtherInstance { peer: u64 },
}

/// A peer. Its connection is made by a task of its own: openraft drops calls after a heartbeat, and a handshake over a
/// slow line that starts anew each time would never end.
pub(crate) struct Peer {
    pub id: u64,
    pub machine: Machine,
    link: watch::Receiver<Option<Connection>>,
    /// Becomes true when the peer says that this machine was removed.
    removed: watch::Sender<bool>,
    /// Bounds what replies take in memory.
    room: Semaphore,
    /// Ends the task with the peer.
    _keeping: JoinSet<()>,
}

impl Peer {
    pub fn new(id: u64, machine: Machine, caller: Caller) -> Self {
        let (sender, link) = watch::channel(None);
        let mut keeping = JoinSet::new();
        let removed = caller.removed.clone();
        let connector = Connector { id, address: machine.peer_address.clone(), caller };
        keeping.spawn(connector.keep(sender));
        Peer { id, machine, link, removed, room: Semaphore::new(FRAME_BYTES_MAX * 2 / 1024), _keeping: keeping }
    }

    /// Sends a call on a stream of its own and waits for the reply, `wait` in all.
    pub async fn call(&self, call: Call, wait: Duration) -> Result<Reply, CallError> {
        self.call_once_connected(call, wait, wait).await
    }

    /// The same; nothing is sent if there is no connection within `connection_wait`.
    pub async fn call_once_connected(
        &self,
        call: Call,
        connection_wait: Duration,
        wait: Duration,
    ) -> Result<Reply, CallError> {
        let started = Instant::now();
        let until = started + wait;
        let request = Request { to_instance: self.machine.instance, call };
        let frame = frame::encode(&request).map_err(CallError::Unsendable)?;
        drop(request);
        let connection = self.connected(started + connection_wait).await?;
        let not_connected = || CallError::NotConnected { peer: self.id };
        let opened = tokio::time::timeout_at(until, connection.open_bi()).await.map_err(|_| not_connected())?;
        let (mut send, mut receive) = opened.map_err(|_| not_connected())?;
        let exchange = async {
            frame::write(&mut send, &frame).await?;
            frame::read(&mut receive, &self.room).await
        };
        let reply = tokio::time::timeout_at(until, exchange).await;
        let reply = reply.map_err(|_| CallError::NoReply { peer: self.id, waited: wait })?;
        match reply.map_err(|source| CallError::Broken { peer: self.id, source })? {
            Reply::OtherInstance => Err(CallError::OtherInstance { peer: self.id }),
            Reply::Removed => {
                self.removed.send_replace(true);
                Err(not_connected())
            }
            reply => Ok(reply),
        }
    }

    async fn connected(&self, until: Instant) -> Result<Connection, CallError> {
        let mut link = self.link.clone();
        let linked = tokio::time::timeout_at(until, link.wait_for(Option::is_some)).await;
        let connection = linked.ok().and_then(Result::ok).and_then(|link| link.clone());
        connection.ok_or(CallError::NotConnected { peer: self.id })
    }
}

/// How peers are called. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caller {
    pub endpoint: Endpoint,
    /// The certificate that is shown; another one counts from the next connection on.
    pub client: Arc<RwLock<ClientConfig>>,
    /// Name that every peer's certificate carries.
    pub server_name: String,
    pub identify: Identify,
    /// Becomes true when a peer says that this machine was removed.
    pub removed: watch::Sender<bool>,
}

/// Connects, and connects again.
struct Connector {
    id: u64,
    address: String,
    caller: Caller,
}

impl Connector {
    async fn keep(self, link: watch::Sender<Option<Connection>>) {
        let mut pause = PAUSE;
        loop {
            match tokio::time::timeout(OPENING_WAIT, self.connect()).await {
                Ok(Ok(connection)) => {
                    pause = PAUSE;
                    link.send_replace(Some(connection.clone()));
                    let reason = connection.closed().await;
                    link.send_replace(None);
                    tracing::info!(peer = self.id, %reason, "the connection to a machine ended");
                }
                Ok(Err(error)) => tracing::debug!(peer = self.id, error, "a machine cannot be reached"),
                Err(_) => tracing::debug!(peer = self.id, "a machine does not answer"),
            }
            // Spread, so that machines that lost each other at once do not meet at once again.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.75..1.25))).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        let mut found = tokio::net::lookup_host(&self.address).await.map_err(|error| error.to_string())?;
        let address = found.next().ok_or("its name has no address")?;
        let Caller { endpoint, client, server_name, identify, .. } = &self.caller;
        let shown = client.read().clone();
        let connecting = endpoint.connect_with(shown, address, server_name).map_err(|error| error.to_string())?;
        let connection = connecting.await.map_err(|error| error.to_string())?;
        match peer_of(&connection, identify) {
            Some(id) if id == self.id => Ok(connection),
            other => {
                connection.close(WRONG_PEER.into(), b"another machine was called");
                Err(format!("its certificate is that of {other:?}"))
            }
        }
    }
}
