//! The lines that a worker prints.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::{PROGRESS_EVERY, connected};
use crate::terminal::{Tally, locked};

/// What a worker is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Connecting.
    Ramp,
    /// All connected; waits for `start`.
    Ready,
    /// Under load.
    Running,
    /// The last line.
    Done,
}

/// What became of requests that lost their answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// Tries of a mutation that were sent and never answered.
    pub unanswered: u64,
    /// Mutations that were answered when they were sent again with their key.
    pub resolved: u64,
    /// Mutations acknowledged before an outage that were sent again behind it; any other answer is a failed operation.
    pub confirmed: u64,
    /// Operations that a node had stored and that waited longer for the hub than it lets a terminal wait.
    #[serde(default)]
    pub delayed: u64,
    /// Times that a node sent a terminal on to another node.
    #[serde(default)]
    pub redirects: u64,
    /// Times that a terminal whose node did not answer asked another one.
    #[serde(default)]
    pub fall_backs: u64,
}

/// One line. Counters run from the start of the process, the histogram since the line before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What the worker is doing.
    pub phase: Phase,
    /// Terminals of the slice.
    pub configured: u64,
    /// Terminals logged in over an open connection.
    pub connected: u64,
    /// Operations that wait for a node which takes no connection.
    #[serde(default)]
    pub waiting: u64,
    /// How long the operation has been waiting that waits longest of those whose outlet moved. Milliseconds.
    #[serde(default)]
    pub interrupted_ms: u64,
    /// The longest that an operation waited because its outlet moved, by outlet; of those that ended since the line before. Microseconds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub interruptions_us: BTreeMap<String, u64>,
    /// Orders that were carried out, besides `start` and `stop`.
    #[serde(default)]
    pub orders: u64,
    /// Operations acknowledged.
    pub acked: u64,
    /// Operations rightly refused.
    pub refused: u64,
    /// Operations failed.
    pub failed: u64,
    /// What became of requests that lost their answer.
    pub retries: Retries,
    /// Base64 of HdrHistogram V2. Microseconds.
    pub histogram: String,
    /// Refusals by code; last line only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refusals: BTreeMap<String, u64>,
    /// The first failures, in words; last line only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
    /// Journal entries; last line only.
    #[serde(default)]
    pub journal_entries: u64,
}

impl Progress {
    /// The state of the tally now.
    pub fn of(tally: &Tally, phase: Phase, configured: u64) -> Result<Self> {
        let whole = |count: u128| u64::try_from(count).unwrap_or(u64::MAX);
        let (interrupted, interruptions) = {
            let mut moves = locked(&tally.moves);
            (moves.waiting(Instant::now()), moves.take())
        };
        Ok(Progress {
            phase,
            configured,
            connected: connected(tally),
            waiting: tally.waiting.load(Ordering::Relaxed),
            interrupted_ms: whole(interrupted.as_millis()),
            interruptions_us: interruptions
                .into_iter()
                .map(|(outlet, wait)| (outlet, whole(wait.as_micros())))
                .collect(),
            orders: tally.orders.load(Ordering::Relaxed),
            acked: tally.acked.load(Ordering::Relaxed),
            refused: tally.refused.load(Ordering::Relaxed),
            failed: tally.failed.load(Ordering::Relaxed),
            retries: Retries {
                unanswered: tally.unanswered.load(Ordering::Relaxed),
                resolved: tally.resolved.load(Ordering::Relaxed),
                delayed: tally.delayed.load(Ordering::Relaxed),
                confirmed: tally.confirmed.load(Ordering::Relaxed),
                redirects: tally.redirects.load(Ordering::Relaxed),
                fall_backs: tally.fall_backs.load(Ordering::Relaxed),
            },
            histogram: encode(&tally.take_interval()?)?,
            refusals: BTreeMap::new(),
            failures: Vec::new(),
            journal_entries: 0,
        })
    }

    /// The latencies of the line.
    pub fn latencies(&self) -> Result<Histogram<u64>> {
        let bytes = STANDARD.decode(&self.histogram).context("decode a worker's histogram")?;
        Deserializer::new().deserialize(&mut bytes.as_slice()).context("read a worker's histogram")
    }
}

fn encode(histogram: &Histogram<u64>) -> Result<String> {
    let mut bytes = Vec::new();
    V2Serializer::new().serialize(histogram, &mut bytes).context("write a histogram")?;
    Ok(STANDARD.encode(bytes))
}

/// Prints a line every [`PROGRESS_EVERY`].
pub(super) struct Reporter {
    phase: watch::Sender<Phase>,
    task: tokio::task::JoinHandle<Result<()>>,
    tally: Arc<Tally>,
    configured: u64,
}

impl Reporter {
    pub(super) fn start(tally: Arc<Tally>, configured: usize) -> Self {
        let (phase, phases) = watch::channel(Phase::Ramp);
        let configured = configured as u64;
        let counters = tally.clone();
        let task = tokio::spawn(async move {
            let mut beat = tokio::time::interval(PROGRESS_EVERY);
            loop {
                beat.tick().await;
                let phase = *phases.borrow();
                if phase == Phase::Done {
                    return Ok(());
                }
                print(&Progress::of(&counters, phase, configured)?)?;
            }
        });
        Reporter { phase, task, tally, configured }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Prints the last line.
    pub(super) async fn finish(self, journal_entries: u64) -> Result<()> {
        self.phase.send_replace(Phase::Done);
        self.task.await.context("stop the progress lines")??;
        let mut last = Progress::of(&self.tally, Phase::Done, self.configured)?;
        last.refusals = self.tally.refusals();
        last.failures = self.tally.failures();
        last.journal_entries = journal_entries;
        print(&last)
    }
}

fn print(progress: &Progress) -> Result<()> {
    let mut line = serde_json::to_vec(progress)?;
    line.push(b'\n');
    std::io::stdout().lock().write_all(&line).context("print a progress line; is the reader gone?")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::terminal::Outcome;

    #[test]
    fn a_line_carries_counters_and_the_latencies_since_the_line_before() {
        let tally = Tally::new().unwrap();
        tally.count(Outcome::Acked, Duration::from_millis(5));
        tally.count(Outcome::Refused("insufficient_balance".to_owned()), Duration::from_millis(7));
        let line = serde_json::to_string(&Progress::of(&tally, Phase::Running, 3).unwrap()).unwrap();
        let read: Progress = serde_json::from_str(&line).unwrap();
        assert_eq!((read.acked, read.refused, read.failed, read.configured), (1, 1, 0, 3));
        let latencies = read.latencies().unwrap();
        assert_eq!(latencies.len(), 2);
        assert!((4_990..=5_010).contains(&latencies.min()));
        let next = Progress::of(&tally, Phase::Running, 3).unwrap();
        assert_eq!((next.acked, next.latencies().unwrap().len()), (1, 0));
    }
}
