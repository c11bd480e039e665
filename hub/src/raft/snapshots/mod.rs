//! The folder of snapshots: copies of the state as files, each with a small description beside it.
//!
//! `<id>.db` is the copy, `<id>.meta` its description; the id ends in the SHA-256 of the copy, so that the checksum
//! travels with it. A description is written last: a copy without one does not count. Only the newest is kept.

mod description;
#[cfg(test)]
mod tests;

use std::fs;
use std::io::{self, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::fs::File;

use crate::raft::state::{Applied, StateError, View};
use crate::raft::types::SnapshotMeta;

/// Longest rest behind each piece of work on the whole state beside what serves, see [`rest_after`].
const REST_MAX: Duration = Duration::from_millis(50);
/// Ending of files that are not complete; they are removed at a start.
const UNFINISHED: &str = "tmp";
/// Ending of copies.
const COPY: &str = "db";
/// Ending of descriptions.
const DESCRIPTION: &str = "meta";

/// A complete snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What it holds.
    pub meta: SnapshotMeta,
    /// Its file. Never written again.
    pub path: PathBuf,
    /// Length of the file. Bytes.
    pub length_bytes: u64,
}

/// The folder of one machine.
#[derive(Debug)]
pub struct Snapshots {
    folder: PathBuf,
    current: Mutex<Option<Arc<Kept>>>,
    /// Held by who gives a file its name: for longer than the engine may wait, unlike `current`.
    keeping: Mutex<()>,
    /// The file that is being received.
    receiving: Mutex<Option<PathBuf>>,
    /// Whether the newest was checked when it was made, and not opened since.
    is_fresh: AtomicBool,
    /// Makes the names of unfinished files differ.
    counter: AtomicU64,
}

impl Snapshots {
    /// Opens the folder, making it where it is missing: keeps the newest copy whose checksum is right and removes the
    /// rest. Blocks; reads the copy once.
    pub fn open(folder: &Path) -> Result<Self, StateError> {
        fs::create_dir_all(folder)?;
        let (mut described, mut files) = (Vec::new(), Vec::new());
        for found in fs::read_dir(folder)? {
            let path = found?.path();
            if path.extension().is_some_and(|ending| ending == DESCRIPTION) {
                match description::read(&path) {
                    Ok(kept) => described.push(kept),
                    Err(error) => tracing::error!(path = %path.display(), %error, "a snapshot is left out"),
                }
            }
            files.push(path);
        }
        described.sort_by_key(|kept| kept.meta.last_log_id.map(|last| last.index));
        let mut current = None;
        while let Some(kept) = described.pop() {
            let verified = fs::File::open(&kept.path).map_err(StateError::from);
            match verified.and_then(|mut file| description::verify(&kept, &mut file)) {
                Ok(()) => {
                    current = Some(Arc::new(kept));
                    break;
                }
                Err(error) => tracing::error!(path = %kept.path.display(), %error, "a snapshot is left out"),
            }
        }
        for path in files {
            let is_current = current.as_ref().is_some_and(|kept| kept.path.file_stem() == path.file_stem());
            if !is_current || path.extension().is_some_and(|ending| ending == UNFINISHED) {
                remove(&path);
            }
        }
        let (current, receiving, is_fresh) = (Mutex::new(current), Mutex::default(), AtomicBool::default());
        let (folder, keeping, counter) = (folder.into(), Mutex::default(), AtomicU64::new(0));
        Ok(Snapshots { folder, current, keeping, receiving, is_fresh, counter })
    }

    /// The newest complete snapshot.
    pub fn current(&self) -> Option<Arc<Kept>> {
        self.locked().clone()
    }

    /// Copies a view and keeps it, unless a newer one was received meanwhile. What it gives is the view's all the same: the engine
    /// takes it for what is applied, and has not heard yet of one that was received. Blocks for long.
    pub fn build(&self, view: Box<dyn View>) -> Result<(SnapshotMeta, fs::File), StateError> {
        let Applied { last, membership } = view.applied().clone();
        let path = self.unfinished("building");
        let built = view.copy(&path).and_then(|()| {
            let mut file = fs::File::open(&path)?;
            let snapshot_id = description::snapshot_id(last, &description::sha256_gently(&mut file)?);
            file.rewind()?;
            let meta = SnapshotMeta { last_log_id: last, last_membership: membership, snapshot_id };
            self.keep(&path, meta.clone())?;
            self.is_fresh.store(true, Ordering::Relaxed);
            Ok((meta, file))
        });
        if built.is_err() {
            remove(&path);
        }
        built
    }

    /// Keeps a received copy if its checksum is the one in its id. Blocks.
    pub fn accept(&self, path: &Path, meta: SnapshotMeta) -> Result<Arc<Kept>, StateError> {
        // The id is made again and not taken over: it becomes a file name.
        let found =
            description::snapshot_id(meta.last_log_id, &description::sha256_gently(&mut fs::File::open(path)?)?);
        if found != meta.snapshot_id {
            remove(path);
            return Err(StateError::Checksum { found, expected: meta.snapshot_id });
        }
        self.keep(path, meta)
    }

    /// The newest complete snapshot with its file, which stays readable when a newer one takes its place. Blocks.
    pub fn open_current(&self) -> io::Result<Option<(Arc<Kept>, fs::File)>> {
        // Under the lock: nobody removes it between finding and opening it.
        let current = self.locked();
        let Some(kept) = current.as_ref() else { return Ok(None) };
        Ok(Some((kept.clone(), fs::File::open(&kept.path)?)))
    }

    /// The same, if it still is what its name says. Blocks; reads the copy once, but for the first time after it was made here: the engine
    /// applies nothing meanwhile. Should the disk have changed it since, whoever gets it refuses it, and it is opened again.
    pub fn open_verified(&self) -> Result<Option<(Arc<Kept>, fs::File)>, StateError> {
        let Some((kept, mut file)) = self.open_current()? else { return Ok(None) };
        if !self.is_fresh.swap(false, Ordering::Relaxed) {
            description::verify(&kept, &mut file)?;
            file.rewind()?;
        }
        Ok(Some((kept, file)))
    }

    /// Makes the file for a snapshot that is about to be received; one that was begun before is given up.
    pub async fn receive(&self) -> io::Result<File> {
        let (file, path) = self.make("receiving").await?;
        let abandoned = self.receiving.lock().unwrap_or_else(PoisonError::into_inner).replace(path);
        if let Some(abandoned) = abandoned {
            // The sender began again; a file that stays is removed at the next start.
            let _ = tokio::fs::remove_file(abandoned).await;
        }
        Ok(file)
    }

    /// Brings to disk what has been received so far (the newest piece may still be on its way to the file), and rests: a
    /// whole copy flushed at once makes every commit on that disk wait. An error means that what was received is not whole: it is told once by the system, and must not be lost.
    pub async fn flush_received(&self) -> Result<(), StateError> {
        let receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(path) = receiving else { return Ok(()) };
        let began = Instant::now();
        File::open(path).await?.sync_data().await?;
        tokio::time::sleep(rest_after(began)).await;
        Ok(())
    }

    /// Where a received file lies. openraft may hand over any file: then it is copied.
    pub async fn place_of(&self, received: &mut File) -> Result<PathBuf, StateError> {
        let receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner).take();
        match receiving {
            Some(path) if is_same_file(received, &path).await => Ok(path),
            _ => self.copy_of(received).await,
        }
    }

    async fn make(&self, what: &str) -> io::Result<(File, PathBuf)> {
        let path = self.unfinished(what);
        let file = File::options().read(true).write(true).create_new(true).open(&path).await?;
        Ok((file, path))
    }

    async fn copy_of(&self, file: &mut File) -> Result<PathBuf, StateError> {
        use tokio::io::{AsyncSeekExt, AsyncWriteExt};
        let (mut copy, path) = self.make("copying").await?;
        file.rewind().await?;
        tokio::io::copy(file, &mut copy).await?;
        copy.flush().await?;
        Ok(path)
    }

    /// Gives a complete file its name: file, then name, then description, each on disk before the next.
    fn keep(&self, path: &Path, meta: SnapshotMeta) -> Result<Arc<Kept>, StateError> {
        let file = fs::File::open(path)?;
        file.sync_all()?;
        let _one_at_a_time = self.keeping.lock().unwrap_or_else(PoisonError::into_inner);
        let index = |meta: &SnapshotMeta| meta.last_log_id.map(|last| last.index);
        if let Some(newer) = self.current().filter(|kept| index(&kept.meta) > index(&meta)) {
            remove(path);
            return Ok(newer);
        }
        let named = self.folder.join(format!("{}.{COPY}", meta.snapshot_id));
        fs::rename(path, &named)?;
        let kept = Arc::new(Kept { meta, path: named, length_bytes: file.metadata()?.len() });
        description::write(&kept, &self.unfinished("describing"))?;
        fs::File::open(&self.folder)?.sync_all()?;
        // Whoever still sends the old one keeps its open file.
        self.is_fresh.store(false, Ordering::Relaxed);
        let old = self.locked().replace(kept.clone());
        if let Some(old) = old.filter(|old| old.path != kept.path) {
            remove(&description::path_of(&old));
            remove(&old.path);
        }
        Ok(kept)
    }

    fn unfinished(&self, what: &str) -> PathBuf {
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        self.folder.join(format!("{what}-{number}.{UNFINISHED}"))
    }

    fn locked(&self) -> MutexGuard<'_, Option<Arc<Kept>>> {
        // Set in one step: a panic elsewhere leaves it whole.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a copy or a digest rests behind a piece that was begun then: twice as long as the piece took, so that most of a core's time, and
/// of a disk's that is not slow, is left to what serves; at most [`REST_MAX`].
pub(crate) fn rest_after(began: Instant) -> Duration {
    (began.elapsed() * 2).min(REST_MAX)
}

/// Whether an open file is the one with this path.
pub(crate) async fn is_same_file(file: &File, path: &Path) -> bool {
    match (file.metadata().await, tokio::fs::metadata(path).await) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        // It costs space until the next start tries again.
        tracing::warn!(path = %path.display(), %error, "a file of a snapshot could not be removed");
    }
}
