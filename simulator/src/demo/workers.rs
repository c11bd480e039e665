//! The load processes as the demo sees them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, Command};
use tokio::sync::mpsc;

use super::figures::Figures;
use super::{Binaries, DemoArgs, Family, Layout};
use crate::journal::Counts;
use crate::load::{Phase, Progress, Retries};
use crate::terminal::{Pace, latencies};
use crate::world::World;

/// Progress lines that may wait to be shown.
const LINES_MAX: usize = 1_024;

/// All load processes together.
pub struct Workers {
    inputs: Vec<ChildStdin>,
    lines: mpsc::Receiver<(usize, Result<Progress>)>,
    latest: Vec<Option<Progress>>,
    /// Lines that came from each.
    lines_seen: Vec<u64>,
    /// File name of each journal.
    journals: Vec<String>,
    /// Latencies of the whole load. Microseconds.
    pub total: Histogram<u64>,
    /// Latencies of the last few seconds, for the eye.
    pub recent: Vec<Histogram<u64>>,
    /// The same figures for others.
    pub figures: Arc<Figures>,
}

/// Sums over all load processes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sums {
    /// Terminals of all slices.
    pub configured: u64,
    /// Terminals connected.
    pub connected: u64,
    /// Operations acknowledged.
    pub acked: u64,
    /// Operations refused.
    pub refused: u64,
    /// Operations failed.
    pub failed: u64,
    /// What became of requests that lost their answer.
    pub retries: Retries,
    /// Operations that wait for a node which takes no connection.
    pub waiting: u64,
    /// How long the operation has been waiting that waits longest of those whose outlet moved. Milliseconds.
    pub interrupted_ms: u64,
    /// Orders that every process has carried out.
    pub orders: u64,
    /// Lines that came from every process.
    pub lines: u64,
}

impl Sums {
    /// All operations.
    pub fn operations(&self) -> u64 {
        self.acked + self.refused + self.failed
    }
}

impl Workers {
    /// Starts the load processes; they begin to connect at once.
    pub fn start(
        args: &DemoArgs,
        binaries: &Binaries,
        layout: &Layout,
        world: &World,
        family: &mut Family,
    ) -> Result<Self> {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let count = args.worker_count() as usize;
        let terminal_count = world.terminals.len();
        let (mut inputs, mut journals) = (Vec::new(), Vec::new());
        for index in 0..count {
            let (from, to) = (terminal_count * index / count, terminal_count * (index + 1) / count);
            let mut command = worker_command(args, binaries, layout, world, from, to);
            let journal = format!("{from:06}.jsonl");
            command.arg("--journal").arg(layout.journals().join(&journal));
            journals.push(journal);
            let child = family.start(&format!("load-{}", index + 1), command)?;
            inputs.push(child.take_stdin()?);
            child.allow_end();
            let (mut output, sender) = (child.take_lines()?, sender.clone());
            tokio::spawn(async move {
                while let Ok(Some(line)) = output.next_line().await {
                    let progress =
                        serde_json::from_str(&line).with_context(|| format!("read the progress line {line}"));
                    if sender.send((index, progress)).await.is_err() {
                        return;
                    }
                }
            });
        }
        let (latest, lines_seen) = (vec![None; count], vec![0; count]);
        let (total, recent, figures) = (latencies()?, Vec::new(), Arc::new(Figures::new(layout.root())?));
        Ok(Workers { inputs, lines, latest, lines_seen, journals, total, recent, figures })
    }

    /// Takes in the lines that have come, waiting at most `limit` for the first.
    pub async fn listen(&mut self, limit: Duration) -> Result<()> {
        let Ok(first) = tokio::time::timeout(limit, self.lines.recv()).await else { return Ok(()) };
        let (mut next, mut fresh) = (first, self::latencies()?);
        while let Some((index, progress)) = next {
            let progress = progress?;
            let latencies = progress.latencies()?;
            self.total.add(&latencies).context("add up latencies")?;
            fresh.add(&latencies).context("add up latencies")?;
            self.recent.push(latencies);
            self.figures.note_interruptions(&progress.interruptions_us);
            self.latest[index] = Some(progress);
            self.lines_seen[index] += 1;
            next = self.lines.try_recv().ok();
        }
        let keep = self.latest.len() * 8;
        self.recent.drain(..self.recent.len().saturating_sub(keep));
        self.figures.note(self.sums(), &fresh)
    }

    /// Says `start`, `stop` or `doubt NODE SINCE_MS` to all.
    pub async fn say(&mut self, order: &str) -> Result<()> {
        for input in &mut self.inputs {
            input
                .write_all(format!("{order}\n").as_bytes())
                .await
                .with_context(|| format!("say {order} to a load process"))?;
            input.flush().await.with_context(|| format!("say {order} to a load process"))?;
        }
        Ok(())
    }

    /// Whether all are in this phase.
    pub fn are_all(&self, phase: Phase) -> bool {
        self.latest.iter().all(|progress| progress.as_ref().is_some_and(|progress| progress.phase == phase))
    }

    /// Lines that came from each so far.
    pub fn lines_seen(&self) -> &[u64] {
        &self.lines_seen
    }

    /// Entries that each journal must hold, as its writer told at its end.
    pub fn journal_counts(&self) -> Result<Counts> {
        let lines = self.last_lines()?;
        let counts = self.journals.iter().zip(lines).map(|(name, line)| (name.clone(), line.journal_entries));
        Ok(Counts(counts.collect()))
    }

    /// Sums of the latest lines.
    pub fn sums(&self) -> Sums {
        let orders = |progress: &Option<Progress>| progress.as_ref().map_or(0, |progress| progress.orders);
        let mut sums = Sums {
            orders: self.latest.iter().map(orders).min().unwrap_or(0),
            lines: self.lines_seen.iter().copied().min().unwrap_or(0),
            ..Sums::default()
        };
        for progress in self.latest.iter().flatten() {
            sums.configured += progress.configured;
            sums.connected += progress.connected;
            sums.acked += progress.acked;
            sums.refused += progress.refused;
            sums.failed += progress.failed;
            sums.waiting += progress.waiting;
            sums.interrupted_ms = sums.interrupted_ms.max(progress.interrupted_ms);
            sums.retries.unanswered += progress.retries.unanswered;
            sums.retries.resolved += progress.retries.resolved;
            sums.retries.delayed += progress.retries.delayed;
            sums.retries.confirmed += progress.retries.confirmed;
            sums.retries.redirects += progress.retries.redirects;
            sums.retries.fall_backs += progress.retries.fall_backs;
        }
        sums
    }

    /// A quantile of the last two seconds. Milliseconds.
    pub fn recent_ms(&self, quantile: f64) -> Result<f64> {
        let mut together = latencies()?;
        for part in &self.recent {
            together.add(part).context("add up latencies")?;
        }
        Ok(together.value_at_quantile(quantile) as f64 / 1_000.0)
    }

    /// The last lines of all, with refusals and failures.
    pub fn last_lines(&self) -> Result<Vec<&Progress>> {
        let done: Vec<&Progress> =
            self.latest.iter().flatten().filter(|progress| progress.phase == Phase::Done).collect();
        if done.len() != self.latest.len() {
            bail!("{} of {} load processes did not finish", self.latest.len() - done.len(), self.latest.len());
        }
        Ok(done)
    }
}

fn worker_command(
    args: &DemoArgs,
    binaries: &Binaries,
    layout: &Layout,
    world: &World,
    from: usize,
    to: usize,
) -> Command {
    let share = (to - from) as f64 / world.terminals.len().max(1) as f64;
    let rate = match args.rate {
        Pace::PerSecond(rate) => Pace::PerSecond(rate * share),
        Pace::Max => Pace::Max,
    };
    let mut command = Command::new(&binaries.simulator);
    command.arg("load").args(world.plan.to_options());
    command.args(["--from", &from.to_string(), "--to", &to.to_string(), "--rate", &rate.to_string()]);
    command.arg("--endpoints").arg(layout.endpoints()).arg("--ca").arg(layout.hub().join("ca").join("ca.pem"));
    command.arg("--directory-key").arg(layout.hub().join("ca").join("directory.pub"));
    command.args(["--ramp", &format!("{}ms", args.ramp().as_millis())]);
    command.args(["--duration", &format!("{}ms", args.load_limit().as_millis())]);
    command.args(["--node-away-max", &format!("{}ms", args.node_away_max().as_millis())]);
    command.args(args.mix.to_options());
    if args.faults.move_outlets() {
        command.arg("--outlets-move");
    }
    command
}
