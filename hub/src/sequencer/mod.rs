//! The sequencer: everything that changes the hub passes through here, in one order.
//!
//! Proposals queue; one task takes what has queued and has it committed as **one** entry (one fsync, one transaction), and only
//! then answers all. While an entry is on its way the next one gathers by itself; what nodes send gathers a little longer. An entry whose answer got lost is sent again:
//! its commands bear their requests, and what was applied is answered and not applied again.

mod batcher;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Weak};
use std::time::Duration;

use jikai_schema::codec;
use jikai_schema::command::{By, COMMAND_BYTES_MAX, Command, ENTRY_BYTES_MAX, Outcome, Proposal};
use jikai_schema::event::{RequestId, RequestKey};
use jikai_schema::time::TimeMs;
use rand::RngExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use crate::log::{DiskRoom, LogError, LogPosition, ReplicatedLog};
use crate::raft::digests::{Agreement, Told};
use crate::replica::{FeedHeads, Followed};

/// Proposals that may wait; whoever proposes more waits for room.
const QUEUE_MAX: usize = 1_024;
/// Bytes of proposals that may wait. KiB.
const QUEUE_KIB_MAX: u32 = 64 * 1024;
/// Most proposals in one entry.
const ENTRY_COMMANDS_MAX: usize = 512;
/// Weight of proposals after which an entry is closed; one more may follow, so that it stays below the limit of an entry.
const ENTRY_WEIGHT_MAX: usize = ENTRY_BYTES_MAX / 2;

/// Least time from one entry to the next one of what nodes sent, where that is little: an entry has a flush at each machine, a transaction
/// and its messages, whatever it holds, and nodes would keep the hub busy with some events each. Who waits for the hub's
/// word waits so much longer at most, once for the batch before and once for the own.
const ENTRY_EVERY: Duration = Duration::from_millis(50);
/// Weight of proposals from which an entry is worth that at once: some hundreds of events.
const ENTRY_WEIGHT_WORTH: usize = 32 * 1024;

/// Tells the time, so that tests can.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// A proposal that was not committed, or whose fate is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Longer than a command may be.
    #[error("the command has {bytes} bytes, {COMMAND_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length with its envelope.
        bytes: usize,
    },
    /// The log did not take it, or its fate is not known.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The hub is shutting down, or has stopped after a failure. After a restart the log tells whether it was committed.
    #[error("the hub is stopping")]
    Stopped,
}

/// A proposal on its way.
struct Task {
    proposal: Proposal,
    weight: usize,
    answer: oneshot::Sender<Result<Outcome, ProposeError>>,
    /// Its room in the queue.
    _room: OwnedSemaphorePermit,
}

/// A proposal that stands in the queue.
pub struct Pending(oneshot::Receiver<Result<Outcome, ProposeError>>);

impl Pending {
    /// Waits until the command is committed and applied.
    pub async fn outcome(self) -> Result<Outcome, ProposeError> {
        self.0.await.map_err(|_| ProposeError::Stopped)?
    }
}

/// Proposes commands. Cheap to clone.
#[derive(Clone)]
pub struct Sequencer {
    tasks: mpsc::Sender<Task>,
    room_kib: Arc<Semaphore>,
    clock: Clock,
    followed: Followed,
    /// Weak: whoever holds a sequencer does not keep the log's files open.
    log: Weak<dyn ReplicatedLog>,
}

impl Sequencer {
    /// Starts the task that gathers. It ends when every clone is gone; the handle lets the caller wait for that.
    pub fn start(
        log: Arc<dyn ReplicatedLog>,
        followed: Followed,
        room: Arc<DiskRoom>,
        clock: Clock,
    ) -> (Sequencer, tokio::task::JoinHandle<()>) {
        let (tasks, queue) = mpsc::channel(QUEUE_MAX);
        let failed = followed.failed.clone();
        let handle = tokio::spawn(batcher::Batcher { log: log.clone(), room, failed }.run(queue));
        let room_kib = Arc::new(Semaphore::new(QUEUE_KIB_MAX as usize));
        (Sequencer { tasks, room_kib, clock, followed, log: Arc::downgrade(&log) }, handle)
    }

    /// Stamps a command and queues it; waits while the queue is full. Commands of one caller keep their order.
    pub async fn submit(&self, by: impl Into<By>, command: Command) -> Result<Pending, ProposeError> {
        let weight = weight_of(&command);
        if weight > COMMAND_BYTES_MAX {
            return Err(ProposeError::TooLong { bytes: weight });
        }
        let kib = weight.div_ceil(1024) as u32;
        let room = self.room_kib.clone().acquire_many_owned(kib).await.map_err(|_| ProposeError::Stopped)?;
        let By { actor, request } = by.into();
        let request = match &command {
            Command::IngestEvents(_) => None,
            other => Some(key_of(request.unwrap_or_else(drawn), other, weight)?),
        };
        let proposal = Proposal { at_ms: (self.clock)(), actor, request, command };
        let (answer, outcome) = oneshot::channel();
        let task = Task { proposal, weight, answer, _room: room };
        self.tasks.send(task).await.map_err(|_| ProposeError::Stopped)?;
        Ok(Pending(outcome))
    }

    /// Proposes a command and waits until it is committed and applied.
    pub async fn propose(&self, by: impl Into<By>, command: Command) -> Result<Outcome, ProposeError> {
        self.submit(by, command).await?.outcome().await
    }

    /// Place up to which the log is applied and committed.
    pub fn applied(&self) -> LogPosition {
        *self.followed.applied.borrow()
    }

    /// Newest positions of the nodes' feeds.
    pub fn heads(&self) -> &FeedHeads {
        &self.followed.heads
    }

    /// Changes whenever a certificate was revoked.
    pub fn revocations(&self) -> watch::Receiver<u64> {
        self.followed.revocations.clone()
    }

    /// Changes whenever something about the machines of the hub may have changed.
    pub fn machines(&self) -> watch::Receiver<u64> {
        self.followed.machines.clone()
    }

    /// Waits until this machine holds everything that any machine of the hub had answered before.
    pub async fn catch_up(&self) -> Result<(), ProposeError> {
        let log = self.log.upgrade().ok_or(ProposeError::Stopped)?;
        log.catch_up().await.map_err(ProposeError::Log)
    }

    /// Becomes `Some` with the reason when the state can no longer follow the log: the process must end.
    pub fn failed(&self) -> watch::Receiver<Option<String>> {
        self.followed.failed.subscribe()
    }

    /// Whether this machine has the same state as the others, as far as they were compared.
    pub fn agreement(&self) -> Option<Agreement> {
        self.followed.digests.agreement()
    }

    /// The same, where this machine is the one that gives way: it must serve nobody from its state.
    pub fn yielding(&self) -> Option<Agreement> {
        self.agreement().filter(|agreement| agreement.yields)
    }

    /// Changes with [`Sequencer::agreement`].
    pub fn told(&self) -> watch::Receiver<Told> {
        self.followed.digests.subscribe()
    }

    /// The clock that stamps proposals.
    pub fn now_ms(&self) -> TimeMs {
        (self.clock)()
    }
}

/// An id for what the system does by itself.
fn drawn() -> RequestId {
    RequestId(rand::rng().random())
}

/// The key that the events of a request's command bear.
fn key_of(request: RequestId, command: &Command, bytes: usize) -> Result<RequestKey, ProposeError> {
    let encoded = codec::encode(command, COMMAND_BYTES_MAX).map_err(|_| ProposeError::TooLong { bytes })?;
    Ok(RequestKey::of_command(request, &encoded))
}

/// A command's encoded bytes, and room for its envelope. What nodes sent, most of all commands, is added up and not
/// encoded once more.
fn weight_of(command: &Command) -> usize {
    const ENVELOPE: usize = 256;
    let bytes = match command {
        Command::IngestEvents(batch) => batch.events.iter().map(|event| event.len() + 4).sum(),
        other => codec::length_of(other),
    };
    bytes.saturating_add(ENVELOPE)
}
