//! The machines of the hub, as one of them sees and changes them: who belongs to it, who votes, who serves.
//!
//! Two books, each with one writer: the engine's membership (who votes, at which address) and the state's rows (who was invited,
//! who serves nodes and people, at which links). A change goes through both in the order that is safe: a number before a
//! member, retired before removed.

mod announce;
mod change;
mod invitation;
mod standing;
mod view;
mod voter;

use std::sync::{Arc, Weak};

pub use announce::{Reached, keep_announced};
pub use invitation::{Invitation, InvitationError, Invited, Sealed};
pub use standing::{OwnState, drain_nodes, follow_own_state};
pub use view::{ClusterView, MachineView, Role};
pub use voter::keep_only_voting;

use crate::raft::cluster::{ChangeError, Cluster};
use crate::sequencer::{ProposeError, Sequencer};
use crate::store::{PoolError, ReadPool};

/// Why the machines were not changed, or not to the end.
#[derive(Debug, thiserror::Error)]
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
}

impl Machines {
    /// Seen from machine `number`.
    pub fn new(number: u16, cluster: &Arc<Cluster>, sequencer: Sequencer, pool: ReadPool) -> Self {
        Machines { number, cluster: Arc::downgrade(cluster), sequencer, pool }
    }

    /// The machine that looks.
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Whether it leads, as far as it knows.
    pub fn leads(&self) -> bool {
        self.cluster.upgrade().is_some_and(|cluster| cluster.status().is_leader())
    }

    /// Whether it belongs to the hub and follows a leader, or leads.
    pub fn is_led(&self) -> bool {
        let own = u64::from(self.number);
        let status = self.cluster.upgrade().map(|cluster| cluster.status());
        status.is_some_and(|status| {
            status.leader.is_some() && (status.voters.contains(&own) || status.learners.contains(&own))
        })
    }

    fn cluster(&self) -> Result<Arc<Cluster>, MachinesError> {
        self.cluster.upgrade().ok_or(MachinesError::Stopping)
    }
}
