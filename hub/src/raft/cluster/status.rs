//! What a machine tells about itself.

use jikai_schema::time::TimeMs;
use serde::{Deserialize, Serialize};

use crate::raft::types::{InstanceId, LogId, Metrics};

/// State of one machine, as it sees itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The machine.
    pub id: u64,
    /// Its log.
    pub instance: InstanceId,
    /// Whom it follows; its own id when it leads. None while there is no leader.
    pub leader: Option<u64>,
    /// Its term. Several leaders may share one: never fence by it alone, but by a place in the log.
    pub term: u64,
    /// Newest entry in its log.
    pub last_index: Option<u64>,
    /// Newest entry in its state.
    pub applied: Option<LogId>,
    /// Newest entry in its newest snapshot.
    pub snapshot: Option<LogId>,
    /// Newest entry that is no longer in its log.
    pub purged: Option<LogId>,
    /// Machines that vote.
    pub voters: Vec<u64>,
    /// Machines that only follow.
    pub learners: Vec<u64>,
    /// For a leader: how long ago a quorum last followed it. Milliseconds.
    pub quorum_ms: Option<u64>,
    /// Why its engine has stopped, if it has.
    pub stopped: Option<String>,
    /// Its clock. Unix ms.
    pub now_ms: i64,
}

impl Status {
    pub(super) fn new(metrics: &Metrics, instance: InstanceId) -> Self {
        let membership = metrics.membership_config.membership();
        Status {
            id: metrics.id,
            instance,
            leader: metrics.current_leader,
            term: metrics.current_term,
            last_index: metrics.last_log_index,
            applied: metrics.last_applied,
            snapshot: metrics.snapshot,
            purged: metrics.purged,
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            quorum_ms: metrics.millis_since_quorum_ack,
            now_ms: TimeMs::now().ms(),
            stopped: metrics.running_state.as_ref().err().map(ToString::to_string),
        }
    }

    /// Whether it is the leader, as far as it knows.
    pub fn is_leader(&self) -> bool {
        self.leader == Some(self.id)
    }
}
