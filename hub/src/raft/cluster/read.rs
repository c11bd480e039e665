//! Reads that see everything that was committed before they began.

use openraft::LogIdOptionExt;

use std::time::Duration;

use tokio::time::Instant;

use super::{Cluster, ReadError, Shared};
use crate::raft::network::{Call, Reply};

/// Leaders that are asked before a read is given up.
const ATTEMPTS_MAX: usize = 64;
/// Pause between two.
const PAUSE: Duration = Duration::from_millis(100);

impl Cluster {
    /// Waits until the state of this machine holds everything that any machine had answered before this call; the index
    /// it holds at least. The leader asks a quorum whether it still leads.
    pub async fn ensure_linearizable(&self) -> Result<Option<u64>, ReadError> {
        let shared = &self.shared;
        let until = Instant::now() + shared.settings.propose_wait;
        let mut index = shared.read_index(until).await;
        for _ in 1..ATTEMPTS_MAX {
            if index.is_ok() || Instant::now() >= until {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            index = shared.read_index(until).await;
        }
        let index = index.map_err(|why| ReadError { why })?;
        if let Some(index) = index {
            shared.applied_here(index).await?;
        }
        Ok(index)
    }
}

impl Shared {
    /// Index that a read must have applied, by the leader's word. Gives up a leader as soon as another one is known.
    async fn read_index(&self, until: Instant) -> Result<Option<u64>, String> {
        let (id, machine) = self.leader().ok_or("there is no leader")?;
        if id == self.id {
            return self.read_index_here().await;
        }
        let (peer, wait) = (self.peers.get(id, &machine), until.saturating_duration_since(Instant::now()));
        let reply = tokio::select! {
            reply = peer.call(Call::ReadIndex, wait) => reply,
            () = self.another_leads(id) => return Err("the lead moves".to_owned()),
        };
        match reply {
            Ok(Reply::ReadIndex(index)) => index,
            Ok(Reply::Failed(why)) => Err(why),
            Ok(_) => Err("an answer to something else".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Waits until the state of this machine holds the entry.
    pub(super) async fn applied_here(&self, index: u64) -> Result<(), ReadError> {
        let mut metrics = self.raft.metrics();
        let applied = metrics.wait_for(|metrics| {
            metrics.running_state.is_err() || metrics.last_applied.is_some_and(|applied| applied.index >= index)
        });
        let failed = |why: &str| ReadError { why: format!("this machine has not applied entry {index}: {why}") };
        match tokio::time::timeout(self.settings.propose_wait, applied).await {
            Ok(Ok(metrics)) if metrics.running_state.is_ok() => Ok(()),
            Ok(_) => Err(failed("it is stopping")),
            Err(_) => Err(failed("it is too far behind")),
        }
    }

    /// Index that a read must have applied, if this machine leads a quorum.
    pub(super) async fn read_index_here(&self) -> Result<Option<u64>, String> {
        let (read, _) = self.raft.get_read_log_id().await.map_err(|error| error.to_string())?;
        Ok(read.index())
    }
}
