//! A machine of the cluster: log, state, network and engine together.

mod change;
mod digests;
mod error;
mod heard;
mod links;
mod log;
mod members;
mod propose;
mod read;
mod receive;
mod serve;
mod start;
mod status;
mod transfer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use openraft::error::{Fatal, InitializeError, RaftError};
use parking_lot::RwLock;
use quinn::Endpoint;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use change::Change;
pub(crate) use change::Refused;
pub use error::{ChangeError, ProposeError, ReadError, StartError};
use heard::Heard;
pub use links::LinksTold;
pub use propose::Committed;
use receive::Receiving;
pub use status::Status;

use crate::raft::digests::Digests;
use crate::raft::network::{Identity, Peers, server_config};
use crate::raft::settings::Settings;
use crate::raft::snapshots::Snapshots;
use crate::raft::types::{InstanceId, Machine, Metrics, Raft};

/// How long the files of a machine that stops may take to close.
const CLOSING_WAIT: Duration = Duration::from_secs(30);
/// Close code of an endpoint that stops.
const STOPPING: u32 = 0;

/// Where a machine listens and where its peers call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Own address, UDP; port 0 takes any.
    pub listen: SocketAddr,
    /// What peers are told, `host:port`; none: the address it listens on.
    pub advertised: Option<String>,
}

/// One machine of the cluster.
///
/// Dropped without [`Cluster::shutdown`] its engine stops as well, but nobody waits for its files to be closed.
pub struct Cluster {
    shared: Arc<Shared>,
    endpoint: Endpoint,
    serving: JoinHandle<()>,
    /// Ends the rests of the state while it catches up.
    stopping: CancellationToken,
    /// Each ends when a file is closed.
    closing: Vec<watch::Receiver<()>>,
    /// Held until the files are closed: no second process may use them.
    _lock: File,
}

/// What callers and peers use.
struct Shared {
    id: u64,
    instance: InstanceId,
    address: String,
    settings: Settings,
    raft: Raft,
    peers: Peers,
    digests: Digests,
    links: OnceLock<LinksTold>,
    snapshots: Arc<Snapshots>,
    receiving: Mutex<Receiving>,
    /// While the machine hands over it takes no proposals.
    handing_over: watch::Sender<bool>,
    /// Machines that were removed: nothing that they say counts.
    turned_away: RwLock<BTreeSet<u64>>,
    heard: RwLock<Heard>,
    /// One change of the cluster at a time: openraft 0.9 does not survive rapid ones.
    changing: Mutex<()>,
}

impl Cluster {
    /// Makes this machine the first voter of a new cluster; `false` if it already belongs to one.
    pub async fn initialize(&self) -> Result<bool, ChangeError> {
        let Shared { id, instance, ref address, .. } = *self.shared;
        let machine = Machine { peer_address: address.clone(), instance };
        match self.shared.raft.initialize(BTreeMap::from([(id, machine)])).await {
            Ok(()) => Ok(true),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(false),
            Err(error) => Err(ChangeError::Engine(error.to_string())),
        }
    }

    /// State of this machine.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Follows the engine; a stopped one tells why in `running_state`. The process should end then.
    pub fn metrics(&self) -> watch::Receiver<Metrics> {
        self.shared.raft.metrics()
    }

    /// Waits until the engine has ended: why, if it failed by itself; `None` if it was stopped.
    pub fn failure(&self) -> impl Future<Output = Option<String>> + Send + use<> {
        let mut metrics = self.shared.raft.metrics();
        async move {
            let ended = metrics.wait_for(|metrics| metrics.running_state.is_err()).await;
            match ended.ok()?.running_state.as_ref().err()? {
                Fatal::Stopped => None,
                failed => Some(failed.to_string()),
            }
        }
    }

    /// Becomes true when another machine says that this one was removed for ever: by a command, or because one took over alone.
    pub fn removed(&self) -> watch::Receiver<bool> {
        self.shared.peers.removed()
    }

    /// Whether it stands for election by itself when there is no leader. Told to, it always does.
    pub fn stand_for_election(&self, stands: bool) {
        self.shared.raft.runtime_config().elect(stands);
    }

    /// Shows the certificate of this identity to the other machines from now on; open connections stay.
    pub fn present(&self, identity: &Identity) -> Result<(), StartError> {
        self.shared.peers.present(identity)?;
        self.endpoint.set_server_config(Some(server_config(identity)?));
        Ok(())
    }

    /// Answers none of these machines from now on: they were removed for ever.
    pub fn turn_away(&self, machines: BTreeSet<u64>) {
        *self.shared.turned_away.write() = machines;
    }

    /// Copies the state now and shortens the log behind the copy. Returns at once; [`Cluster::metrics`] tell when it is
    /// done.
    pub async fn snapshot(&self) -> Result<(), ChangeError> {
        self.shared.raft.trigger().snapshot().await.map_err(|fatal| ChangeError::Engine(fatal.to_string()))
    }

    /// The address it listens on.
    pub fn local_address(&self) -> std::io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// Stops, and waits until its files are closed.
    pub async fn shutdown(&self) {
        self.stopping.cancel();
        if let Err(error) = self.shared.raft.shutdown().await {
            tracing::warn!(%error, "the engine did not stop cleanly");
        }
        self.endpoint.close(STOPPING.into(), b"stopping");
        let closed = async {
            for mut file in self.closing.clone() {
                while file.changed().await.is_ok() {}
            }
        };
        if tokio::time::timeout(CLOSING_WAIT, closed).await.is_err() {
            tracing::warn!("the files of the machine are still open");
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stopping.cancel();
        self.serving.abort();
        self.endpoint.close(STOPPING.into(), b"stopping");
    }
}

impl Shared {
    fn status(&self) -> Status {
        Status::new(&self.raft.metrics().borrow(), self.instance)
    }

    /// Whom this machine follows and how to reach it, as far as it knows.
    fn leader(&self) -> Option<(u64, Machine)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let id = metrics.current_leader?;
        Some((id, metrics.membership_config.membership().get_node(&id)?.clone()))
    }

    /// A leader that no quorum has followed for this long may have been replaced without knowing.
    fn lost_quorum(&self) -> bool {
        let metrics = self.raft.metrics();
        let quorum_ms = metrics.borrow().millis_since_quorum_ack;
        quorum_ms.is_some_and(|quorum_ms| u128::from(quorum_ms) > 2 * self.settings.election_max.as_millis())
    }
}
