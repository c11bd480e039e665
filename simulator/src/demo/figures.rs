//! The figures of the load, shared between who shows them and who strikes faults meanwhile.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use tokio::time::Instant;

use super::disk::Disk;
use super::others::Others;
use super::report::tenth;
use super::workers::Sums;
use crate::terminal::{latencies, locked};

/// What is looked at apart.
const SECOND: Duration = Duration::from_secs(1);
/// A disk that answers nothing for so long has stalled.
const STALL: Duration = Duration::from_millis(100);

/// The figures of the load so far, and of a window of it.
pub struct Figures {
    sums: Mutex<Sums>,
    window: Mutex<Window>,
    computer: Mutex<Computer>,
    /// The longest that an operation waited because its outlet moved, by outlet. Microseconds.
    interruptions_us: Mutex<BTreeMap<String, u64>>,
    is_released: AtomicBool,
    /// What the load processes are to be told.
    orders: Mutex<Vec<String>>,
}

/// What is not the demo's doing.
struct Computer {
    others: Others,
    disk: Disk,
}

/// What it did in a second.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Beside {
    others_share: f64,
    disk_stalled: Duration,
}

impl Computer {
    /// Since the last call.
    fn beside(&mut self) -> Beside {
        Beside { others_share: self.others.share(), disk_stalled: self.disk.stalled() }
    }
}

struct Window {
    began: Instant,
    all: Histogram<u64>,
    second: Histogram<u64>,
    /// The p99 of each second.
    seconds: Histogram<u64>,
    second_began: Instant,
    worst_us: u64,
    worst_began: Instant,
    worst_beside: Beside,
    /// Without what the disk stalled.
    own_worst_us: u64,
    own_max_us: u64,
    stalls: usize,
    /// How long the disk stalled in the second before.
    stalled_before_us: u64,
}

/// What a window has shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Windowed {
    /// How long it was. Seconds.
    pub took_s: f64,
    /// Operations a second.
    pub per_second: f64,
    /// 99 of 100 operations took at most this. Milliseconds.
    pub p99_ms: f64,
    /// The same of half of the seconds by themselves. Milliseconds.
    pub half_of_seconds_p99_ms: f64,
    /// The same of the worst second. Milliseconds.
    pub worst_second_p99_ms: f64,
    /// When that second began, from the begin of the window. Seconds.
    pub worst_second_at_s: f64,
    /// What other programs than the demo's took of the cores in that second, 0 to 1.
    pub worst_second_others_share: f64,
    /// How long the disk answered nothing in it. Milliseconds.
    pub worst_second_disk_stalled_ms: f64,
    /// The p99 of the worst second, where each is taken without the time that the disk stalled in it and in the one before: who came meanwhile
    /// waited for the disk, up to there. Milliseconds.
    pub worst_own_second_p99_ms: f64,
    /// Seconds in which the disk stalled.
    pub seconds_stalled: usize,
    /// The slowest operation. Milliseconds.
    pub max_ms: f64,
    /// The same without the disk's stalls. Milliseconds.
    pub max_own_ms: f64,
}

impl Window {
    /// Behind a second in which the disk stalled for so long.
    fn open(now: Instant, stalled_before_us: u64) -> Result<Self> {
        Ok(Window {
            began: now,
            all: latencies()?,
            second: latencies()?,
            seconds: latencies()?,
            second_began: now,
            worst_us: 0,
            worst_began: now,
            worst_beside: Beside::default(),
            own_worst_us: 0,
            own_max_us: 0,
            stalls: 0,
            stalled_before_us,
        })
    }

    /// `beside` tells what the computer did since it was asked last, which is once a second.
    fn note(&mut self, now: Instant, fresh: &Histogram<u64>, beside: impl FnOnce() -> Beside) -> Result<()> {
        if now - self.second_began >= SECOND {
            self.end_second(now, beside());
        }
        self.all.add(fresh).context("add up latencies")?;
        self.second.add(fresh).context("add up latencies")
    }

    fn end_second(&mut self, now: Instant, beside: Beside) {
        let p99_us = self.second.value_at_quantile(0.99);
        if p99_us > self.worst_us {
            (self.worst_us, self.worst_began, self.worst_beside) = (p99_us, self.second_began, beside);
        }
        let stalled = if beside.disk_stalled >= STALL { beside.disk_stalled } else { Duration::ZERO };
        let stalled_us = u64::try_from(stalled.as_micros()).unwrap_or(u64::MAX);
        self.stalls += usize::from(stalled_us > 0);
        // What waited for it may end in the second behind it. A stall that is seen in both is the same one.
        let waited_us = stalled_us.max(std::mem::replace(&mut self.stalled_before_us, stalled_us));
        self.own_worst_us = self.own_worst_us.max(p99_us.saturating_sub(waited_us));
        self.own_max_us = self.own_max_us.max(self.second.max().saturating_sub(waited_us));
        self.seconds.saturating_record(p99_us);
        self.second.reset();
        self.second_began = now;
    }

    fn close(&mut self, now: Instant, beside: Beside) -> Windowed {
        self.end_second(now, beside);
        let ms = |us: u64| tenth(us as f64 / 1_000.0);
        let took_s = (now - self.began).as_secs_f64().max(0.001);
        Windowed {
            took_s: tenth(took_s),
            per_second: tenth(self.all.len() as f64 / took_s),
            p99_ms: ms(self.all.value_at_quantile(0.99)),
            half_of_seconds_p99_ms: ms(self.seconds.value_at_quantile(0.5)),
            worst_second_p99_ms: ms(self.worst_us),
            worst_second_at_s: tenth((self.worst_began - self.began).as_secs_f64()),
            worst_second_others_share: (self.worst_beside.others_share * 100.0).round() / 100.0,
            worst_second_disk_stalled_ms: tenth(self.worst_beside.disk_stalled.as_secs_f64() * 1_000.0),
            worst_own_second_p99_ms: ms(self.own_worst_us),
            seconds_stalled: self.stalls,
            max_ms: ms(self.all.max()),
            max_own_ms: ms(self.own_max_us),
        }
    }
}

impl Figures {
    /// Nothing yet, of a demo whose stores lie there.
    pub fn new(data: &Path) -> Result<Self> {
        let window = Mutex::new(Window::open(Instant::now(), 0)?);
        Ok(Figures {
            sums: Mutex::default(),
            window,
            computer: Mutex::new(Computer { others: Others::new(), disk: Disk::of(data) }),
            interruptions_us: Mutex::default(),
            is_released: AtomicBool::new(false),
            orders: Mutex::default(),
        })
    }

    /// Notes the sums now and the latencies of what ended since the last call.
    pub fn note(&self, sums: Sums, fresh: &Histogram<u64>) -> Result<()> {
        *locked(&self.sums) = sums;
        locked(&self.window).note(Instant::now(), fresh, || locked(&self.computer).beside())
    }

    /// The sums as they were noted last.
    pub fn sums(&self) -> Sums {
        locked(&self.sums).clone()
    }

    /// Notes how long operations of outlets waited that moved. Microseconds.
    pub fn note_interruptions(&self, fresh_us: &BTreeMap<String, u64>) {
        let mut all = locked(&self.interruptions_us);
        for (outlet, us) in fresh_us {
            let longest = all.entry(outlet.clone()).or_default();
            *longest = (*longest).max(*us);
        }
    }

    /// Takes the longest wait of every outlet that moved since the last call.
    pub fn take_interruptions(&self) -> Vec<Duration> {
        let all = std::mem::take(&mut *locked(&self.interruptions_us));
        all.into_values().map(Duration::from_micros).collect()
    }

    /// Has all load processes told something.
    pub fn order(&self, order: String) {
        locked(&self.orders).push(order);
    }

    /// What they are to be told now.
    pub fn take_orders(&self) -> Vec<String> {
        std::mem::take(&mut *locked(&self.orders))
    }

    /// Operations that failed so far.
    pub fn failed(&self) -> u64 {
        locked(&self.sums).failed
    }

    /// Ends the window that is open, and opens the next.
    pub fn turn(&self) -> Result<Windowed> {
        let now = Instant::now();
        let mut window = locked(&self.window);
        let closed = window.close(now, locked(&self.computer).beside());
        *window = Window::open(now, window.stalled_before_us)?;
        Ok(closed)
    }

    /// The load may end.
    pub fn release(&self) {
        self.is_released.store(true, Ordering::Relaxed);
    }

    /// Whether the load may end.
    pub fn is_released(&self) -> bool {
        self.is_released.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_every_outlet_the_longest_interruption_is_taken_once() {
        let data = tempfile::tempdir().unwrap();
        let figures = Figures::new(data.path()).unwrap();
        let fresh = |waits: &[(&str, u64)]| waits.iter().map(|&(outlet, us)| (outlet.to_owned(), us)).collect();
        figures.note_interruptions(&fresh(&[("13010001", 50_000), ("13010002", 80_000)]));
        figures.note_interruptions(&fresh(&[("13010001", 900_000), ("13010002", 70_000), ("13010003", 1_000)]));
        assert_eq!(figures.take_interruptions(), [900, 80, 1].map(Duration::from_millis));
        assert!(figures.take_interruptions().is_empty());
    }

    #[test]
    fn the_worst_second_is_found_beside_the_whole_window() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let fresh = |us: u64, count: u64| {
            let mut histogram = latencies().unwrap();
            histogram.record_n(us, count).unwrap();
            histogram
        };
        let beside = |others_share| Beside { others_share, ..Beside::default() };
        let mut window = Window::open(begin, 0).unwrap();
        window.note(at(500), &fresh(1_000, 500), || panic!("no second has ended")).unwrap();
        window.note(at(1_100), &fresh(30_000, 5), || beside(0.1)).unwrap();
        window.note(at(1_500), &fresh(1_000, 10), || panic!("no second has ended")).unwrap();
        window.note(at(2_200), &fresh(1_000, 485), || beside(0.254)).unwrap();
        let seen = window.close(at(4_000), beside(0.3));
        let expected = Windowed {
            took_s: 4.0,
            per_second: 250.0,
            p99_ms: 1.0,
            half_of_seconds_p99_ms: 1.0,
            worst_second_p99_ms: 30.0,
            worst_second_at_s: 1.1,
            worst_second_others_share: 0.25,
            worst_second_disk_stalled_ms: 0.0,
            worst_own_second_p99_ms: 30.0,
            seconds_stalled: 0,
            max_ms: 30.0,
            max_own_ms: 30.0,
        };
        assert_eq!(seen, expected);
    }

    /// Of eight seconds one has a p99 of 500 ms and the next one of 400; in the first of them the disk answers nothing for so long.
    fn of_a_disk_that_stalls(stalled_ms: u64) -> [f64; 4] {
        let begin = Instant::now();
        let at = |second| begin + Duration::from_secs(second);
        let mut window = Window::open(begin, 0).unwrap();
        for second in 1..=8 {
            let (us, stalled_ms) = match second {
                4 => (500_000, stalled_ms),
                5 => (400_000, 0),
                _ => (10_000, 0),
            };
            window.all.record(us).unwrap();
            window.second.record(us).unwrap();
            let disk_stalled = Duration::from_millis(stalled_ms);
            window.end_second(at(second), Beside { disk_stalled, ..Beside::default() });
        }
        let seen = window.close(at(9), Beside::default());
        [seen.worst_second_p99_ms, seen.worst_own_second_p99_ms, seen.max_own_ms, seen.seconds_stalled as f64]
            .map(f64::round)
    }

    #[test]
    fn a_disk_that_answers_nothing_excuses_as_long_as_it_did_in_its_second_and_the_next_unless_it_is_short() {
        assert_eq!(of_a_disk_that_stalls(99), [500.0, 500.0, 500.0, 0.0]);
        assert_eq!(of_a_disk_that_stalls(150), [500.0, 350.0, 350.0, 1.0], "and no longer");
        assert_eq!(of_a_disk_that_stalls(450), [500.0, 50.0, 50.0, 1.0]);
        assert_eq!(of_a_disk_that_stalls(900), [500.0, 10.0, 10.0, 1.0]);
    }

    #[test]
    fn a_stall_excuses_in_the_window_behind_it_too() {
        let begin = Instant::now();
        let mut window = Window::open(begin, 300_000).unwrap();
        window.second.record(400_000).unwrap();
        let seen = window.close(begin + SECOND, Beside::default());
        assert_eq!((seen.worst_own_second_p99_ms.round(), seen.seconds_stalled), (100.0, 0));
    }
}
