//! openraft's view of a [`State`]: calls go to the state's own thread, copies to threads that may block for long.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::storage::{RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use openraft::{AnyError, EntryPayload, OptionalSend, StorageIOError};
use tokio::fs::File;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Applied, Payload, State, StateError, View};
use crate::background;
use crate::raft::settings::{CATCH_UP_ENTRIES, READ_BYTES_MAX};
use crate::raft::snapshots::{Kept, Snapshots, is_same_file};
use crate::raft::types::{
    Answer, Entry, EntryBytes, LogId, Membership, SnapshotMeta, StorageError, StoredMembership, Types,
};
use crate::raft::worker::Worker;

/// Name of the threads that make and check copies.
pub(crate) const COPYING: &str = "state-copy";

/// How long a machine without a vote rests behind a part that it applied of what it is behind, in times of what the part took: others serve
/// meanwhile, and nobody waits for it.
const RESTS_PER_PART: u32 = 2;
/// Longest that it rests so in all until it is near: one that is behind for longer has more to do than it can rest from.
const CATCH_UP_REST_MAX: Duration = Duration::from_secs(60);
/// A machine that had nothing to apply for so long is near.
pub(super) const NOTHING_TO_DO: Duration = Duration::from_millis(10);

type Entries = Vec<(LogId, Payload)>;

/// Runs a [`State`] for openraft.
pub struct StateMachine<S> {
    id: u64,
    pub(super) state: Worker<S>,
    snapshots: Arc<Snapshots>,
    /// Whether the newest applied membership gives this machine a vote; `None` before it was looked at.
    votes: Option<bool>,
    /// Whether it catches up, without a vote.
    is_behind: bool,
    /// How long it may still rest while it catches up.
    pub(super) rest_left: Duration,
    /// When it had applied all that it was given.
    pub(super) applied_at: Instant,
    /// Ends all rests.
    stopping: CancellationToken,
}

/// Copies one view into the folder of snapshots.
pub struct SnapshotBuilder {
    /// In a lock only because openraft asks for `Sync`, which a database connection is not.
    view: Mutex<Option<Result<Box<dyn View>, StateError>>>,
    snapshots: Arc<Snapshots>,
}

impl<S: State> StateMachine<S> {
    /// Starts the thread of the state.
    pub fn start(id: u64, state: S, snapshots: Snapshots) -> Result<Self, StateError> {
        let state = Worker::start("raft-state", state)?;
        let (snapshots, rest_left) = (Arc::new(snapshots), CATCH_UP_REST_MAX);
        let (applied_at, stopping) = (Instant::now(), CancellationToken::new());
        Ok(StateMachine { id, state, snapshots, votes: None, is_behind: false, rest_left, applied_at, stopping })
    }

    /// Whoever stops the machine cancels it: what is left to apply is applied without rests.
    pub fn stopping(&self) -> CancellationToken {
        self.stopping.clone()
    }

    /// Up to where the log is applied.
    pub async fn applied(&self) -> Result<Applied, StateError> {
        self.state.call(State::applied).await?
    }

    /// The folder of its copies.
    pub fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    /// Machines that were removed for ever.
    pub async fn turned_away(&self) -> Result<BTreeSet<u64>, StateError> {
        self.state.call(State::turned_away).await?
    }

    /// Resolves its `changed` with an error when the state is gone.
    pub fn closed(&self) -> watch::Receiver<()> {
        self.state.ended()
    }

    /// Applies entries, as many at once as fit into [`READ_BYTES_MAX`].
    pub async fn apply_all(&self, entries: impl IntoIterator<Item = Entry>) -> Result<Vec<Answer>, StateError> {
        let (mut answers, mut gathered, mut gathered_bytes) = (Vec::new(), Entries::new(), 0usize);
        for entry in entries {
            let (payload, bytes) = match entry.payload {
                EntryPayload::Blank => (Payload::Blank, 0),
                EntryPayload::Normal(EntryBytes(commands)) => {
                    let bytes = commands.len();
                    (Payload::Commands(commands), bytes)
                }
                EntryPayload::Membership(membership) => (Payload::Membership(membership), 0),
            };
            if gathered_bytes.saturating_add(bytes) > READ_BYTES_MAX && !gathered.is_empty() {
                answers.append(&mut self.apply_together(std::mem::take(&mut gathered)).await?);
                gathered_bytes = 0;
            }
            gathered_bytes = gathered_bytes.saturating_add(bytes);
            gathered.push((entry.log_id, payload));
        }
        if !gathered.is_empty() {
            answers.append(&mut self.apply_together(gathered).await?);
        }
        Ok(answers)
    }

    /// Applies entries. A machine that has no vote and is behind does it in parts, and rests behind each.
    async fn apply_in_turn(&mut self, mut entries: Vec<Entry>) -> Result<Vec<Answer>, StateError> {
        let mut answers = Vec::with_capacity(entries.len());
        if self.applied_at.elapsed() >= NOTHING_TO_DO {
            self.rest_left = CATCH_UP_REST_MAX;
        }
        let is_behind = entries.len() >= CATCH_UP_ENTRIES && !self.has_vote().await?;
        if std::mem::replace(&mut self.is_behind, is_behind) != is_behind {
            // What it has at places that it only passes nobody compares, and making digests would take from who serves.
            self.state.call(move |state| state.set_digesting(!is_behind)).await?;
        }
        if is_behind {
            while entries.len() >= CATCH_UP_ENTRIES && !self.rest_left.is_zero() {
                let others = entries.split_off(CATCH_UP_ENTRIES);
                let began = Instant::now();
                answers.append(&mut self.apply_all(std::mem::replace(&mut entries, others)).await?);
                self.rest(began.elapsed() * RESTS_PER_PART).await;
            }
        }
        answers.append(&mut self.apply_all(entries).await?);
        self.applied_at = Instant::now();
        Ok(answers)
    }

    async fn rest(&mut self, time: Duration) {
        let began = Instant::now();
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => self.rest_left = Duration::ZERO,
            () = tokio::time::sleep(time.min(self.rest_left)) => {
                self.rest_left = self.rest_left.saturating_sub(began.elapsed());
            }
        }
    }

    async fn has_vote(&mut self) -> Result<bool, StateError> {
        let votes = match self.votes {
            Some(votes) => votes,
            None => self.is_voter_of(self.applied().await?.membership.membership()),
        };
        self.votes = Some(votes);
        Ok(votes)
    }

    fn is_voter_of(&self, membership: &Membership) -> bool {
        membership.voter_ids().any(|voter| voter == self.id)
    }

    async fn apply_together(&self, entries: Entries) -> Result<Vec<Answer>, StateError> {
        let count = entries.len();
        let answers = self.state.call(move |state| state.apply(entries)).await??;
        if answers.len() != count {
            return Err(StateError::Answers { entries: count, answers: answers.len() });
        }
        Ok(answers)
    }

    /// Replaces the state by the newest snapshot in the folder, if there is one; what is applied then.
    pub async fn restore(&self) -> Result<Applied, StateError> {
        if let Some(kept) = self.snapshots.current() {
            self.replace(kept).await?;
        }
        self.applied().await
    }

    async fn replace(&self, kept: Arc<Kept>) -> Result<(), StateError> {
        self.state
            .call(move |state| {
                let applied = state.applied()?.last;
                // The same index by another leader: one of both was never committed.
                let conflicts =
                    |offered: LogId| applied.is_some_and(|own| own.index == offered.index && own != offered);
                if kept.meta.last_log_id.is_some_and(conflicts) {
                    return Err(StateError::Conflict { offered: kept.meta.last_log_id, applied });
                }
                if applied.map(|applied| applied.index) > kept.meta.last_log_id.map(|offered| offered.index) {
                    return Err(StateError::Older { offered: kept.meta.last_log_id, applied });
                }
                state.install(&kept.path)?;
                let Applied { last, membership } = state.applied()?;
                if last != kept.meta.last_log_id {
                    return Err(StateError::OtherPlace { found: last, expected: kept.meta.last_log_id });
                }
                // The engine goes on with the described one: others than those in the state could make a quorum.
                match membership == kept.meta.last_membership {
                    true => Ok(()),
                    false => Err(StateError::OtherMembership),
                }
            })
            .await?
    }

    /// The newest copy, as it is about to be sent. One that the disk has changed would be refused by every peer: the state is copied anew.
    /// Not in the background: the engine applies nothing while it waits for this.
    async fn sound_copy(&self) -> Result<Option<Snapshot<Types>>, StateError> {
        let (snapshots, again) = (self.snapshots.clone(), self.snapshots.clone());
        match at_once(move || snapshots.open_verified()).await {
            Ok(opened) => Ok(opened.map(|(kept, file)| snapshot((kept.meta.clone(), file)))),
            Err(error) => {
                tracing::error!(%error, "a snapshot is no longer what it was: the state is copied anew");
                let view = self.state.call(State::view).await??;
                at_once(move || again.build(view)).await.map(|built| Some(snapshot(built)))
            }
        }
    }

    async fn install(&mut self, meta: SnapshotMeta, mut received: File) -> Result<(), StateError> {
        let snapshots = self.snapshots.clone();
        let kept = match snapshots.current().filter(|kept| kept.meta == meta) {
            // Received, verified and brought to disk before the engine heard of it.
            Some(kept) if is_same_file(&received, &kept.path).await => kept,
            _ => {
                let path = snapshots.place_of(&mut received).await?;
                drop(received);
                background::run(COPYING, move || snapshots.accept(&path, meta)).await?
            }
        };
        self.votes = None;
        self.replace(kept).await
    }
}

impl<S: State> RaftStateMachine<Types> for StateMachine<S> {
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied =
            self.applied().await.map_err(|error| StorageIOError::read_state_machine(AnyError::new(&error)))?;
        Ok((applied.last, applied.membership))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Answer>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        // Collected, because the iterator of the caller is not promised to live across an await.
        let entries: Vec<Entry> = entries.into_iter().collect();
        let last = entries.last().map(|entry| entry.log_id);
        let votes = entries.iter().rev().find_map(|entry| match &entry.payload {
            EntryPayload::Membership(membership) => Some(self.is_voter_of(membership)),
            _ => None,
        });
        let applied = self.apply_in_turn(entries).await.map_err(|error| {
            let cause = AnyError::new(&error);
            match last {
                Some(last) => StorageIOError::apply(last, cause).into(),
                None => StorageIOError::write_state_machine(cause).into(),
            }
        });
        self.votes = votes.or(self.votes);
        applied
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        // Here, between two applies, and not when it is copied: the copy must not be ahead of what openraft knows.
        let view = match self.state.call(State::view).await {
            Ok(view) => view,
            Err(ended) => Err(ended.into()),
        };
        SnapshotBuilder { view: Mutex::new(Some(view)), snapshots: self.snapshots.clone() }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<File>, StorageError> {
        self.snapshots.receive().await.map(Box::new).map_err(writing)
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<File>) -> Result<(), StorageError> {
        self.install(meta.clone(), *snapshot).await.map_err(writing)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        self.sound_copy().await.map_err(writing)
    }
}

impl RaftSnapshotBuilder<Types> for SnapshotBuilder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let view = self.view.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let view = view.unwrap_or(Err(StateError::Ended(crate::raft::worker::Ended)));
        let snapshots = self.snapshots.clone();
        background::run(COPYING, move || snapshots.build(view?)).await.map(snapshot).map_err(writing)
    }
}

fn snapshot((meta, file): (SnapshotMeta, std::fs::File)) -> Snapshot<Types> {
    Snapshot { meta, snapshot: Box::new(File::from_std(file)) }
}

async fn at_once<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, StateError> + Send + 'static,
) -> Result<R, StateError> {
    tokio::task::spawn_blocking(work).await.map_err(|_| StateError::Ended(crate::raft::worker::Ended))?
}

fn writing(error: impl std::error::Error + 'static) -> StorageError {
    StorageIOError::write_snapshot(None, AnyError::new(&error)).into()
}
