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
/// What may have been written since the last flush before a stall, so that it is not for that flush. Sectors of 512 bytes.
const LITTLE_SECTORS: u64 = 16 * 1024;
const COUNTS: &str = "/proc/diskstats";

/// Follows one disk, on a thread that ends with it.
pub struct Disk {
    stalled_us: Arc<AtomicU64>,
}

/// What the kernel counts of a disk.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Counts {
    /// Reads, writes, discards and flushes that have ended.
    ended: u64,
    flushes: u64,
    /// Written or discarded by those that have ended.
    sectors: u64,
    /// Requests that it has.
    under_way: u64,
}

/// What was seen of a disk so far.
#[derive(Debug, Default)]
struct Seen {
    last: Option<Counts>,
    /// Written since the last look before which a flush had ended, and between that flush and the one before it: a flush covers only what had
    /// ended when it began.
    unflushed_sectors: [u64; 2],
    /// How long it has ended nothing.
    stalled: Duration,
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

    /// Longest time at a stretch in which it had requests and ended none, seen since the last call.
    pub fn stalled(&self) -> Duration {
        Duration::from_micros(self.stalled_us.swap(0, Ordering::Relaxed))
    }
}

fn follow(device: (u64, u64), told: &Weak<AtomicU64>) {
    let (mut looked_at, mut seen) = (Instant::now(), Seen::default());
    while let Some(stalled_us) = told.upgrade() {
        let counts = fs::read_to_string(COUNTS).ok().and_then(|text| counts_of(&text, device));
        let took = std::mem::replace(&mut looked_at, Instant::now()).elapsed();
        let stalled = seen.look(took, counts);
        stalled_us.fetch_max(u64::try_from(stalled.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
        drop(stalled_us);
        thread::sleep(LOOK_EVERY);
    }
}

impl Seen {
    /// How long it has ended none of its requests, which it ends one by one, however many they are. Only a flush of much holds up all of
    /// them: that is whose it was that wrote so much, and counts as no stall.
    fn look(&mut self, took: Duration, counts: Option<Counts>) -> Duration {
        let before = std::mem::replace(&mut self.last, counts);
        let (Some(before), Some(now)) = (before, counts) else {
            *self = Seen { last: counts, ..Seen::default() };
            return Duration::ZERO;
        };
        let fresh = now.sectors.saturating_sub(before.sectors);
        // What was written before the flush within the same time counts too.
        let [newest, older] = self.unflushed_sectors;
        self.unflushed_sectors = if now.flushes > before.flushes { [fresh, newest] } else { [newest + fresh, older] };
        let stalls = before.ended == now.ended && before.under_way > 0 && now.under_way > 0;
        self.stalled = if stalls { self.stalled + took } else { Duration::ZERO };
        if self.unflushed_sectors.iter().sum::<u64>() > LITTLE_SECTORS { Duration::ZERO } else { self.stalled }
    }
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
        let flushes = at(18).unwrap_or(0);
        let ended = at(3)? + at(7)? + at(14).unwrap_or(0) + flushes;
        Some(Counts { ended, flushes, sectors: at(9)? + at(16).unwrap_or(0), under_way: at(11)? })
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
        assert_eq!(
            counts_of(STATS, (254, 0)),
            Some(Counts { ended: 100 + 200 + 7 + 20, flushes: 20, sectors: 1_600 + 56, under_way: 3 })
        );
        let older = Counts { ended: 3, flushes: 0, sectors: 16, under_way: 0 };
        assert_eq!(counts_of(STATS, (8, 1)), Some(older), "of an older kernel");
        assert_eq!(counts_of(STATS, (254, 1)), None);
        assert_eq!(numbers_of(0xfe00), (254, 0));
        assert_eq!(numbers_of(0x0801), (8, 1));
    }

    /// How long it seems to stall at each of these looks, 20 ms apart. Milliseconds.
    fn stalls(looks: &[Option<Counts>]) -> Vec<u128> {
        let mut seen = Seen::default();
        looks.iter().map(|&counts| seen.look(LOOK_EVERY, counts).as_millis()).collect()
    }

    #[test]
    fn a_disk_stalls_as_long_as_it_has_requests_and_ends_none() {
        let counts = |ended, under_way| Some(Counts { ended, under_way, ..Counts::default() });
        assert_eq!(
            stalls(&[counts(9, 1), counts(9, 20), counts(9, 200), counts(10, 9), counts(10, 1)]),
            [0, 20, 40, 0, 20]
        );
        assert_eq!(stalls(&[counts(9, 0), counts(9, 20), counts(9, 0)]), [0, 0, 0], "it had none, or has none");
        assert_eq!(stalls(&[counts(9, 1), None, counts(9, 1)]), [0, 0, 0], "nothing is known");
    }

    #[test]
    fn a_flush_of_much_is_no_stall_and_one_of_little_is() {
        let counts = |flushes, sectors| Some(Counts { ended: flushes + sectors, flushes, sectors, under_way: 9 });
        let much = LITTLE_SECTORS + 1;
        assert_eq!(stalls(&[counts(1, 0), counts(2, 100), counts(2, much), counts(2, much), counts(2, much)]), [0; 5]);
        assert_eq!(stalls(&[counts(1, 0), counts(2, much), counts(2, much)]), [0; 3], "written beside the last flush");
        let flushed = [counts(1, 0), counts(2, much), counts(3, much + 100), counts(3, much + 100)];
        assert_eq!(stalls(&flushed), [0; 4], "written beside a flush that did not cover it");
        let again = [&flushed[..3], &[counts(4, much + 200), counts(4, much + 200)]].concat();
        assert_eq!(stalls(&again), [0, 0, 0, 0, 20]);
    }

    #[test]
    fn what_was_told_is_told_once() {
        let disk = Disk { stalled_us: Arc::new(AtomicU64::new(1_500)) };
        assert_eq!(disk.stalled(), Duration::from_micros(1_500));
        assert_eq!(disk.stalled(), Duration::ZERO);
    }
}
