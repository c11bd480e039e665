//! Receiving a snapshot.
//!
//! openraft 0.9 stops the whole engine when installing fails, and shortens the log beside the installing. So a copy is verified and
//! brought to disk before the engine hears of it: one that was damaged on its way is thrown away and sent again, and a machine that
//! dies while it installs finds the copy at its next start.

use std::cmp::Ordering;
use std::time::Duration;

use openraft::Snapshot;
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::network::snapshot_transport::{Chunked, SnapshotTransport, Streaming};
use openraft::raft::{InstallSnapshotRequest, InstallSnapshotResponse};
use tokio::fs::File;
use tokio::time::Instant;

use super::Shared;
use crate::raft::network::Reply;
use crate::raft::state::StateError;
use crate::raft::types::Types;

/// How long pieces of a damaged snapshot are refused: longer than the sender's five attempts 200 ms apart, after which it
/// verifies its own copy and begins again.
const REFUSED_FOR: Duration = Duration::from_secs(3);

/// The snapshot that is being received.
#[derive(Default)]
pub(super) struct Receiving {
    streaming: Option<Streaming<Types>>,
    /// Id of one that arrived damaged, and when.
    damaged: Option<(String, Instant)>,
}

impl Shared {
    /// Takes one piece; with the last one the snapshot is installed.
    pub(super) async fn receive(&self, piece: InstallSnapshotRequest<Types>) -> Reply {
        let (vote, own) = (piece.vote, self.raft.metrics().borrow().vote);
        if !matches!(vote.partial_cmp(&own), Some(Ordering::Equal | Ordering::Greater)) {
            return Reply::Snapshot(InstallSnapshotResponse { vote: own });
        }
        let mut receiving = self.receiving.lock().await;
        let id = piece.meta.snapshot_id.clone();
        if receiving.damaged.as_ref().is_some_and(|(damaged, at)| *damaged == id && at.elapsed() < REFUSED_FOR) {
            return Reply::Failed("the snapshot arrived damaged".to_owned());
        }
        let received = match Chunked::receive_snapshot(&mut receiving.streaming, &self.raft, piece).await {
            Ok(None) => return Reply::Snapshot(InstallSnapshotResponse { vote: own }),
            Ok(Some(received)) => received,
            Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                return Reply::SnapshotMismatch(mismatch);
            }
            Err(RaftError::Fatal(fatal)) => return Reply::Failed(fatal.to_string()),
        };
        match self.keep(received).await {
            Ok(kept) => match self.raft.install_full_snapshot(vote, kept).await {
                Ok(response) => Reply::Snapshot(response.into()),
                Err(fatal) => Reply::Failed(fatal.to_string()),
            },
            Err(error) => {
                metrics::counter!("jikai_snapshots_refused_total").increment(1);
                tracing::error!(%error, "a received snapshot is thrown away, it will be sent again");
                receiving.damaged = Some((id, Instant::now()));
                Reply::Failed(error.to_string())
            }
        }
    }

    /// Verifies a complete snapshot and brings it to disk.
    async fn keep(&self, received: Snapshot<Types>) -> Result<Snapshot<Types>, StateError> {
        let Snapshot { meta, snapshot: mut file } = received;
        let snapshots = self.snapshots.clone();
        let path = snapshots.place_of(&mut file).await?;
        drop(file);
        let kept = tokio::task::spawn_blocking(move || snapshots.accept(&path, meta)).await;
        let kept = kept.map_err(|_| StateError::Ended(crate::raft::worker::Ended))??;
        let file = File::open(&kept.path).await?;
        Ok(Snapshot { meta: kept.meta.clone(), snapshot: Box::new(file) })
    }
}
