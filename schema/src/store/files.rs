//! The files of an open store, and how what is moved into them comes to disk.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

/// How often is brought to disk what SQLite moves in one go.
const FLUSH_EVERY: Duration = Duration::from_millis(20);
/// How long it is moved page by page; then at once, for who waits for it waits on a slow disk for minutes else.
const WRITE_THROUGH_MAX: Duration = Duration::from_secs(60);

/// The files of a store that a connection of this process holds open. The handle of its file stays open as long as the process lives: with any handle of a file that a
/// process closes, it loses the locks that SQLite holds on it.
pub struct StoreFiles {
    path: PathBuf,
    file: ManuallyDrop<File>,
    /// One moves at a time: the attribute belongs to the file and not to who set it.
    moving: Mutex<()>,
}

impl StoreFiles {
    /// Of the store at `path`, which exists.
    pub fn of(path: &Path) -> io::Result<StoreFiles> {
        let file = ManuallyDrop::new(File::open(path)?);
        let files = StoreFiles { path: path.to_owned(), file, moving: Mutex::default() };
        // As a process left it that died meanwhile.
        files.write_through(false);
        Ok(files)
    }

    /// The store's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// SQLite's write-ahead log beside it, on which it holds no locks. The same one as long as a connection is open.
    pub fn log(&self) -> io::Result<File> {
        let mut log = OsString::from(&self.path);
        log.push("-wal");
        File::open(log)
    }

    /// Has the work move a little from SQLite's log into the store's file, and brings that to disk. Waits for another one that moves.
    pub fn moving_little<R, E: From<io::Error>>(&self, work: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let _one_at_a_time = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = work()?;
        // SQLite itself flushes what it moved only where nothing was committed meanwhile.
        flush(&self.file).unwrap_or_else(|error| end_without_disk(&error));
        Ok(moved)
    }

    /// Has the work move much of it; `is_through`: each page on disk before the next one, for SQLite writes as fast as memory takes it, and who
    /// else flushes waits behind all of that. Costs several times as much as moving it little by little. Waits for another one that moves.
    pub fn moving<R, E: From<io::Error>>(&self, is_through: bool, work: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        // A panic of another one leaves nothing half done here.
        let _one_at_a_time = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let (log, began) = (self.log()?, Instant::now());
        let _written_through = is_through.then(|| WrittenThrough::set(self));
        let look = || {
            if began.elapsed() > WRITE_THROUGH_MAX {
                self.write_through(false);
            }
        };
        flushing([&log, &self.file], look, work)
    }

    /// Has each page that is written to the store's file from now on be on disk before the next one, or no longer.
    fn write_through(&self, on: bool) {
        // Some filesystems have no such attribute: what is moved is flushed every few milliseconds there.
        let _ = ioctl_getflags(&*self.file).and_then(|mut flags| match flags.contains(IFlags::SYNC) == on {
            true => Ok(()),
            false => {
                flags.set(IFlags::SYNC, on);
                ioctl_setflags(&*self.file, flags)
            }
        });
    }
}

/// Takes the attribute away again, also behind a panic.
struct WrittenThrough<'a>(&'a StoreFiles);

impl WrittenThrough<'_> {
    fn set(files: &StoreFiles) -> WrittenThrough<'_> {
        files.write_through(true);
        WrittenThrough(files)
    }
}

impl Drop for WrittenThrough<'_> {
    fn drop(&mut self) {
        self.0.write_through(false);
    }
}

/// Brings files to disk again and again beside the work, and looks behind each time: SQLite would flush each file as a whole.
fn flushing<R, E: From<io::Error>>(
    files: [&File; 2],
    look: impl Fn() + Send,
    work: impl FnOnce() -> Result<R, E>,
) -> Result<R, E> {
    thread::scope(|scope| {
        let (under_way, over) = channel();
        let flushes = move || flush_until(files, look, &over);
        let flushes = thread::Builder::new().name("store-flush".into()).spawn_scoped(scope, flushes)?;
        let done = work();
        drop(under_way);
        let flushed = flushes.join().unwrap_or_else(|_| Err(io::Error::other("what flushes a store ended by itself")));
        // Also where SQLite met none: the system tells an error once to each handle.
        flushed.unwrap_or_else(|error| end_without_disk(&error));
        done
    })
}

/// Flushes the files again and again until the other end of the channel is gone, and then once more.
fn flush_until(files: [&File; 2], look: impl Fn(), over: &Receiver<()>) -> io::Result<()> {
    let flush_all = || files.into_iter().try_for_each(flush);
    while over.recv_timeout(FLUSH_EVERY) == Err(RecvTimeoutError::Timeout) {
        flush_all()?;
        look();
    }
    // SQLite itself flushes what it moved only where nothing was committed meanwhile.
    flush_all()
}

/// Brings a file to disk.
pub(super) fn flush(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Ends the process where the system could not bring to disk what it had taken, and may have dropped it: SQLite counts it as moved, the
/// system tells it once, and the log would be begun anew, or taken away, over the only copy. The next start reads the whole log again.
pub(super) fn end_without_disk(error: &dyn Display) -> ! {
    let hint = "look after its disk, then start again";
    tracing::error!(%error, hint, "a store could not be brought to disk: the process ends");
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use rusqlite::Connection;

    use super::*;

    fn is_written_through(files: &StoreFiles) -> bool {
        ioctl_getflags(&*files.file).is_ok_and(|flags| flags.contains(IFlags::SYNC))
    }

    #[test]
    fn a_store_is_written_through_while_its_log_is_moved_and_not_longer_nor_after_an_error_a_panic_or_a_crash() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let open = Connection::open(&path).unwrap();
        open.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER)").unwrap();
        let files = StoreFiles::of(&path).unwrap();
        files.write_through(true);
        // Some filesystems have no such thing: nothing is different then.
        let knows = is_written_through(&files);
        StoreFiles::of(&path).unwrap();
        assert!(!is_written_through(&files), "as a process that died left it");
        let meanwhile = files.moving(true, || Ok::<_, io::Error>(is_written_through(&files))).unwrap();
        assert_eq!((meanwhile, is_written_through(&files)), (knows, false));
        files.moving(true, || Err::<(), _>(io::Error::other("on purpose"))).unwrap_err();
        assert!(!is_written_through(&files), "behind an error");
        let panics = || files.moving(true, || -> io::Result<()> { panic!("on purpose") });
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert!(!is_written_through(&files), "behind a panic");
        assert!(files.moving(true, || Ok::<_, io::Error>(is_written_through(&files))).unwrap() == knows, "and again");
    }

    #[test]
    fn one_moves_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let open = Connection::open(&path).unwrap();
        open.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a INTEGER)").unwrap();
        let files = StoreFiles::of(&path).unwrap();
        let moves = || {
            assert!(files.moving.try_lock().is_err());
            Ok::<_, io::Error>(())
        };
        files.moving(true, moves).unwrap();
        files.moving_little(moves).unwrap();
        assert!(files.moving.try_lock().is_ok());
    }

    #[test]
    fn a_file_that_cannot_be_flushed_ends_the_flushing_with_its_error() {
        let (_under_way, over) = channel();
        let device = File::open("/dev/null").unwrap();
        assert!(flush_until([&device, &device], || {}, &over).is_err());
    }

    #[test]
    fn flushing_ends_when_the_work_is_over() {
        let (under_way, over) = channel();
        drop(under_way);
        let file = tempfile::tempfile().unwrap();
        flush_until([&file, &file], || {}, &over).unwrap();
    }
}
