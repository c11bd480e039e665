//! Receiving a snapshot.
//!
//! openraft 0.9 stops the whole engine when installing fails, and shortens the log beside the installing. So a copy is verified and
//! brought to disk before the engine hears of it: one that was damaged on its way is thrown away and sent again, and a machine that
//! dies while it installs finds the copy at its next start.

use std::cmp::Ordering;
use std::fmt::Display;
use std::io;
use std::time::Duration;

use openraft::Snapshot;
use openraft::error::{InstallSnapshotError, RaftError};
use openraft::network::snapshot_transport::{Chunked, SnapshotTransport, Streaming};
use openraft::raft::{InstallSnapshotRequest, InstallSnapshotResponse};
use tokio::fs::File;
use tokio::time::Instant;

use super::Shared;
use crate::background;
use crate::raft::network::Reply;
use crate::raft::state::{COPYING, StateError};
use crate::raft::types::Types;

/// How long pieces of a damaged snapshot are refused: longer than the sender's five attempts 200 ms apart, after which it
/// verifies its own copy and begins again.
const REFUSED_FOR: Duration = Duration::from_secs(3);

/// The snapshot that is being received.
#[derive(Default)]
pub(super) struct Receiving {
    streaming: Option<Streaming<Types>>,
    /// Id of one that arrived damaged or did not reach the disk, and when.
    damaged: Option<(String, Instant)>,
}

impl Receiving {
    /// Refuses what comes of this snapshot for a while, so that it is sent again from its beginning.
    fn throw_away(&mut self, id: String, error: &dyn Display) -> Reply {
        metrics::counter!("jikai_snapshots_refused_total").increment(1);
        tracing::error!(%error, "a received snapshot is thrown away, it will be sent again");
        (self.streaming, self.damaged) = (None, Some((id, Instant::now())));
        Reply::Failed(error.to_string())
    }
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
            return Reply::Failed("the snapshot arrived damaged, or did not reach the disk".to_owned());
        }
        let received = match Chunked::receive_snapshot(&mut receiving.streaming, &self.raft, piece).await {
            Ok(None) => {
                return match self.snapshots.flush_received().await {
                    Ok(()) => Reply::Snapshot(InstallSnapshotResponse { vote: own }),
                    Err(error) => receiving.throw_away(id, &error),
                };
            }
            Ok(Some(received)) => received,
            Err(RaftError::APIError(InstallSnapshotError::SnapshotMismatch(mismatch))) => {
                return Reply::SnapshotMismatch(mismatch);
            }
            // Also a piece that could not be written: its place in the file is taken as passed.
            Err(RaftError::Fatal(fatal)) => return receiving.throw_away(id, &fatal),
        };
        match self.keep(received).await {
            Ok(kept) => match self.raft.install_full_snapshot(vote, kept).await {
                Ok(response) => Reply::Snapshot(response.into()),
                Err(fatal) => Reply::Failed(fatal.to_string()),
            },
            Err(error) => receiving.throw_away(id, &error),
        }
    }

    /// Verifies a complete snapshot and brings it to disk.
    async fn keep(&self, received: Snapshot<Types>) -> Result<Snapshot<Types>, StateError> {
        let Snapshot { meta, snapshot: mut file } = received;
        let snapshots = self.snapshots.clone();
        let path = snapshots.place_of(&mut file).await?;
        drop(file);
        let opened = background::run(COPYING, move || {
            snapshots.accept(&path, meta)?;
            // A newer one of its own may have taken its place meanwhile: what was received is in it.
            Ok::<_, StateError>(snapshots.open_current()?.ok_or(io::Error::from(io::ErrorKind::NotFound))?)
        });
        let (kept, file) = opened.await?;
        Ok(Snapshot { meta: kept.meta.clone(), snapshot: Box::new(File::from_std(file)) })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use super::super::start::SNAPSHOT_FOLDER;
    use super::*;
    use crate::province::{LONG, Machines, NodeLog, check_in};
    use crate::raft::settings::Settings;
    use crate::raft::snapshots::Kept;
    use jikai_schema::command::Command;

    /// A machine whose log begins behind its snapshot, and one that waits.
    async fn shortened() -> (Machines, Arc<Kept>) {
        let few = Settings { snapshot_entries: 10, log_entries_kept: 0, ..Settings::default() };
        let mut machines = Machines::set_up(1, &few).await;
        let mut log = NodeLog::new(1);
        for _ in 0..4 {
            machines.ask(1, Command::IngestEvents(log.batch(vec![check_in(1, 13_010_001)]))).await;
        }
        let mut metrics = machines[1].member.cluster.metrics();
        let purged = metrics.wait_for(|metrics| metrics.purged.is_some());
        tokio::time::timeout(LONG, purged).await.unwrap().unwrap();
        let kept = machines[1].member.cluster.shared.snapshots.current().unwrap();
        machines.seat(2).await;
        (machines, kept)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_machine_that_joins_gets_a_copy_where_the_log_is_long_and_the_log_where_it_is_short() {
        for (log_entries_kept, is_copied) in [(2, true), (1_000, false)] {
            let mut machines = Machines::set_up(1, &Settings { log_entries_kept, ..Settings::default() }).await;
            let mut log = NodeLog::new(1);
            for _ in 0..12 {
                machines.ask(1, Command::IngestEvents(log.batch(vec![check_in(1, 13_010_001)]))).await;
            }
            machines.seat(2).await;
            machines.follow(2).await;
            machines.applied(2, machines[1].sequencer.applied()).await;
            for machine in [1, 2] {
                let snapshots = &machines[machine].member.cluster.shared.snapshots;
                assert_eq!(snapshots.current().is_some(), is_copied, "machine {machine}, {log_entries_kept} kept");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_damaged_snapshot_is_thrown_away_and_sent_again_and_stops_nobody() {
        let (machines, kept) = shortened().await;
        let mut data = fs::read(&kept.path).unwrap();
        let middle = data.len() / 2;
        data[middle] ^= 1;
        let (leader, follower) = (&machines[1].member.cluster.shared, &machines[2].member.cluster.shared);
        let vote = leader.raft.metrics().borrow().vote;
        let piece = |data| InstallSnapshotRequest { vote, meta: kept.meta.clone(), offset: 0, data, done: true };
        let Reply::Failed(why) = follower.receive(piece(data)).await else { panic!("it was taken") };
        assert!(why.contains("checksum"), "{why}");
        assert_eq!(follower.snapshots.current(), None);
        let Reply::Failed(_) = follower.receive(piece(Vec::new())).await else { panic!("it was taken at once again") };
        machines.follow(2).await;
        machines.applied(2, machines[1].sequencer.applied()).await;
        assert_eq!(*machines[2].sequencer.failed().borrow(), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_piece_that_cannot_be_written_is_refused_and_the_snapshot_sent_again_from_its_beginning() {
        let (machines, kept) = shortened().await;
        let (leader, follower) = (&machines[1].member.cluster.shared, &machines[2].member.cluster.shared);
        let vote = leader.raft.metrics().borrow().vote;
        let only_read = Box::new(File::open(&kept.path).await.unwrap());
        follower.receiving.lock().await.streaming = Some(Streaming::new(kept.meta.snapshot_id.clone(), only_read));
        let piece = |offset| {
            let data = vec![1; 100];
            InstallSnapshotRequest { vote, meta: kept.meta.clone(), offset, data, done: false }
        };
        // The file tells the error of a write at the next one.
        let Reply::Snapshot(_) = follower.receive(piece(0)).await else { panic!("the first piece was refused") };
        let Reply::Failed(_) = follower.receive(piece(100)).await else { panic!("it was taken") };
        assert!(follower.receiving.lock().await.streaming.is_none());
        machines.follow(2).await;
        machines.applied(2, machines[1].sequencer.applied()).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_snapshot_whose_pieces_do_not_reach_the_disk_is_sent_again_from_its_beginning() {
        let (machines, kept) = shortened().await;
        let data = fs::read(&kept.path).unwrap();
        let (leader, follower) = (&machines[1].member.cluster.shared, &machines[2].member.cluster.shared);
        let vote = leader.raft.metrics().borrow().vote;
        let piece = |from: usize, to: usize| {
            let (offset, data) = (from as u64, data[from..to].to_vec());
            InstallSnapshotRequest { vote, meta: kept.meta.clone(), offset, data, done: false }
        };
        let (half, end) = (data.len() / 2, data.len());
        let Reply::Snapshot(_) = follower.receive(piece(0, half)).await else { panic!("the first piece was refused") };
        let folder = fs::read_dir(machines[2].data.path().join(SNAPSHOT_FOLDER)).unwrap();
        let files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        fs::remove_file(&files[0]).unwrap();
        let Reply::Failed(_) = follower.receive(piece(half, end)).await else { panic!("it was taken") };
        assert!(follower.receiving.lock().await.streaming.is_none());
        let Reply::Failed(why) = follower.receive(piece(0, half)).await else { panic!("it was taken at once again") };
        assert!(why.contains("did not reach the disk"), "{why}");
        machines.follow(2).await;
        machines.applied(2, machines[1].sequencer.applied()).await;
        assert_eq!(*machines[2].sequencer.failed().borrow(), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_machine_that_died_before_it_installed_what_it_had_received_starts_from_it() {
        let (mut machines, kept) = shortened().await;
        let received = machines[2].data.path().join("received");
        fs::copy(&kept.path, &received).unwrap();
        machines[2].member.cluster.shared.snapshots.accept(&received, kept.meta.clone()).unwrap();
        machines.restart(2).await;
        let place = crate::replica::position_of(kept.meta.last_log_id.unwrap().index);
        assert_eq!(machines[2].sequencer.applied(), place);
        machines.follow(2).await;
        machines.applied(2, machines[1].sequencer.applied()).await;
    }
}
