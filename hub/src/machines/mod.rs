//! The machines of the hub, as one of them sees and changes them: who belongs to it, who votes, who serves.
//!
//! Two books, each with one writer: the engine's membership (who votes, at which address) and the state's rows (who was invited,
//! who serves nodes and people, at which links). A change goes through both in the order that is safe: a number before a
//! member, retired before removed.

mod announce;
mod change;
mod invitation;
mod links;
mod standing;
#[cfg(test)]
mod tests;
mod under_way;
mod view;
mod voter;

use std::sync::{Arc, Weak};
use std::time::Duration;

use jikai_schema::time::TimeMs;
use tokio::sync::Mutex;
use tokio::time::Instant;

pub use announce::{Reached, keep_announced};
pub use invitation::{Invitation, InvitationError, Invited, Sealed};
pub use links::{NodeLink, NodeLinks, shared_links};
pub use standing::{OwnState, drain_nodes, follow_own_state};
pub use view::{ClusterView, MachineView, Role};
pub use voter::{PATIENCE, keep_only_voting};

use under_way::Slot;

use crate::raft::cluster::{ChangeError, Cluster};
use crate::sequencer::{ProposeError, Sequencer};
use crate::store::{PoolError, ReadPool};

/// How long what was found out about this machine's state counts.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a majority may take to confirm it.
const CURRENT_WAIT: Duration = Duration::from_millis(1_500);

/// A leader that has not called for so long does so no more.
const LET_GO: Duration = Duration::from_secs(3);

/// Why the machines were not changed, or not to the end.
#[derive(Debug, Clone, thiserror::Error)]
pub enum MachinesError {
    /// The command about it was not committed.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The machine of the rules refused.
    #[error(transparent)]
    Refused(#[from] jikai_schema::command::Refusal),
    /// The engine did not change its members.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// The state could not be read.
    #[error("the state could not be read: {0}")]
    State(String),
    /// This machine is stopping.
    #[error("this machine is stopping")]
    Stopping,
    /// It cannot be done as things stand.
    #[error("{what}")]
    NotNow {
        /// Stable.
        code: &'static str,
        /// What stands against it.
        what: String,
    },
}

impl From<PoolError> for MachinesError {
    fn from(error: PoolError) -> Self {
        MachinesError::State(error.to_string())
    }
}

impl From<rusqlite::Error> for MachinesError {
    fn from(error: rusqlite::Error) -> Self {
        MachinesError::State(error.to_string())
    }
}

/// The machines of the hub, seen from one of them. Cheap to clone.
#[derive(Clone)]
pub struct Machines {
    number: u16,
    /// Weak: whoever holds this does not keep the log's files open.
    cluster: Weak<Cluster>,
    sequencer: Sequencer,
    pool: ReadPool,
    /// Whether its state was current, and when that was looked at.
    looked: Arc<Mutex<Option<(Instant, bool)>>>,
    /// The machine that is being taken in.
    adding: Slot,
    /// The one that is being taken out.
    removing: Slot,
}

impl Machines {
    /// Seen from machine `number`.
    pub fn new(number: u16, cluster: &Arc<Cluster>, sequencer: Sequencer, pool: ReadPool) -> Self {
        let (cluster, looked) = (Arc::downgrade(cluster), Arc::default());
        Machines { number, cluster, sequencer, pool, looked, adding: Slot::default(), removing: Slot::default() }
    }

    /// The machine that looks.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Whether it leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.cluster.upgrade().is_some_and(|cluster| cluster.status().is_leader())
    }

    fn is_member(&self) -> bool {
        let own = u64::from(self.number);
        self.cluster.upgrade().is_some_and(|cluster| cluster.member_address(own).is_some())
    }

    /// How far this machine's clock is apart from the leader's, if too far. Milliseconds.
    async fn clock_apart_ms(&self) -> Option<i64> {
        let cluster = self.cluster.upgrade()?;
        let leader = cluster.status().leader.filter(|leader| *leader != u64::from(self.number))?;
        let status = cluster.status_of(leader, view::ANSWER_WAIT).await.ok()?;
        let apart_ms = (status.now_ms - TimeMs::now().ms()).abs();
        (apart_ms > change::CLOCK_APART_MS_MAX).then_some(apart_ms)
    }

    /// Whether its state is as new as any: a majority confirms who leads, and all that was answered before is applied here. Looked at
    /// twice a second at most, whoever asks.
    pub async fn is_current(&self) -> bool {
        let mut looked = self.looked.lock().await;
        if let Some((at, current)) = *looked
            && at.elapsed() < LOOK_EVERY
        {
            return current;
        }
        let caught_up = tokio::time::timeout(CURRENT_WAIT, self.sequencer.catch_up()).await;
        let current = matches!(caught_up, Ok(Ok(())));
        *looked = Some((Instant::now(), current));
        current
    }

    /// Waits until another machine says that this one was removed: it may have been taken over while it was away.
    pub async fn told_removed(&self) {
        let removed = self.cluster.upgrade().map(|cluster| cluster.removed());
        if let Some(mut removed) = removed
            && removed.wait_for(|removed| *removed).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    }

    /// Waits until no leader has called this machine for a while: it was let go.
    pub async fn has_left(&self) {
        while self.cluster.upgrade().is_some_and(|cluster| cluster.unheard() < LET_GO) {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn cluster(&self) -> Result<Arc<Cluster>, MachinesError> {
        self.cluster.upgrade().ok_or(MachinesError::Stopping)
    }
}
