//! Space on the disk: what is refused before it is full costs a request, what fails in the middle of an append stops the machine.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::LogError;

/// Space that is left alone: the longest entry in log, state and their write-ahead logs, many times over. Bytes.
const RESERVE_BYTES: u64 = 256 << 20;
/// How long an answer of the system counts.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// The room on the disk of a folder.
pub struct DiskRoom {
    folder: PathBuf,
    reserve_bytes: AtomicU64,
    asked: Mutex<Option<(Instant, bool)>>,
}

impl DiskRoom {
    /// The room on the disk of this folder.
    pub fn of(folder: &Path) -> Self {
        DiskRoom { folder: folder.to_owned(), reserve_bytes: AtomicU64::new(RESERVE_BYTES), asked: Mutex::new(None) }
    }

    /// Leaves so much space alone from now on. Bytes.
    pub fn reserve(&self, bytes: u64) {
        self.reserve_bytes.store(bytes, Ordering::Relaxed);
        *self.asked.lock() = None;
    }

    /// Refuses where less than the reserve is left.
    pub fn check(&self) -> Result<(), LogError> {
        let mut asked = self.asked.lock();
        let fresh = asked.filter(|(at, _)| at.elapsed() < ASK_EVERY);
        let enough = match fresh {
            Some((_, enough)) => enough,
            None => {
                let enough = self.left_bytes().is_none_or(|left| left >= self.reserve_bytes.load(Ordering::Relaxed));
                *asked = Some((Instant::now(), enough));
                enough
            }
        };
        if enough { Ok(()) } else { Err(LogError::Full) }
    }

    /// What the system says; `None` where it does not.
    fn left_bytes(&self) -> Option<u64> {
        let stat = rustix::fs::statvfs(&self.folder).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}
