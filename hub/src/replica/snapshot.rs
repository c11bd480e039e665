//! Copies of the state, page by page by SQLite's own backup, and their installation.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::place::Place;
use crate::raft::snapshots::rest_after;
use crate::raft::state::{Applied, StateError, View};

/// Pages that a copy brings to disk before it rests: a megabyte, which holds up no other file's flush.
const PAGES_PER_STEP: std::ffi::c_int = 256;
/// Tries to get hold of a file that somebody holds; SQLite waits for some seconds in each.
const WAITS_MAX: u32 = 3;
/// Longest that an installation rests in all: who sent the copy waits for it, see `snapshot_wait` of the cluster's settings.
const INSTALL_REST_MAX: Duration = Duration::from_secs(15);
/// Cache of the connection meanwhile.
const INSTALL_CACHE_KIB: i64 = 2 * 1024;
/// Tries to move it into its file.
const MOVES_MAX: u32 = 50;
/// How often is brought to disk what SQLite writes in one go.
const FLUSH_EVERY: Duration = Duration::from_millis(20);
/// The state at one moment: a read transaction of its own, so that applying goes on meanwhile. SQLite's log grows until it ends.
pub(super) struct Frozen {
    pub(super) state: Connection,
    pub(super) applied: Applied,
    files: Arc<Files>,
}

/// The files of the state, to bring them to disk. Held as long as the process lives: with any handle of a file that a process closes, it
/// loses the locks that SQLite holds on it.
pub(super) struct Files {
    pub(super) path: PathBuf,
    file: ManuallyDrop<File>,
}

impl Files {
    /// Of the state at `path`, which exists.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Files { path: path.to_owned(), file: ManuallyDrop::new(File::open(path)?) })
    }

    /// Not kept: SQLite may make it anew, and holds no locks on it.
    fn log(&self) -> io::Result<File> {
        let mut log = OsString::from(&self.path);
        log.push("-wal");
        File::open(log)
    }
}

/// Takes hold of the state as it is now.
pub(super) fn freeze(files: &Arc<Files>) -> Result<Frozen, StateError> {
    let path = &files.path;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let state = Connection::open_with_flags(path, flags).map_err(StateError::storage)?;
    state.execute_batch("PRAGMA busy_timeout = 5000; BEGIN").map_err(StateError::storage)?;
    // The first read fixes what this connection sees until its transaction ends.
    let applied = Place::read(&state)?.applied();
    Ok(Frozen { state, applied, files: files.clone() })
}

impl Frozen {
    /// Lets go of the state, and moves what gathered in SQLite's log meanwhile into the file, little by little: the next commit would else do
    /// it at once, hundreds of megabytes, and every commit on that disk waits for their flush. That it fails costs only that.
    pub(super) fn release(self) {
        let Frozen { state, files, .. } = self;
        // Opened before: nothing is to come between the end of the reading and the moving.
        let opened = Connection::open(&files.path).map_err(StateError::storage);
        drop(state);
        let moved = opened.and_then(|mover| {
            mover.busy_timeout(Duration::ZERO).map_err(StateError::storage)?;
            let log = files.log()?;
            // Up to where the log reached when it began: what comes behind is moved by a later commit.
            flushing([&log, &files.file], || {
                mover.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(StateError::storage)
            })
        });
        if let Err(error) = moved {
            tracing::warn!(%error, "what gathered in SQLite's log is moved by a later commit");
        }
    }
}

impl View for Frozen {
    fn applied(&self) -> &Applied {
        &self.applied
    }

    fn copy(self: Box<Self>, into: &Path) -> Result<(), StateError> {
        let mut copy = Connection::open(into).map_err(StateError::storage)?;
        // Whoever keeps the copy brings the file to disk.
        copy.execute_batch("PRAGMA synchronous = OFF").map_err(StateError::storage)?;
        // What is applied meanwhile comes to disk along with it: SQLite flushes its log at the next checkpoint only.
        copy_gently(&self.state, &mut copy, [&File::open(into)?, &self.files.log()?], Duration::MAX)?;
        self.release();
        // One file: nothing of it lies in a write-ahead log beside it.
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        copy.query_row("PRAGMA journal_mode = DELETE", [], mode).map_err(StateError::storage)?;
        Ok(())
    }
}

/// Replaces the whole state at `path` by a copy, in one transaction: readers see the old state or the new one.
pub(super) fn install(from: &Path, files: &Files, state: &mut Connection) -> Result<(), StateError> {
    // Immutable, so that SQLite makes no files beside it.
    let name = format!("file:{}?immutable=1", from.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let copy = Connection::open_with_flags(name, flags).map_err(StateError::storage)?;
    state.flush_prepared_statement_cache();
    let log = files.log()?;
    let cache_kib: i64 = state.pragma_query_value(None, "cache_size", |row| row.get(0)).map_err(StateError::storage)?;
    // What the cache keeps until the commit comes to disk in one go.
    state.pragma_update(None, "cache_size", -INSTALL_CACHE_KIB).map_err(StateError::storage)?;
    copy_gently(&copy, state, [&log], INSTALL_REST_MAX)?;
    flushing([&log, &files.file], || move_into_file(state).map_err(StateError::storage))?;
    state.pragma_update(None, "cache_size", cache_kib).map_err(StateError::storage)
}

/// Brings files to disk again and again while SQLite moves its log into the state's file: it writes and flushes each as a whole.
fn flushing(files: [&File; 2], moves: impl FnOnce() -> Result<(), StateError>) -> Result<(), StateError> {
    thread::scope(|scope| {
        let (under_way, over) = channel();
        let flushes = scope.spawn(move || flush_until(files, &over));
        let moved = moves();
        drop(under_way);
        let flushed =
            flushes.join().unwrap_or_else(|_| Err(io::Error::other("what flushes the state ended by itself")));
        // Also where SQLite met none: the system tells an error once to each handle.
        moved.and(flushed.map_err(StateError::storage))
    })
}

/// Has SQLite move its log into the file at once and not behind some later statement, where its errors would not be told. Nothing passes who
/// still reads the old state, such as a digest: it is waited for, not for long.
fn move_into_file(state: &Connection) -> rusqlite::Result<()> {
    for _ in 0..MOVES_MAX {
        let frames = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let (in_log, moved) = state.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], frames)?;
        if moved >= in_log {
            return Ok(());
        }
        thread::sleep(FLUSH_EVERY);
    }
    tracing::warn!(
        "an installed state stays in SQLite's log until nobody reads the old one; a later commit moves and flushes it as a whole"
    );
    Ok(())
}

/// Flushes the files again and again until the other end of the channel is gone.
fn flush_until(files: [&File; 2], over: &Receiver<()>) -> io::Result<()> {
    while over.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
        flush(files)?;
    }
    Ok(())
}

fn flush<const N: usize>(files: [&File; N]) -> io::Result<()> {
    files.into_iter().try_for_each(File::sync_data)
}

/// Copies step by step: each is on disk before the next, and the copy rests as long as its last step took, for so long in all. A whole
/// copy written and flushed at once makes every commit on that disk wait, and all machines make theirs at the same entry of the log.
fn copy_gently<const N: usize>(
    from: &Connection,
    into: &mut Connection,
    files: [&File; N],
    mut rest_max: Duration,
) -> Result<(), StateError> {
    let backup = Backup::new(from, into).map_err(StateError::storage)?;
    let mut waited = 0;
    loop {
        let began = Instant::now();
        match backup.step(PAGES_PER_STEP).map_err(StateError::storage)? {
            StepResult::Done => return Ok(()),
            StepResult::More => flush(files)?,
            // Nobody else writes the file; SQLite has waited already.
            _ if waited == WAITS_MAX => {
                return Err(StateError::storage(io::Error::other("somebody holds the state's file")));
            }
            _ => waited += 1,
        }
        let rest = rest_after(began).min(rest_max);
        rest_max -= rest;
        thread::sleep(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_flushed_ends_the_flushing_with_its_error() {
        let (_under_way, over) = channel();
        let device = File::open("/dev/null").unwrap();
        assert!(flush_until([&device, &device], &over).is_err());
    }

    #[test]
    fn flushing_ends_when_the_work_is_over() {
        let (under_way, over) = channel();
        drop(under_way);
        let file = tempfile::tempfile().unwrap();
        flush_until([&file, &file], &over).unwrap();
    }
}
