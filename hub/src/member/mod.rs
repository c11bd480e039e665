//! A machine of the hub as a member of its cluster: the log, the state that it builds, and the engine between them. Whoever proposes,
//! the server as well as a command on a stopped directory, does it through one of these.

mod agreement;
mod mark;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use jikai_sync::identity::TlsIdentity;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::log::DiskRoom;
use crate::raft::cluster::{Addresses, Cluster};
use crate::raft::log_store::LOG_FILE;
use crate::raft::network::Identity;
use crate::raft::settings::Settings;
use crate::replica::{Followed, Replica};
use crate::sequencer::{Clock, Sequencer};

/// The log of builds before it was replicated.
const FORMER_LOG_FILE: &str = "commands.db";
/// How long a start waits for a leader before it goes on without.
const LEADER_WAIT: Duration = Duration::from_secs(5);

/// Refuses a directory whose state was found to differ from that of most other machines.
pub fn refuse_differing(data: &Path) -> anyhow::Result<()> {
    mark::refuse(data)
}

/// A running member.
pub struct Member {
    /// The engine.
    pub cluster: Arc<Cluster>,
    /// What the state tells.
    pub followed: Followed,
    /// Room on the disk.
    pub room: Arc<DiskRoom>,
    /// Tasks that end with the member.
    beside: JoinSet<()>,
}

/// Where a member listens, and as whom.
#[derive(Debug, Clone)]
pub struct Seat {
    /// Number of the machine, from 1.
    pub machine: u16,
    /// Where it listens for the other machines. Port 0 takes any.
    pub listen: SocketAddr,
    /// What the others are told, `host:port`; `None`: the address that it listens on.
    pub address: Option<String>,
}

impl Member {
    /// Starts on the files in `data`, making them where they are missing, and applies what the log has and the state has not. Refuses a
    /// state that was found to differ from the others'.
    pub async fn start(data: &Path, tls: &TlsIdentity, seat: Seat, settings: Settings) -> anyhow::Result<Self> {
        if data.join(FORMER_LOG_FILE).exists() && !data.join(LOG_FILE).exists() {
            bail!(
                "{} was made by a build whose log was not replicated ({FORMER_LOG_FILE}): this one cannot read it. \
                 Set the hub up anew, or run the build that made it.",
                data.display()
            );
        }
        refuse_differing(data)?;
        let (replica, followed) = Replica::open(data, settings.digest_entries).context("open the state")?;
        let identity = Identity::of(tls)?;
        let addresses = Addresses { listen: seat.listen, advertised: seat.address };
        let digest_wait = settings.digest_wait;
        let started = Cluster::start(u64::from(seat.machine), data, replica, identity, addresses, settings);
        let cluster = Arc::new(started.await.context("start the command log")?);
        let mut beside = JoinSet::new();
        beside.spawn(watch_engine(cluster.failure(), followed.failed.clone()));
        let comparing = agreement::Comparing { cluster: cluster.clone(), data: data.to_owned(), wait: digest_wait };
        beside.spawn(comparing.run(followed.failed.clone()));
        Ok(Member { cluster, followed, room: Arc::new(DiskRoom::of(data)), beside })
    }

    /// Makes this machine the first of a new hub, and waits until it leads. One that belongs to a hub already stays as it is.
    pub async fn found(&self) -> anyhow::Result<()> {
        self.cluster.initialize().await.context("make the first machine of the hub")?;
        match self.wait_for_leader().await {
            true => Ok(()),
            false => bail!("the command log has no leader: do the other machines of the hub run?"),
        }
    }

    /// Waits until there is a leader, for some seconds at most; whether there is one.
    pub async fn wait_for_leader(&self) -> bool {
        let mut metrics = self.cluster.metrics();
        let led = metrics.wait_for(|metrics| metrics.current_leader.is_some() || metrics.running_state.is_err());
        matches!(tokio::time::timeout(LEADER_WAIT, led).await, Ok(Ok(metrics)) if metrics.current_leader.is_some())
    }

    /// Starts proposing through it.
    pub fn sequencer(&self, clock: Clock) -> (Sequencer, JoinHandle<()>) {
        Sequencer::start(self.cluster.clone(), self.followed.clone(), self.room.clone(), clock)
    }

    /// Stops, and waits until the files are closed.
    pub async fn stop(mut self) {
        // First: they hold the cluster, whose files must not stay locked.
        self.beside.shutdown().await;
        self.cluster.shutdown().await;
    }
}

/// Tells when the engine has failed: a log that lost a write must not vote.
async fn watch_engine(failure: impl Future<Output = Option<String>>, failed: watch::Sender<Option<String>>) {
    if let Some(why) = failure.await {
        tracing::error!(why, "the command log has failed: this machine stops");
        let why = format!("the command log has failed: {why}. Start the hub again: it goes on from the log");
        failed.send_if_modified(|known| known.is_none().then(|| *known = Some(why)).is_some());
    }
}
