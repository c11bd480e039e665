//! The one thread that writes: group commit.
//!
//! Requests queue; the thread takes what has queued (at most [`BATCH_MAX`]), decides and applies each in one transaction,
//! commits once with an fsync, and only then answers all. While a commit is on its way the next batch gathers by itself.
//!
//! Decisions only read, so a refused request needs no savepoint. Should applying fail all the same (disk full, or a
//! defect), the whole transaction is rolled back and its requests run again one by one: only the culprit is refused.

mod batch;
mod thread;

use std::sync::Arc;
use std::time::Duration;

use jikai_schema::chain::ChainHash;
use jikai_schema::event::{BatchNames, Event, EventBody, RequestKey};
use jikai_schema::id::{NodeId, OutletId};
use jikai_schema::projection::{Catalog, ProjectionError};
use jikai_schema::rules::Judgement;
use jikai_schema::store::is_disk_full;
use jikai_schema::time::TimeMs;
use parking_lot::RwLock;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use crate::decide::{Caller, Refusal, Verb};
use crate::keyring::Keyring;
use crate::store::{DownCursor, FeedRetention, LogHead, RequestIndex};

pub use batch::Clock;
pub(crate) use batch::repeat;

/// Most requests in one transaction.
pub const BATCH_MAX: usize = 256;
/// Requests that may wait; beyond it the node answers `busy`.
const QUEUE_MAX: usize = 4_096;

/// What a terminal asked, as the writer takes it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Who asks.
    pub caller: Caller,
    /// Key and body of the request.
    pub key: RequestKey,
    /// What is asked.
    pub verb: Verb,
    /// Whether it is known that no other node has answered it: see [`WriteError::AnsweredElsewhere`].
    pub is_new: bool,
}

impl Request {
    /// A request as it came.
    pub fn new(caller: Caller, key: RequestKey, verb: Verb) -> Self {
        Request { caller, key, verb, is_new: false }
    }
}

/// What became of a request: the events that answer it, durable, or already there from its first run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The events, in order. The reply to the terminal is a pure function of them.
    pub events: Vec<Event>,
    /// Judgements of an inquiry.
    pub judgements: Vec<Judgement>,
    /// Position of the newest of its events; 0 when there is none.
    pub seq: u64,
}

/// A request that was not done.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It may have been answered by the node that served its outlet before: the events there tell, and whether it is another request
    /// whose id begins alike. Nothing was changed.
    #[error("the request may have been answered by node {origin}, event {seq}")]
    AnsweredElsewhere {
        /// Whose log holds the answer.
        origin: NodeId,
        /// Position of its first event.
        seq: u64,
    },
    /// The queue is full.
    #[error("the node is busy")]
    Busy,
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Closed,
    /// The disk is full: nothing was changed, the node recovers when space returns.
    #[error("the store has no space left")]
    StorageFull,
    /// The store failed, or an event could not be applied. Nothing was changed.
    #[error("the store failed: {0}")]
    Storage(String),
}

/// A verified run of the hub's feed.
#[derive(Debug, Clone)]
pub struct DownBatch {
    /// Position of its first event.
    pub first_seq: u64,
    /// Chain before it.
    pub prev_hash: ChainHash,
    /// Chain after it.
    pub last_hash: ChainHash,
    /// The events' bytes.
    pub events: Vec<Vec<u8>>,
}

/// A task for the writer thread.
enum Task {
    Request(Box<Request>, oneshot::Sender<Result<Reply, WriteError>>),
    Down(DownBatch, oneshot::Sender<Result<DownCursor, WriteError>>),
    Note(Box<EventBody>, RequestKey, oneshot::Sender<Result<(), WriteError>>),
    Release(Vec<OutletId>, oneshot::Sender<Result<(), WriteError>>),
    Key(jikai_schema::id::BatchNo, jikai_schema::seal::BatchKey, oneshot::Sender<Result<(), WriteError>>),
}

/// Sends work to the writer thread. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    tasks: mpsc::Sender<Task>,
    head: watch::Receiver<LogHead>,
    names: SharedNames,
}

/// Printed names of batches, as of the last commit: replaced as a whole.
pub type SharedNames = Arc<RwLock<Arc<BatchNames>>>;

/// What the writer thread works with: the writing connection and the heads that it keeps in memory. Benches drive it
/// without the thread.
pub struct Core {
    node: NodeId,
    store: Connection,
    keys: Arc<Keyring>,
    clock: Clock,
    head: LogHead,
    /// Latest stamp of the hub's events that were applied.
    down_at_ms: TimeMs,
    requests: RequestIndex,
    /// Master data as of the last commit; empty while a transaction runs, and after one that failed.
    catalog: Catalog,
    /// Set before the next task is taken: an event is never rendered without the names that it was decided with, or its repeat
    /// would be told in other words.
    names: SharedNames,
    times: CommitTimes,
    /// How much of the received feed is kept.
    feed_kept: FeedRetention,
}

/// Where the time of the commits since the start went.
#[derive(Debug, Clone, Copy, Default)]
pub struct CommitTimes {
    /// Deciding, encoding, hashing and SQL.
    pub work: Duration,
    /// `COMMIT`: pages into the WAL, and the fsync.
    pub commit: Duration,
}

/// A store that the writer cannot start on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// SQLite said no.
    #[error("the node's log cannot be read: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The store was never initialised.
    #[error("the store has no identity: run `jikai-node init`")]
    NoIdentity,
    /// The newest event is damaged or newer than this build.
    #[error("the newest event of the node's log cannot be read: {0}")]
    Head(#[from] jikai_schema::codec::CodecError),
}

impl Writer {
    /// Starts the thread on the writing connection. It ends when every clone of the writer is gone; the handle lets the
    /// caller wait for that.
    pub fn start(
        store: Connection,
        keys: Arc<Keyring>,
        clock: Clock,
    ) -> Result<(Writer, std::thread::JoinHandle<()>), StartError> {
        Writer::start_keeping(store, keys, clock, FeedRetention::default())
    }

    /// The same; so much of the received feed is kept.
    pub fn start_keeping(
        store: Connection,
        keys: Arc<Keyring>,
        clock: Clock,
        feed_kept: FeedRetention,
    ) -> Result<(Writer, std::thread::JoinHandle<()>), StartError> {
        let core = Core { feed_kept, ..Core::new(store, keys, clock)? };
        let names = core.names.clone();
        let (tasks, queue) = mpsc::channel(QUEUE_MAX);
        let (published, watched) = watch::channel(core.head);
        let handle = std::thread::Builder::new()
            .name("writer".into())
            .spawn(move || thread::run(core, queue, &published))
            .expect("a thread can be started at start-up");
        Ok((Writer { tasks, head: watched, names }, handle))
    }

    /// Asks the writer to decide a request. Done means: on disk.
    pub async fn ask(&self, request: Request) -> Result<Reply, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.tasks.try_send(Task::Request(Box::new(request), reply)).map_err(send_error)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }

    /// Applies a run of the hub's feed; the cursor moves in the same transaction.
    pub async fn apply_down(&self, batch: DownBatch) -> Result<DownCursor, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.tasks.send(Task::Down(batch, reply)).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }

    /// Writes a fact that nobody at a terminal asked for, once for each key.
    pub async fn note(&self, body: EventBody, key: RequestKey) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.tasks.send(Task::Note(Box::new(body), key, reply)).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }

    /// Lets go of outlets that the hub ordered to other nodes.
    pub async fn release(&self, outlets: Vec<OutletId>) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.tasks.send(Task::Release(outlets, reply)).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }

    /// Keeps a received batch key.
    pub async fn keep_key(
        &self,
        batch: jikai_schema::id::BatchNo,
        key: jikai_schema::seal::BatchKey,
    ) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.tasks.send(Task::Key(batch, key, reply)).await.map_err(|_| WriteError::Closed)?;
        answer.await.map_err(|_| WriteError::Closed)?
    }

    /// Printed names of batches, kept up by the thread.
    pub fn names(&self) -> SharedNames {
        self.names.clone()
    }

    /// Whether the thread takes tasks.
    pub fn is_running(&self) -> bool {
        !self.tasks.is_closed()
    }

    /// Waits until the thread takes no more tasks: unasked only after a defect, for this is one of the senders it waits for.
    pub async fn ended(&self) {
        self.tasks.closed().await;
    }

    /// The newest committed event, as it changes.
    pub fn head(&self) -> watch::Receiver<LogHead> {
        self.head.clone()
    }
}

fn send_error(error: mpsc::error::TrySendError<Task>) -> WriteError {
    match error {
        mpsc::error::TrySendError::Full(_) => WriteError::Busy,
        mpsc::error::TrySendError::Closed(_) => WriteError::Closed,
    }
}

impl From<ProjectionError> for WriteError {
    fn from(error: ProjectionError) -> Self {
        match error {
            ProjectionError::Storage(error) => WriteError::from(error),
            other => WriteError::Storage(other.to_string()),
        }
    }
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        if is_disk_full(&error) { WriteError::StorageFull } else { WriteError::Storage(error.to_string()) }
    }
}
