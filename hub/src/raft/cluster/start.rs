//! Starting a machine.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use openraft::storage::RaftLogStorage;
use parking_lot::RwLock;
use tokio::sync::{Mutex, watch};

use super::heard::Heard;
use super::serve::Served;
use super::{Addresses, Cluster, Shared, StartError};
use crate::raft::log_store::{LogError, LogReader, LogStore};
use crate::raft::network::{self, Identity, Peers};
use crate::raft::settings::{READ_BYTES_MAX, Settings};
use crate::raft::snapshots::Snapshots;
use crate::raft::state::{Applied, State, StateMachine};
use crate::raft::types::{LogId, Raft, StorageError};

/// Locked while a process uses the directory.
const LOCK_FILE: &str = "raft.lock";
/// Folder of the snapshots.
pub(super) const SNAPSHOT_FOLDER: &str = "snapshots";

impl Cluster {
    /// Starts machine `id` on the files in the directory `data`, which must exist. A new machine waits until
    /// [`Cluster::initialize`] makes it the first voter or a leader takes it in with [`Cluster::add_learner`].
    pub async fn start<S: State>(
        id: u64,
        data: &Path,
        state: S,
        identity: Identity,
        addresses: Addresses,
        settings: Settings,
    ) -> Result<Self, StartError> {
        let config = settings.engine()?;
        let folder = data.to_owned();
        let (lock, log, snapshots) = blocking(move || open(&folder, id)).await?;
        let digests = state.digests();
        let machine = StateMachine::start(id, state, snapshots)?;
        catch_up(log.clone(), &machine).await?;
        let turned_away = RwLock::new(machine.turned_away().await?);
        let (instance, closing) = (log.instance(), vec![log.closed(), machine.closed()]);
        let (snapshots, receiving) = (machine.snapshots().clone(), Mutex::default());
        let stopping = machine.stopping();

        let endpoint = network::bind(&identity, addresses.listen)?;
        let address = match addresses.advertised {
            Some(address) => address,
            None => endpoint.local_addr().map_err(StartError::Directory)?.to_string(),
        };
        let peers = Peers::new(endpoint.clone(), &identity)?;
        let raft = Raft::new(id, config, peers.clone(), log, machine).await?;
        let (handing_over, changing) = (watch::Sender::new(false), Mutex::new(()));
        let shared = Shared {
            id,
            instance,
            address,
            settings,
            raft,
            peers,
            digests,
            links: OnceLock::new(),
            snapshots,
            receiving,
            handing_over,
            turned_away,
            heard: RwLock::new(Heard::now()),
            changing,
        };
        let shared = Arc::new(shared);
        let serving = network::serve(endpoint.clone(), identity.identify, Served(Arc::downgrade(&shared)));
        Ok(Cluster { shared, endpoint, serving: tokio::spawn(serving), stopping, closing, _lock: lock })
    }
}

fn open(data: &Path, id: u64) -> Result<(File, LogStore, Snapshots), StartError> {
    let lock = File::create(data.join(LOCK_FILE)).map_err(StartError::Directory)?;
    lock.try_lock().map_err(|error| match error {
        TryLockError::Error(error) => StartError::Directory(error),
        TryLockError::WouldBlock => StartError::Directory(std::io::ErrorKind::ResourceBusy.into()),
    })?;
    let log = LogStore::open(data, id)?;
    let snapshots = Snapshots::open(&data.join(SNAPSHOT_FOLDER))?;
    Ok((lock, log, snapshots))
}

/// Brings the state to the committed place before the engine starts: openraft would read 64 entries at once, however
/// long they are. A state that a power failure threw back behind the log's beginning starts from the snapshot.
async fn catch_up<S: State>(mut log: LogStore, machine: &StateMachine<S>) -> Result<(), StartError> {
    let engine = |error: StorageError| StartError::Engine(error.into());
    let kept = log.get_log_state().await.map_err(engine)?;
    let never_voted = log.read_vote().await.map_err(engine)?.is_none();
    let committed = log.read_committed().await.map_err(engine)?;
    let reader = log.get_log_reader().await;
    let mut applied = machine.applied().await?;
    if applied.last.is_some() && kept.last_log_id.is_none() && never_voted {
        return Err(StartError::LogLost);
    }
    let purged = kept.last_purged_log_id.map(|purged| purged.index);
    if index(&applied) < purged {
        tracing::warn!(applied = ?index(&applied), ?purged, "the state starts again from the newest snapshot");
        applied = machine.restore().await?;
        if index(&applied) < purged {
            return Err(StartError::StateBehind { applied: index(&applied), purged });
        }
    }
    let end = committed.map_or(0, |committed| committed.index + 1);
    let mut next = index(&applied).map_or(0, |applied| applied + 1);
    while next < end {
        let entries = reader.read(next, end, READ_BYTES_MAX).await?;
        let (Some(first), Some(last)) = (entries.first(), entries.last()) else { break };
        if first.log_id.index != next {
            return Err(LogError::Hole { expected: next, found: first.log_id.index }.into());
        }
        next = last.log_id.index + 1;
        machine.apply_all(entries).await?;
    }
    settle(log, reader, machine).await
}

/// Takes over a snapshot that was received whole and never installed, and refuses a log that contradicts the state.
async fn settle<S: State>(mut log: LogStore, reader: LogReader, machine: &StateMachine<S>) -> Result<(), StartError> {
    let mut applied = machine.applied().await?;
    let received = machine.snapshots().current().and_then(|kept| kept.meta.last_log_id);
    let engine = |error: StorageError| StartError::Engine(error.into());
    let entry_at = async |at: LogId| -> Result<Option<LogId>, StartError> {
        let found = reader.read(at.index, at.index + 1, READ_BYTES_MAX).await?;
        Ok(found.first().map(|entry| entry.log_id).filter(|found| found.index == at.index))
    };
    if let Some(received) = received.filter(|received| Some(received.index) > index(&applied)) {
        tracing::warn!(index = received.index, "a snapshot is installed that a former process had received");
        if entry_at(received).await? != Some(received) {
            // First: a log that ends behind the state's place is filled by the snapshot again, one that contradicts it never.
            log.purge(received).await.map_err(engine)?;
        }
        applied = machine.restore().await?;
    }
    let purged = log.get_log_state().await.map_err(engine)?.last_purged_log_id;
    // Below its beginning the log says nothing.
    let Some(last) = applied.last.filter(|last| Some(last.index) > purged.map(|purged| purged.index)) else {
        return Ok(());
    };
    match entry_at(last).await? {
        Some(found) if found != last => Err(StartError::Conflict { applied: last, found }),
        _ => Ok(()),
    }
}

fn index(applied: &Applied) -> Option<u64> {
    applied.last.map(|last| last.index)
}

async fn blocking<R: Send + 'static>(
    work: impl FnOnce() -> Result<R, StartError> + Send + 'static,
) -> Result<R, StartError> {
    let ended = |_| StartError::Directory(std::io::Error::other("the thread that opens the files panicked"));
    tokio::task::spawn_blocking(work).await.map_err(ended)?
}
