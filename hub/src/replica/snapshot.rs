//! Copies of the state, page by page by SQLite's own backup, and their installation.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::place::Place;
use crate::background;
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
/// About how long SQLite has to move its log into the file with what nobody else wants of the cores: a tenth of a core suffices for half a
/// gigabyte. It hears that it is to stop when it gets a core; who sent the copy waits for all of it.
const ASIDE_MAX: Duration = Duration::from_secs(30);
/// How often it is told to stop behind that; it does not hear it between two tries.
const STOP_EVERY: Duration = Duration::from_millis(100);

/// The state at one moment: a read transaction of its own, so that applying goes on meanwhile.
pub(super) struct Frozen {
    pub(super) state: Connection,
    pub(super) applied: Applied,
}

/// Takes hold of the state at `path` as it is now.
pub(super) fn freeze(path: &Path) -> Result<Frozen, StateError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let state = Connection::open_with_flags(path, flags).map_err(StateError::storage)?;
    state.execute_batch("PRAGMA busy_timeout = 5000; BEGIN").map_err(StateError::storage)?;
    // The first read fixes what this connection sees until its transaction ends.
    let applied = Place::read(&state)?.applied();
    Ok(Frozen { state, applied })
}

impl View for Frozen {
    fn applied(&self) -> &Applied {
        &self.applied
    }

    fn copy(self: Box<Self>, into: &Path) -> Result<(), StateError> {
        let mut copy = Connection::open(into).map_err(StateError::storage)?;
        // Whoever keeps the copy brings the file to disk.
        copy.execute_batch("PRAGMA synchronous = OFF").map_err(StateError::storage)?;
        copy_gently(&self.state, &mut copy, &File::open(into).map_err(StateError::storage)?, Duration::MAX)?;
        // One file: nothing of it lies in a write-ahead log beside it.
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        copy.query_row("PRAGMA journal_mode = DELETE", [], mode).map_err(StateError::storage)?;
        Ok(())
    }
}

/// Replaces the whole state at `path` by a copy, in one transaction: readers see the old state or the new one.
/// With `in_haste` it does not step aside for others where that may last.
pub(super) fn install(from: &Path, path: &Path, state: &mut Connection, in_haste: bool) -> Result<(), StateError> {
    // Immutable, so that SQLite makes no files beside it.
    let name = format!("file:{}?immutable=1", from.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let copy = Connection::open_with_flags(name, flags).map_err(StateError::storage)?;
    state.flush_prepared_statement_cache();
    let mut log = OsString::from(path);
    log.push("-wal");
    let log = File::open(log)?;
    let cache_kib: i64 = state.pragma_query_value(None, "cache_size", |row| row.get(0)).map_err(StateError::storage)?;
    // What the cache keeps until the commit comes to disk in one go.
    state.pragma_update(None, "cache_size", -INSTALL_CACHE_KIB).map_err(StateError::storage)?;
    copy_gently(&copy, state, &log, INSTALL_REST_MAX)?;
    checkpoint_gently(path, state, &log, (!in_haste).then_some(ASIDE_MAX))?;
    state.pragma_update(None, "cache_size", cache_kib).map_err(StateError::storage)
}

/// Has SQLite move its log into the file at once and not behind some later statement, where its errors would not be told, and brings both
/// to disk meanwhile: SQLite writes and flushes each as a whole.
fn checkpoint_gently(
    path: &Path,
    state: &mut Connection,
    log: &File,
    aside_max: Option<Duration>,
) -> Result<(), StateError> {
    // Never closed: with any handle of a file that a process closes, it loses the locks that SQLite holds on it.
    let file = ManuallyDrop::new(File::open(path)?);
    thread::scope(|scope| {
        let (under_way, over) = channel();
        let file = &*file;
        let flushing = scope.spawn(move || flush_until([log, file], &over));
        let moved = match aside_max {
            Some(aside_max) => move_aside(state, aside_max).and_then(|moved| moved_or_again(moved, state)),
            None => move_into_file(state).map_err(StateError::storage),
        };
        drop(under_way);
        let flushed =
            flushing.join().unwrap_or_else(|_| Err(io::Error::other("what flushes the state ended by itself")));
        // Also where SQLite met none: the system tells an error once to each handle.
        moved.and(flushed.map_err(StateError::storage))
    })
}

/// Moves it beside everybody else's work, and breaks that off behind so long: SQLite cannot be told to rest in between.
fn move_aside(state: &mut Connection, aside_max: Duration) -> Result<rusqlite::Result<()>, StateError> {
    let stop = state.get_interrupt_handle();
    thread::scope(|scope| {
        let (under_way, over) = channel::<()>();
        let moving = background::start_aside(scope, "state-move", move || {
            let _under_way = under_way;
            move_into_file(state)
        })?;
        let mut patience = aside_max;
        while over.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            stop.interrupt();
            patience = STOP_EVERY;
        }
        Ok(moving.join().map_err(|_| io::Error::other(background::Ended))?)
    })
}

/// What was broken off is done as a work like others.
fn moved_or_again(moved: rusqlite::Result<()>, state: &Connection) -> Result<(), StateError> {
    match moved {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => move_into_file(state),
        moved => moved,
    }
    .map_err(StateError::storage)
}

/// Nothing passes who still reads the old state, such as a digest: it is waited for, not for long.
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
        for file in files {
            file.sync_data()?;
        }
    }
    Ok(())
}

/// Copies step by step: each is on disk before the next, and the copy rests as long as its last step took, for so long in all. A whole
/// copy written and flushed at once makes every commit on that disk wait, and all machines make theirs at the same entry of the log.
fn copy_gently(
    from: &Connection,
    into: &mut Connection,
    file: &File,
    mut rest_max: Duration,
) -> Result<(), StateError> {
    let backup = Backup::new(from, into).map_err(StateError::storage)?;
    let mut waited = 0;
    loop {
        let began = Instant::now();
        match backup.step(PAGES_PER_STEP).map_err(StateError::storage)? {
            StepResult::Done => return Ok(()),
            StepResult::More => file.sync_data().map_err(StateError::storage)?,
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

    /// A state whose log waits to be moved, and that log.
    fn state_in_log(path: &Path) -> (Connection, File) {
        let state = Connection::open(path).unwrap();
        state.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0").unwrap();
        state.execute_batch("CREATE TABLE many (text TEXT); INSERT INTO many SELECT hex(zeroblob(50000))").unwrap();
        let mut log = OsString::from(path);
        log.push("-wal");
        (state, File::open(log).unwrap())
    }

    /// Pages in the log, and those of them that are in the file.
    fn pages(state: &Connection) -> (i64, i64) {
        let pages = |row: &rusqlite::Row<'_>| Ok((row.get(1)?, row.get(2)?));
        state.query_row("PRAGMA wal_checkpoint(NOOP)", [], pages).unwrap()
    }

    #[test]
    fn the_log_is_moved_into_the_file_in_haste_aside_and_where_there_was_no_time_for_that() {
        for aside_max in [None, Some(ASIDE_MAX), Some(Duration::ZERO)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.db");
            let (mut state, log) = state_in_log(&path);
            let (in_log, moved) = pages(&state);
            assert!(in_log > 20 && moved == 0, "{moved} of {in_log} pages");
            checkpoint_gently(&path, &mut state, &log, aside_max).unwrap();
            assert_eq!(pages(&state), (in_log, in_log), "{aside_max:?}");
        }
    }

    #[test]
    fn what_was_broken_off_is_moved_and_what_failed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (state, _log) = state_in_log(&folder.path().join("state.db"));
        let error = |code| Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None));
        assert!(moved_or_again(error(rusqlite::ffi::SQLITE_IOERR), &state).is_err());
        assert_eq!(pages(&state).1, 0);
        moved_or_again(error(rusqlite::ffi::SQLITE_INTERRUPT), &state).unwrap();
        let (in_log, moved) = pages(&state);
        assert!(in_log > 20 && moved == in_log, "{moved} of {in_log} pages");
    }

    #[test]
    fn flushing_ends_when_the_work_is_over() {
        let (under_way, over) = channel();
        drop(under_way);
        let file = tempfile::tempfile().unwrap();
        flush_until([&file, &file], &over).unwrap();
    }
}
