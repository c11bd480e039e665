//! What the terminals of one process did so far. Shared by all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

use super::moves::Moves;

/// Longest latency that is told apart. Microseconds.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Failures that are kept with their words.
const FAILURES_KEPT_MAX: usize = 20;

/// How one operation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Done or answered.
    Acked,
    /// Refused with a documented code, rightly.
    Refused(String),
    /// Not resolved by repeating, a server error, or an answer that contradicts what the terminal knows.
    Failed(String),
}

/// A histogram of latencies in microseconds, three digits.
pub fn latencies() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).context("make a histogram")
}

/// Counters of one process.
pub struct Tally {
    /// Terminals that are logged in over an open connection.
    pub connected: AtomicU64,
    /// Operations that wait for a node which takes no connection.
    pub waiting: AtomicU64,
    /// Orders that the process has carried out, besides `start` and `stop`.
    pub orders: AtomicU64,
    /// Operations acknowledged.
    pub acked: AtomicU64,
    /// Operations refused with a documented code.
    pub refused: AtomicU64,
    /// Operations that failed.
    pub failed: AtomicU64,
    /// Tries of a mutation that were sent and never answered.
    pub unanswered: AtomicU64,
    /// Mutations that were answered when they were sent again with their key.
    pub resolved: AtomicU64,
    /// Operations that a node had stored and that waited longer than it for the hub.
    pub delayed: AtomicU64,
    /// Mutations that had been acknowledged before their connection was lost, sent again behind it.
    pub confirmed: AtomicU64,
    /// Times that a node sent a terminal on to another node.
    pub redirects: AtomicU64,
    /// Times that a terminal whose node did not answer asked another one.
    pub fall_backs: AtomicU64,
    /// Operations whose outlet moved.
    pub moves: Mutex<Moves>,
    interval: Mutex<Histogram<u64>>,
    refusals: Mutex<BTreeMap<String, u64>>,
    failures: Mutex<Vec<String>>,
}

impl Tally {
    /// All zero.
    pub fn new() -> Result<Self> {
        Ok(Tally {
            connected: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            orders: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            resolved: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            redirects: AtomicU64::new(0),
            fall_backs: AtomicU64::new(0),
            moves: Mutex::default(),
            interval: Mutex::new(latencies()?),
            refusals: Mutex::new(BTreeMap::new()),
            failures: Mutex::new(Vec::new()),
        })
    }

    /// Counts one operation. `latency` runs from the intended start.
    pub fn count(&self, outcome: Outcome, latency: Duration) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(LATENCY_US_MAX);
        locked(&self.interval).saturating_record(latency_us.clamp(1, LATENCY_US_MAX));
        match outcome {
            Outcome::Acked => {
                self.acked.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Refused(code) => {
                *locked(&self.refusals).entry(code).or_default() += 1;
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            Outcome::Failed(reason) => self.fail(reason),
        }
    }

    /// Counts a failure that is no operation with a latency of its own.
    pub fn fail(&self, reason: String) {
        let mut failures = locked(&self.failures);
        if failures.len() < FAILURES_KEPT_MAX {
            failures.push(reason);
        }
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes the latencies since the last call.
    pub fn take_interval(&self) -> Result<Histogram<u64>> {
        Ok(std::mem::replace(&mut *locked(&self.interval), latencies()?))
    }

    /// Refusals by code.
    pub fn refusals(&self) -> BTreeMap<String, u64> {
        locked(&self.refusals).clone()
    }

    /// The first failures.
    pub fn failures(&self) -> Vec<String> {
        locked(&self.failures).clone()
    }
}

/// Locks; a panic of another task does not make counters useless.
pub fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
