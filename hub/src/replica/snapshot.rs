//! Copies of the state, page by page by SQLite's own backup, and their installation.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use jikai_schema::store::{StoreFiles, checkpoint, step_back};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, InterruptHandle, OpenFlags};

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
/// Pause between them.
const MOVE_EVERY: Duration = Duration::from_millis(20);
/// Steps of SQLite's machine, each a fraction of a microsecond, after which a reading may rest.
const STEPS_PER_LOOK: std::ffi::c_int = 500;
/// How long it reads before it rests.
const READ_PIECE: Duration = Duration::from_millis(5);
/// Longest that a reading rests in all: SQLite's log grows meanwhile, and who compares digests waits, see `digest_wait` of the cluster's
/// settings.
const READ_REST_MAX: Duration = Duration::from_secs(30);

/// The state at one moment: a read transaction of its own, so that applying goes on meanwhile. SQLite's log grows until it ends.
pub(super) struct Frozen {
    pub(super) applied: Applied,
    state: Connection,
}

/// Takes hold of the state at `path` as it is now.
pub(super) fn freeze(path: &Path) -> Result<Frozen, StateError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let state = Connection::open_with_flags(path, flags).map_err(StateError::storage)?;
    state.execute_batch("PRAGMA busy_timeout = 5000; BEGIN").map_err(StateError::storage)?;
    // The first read fixes what this connection sees until its transaction ends.
    let applied = Place::read(&state)?.applied();
    Ok(Frozen { applied, state })
}

impl Frozen {
    /// Stops, from another thread, what this reads.
    pub(super) fn interrupt(&self) -> InterruptHandle {
        self.state.get_interrupt_handle()
    }

    /// Reads the state on a thread with this name that steps back, piece by piece: what is not in memory comes from the disk, and who else
    /// waits for that waits behind it, whatever the priority.
    pub(super) fn read<R: Send>(
        &mut self,
        name: &str,
        reads: impl FnOnce(&mut Connection) -> rusqlite::Result<R> + Send,
    ) -> Result<R, StateError> {
        let mut rest_left = READ_REST_MAX;
        let rest = move |began| {
            let rest = rest_after(began).min(rest_left);
            rest_left -= rest;
            thread::sleep(rest);
        };
        rest_between_pieces(&mut self.state, READ_PIECE, rest).map_err(StateError::storage)?;
        // A connection goes to another thread, a reference to it does not.
        let state = &mut self.state;
        let reads = move || {
            let state: &mut Connection = state;
            reads(state)
        };
        step_back(name, reads)?.map_err(StateError::storage)
    }
}

/// Has what this connection reads from now on rest, as a copy does, behind each piece that took so long.
fn rest_between_pieces(
    state: &mut Connection,
    piece: Duration,
    mut rest: impl FnMut(Instant) + Send + 'static,
) -> rusqlite::Result<()> {
    let mut began = Instant::now();
    let look = move || {
        if began.elapsed() >= piece {
            rest(began);
            began = Instant::now();
        }
        // Goes on.
        false
    };
    state.progress_handler(STEPS_PER_LOOK, Some(look))
}

impl View for Frozen {
    fn applied(&self) -> &Applied {
        &self.applied
    }

    fn copy(self: Box<Self>, into: &Path) -> Result<(), StateError> {
        let mut copy = Connection::open(into).map_err(StateError::storage)?;
        // Whoever keeps the copy brings the file to disk.
        copy.execute_batch("PRAGMA synchronous = OFF").map_err(StateError::storage)?;
        copy_gently(&self.state, &mut copy, &File::open(into)?, Duration::MAX)?;
        // One file: nothing of it lies in a write-ahead log beside it.
        let mode = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
        copy.query_row("PRAGMA journal_mode = DELETE", [], mode).map_err(StateError::storage)?;
        Ok(())
    }
}

/// Replaces the whole state at `path` by a copy, in one transaction: readers see the old state or the new one.
pub(super) fn install(from: &Path, files: &StoreFiles, state: &mut Connection) -> Result<(), StateError> {
    // Immutable, so that SQLite makes no files beside it.
    let name = format!("file:{}?immutable=1", from.display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let copy = Connection::open_with_flags(name, flags).map_err(StateError::storage)?;
    state.flush_prepared_statement_cache();
    let log = files.log()?;
    let cache_kib: i64 = state.pragma_query_value(None, "cache_size", |row| row.get(0)).map_err(StateError::storage)?;
    // What the cache keeps until the commit comes to disk in one go.
    state.pragma_update(None, "cache_size", -INSTALL_CACHE_KIB).map_err(StateError::storage)?;
    copy_gently(&copy, state, &log, INSTALL_REST_MAX)?;
    files.moving(true, || move_into_file(state).map_err(StateError::storage))?;
    state.pragma_update(None, "cache_size", cache_kib).map_err(StateError::storage)
}

/// Has SQLite move its log into the file at once and not behind some later statement, where its errors would not be told. Nothing passes who
/// still reads the old state, such as a digest: it is waited for, not for long.
fn move_into_file(state: &Connection) -> rusqlite::Result<()> {
    for _ in 0..MOVES_MAX {
        if checkpoint(state)? == Some(0) {
            return Ok(());
        }
        thread::sleep(MOVE_EVERY);
    }
    tracing::warn!(
        "an installed state stays in SQLite's log while somebody reads the old one; it is moved when the log has grown"
    );
    Ok(())
}

/// Copies step by step: each is on disk in the file before the next, and the copy rests as long as its last step took, for so long in all. A whole
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
            StepResult::More => file.sync_data()?,
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
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_reading_rests_behind_each_piece_and_goes_on() {
        let mut state = Connection::open_in_memory().unwrap();
        let rests = Arc::new(AtomicU32::new(0));
        let counted = rests.clone();
        let count = move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        };
        rest_between_pieces(&mut state, Duration::ZERO, count).unwrap();
        let counting =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000) SELECT count(*) FROM n";
        let read: u32 = state.query_row(counting, [], |row| row.get(0)).unwrap();
        // More steps than rows, and a rest for so many.
        assert_eq!((read, rests.load(Ordering::Relaxed) >= 10_000 / STEPS_PER_LOOK as u32), (10_000, true));
    }
}
