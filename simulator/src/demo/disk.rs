//! Whether the computer's disk answers: in a second in which it does not, whoever waits for it waits for the disk and not for the demo.

use std::fs;
use std::os::linux::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
const COUNTS: &str = "/proc/diskstats";

/// Follows one disk, on a thread that ends with it.
pub struct Disk {
    stalled_us: Arc<AtomicU64>,
}

/// What the kernel counts of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// Reads, writes, discards and flushes that have ended.
    ended: u64,
    /// Requests that it has.
    under_way: u64,
}

impl Disk {
    /// That of a folder, from now on. Where the kernel tells nothing of it, it never seems to stall.
    pub fn of(folder: &Path) -> Self {
        let stalled_us = Arc::new(AtomicU64::new(0));
        if let Ok(folder) = fs::metadata(folder) {
            let (device, told) = (numbers_of(folder.st_dev()), Arc::downgrade(&stalled_us));
            // Without it nothing is told.
            let _ = thread::Builder::new().name("disk".into()).spawn(move || follow(device, &told));
        }
        Disk { stalled_us }
    }

    /// How long it had requests and ended none, since the last call.
    pub fn stalled(&self) -> Duration {
        Duration::from_micros(self.stalled_us.swap(0, Ordering::Relaxed))
    }
}

fn follow(device: (u64, u64), told: &Weak<AtomicU64>) {
    let (mut looked_at, mut before) = (Instant::now(), None);
    while let Some(stalled_us) = told.upgrade() {
        let counts = fs::read_to_string(COUNTS).ok().and_then(|text| counts_of(&text, device));
        let took = std::mem::replace(&mut looked_at, Instant::now()).elapsed();
        if has_stalled(std::mem::replace(&mut before, counts), counts) {
            stalled_us.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        drop(stalled_us);
        thread::sleep(LOOK_EVERY);
    }
}

/// Whether it ended none of its requests between two looks. However many it has, it ends them one by one; only a flush of much would hold up
/// all, and the demo's stores flush a thousand times a second.
fn has_stalled(before: Option<Counts>, now: Option<Counts>) -> bool {
    let (Some(before), Some(now)) = (before, now) else { return false };
    before.ended == now.ended && before.under_way > 0 && now.under_way > 0
}

/// The line of /proc/diskstats: numbers and name of the device, then 17 counts, of which the 9th is not one that only grows.
fn counts_of(text: &str, (major, minor): (u64, u64)) -> Option<Counts> {
    text.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok());
        if (at(0)?, at(1)?) != (major, minor) {
            return None;
        }
        // Older kernels count neither discards nor flushes.
        let ended = at(3)? + at(7)? + at(14).unwrap_or(0) + at(18).unwrap_or(0);
        Some(Counts { ended, under_way: at(11)? })
    })
}

/// Major and minor number of a device, as Linux packs them.
fn numbers_of(device: u64) -> (u64, u64) {
    ((device >> 8) & 0xfff | (device >> 32) & !0xfff, device & 0xff | (device >> 12) & !0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATS: &str = "   8       1 sda1 1 0 8 0 2 0 16 0 0 0 0
 254       0 vda 100 5 800 30 200 6 1600 40 3 50 70 7 0 56 1 20 2\n";

    #[test]
    fn what_the_kernel_tells_is_read() {
        assert_eq!(counts_of(STATS, (254, 0)), Some(Counts { ended: 100 + 200 + 7 + 20, under_way: 3 }));
        assert_eq!(counts_of(STATS, (8, 1)), Some(Counts { ended: 3, under_way: 0 }), "of an older kernel");
        assert_eq!(counts_of(STATS, (254, 1)), None);
        assert_eq!(numbers_of(0xfe00), (254, 0));
        assert_eq!(numbers_of(0x0801), (8, 1));
    }

    #[test]
    fn a_disk_stalls_that_has_requests_and_ends_none() {
        let counts = |ended, under_way| Some(Counts { ended, under_way });
        assert!(has_stalled(counts(9, 1), counts(9, 20)));
        assert!(!has_stalled(counts(9, 1), counts(10, 20)), "it ended one");
        assert!(!has_stalled(counts(9, 0), counts(9, 20)), "it had none");
        assert!(!has_stalled(counts(9, 1), counts(9, 0)), "it has none");
        assert!(!has_stalled(None, counts(9, 1)));
        assert!(!has_stalled(counts(9, 1), None));
    }

    #[test]
    fn what_was_told_is_told_once() {
        let disk = Disk { stalled_us: Arc::new(AtomicU64::new(1_500)) };
        assert_eq!(disk.stalled(), Duration::from_micros(1_500));
        assert_eq!(disk.stalled(), Duration::ZERO);
    }
}
