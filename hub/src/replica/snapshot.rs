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
use rusqlite::{Connection, InterruptHandle, OpenFlags};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

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
/// How long a log is moved into the file page by page; then at once, for who waits for it waits on a slow disk for minutes else.
const WRITE_THROUGH_MAX: Duration = Duration::from_secs(60);
/// How often is brought to disk what is applied while a state is read: megabytes a second at most.
const FLUSH_LOG_EVERY: Duration = Duration::from_millis(100);
/// Steps of SQLite's machine, each a fraction of a microsecond, after which a reading may rest.
const STEPS_PER_LOOK: std::ffi::c_int = 500;
/// How long it reads before it rests.
const READ_PIECE: Duration = Duration::from_millis(5);
/// Longest that a reading rests in all: SQLite's log grows meanwhile, and who compares digests waits, see `digest_wait` of the cluster's
/// settings.
const READ_REST_MAX: Duration = Duration::from_secs(30);
/// Pages of SQLite's log that a commit may move and flush by itself without holding up others.
const LEFT_BEHIND_MAX: i64 = 10_000;

/// The state at one moment: a read transaction of its own, so that applying goes on meanwhile. SQLite's log grows until it ends.
pub(super) struct Frozen {
    pub(super) applied: Applied,
    state: Connection,
    /// Moves what gathers in SQLite's log into the file, when the reading has ended.
    mover: Connection,
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
        let files = Files { path: path.to_owned(), file: ManuallyDrop::new(File::open(path)?) };
        // As a machine leaves it that died meanwhile.
        files.write_through(false);
        Ok(files)
    }

    /// Has each page that is written to the state's file from now on be on disk before the next one, or no longer.
    fn write_through(&self, on: bool) {
        let set = ioctl_getflags(&*self.file).and_then(|mut flags| match flags.contains(IFlags::SYNC) == on {
            true => Ok(()),
            false => {
                flags.set(IFlags::SYNC, on);
                ioctl_setflags(&*self.file, flags)
            }
        });
        if let Err(error) = set {
            tracing::debug!(%error, "this filesystem writes through no file by its attribute");
        }
    }

    /// Brings to disk what the work moves from SQLite's log into the state's file, page by page at first: SQLite writes as fast as memory takes
    /// it, and who else flushes waits behind all of that.
    fn moving<R>(&self, work: impl FnOnce() -> Result<R, StateError>) -> Result<R, StateError> {
        let (log, began) = (self.log()?, Instant::now());
        self.write_through(true);
        let look = || {
            if began.elapsed() > WRITE_THROUGH_MAX {
                self.write_through(false);
            }
        };
        let moved = flushing([&log, &self.file], FLUSH_EVERY, look, work);
        self.write_through(false);
        moved
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
    // Holds nothing of it yet.
    let mover = Connection::open(path).map_err(StateError::storage)?;
    Ok(Frozen { applied, state, mover, files: files.clone() })
}

impl Frozen {
    /// Stop, from another thread, what this reads and moves.
    pub(super) fn interrupts(&self) -> [InterruptHandle; 2] {
        [self.state.get_interrupt_handle(), self.mover.get_interrupt_handle()]
    }

    /// Reads the state on a thread with this name that steps back, piece by piece: what is not in memory comes from the disk, and who else
    /// waits for that waits behind it, whatever the priority. What is applied meanwhile comes to disk along with it: SQLite flushes its log
    /// at the next checkpoint only, and as a whole.
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
        let log = self.files.log()?;
        // A connection goes to another thread, a reference to it does not.
        let state = &mut self.state;
        let reads = move || {
            let state: &mut Connection = state;
            reads(state)
        };
        flushing([&log], FLUSH_LOG_EVERY, || {}, || background::step_back(name, reads)?.map_err(StateError::storage))
    }

    /// Lets go of the state, and moves what gathered in SQLite's log meanwhile into the file, little by little: the next commit would else do
    /// it at once, hundreds of megabytes, and every commit on that disk waits for their flush. That it fails costs only that.
    pub(super) fn release(self) {
        let Frozen { state, mover, files, .. } = self;
        match move_what_gathered(state, &mover, &files) {
            Ok(Some(left)) if left <= LEFT_BEHIND_MAX => {}
            Ok(left) => {
                tracing::warn!(left, "SQLite's log is moved by a later commit: somebody still reads, or is moving it")
            }
            Err(error) => tracing::warn!(%error, "SQLite's log is moved by a later commit"),
        }
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

/// Moves SQLite's log into the state's file up to where it reached when this began: what comes behind is moved by a later commit. Gives what
/// [`checkpoint`] does.
fn move_what_gathered(state: Connection, mover: &Connection, files: &Files) -> Result<Option<i64>, StateError> {
    // All that can take a while comes before the end of the reading: from then on a commit may move it.
    mover.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).map_err(StateError::storage)?;
    files.moving(|| state.execute_batch("COMMIT").and_then(|()| checkpoint(mover)).map_err(StateError::storage))
}

/// Moves SQLite's log into the state's file, as far as nobody reads what it replaces. Gives the pages that could not be moved; `None` where
/// another one is moving them.
fn checkpoint(state: &Connection) -> rusqlite::Result<Option<i64>> {
    state.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (is_busy, in_log, moved): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((!is_busy).then_some(in_log - moved))
    })
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
        let copied = copy_gently(&self.state, &mut copy, [&File::open(into)?, &self.files.log()?], Duration::MAX);
        self.release();
        copied?;
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
    files.moving(|| move_into_file(state).map_err(StateError::storage))?;
    state.pragma_update(None, "cache_size", cache_kib).map_err(StateError::storage)
}

/// Brings files to disk again and again beside the work, and looks behind each time: SQLite would flush each file as a whole.
fn flushing<R, const N: usize>(
    files: [&File; N],
    every: Duration,
    look: impl Fn() + Send,
    work: impl FnOnce() -> Result<R, StateError>,
) -> Result<R, StateError> {
    thread::scope(|scope| {
        let (under_way, over) = channel();
        let flushes = scope.spawn(move || flush_until(files, every, look, &over));
        let done = work();
        drop(under_way);
        let flushed =
            flushes.join().unwrap_or_else(|_| Err(io::Error::other("what flushes the state ended by itself")));
        // Also where SQLite met none: the system tells an error once to each handle.
        flushed.map_err(StateError::storage).and(done)
    })
}

/// Has SQLite move its log into the file at once and not behind some later statement, where its errors would not be told. Nothing passes who
/// still reads the old state, such as a digest: it is waited for, not for long.
fn move_into_file(state: &Connection) -> rusqlite::Result<()> {
    for _ in 0..MOVES_MAX {
        if checkpoint(state)? == Some(0) {
            return Ok(());
        }
        thread::sleep(FLUSH_EVERY);
    }
    tracing::warn!(
        "an installed state stays in SQLite's log while somebody reads the old one or moves it; a later commit moves and flushes it"
    );
    Ok(())
}

/// Flushes the files again and again until the other end of the channel is gone, and then once more.
fn flush_until<const N: usize>(
    files: [&File; N],
    every: Duration,
    look: impl Fn(),
    over: &Receiver<()>,
) -> io::Result<()> {
    while over.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
        flush(files)?;
        look();
    }
    // SQLite itself flushes what it moved only where nothing was committed meanwhile.
    flush(files)
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
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn a_log_is_moved_when_nobody_reads_the_old_state_and_not_where_another_one_is_moving_it() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Connection::open(folder.path().join("state")).unwrap();
        let (own, mut other, reader) = (open(), open(), open());
        own.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER)").unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        own.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert!(checkpoint(&own).unwrap() > Some(0), "somebody reads the old state");

        let (waiting, waits) = channel();
        let waiting = move |_times| {
            // Nobody listens after the first time.
            let _ = waiting.send(());
            thread::yield_now();
            true
        };
        other.busy_handler(Some(waiting)).unwrap();
        let mover = thread::spawn(move || other.query_row("PRAGMA wal_checkpoint(FULL)", [], |_| Ok(())));
        waits.recv().unwrap();
        assert_eq!(checkpoint(&own).unwrap(), None, "another one is moving it");
        reader.execute_batch("COMMIT").unwrap();
        mover.join().unwrap().unwrap();
        assert_eq!(checkpoint(&own).unwrap(), Some(0));
    }

    #[test]
    fn a_state_is_written_through_while_its_log_is_moved_and_not_longer_nor_after_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let open = Connection::open(&path).unwrap();
        open.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER)").unwrap();
        let files = Files::of(&path).unwrap();
        let is_written_through = || ioctl_getflags(&*files.file).is_ok_and(|flags| flags.contains(IFlags::SYNC));
        files.write_through(true);
        // Some filesystems have no such thing: nothing is different then.
        let knows = is_written_through();
        Files::of(&path).unwrap();
        assert!(!is_written_through(), "as a machine that died left it");
        let meanwhile = files.moving(|| Ok(is_written_through())).unwrap();
        assert_eq!((meanwhile, is_written_through()), (knows, false));
        files.moving(|| Err::<(), _>(StateError::storage(io::Error::other("on purpose")))).unwrap_err();
        assert!(!is_written_through());
    }

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

    #[test]
    fn a_file_that_cannot_be_flushed_ends_the_flushing_with_its_error() {
        let (_under_way, over) = channel();
        let device = File::open("/dev/null").unwrap();
        assert!(flush_until([&device, &device], FLUSH_EVERY, || {}, &over).is_err());
    }

    #[test]
    fn flushing_ends_when_the_work_is_over() {
        let (under_way, over) = channel();
        drop(under_way);
        let file = tempfile::tempfile().unwrap();
        flush_until([&file, &file], FLUSH_EVERY, || {}, &over).unwrap();
    }
}
