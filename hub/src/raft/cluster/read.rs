//! Reads that see everything that was committed before they began.

use openraft::LogIdOptionExt;

use super::{Cluster, ReadError, Shared};
use crate::raft::network::{Call, Reply};

impl Cluster {
    /// Waits until the state of this machine holds everything that any machine had answered before this call; the index
    /// it holds at least. The leader asks a quorum whether it still leads.
    pub async fn ensure_linearizable(&self) -> Result<Option<u64>, ReadError> {
        let shared = &self.shared;
        let (id, machine) = shared.leader().ok_or_else(|| ReadError { why: "there is no leader".to_owned() })?;
        let index = if id == shared.id {
            shared.read_index_here().await
        } else {
            match shared.peers.get(id, &machine).call(Call::ReadIndex, shared.settings.propose_wait).await {
                Ok(Reply::ReadIndex(index)) => index,
                Ok(Reply::Failed(why)) => Err(why),
                Ok(_) => Err("an answer to something else".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        };
        let index = index.map_err(|why| ReadError { why })?;
        if let Some(index) = index {
            shared.applied_here(index).await?;
        }
        Ok(index)
    }
}

impl Shared {
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
