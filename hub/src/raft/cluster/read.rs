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
        let wait = shared.raft.wait(Some(shared.settings.propose_wait));
        wait.applied_index_at_least(index, "a read").await.map_err(|error| ReadError { why: error.to_string() })?;
        Ok(index)
    }
}

impl Shared {
    /// Index that a read must have applied, if this machine leads a quorum.
    pub(super) async fn read_index_here(&self) -> Result<Option<u64>, String> {
        let (read, _) = self.raft.get_read_log_id().await.map_err(|error| error.to_string())?;
        Ok(read.index())
    }
}
