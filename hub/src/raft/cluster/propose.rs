//! Proposing entries, here or through the leader.

use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use tokio::time::Instant;

use super::{Cluster, ProposeError, Shared};
use crate::raft::network::{Call, CallError, Proposed, Reply};
use crate::raft::types::{Answer, ENTRY_BYTES_MAX, EntryBytes};

/// Leaders that are asked before a proposal is given up.
const ATTEMPTS_MAX: usize = 1_000;
/// Shortest pause between two.
const PAUSE: Duration = Duration::from_millis(10);
/// How long to wait for a sign of another leader before asking again.
const LEADER_WAIT: Duration = Duration::from_millis(200);

/// A committed and applied entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Its index in the log.
    pub index: u64,
    /// What applying it answered.
    pub answer: Answer,
}

impl Cluster {
    /// Has the leader append an entry; committed, and applied by the leader and by this machine when it returns. Asks again while there
    /// certainly is nothing in the log, at most [`crate::raft::settings::Settings::propose_wait`] long.
    ///
    /// openraft 0.9 flushes every entry by itself before it takes the next: put many commands into one entry.
    pub async fn propose(&self, entry: Vec<u8>) -> Result<Committed, ProposeError> {
        if entry.len() > ENTRY_BYTES_MAX {
            return Err(ProposeError::TooLong { bytes: entry.len() });
        }
        let (entry, until) = (EntryBytes(entry), Instant::now() + self.shared.settings.propose_wait);
        let mut metrics = self.shared.raft.metrics();
        let mut why = "there is no leader".to_owned();
        for _ in 0..ATTEMPTS_MAX {
            if let Err(fatal) = &metrics.borrow_and_update().running_state {
                return Err(ProposeError::Stopped { why: fatal.to_string() });
            }
            match self.shared.attempt(&entry, until).await {
                Proposed::Committed { index, answer } => return Ok(Committed { index, answer }),
                Proposed::Unknown => return Err(ProposeError::Unknown),
                Proposed::NotTaken(reason) => why = reason,
            }
            if Instant::now() >= until {
                break;
            }
            // Metrics change with every message: not each change is worth a try.
            tokio::time::sleep(PAUSE).await;
            // Nothing changes before the engine hears of something, except at a leader that hands over or back.
            let _ = tokio::time::timeout(LEADER_WAIT, metrics.changed()).await;
        }
        Err(ProposeError::NotTaken { why })
    }
}

impl Shared {
    async fn attempt(&self, entry: &EntryBytes, until: Instant) -> Proposed {
        let wait = until.saturating_duration_since(Instant::now());
        let Some((id, machine)) = self.leader() else { return Proposed::NotTaken("there is no leader".to_owned()) };
        if id == self.id {
            return self.append_here(entry.clone(), wait).await;
        }
        let peer = self.peers.get(id, &machine);
        let reply = tokio::select! {
            reply = peer.call(Call::Propose(entry.clone()), wait) => reply,
            // It was sent to one that leads no more: whoever leads now knows what became of it.
            () = self.another_leads(id) => return Proposed::Unknown,
        };
        match reply {
            Ok(Reply::Proposed(proposed)) => {
                // The leader has applied it. Whoever proposed it here reads it here next: a login must find its session. It is
                // committed in any case, so a state that lags changes nothing about the answer.
                if let Proposed::Committed { index, .. } = proposed
                    && self.applied_here(index).await.is_err()
                {
                    tracing::warn!(index, "an entry is answered before this machine has applied it");
                }
                proposed
            }
            Ok(Reply::Failed(why)) => Proposed::NotTaken(why),
            Err(error @ (CallError::NotConnected { .. } | CallError::OtherInstance { .. })) => {
                Proposed::NotTaken(error.to_string())
            }
            Err(CallError::Unsendable(error)) => Proposed::NotTaken(error.to_string()),
            Ok(_) | Err(CallError::NoReply { .. } | CallError::Broken { .. }) => Proposed::Unknown,
        }
    }

    /// Waits until another machine than `id` leads.
    pub(super) async fn another_leads(&self, id: u64) {
        let mut metrics = self.raft.metrics();
        let changed = metrics.wait_for(|metrics| metrics.current_leader.is_some_and(|leader| leader != id));
        if changed.await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Appends an entry if this machine leads.
    pub(super) async fn append_here(&self, entry: EntryBytes, wait: Duration) -> Proposed {
        if entry.0.len() > ENTRY_BYTES_MAX {
            return Proposed::NotTaken(format!("{} bytes are too many", entry.0.len()));
        }
        if *self.handing_over.borrow() {
            return Proposed::NotTaken("the leader is handing over".to_owned());
        }
        if self.lost_quorum() {
            return Proposed::NotTaken("the leader has lost its quorum".to_owned());
        }
        match tokio::time::timeout(wait, self.raft.client_write(entry)).await {
            Ok(Ok(written)) => Proposed::Committed { index: written.log_id.index, answer: written.data },
            // Before it was appended, or after it was cut off again by a new leader: in both cases it is not in the log.
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Proposed::NotTaken("it does not lead".to_owned())
            }
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Proposed::NotTaken(error.to_string())
            }
            Ok(Err(RaftError::Fatal(_))) | Err(_) => Proposed::Unknown,
        }
    }
}
