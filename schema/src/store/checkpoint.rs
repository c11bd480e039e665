//! Moving SQLite's write-ahead log into a store's file beside those who write.
//!
//! By itself SQLite does that within the commit that finds its log long: tens of megabytes in one go, which that commit waits for, and every
//! other flush on that disk. Stores that grow alike, those of the hub's machines above all, do it at the same moment.

use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rusqlite::{Connection, InterruptHandle, ffi};

use super::files::{end_without_disk, flush};
use super::{Durability, StoreError, StoreFiles, step_back};

/// Length from which on a commit moves the log as SQLite does by itself: only where this one cannot. More than what gathers in minutes
/// while the whole store is read.
const LEFT_TO_COMMITS_BYTES: i64 = 4 * 1024 * 1024 * 1024;
/// What is moved at once; more gathers while the whole store is read.
const LITTLE_BYTES: i64 = 32 * 1024 * 1024;
/// Longest that much is put off: stores that are read as a whole at the same moment do not move what gathered at the same moment.
const PUT_OFF_MAX: Duration = Duration::from_secs(5);
/// Length from which on it is begun anew. A long log is slow to look through; each beginning costs a commit a flush.
const ANEW_FROM_BYTES: i64 = 16 * 1024 * 1024;
/// How often what was committed meanwhile is moved then, until so little is left that commits may wait for it.
const PASSES_MAX: usize = 6;
/// So little: about what is committed while the pass before it is brought to disk; more of a log that has become long, for on a slow disk
/// that is more.
const LAST_BYTES: i64 = 1024 * 1024;
const LAST_PART: i64 = 64;
/// Length from which on it is no longer moved page by page: on a slow disk it grows faster than that.
const AT_ONCE_FROM_BYTES: i64 = 1024 * 1024 * 1024;
/// How long it waits then for a commit, and for who reads what was before; commits wait as long.
const LAST_WAIT: Duration = Duration::from_millis(50);
/// How often is looked at the log where each commit flushes it.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often where it does not: what was committed meanwhile is flushed then.
const FLUSH_EVERY: Duration = Duration::from_millis(100);
/// Pause behind an error.
const AFTER_ERROR: Duration = Duration::from_secs(10);
/// Pause between two attempts to stop a move: an interruption reaches only the statement that runs.
const INTERRUPT_EVERY: Duration = Duration::from_millis(1);

/// Moves the log of one store, on a thread of its own. Dropped, it gives up the move under way and waits for its connection to be closed;
/// before the writing connection, so that the last one to be closed can take the log away.
pub struct Checkpointer {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    interrupt: InterruptHandle,
}

impl Checkpointer {
    /// Begins beside `writer`, the store's writing connection, whose commits leave it to this one from now on. Each time that `each_bytes`
    /// gathered they are moved: little where its pages are mostly different ones, so that others' flushes do not wait; much where the same
    /// ones come again and again, of which only the last is moved.
    pub fn start(
        files: &Arc<StoreFiles>,
        writer: &Connection,
        durability: Durability,
        each_bytes: i64,
    ) -> Result<Self, StoreError> {
        let mover = Mover::open(files.clone(), durability, each_bytes)?;
        writer.pragma_update(None, "wal_autocheckpoint", LEFT_TO_COMMITS_BYTES / mover.page_bytes)?;
        let (interrupt, (stop, stopped)) = (mover.store.get_interrupt_handle(), channel());
        let thread = thread::Builder::new().name("store-move".into()).spawn(move || mover.run(&stopped))?;
        Ok(Checkpointer { stop: Some(stop), thread: Some(thread), interrupt })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        drop(self.stop.take());
        let Some(thread) = self.thread.take() else { return };
        while !thread.is_finished() {
            self.interrupt.interrupt();
            thread::sleep(INTERRUPT_EVERY);
        }
        // A panic was printed by its own thread.
        let _ = thread.join();
    }
}

struct Mover {
    files: Arc<StoreFiles>,
    store: Connection,
    log: File,
    durability: Durability,
    page_bytes: i64,
    each_bytes: i64,
    /// Much is put off until then.
    put_off: Option<Instant>,
    put_off_max: Duration,
    /// Pages in the log when it was last flushed here.
    flushed_pages: i64,
    /// What the last move left, where it left something.
    tried: Option<Reach>,
}

/// How far SQLite's log is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    log_pages: i64,
    moved_pages: i64,
}

impl Reach {
    fn left_pages(self) -> i64 {
        self.log_pages - self.moved_pages
    }

    /// Whether SQLite began the log anew since.
    fn is_before(self, earlier: Reach) -> bool {
        self.log_pages < earlier.log_pages || self.moved_pages < earlier.moved_pages
    }
}

impl Mover {
    fn open(files: Arc<StoreFiles>, durability: Durability, each_bytes: i64) -> Result<Self, StoreError> {
        let store = Connection::open(files.path())?;
        store.busy_timeout(LAST_WAIT)?;
        // The first read opens the log.
        let page_bytes = store.pragma_query_value(None, "page_size", |row| row.get(0))?;
        store.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let log = files.log()?;
        let (put_off, put_off_max) = (None, PUT_OFF_MAX);
        let (flushed_pages, tried) = (0, None);
        Ok(Mover { files, store, log, durability, page_bytes, each_bytes, put_off, put_off_max, flushed_pages, tried })
    }

    fn run(mut self, stopped: &Receiver<()>) {
        let every = match self.durability {
            Durability::Full => LOOK_EVERY,
            Durability::Replayable => FLUSH_EVERY,
        };
        let mut pause = every;
        while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
            let looked = self.look();
            pause = if looked.is_ok() { every } else { AFTER_ERROR };
            if let Err(error) = looked {
                // Dropped meanwhile: its move was interrupted.
                if stopped.try_recv() != Err(TryRecvError::Disconnected) {
                    tracing::warn!(%error, "SQLite's log is not moved into its file, and grows");
                }
            }
        }
    }

    fn look(&mut self) -> Result<(), StoreError> {
        let reach = self.reach()?;
        if self.durability == Durability::Replayable && reach.log_pages != self.flushed_pages {
            flush(&self.log).unwrap_or_else(|error| end_without_disk(&error));
            self.flushed_pages = reach.log_pages;
        }
        if self.tried.is_some_and(|tried| reach.is_before(tried)) {
            self.tried = None;
        }
        // Where somebody reads what was before, it is not tried again at once.
        let gathered_pages = reach.log_pages - self.tried.map_or(reach.moved_pages, |tried| tried.log_pages);
        if gathered_pages >= self.pages(self.each_bytes) && !self.puts_off(reach) {
            let left = self.move_all(reach)?;
            self.tried = (left.left_pages() > 0).then_some(left);
        }
        Ok(())
    }

    /// Whether so much is to be moved that it is put off.
    fn puts_off(&mut self, reach: Reach) -> bool {
        if !self.is_much(reach) {
            self.put_off = None;
            return false;
        }
        let put_off_max = self.put_off_max;
        let until = *self.put_off.get_or_insert_with(|| Instant::now() + put_off_max.mul_f64(rand::random()));
        let puts_off = Instant::now() < until;
        if !puts_off {
            self.put_off = None;
        }
        puts_off
    }

    fn is_much(&self, reach: Reach) -> bool {
        reach.left_pages() > self.pages(LITTLE_BYTES)
    }

    /// Moves what the log has; a long one to its end, so that the next commit begins it anew where nobody reads it. Gives what it left.
    fn move_all(&mut self, reach: Reach) -> Result<Reach, StoreError> {
        let (mut moved, mut left) = (self.move_once(reach)?, self.reach()?);
        if left.log_pages < self.pages(ANEW_FROM_BYTES) {
            return Ok(left);
        }
        let last_pages = self.pages(LAST_BYTES).max(left.log_pages / LAST_PART);
        // What was committed meanwhile, each time less where it is moved faster than it comes.
        for pass in 1..PASSES_MAX {
            let is_little = left.left_pages() == 0 || pass > 1 && left.left_pages() <= last_pages;
            if moved != Some(0) || is_little {
                break;
            }
            (moved, left) = (self.move_once(left)?, self.reach()?);
        }
        if moved == Some(0) && (1..=last_pages).contains(&left.left_pages()) {
            self.move_last()?;
            left = self.reach()?;
        }
        Ok(left)
    }

    /// Gives what [`checkpoint`] does.
    fn move_once(&mut self, reach: Reach) -> Result<Option<i64>, StoreError> {
        let (is_much, is_through) = (self.is_much(reach), reach.log_pages < self.pages(AT_ONCE_FROM_BYTES));
        let files = &self.files;
        let store = &mut self.store;
        let moves = move || {
            // A connection goes to another thread, a reference to it does not.
            let store: &mut Connection = store;
            checkpoint(store).map_err(StoreError::from)
        };
        match is_much {
            // It only steps back where it is not waited for.
            true => files.moving(is_through, || step_back("store-much", moves)?),
            false => files.moving_little(moves),
        }
    }

    /// Moves the little that is left while commits wait: where one follows another, some page is always left else. Not an error: somebody
    /// reads what was before, or commits for longer.
    fn move_last(&self) -> Result<(), StoreError> {
        self.files.moving_little(|| run(&self.store, "PRAGMA wal_checkpoint(FULL)").map_err(StoreError::from))?;
        Ok(())
    }

    fn reach(&self) -> Result<Reach, StoreError> {
        let reach = |row: &rusqlite::Row<'_>| Ok(Reach { log_pages: row.get(1)?, moved_pages: row.get(2)? });
        Ok(self.store.prepare_cached("PRAGMA wal_checkpoint(NOOP)")?.query_row([], reach)?)
    }

    fn pages(&self, bytes: i64) -> i64 {
        bytes / self.page_bytes
    }
}

/// Moves SQLite's log into the store's file, as far as nobody reads what it replaces. Gives the pages that could not be moved of those that it
/// had when this began; `None` where another one is moving them. Ends the process where the system cannot bring them to disk.
pub fn checkpoint(store: &Connection) -> rusqlite::Result<Option<i64>> {
    run(store, "PRAGMA wal_checkpoint(PASSIVE)")
}

fn run(store: &Connection, checkpoint: &str) -> rusqlite::Result<Option<i64>> {
    let done = store.query_row(checkpoint, [], |row| {
        let (is_busy, in_log, moved): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((!is_busy).then_some(in_log - moved))
    });
    done.inspect_err(|error| {
        if error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_FSYNC) {
            end_without_disk(error);
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::store::open_writer;

    const MIB: i64 = 1024 * 1024;

    fn make(folder: &Path) -> (Connection, Arc<StoreFiles>) {
        let path = folder.join("store.db");
        let writer = open_writer(&path, Durability::Replayable).unwrap();
        writer.execute_batch("CREATE TABLE t (a BLOB)").unwrap();
        (writer, Arc::new(StoreFiles::of(&path).unwrap()))
    }

    /// Lets the log grow by so many MiB and a little.
    fn grow(writer: &Connection, mib: i64) {
        for _ in 0..mib {
            writer.execute("INSERT INTO t VALUES (zeroblob(?1))", [MIB]).unwrap();
        }
    }

    /// Moves each 2 MiB, puts nothing off, and the writer's commits move nothing by themselves.
    fn mover(writer: &Connection, files: Arc<StoreFiles>) -> Mover {
        writer.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        let mover = Mover::open(files, Durability::Replayable, 2 * MIB).unwrap();
        Mover { put_off_max: Duration::ZERO, ..mover }
    }

    #[test]
    fn a_short_log_is_flushed_and_not_moved_and_a_long_one_is_moved_and_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, files) = make(folder.path());
        let mut mover = mover(&writer, files);
        grow(&writer, 1);
        mover.look().unwrap();
        let short = mover.reach().unwrap();
        assert_eq!((short.moved_pages, mover.flushed_pages), (0, short.log_pages));

        grow(&writer, 1);
        mover.look().unwrap();
        let long = mover.reach().unwrap();
        assert!(long.log_pages >= mover.pages(2 * MIB));
        assert_eq!((long.left_pages(), mover.tried), (0, None));

        writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
        mover.look().unwrap();
        let anew = mover.reach().unwrap();
        assert!(anew.log_pages < short.log_pages && anew.moved_pages == 0, "{anew:?}");
    }

    #[test]
    fn a_log_that_somebody_reads_is_moved_as_far_as_they_do_not_and_again_only_when_it_has_grown() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, files) = make(folder.path());
        let reader = Connection::open(files.path()).unwrap();
        let mut mover = mover(&writer, files);
        grow(&writer, 1);
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        let before = mover.reach().unwrap();
        grow(&writer, 1);
        mover.look().unwrap();
        assert_eq!(mover.reach().unwrap().moved_pages, before.log_pages, "up to where the reader began");

        grow(&writer, 1);
        reader.execute_batch("COMMIT").unwrap();
        mover.look().unwrap();
        assert_eq!(mover.reach().unwrap().moved_pages, before.log_pages, "it has grown by less");
        grow(&writer, 1);
        mover.look().unwrap();
        assert_eq!(mover.reach().unwrap().left_pages(), 0);
    }

    #[test]
    fn much_is_put_off_and_little_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, files) = make(folder.path());
        let mut mover = mover(&writer, files);
        grow(&writer, 33);
        let much = mover.reach().unwrap();
        assert!(mover.is_much(much));
        mover.put_off = Some(Instant::now() + Duration::from_secs(3_600));
        mover.look().unwrap();
        assert_eq!(mover.reach().unwrap(), much);
        mover.put_off = Some(Instant::now());
        mover.look().unwrap();
        assert_eq!(mover.reach().unwrap().moved_pages, much.log_pages);
        assert_eq!(mover.put_off, None, "the next time is another one");

        mover.put_off = Some(Instant::now() + Duration::from_secs(3_600));
        grow(&writer, 2);
        mover.look().unwrap();
        let little = mover.reach().unwrap();
        assert!(little.log_pages < much.log_pages && little.left_pages() == 0, "{little:?}");
        assert_eq!(mover.put_off, None);
    }

    /// As where commits follow one another: some page is always left by who moves beside them.
    #[test]
    fn what_is_left_is_moved_while_a_commit_waits_unless_one_takes_longer() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, files) = make(folder.path());
        let mover = mover(&writer, files);
        writer.execute_batch("BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
        mover.move_last().expect("a commit takes longer than is waited for it");
        writer.execute_batch("COMMIT").unwrap();
        mover.move_last().unwrap();
        assert_eq!(mover.reach().unwrap().left_pages(), 0);
    }

    #[test]
    fn a_checkpointer_moves_beside_the_writer_whose_commits_leave_it_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, files) = make(folder.path());
        let checkpointer = Checkpointer::start(&files, &writer, Durability::Replayable, 2 * MIB).unwrap();
        let left_to_commits: i64 = writer.pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0)).unwrap();
        let look = Mover::open(files, Durability::Replayable, 2 * MIB).unwrap();
        assert_eq!(left_to_commits, look.pages(LEFT_TO_COMMITS_BYTES));
        grow(&writer, 2);
        let given_up = Instant::now() + Duration::from_secs(60);
        while look.reach().unwrap().moved_pages == 0 {
            assert!(Instant::now() < given_up, "{:?}", look.reach());
            thread::yield_now();
        }
        drop(checkpointer);
        // Its connection is closed: the last one left takes the log away.
        drop(look);
        writer.close().unwrap();
        assert!(!folder.path().join("store.db-wal").exists());
    }

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
}
