//! Copies of the state, page by page by SQLite's own backup, and their installation.

use std::fs::File;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::place::Place;
use crate::raft::state::{Applied, StateError, View};

/// Pages that an installation copies at once.
const PAGES_PER_STEP: std::ffi::c_int = 4_096;
/// Pages that a copy made beside the work brings to disk before it rests: a megabyte, which holds up no other file's flush.
const PAGES_PER_GENTLE_STEP: std::ffi::c_int = 256;
/// Longest rest of such a copy between two steps.
const REST_MAX: Duration = Duration::from_millis(50);

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
        copy_gently(&self.state, &mut copy, &File::open(into).map_err(StateError::storage)?)?;
        // One file: nothing of it lies in a write-ahead log beside it.
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        copy.query_row("PRAGMA journal_mode = DELETE", [], mode).map_err(StateError::storage)?;
        Ok(())
    }
}

/// Replaces the whole state by a copy, in one transaction: readers see the old state or the new one.
pub(super) fn install(from: &Path, state: &mut Connection) -> Result<(), StateError> {
    // Immutable, so that SQLite makes no files beside it.
    let name = format!("file:{}?immutable=1", from.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let copy = Connection::open_with_flags(name, flags).map_err(StateError::storage)?;
    state.flush_prepared_statement_cache();
    copy_all(&copy, state)
}

fn copy_all(from: &Connection, into: &mut Connection) -> Result<(), StateError> {
    let backup = Backup::new(from, into).map_err(StateError::storage)?;
    backup.run_to_completion(PAGES_PER_STEP, Duration::ZERO, None).map_err(StateError::storage)
}

/// Copies step by step: each is on disk before the next, and the copy rests as long as its last step took. A whole copy written and
/// flushed at once makes every commit on that disk wait, and all machines make theirs at the same entry of the log.
fn copy_gently(from: &Connection, into: &mut Connection, file: &File) -> Result<(), StateError> {
    let backup = Backup::new(from, into).map_err(StateError::storage)?;
    loop {
        let began = Instant::now();
        let is_done = backup.step(PAGES_PER_GENTLE_STEP).map_err(StateError::storage)? == StepResult::Done;
        if is_done {
            return Ok(());
        }
        file.sync_data().map_err(StateError::storage)?;
        thread::sleep(began.elapsed().min(REST_MAX));
    }
}
