//! Strikes what is asked for, one fault after another, and waits for calm in between.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use super::acks::{AckWatch, SELDOM};
use super::outcome::Trial;
use super::share::LeaderShare;
use super::terms::Demand;
use super::{Fault, Outcomes};
use crate::demo::cluster::Cluster;
use crate::demo::figures::{Figures, Windowed};
use crate::demo::machines::Status;
use crate::demo::screen::Chronicle;
use crate::demo::{DemoArgs, Family, Layout};

/// Time for the hub to acknowledge again, or to find a leader.
pub(super) const RECOVER_LIMIT: Duration = Duration::from_secs(90);
/// Time for a machine that came back to catch up.
const CALM_LIMIT: Duration = Duration::from_secs(120);
/// Time for the machines to reach the next entry at which they compare their tables, and to do it.
const COMPARE_LIMIT: Duration = Duration::from_secs(120);
/// Undisturbed time before each stroke, in which the leader's share and the usual latencies are measured.
const QUIET: Duration = Duration::from_secs(3);
/// As much more where latencies are compared, unless twice `--duration` is less: no longer than most changes of membership and the calm
/// behind them take under full load, for the worst of many seconds is beyond that of few anyway.
const LONG_QUIET: Duration = Duration::from_secs(100);
/// Time behind the calm for operations that still wait.
const LATE: Duration = Duration::from_secs(2);
/// Such times at most: a machine that carries too much never settles.
const QUIETS_MAX: u32 = 10;
/// Terminals have caught up when 99 of 100 operations take no longer. Milliseconds.
const SETTLED_P99_MS: f64 = 500.0;
/// The hub keeps up with a node when it misses nothing for longer. Milliseconds.
pub(super) const IN_STEP_MS: u64 = 1_000;
/// Time between two looks at the processes.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a stroke has shown.
pub(super) struct Stroke {
    /// Time to recover.
    pub recovered: Duration,
    /// Who was struck and what came of it.
    pub told: String,
    /// Where outlets moved and nobody was killed: the longest interruption of each.
    pub interruptions: Option<Vec<Duration>>,
    /// Where something waited: how many times faster it was worked off than it had come.
    pub drain_factor: Option<f64>,
}

impl Stroke {
    /// One in which no outlet was to move, and nothing waited.
    pub fn of(recovered: Duration, told: String) -> Self {
        Stroke { recovered, told, interruptions: None, drain_factor: None }
    }
}

/// Who strikes.
pub(in crate::demo) struct Conductor<'a> {
    pub args: &'a DemoArgs,
    pub layout: &'a Layout,
    pub family: &'a mut Family,
    pub cluster: &'a mut Cluster,
    pub figures: &'a Figures,
    pub chronicle: Chronicle<'a>,
    pub outcomes: &'a mut Outcomes,
    pub share: LeaderShare,
}

impl Conductor<'_> {
    /// Strikes everything that is asked for.
    pub async fn conduct(&mut self) -> Result<()> {
        let chosen = self.args.faults.chosen();
        for &fault in &chosen {
            let trials = self.args.faults.trials(fault);
            for trial in 0..trials {
                let what = format!("{} {}/{trials}", fault.name(), trial + 1);
                self.try_one(fault, trial, &what).await.with_context(|| what.clone())?;
            }
            self.compare().await.with_context(|| format!("behind {}", fault.name()))?;
        }
        Ok(())
    }

    /// Waits until every machine that serves has compared its tables with the others at an entry behind the fault, and found them
    /// equal. A machine that only votes compares too, and its process ends where they are not.
    async fn compare(&mut self) -> Result<()> {
        let machines = &self.cluster.machines;
        let numbers = machines.numbers();
        if numbers.len() < 2 {
            return Ok(());
        }
        let any = machines.wait_for(&numbers, "an entry", CALM_LIMIT, |status| status.applied_index.is_some()).await?;
        let behind = any.applied_index.unwrap_or(0);
        for machine in machines.all().iter().filter(|machine| !machine.is_voter_only) {
            let agrees = |status: &Status| status.digest.as_ref().is_some_and(|digest| digest.agrees_behind(behind));
            machines.wait_for(&[machine.number], "equal tables", COMPARE_LIMIT, agrees).await?;
        }
        self.family.check_alive()?;
        self.chronicle.step(&format!("the tables of all machines are equal behind entry {behind}"));
        Ok(())
    }

    /// Looks after the processes until then.
    pub async fn idle_until(&mut self, until: Instant) -> Result<()> {
        self.quiet(until.saturating_duration_since(Instant::now())).await
    }

    /// Looks after the processes as long as the load lasts; nothing is struck any more.
    pub async fn idle(&mut self) -> Result<()> {
        loop {
            self.look_after().await?;
        }
    }

    async fn try_one(&mut self, fault: Fault, trial: u32, what: &str) -> Result<()> {
        self.calm().await.context("before the stroke")?;
        let failed_before = self.figures.failed();
        let demands = fault.terms().demands;
        let is_compared = demands.iter().any(|demand| matches!(demand, Demand::SecondsBelow(_)));
        let mut normal = self.settle().await?;
        if is_compared {
            self.quiet(LONG_QUIET.min(2 * self.args.duration)).await?;
            normal = self.figures.turn()?;
        }
        let stroke = self.strike(fault, trial).await?;
        self.calm().await.context("behind the stroke")?;
        if demands.iter().any(|demand| matches!(demand, Demand::OperationsWithin(_))) {
            // An operation counts when it has ended, and one that waits longer than this is not seen.
            self.quiet(LATE).await?;
        }
        let during = self.figures.turn()?;
        let failed_operations = self.figures.failed() - failed_before;
        let told = match is_compared {
            true => format!("{}; {}", stroke.told, tell_latencies(&normal, &during)),
            false => stroke.told,
        };
        self.chronicle.step(&format!(
            "{what}: {told}; recovered in {} ms, {failed_operations} operations failed, longest {}, {} a second meanwhile",
            stroke.recovered.as_millis(),
            longest(&during),
            during.per_second
        ));
        let seconds = [&normal, &during].map(|window| duration_of(window.worst_own_second_p99_ms));
        self.outcomes.add(
            fault,
            Trial {
                recovered: stroke.recovered,
                failed_operations,
                // What one number does not tell.
                told: if fault >= Fault::Membership { told } else { String::new() },
                interruptions: stroke.interruptions,
                worst_seconds: is_compared.then_some(seconds),
                longest_operation: duration_of(during.max_own_ms),
                drain_factor: stroke.drain_factor,
            },
        );
        Ok(())
    }

    async fn strike(&mut self, fault: Fault, trial: u32) -> Result<Stroke> {
        match fault {
            Fault::KillLeader => self.kill_leader().await,
            Fault::KillFollower => self.kill_follower().await,
            Fault::KillVoter => self.kill_voter().await,
            Fault::PauseLeader => self.pause_leader().await,
            Fault::CutLink => self.cut_link(trial).await,
            Fault::Partition => self.partition(trial).await,
            Fault::Membership => self.change_membership().await,
            Fault::HubDown => self.hub_down().await,
            Fault::Handoff => self.hand_off(trial).await,
            Fault::AddNode => self.add_node().await,
            Fault::RemoveNode => self.remove_node().await,
            Fault::CloneNode => self.clone_node(trial).await,
            Fault::ReplaceNode => self.replace_node(trial).await,
            Fault::RestoreHub => self.restore_hub(trial).await,
        }
    }

    /// Waits until all machines are there and equal, and the nodes' events are acknowledged in time.
    async fn calm(&mut self) -> Result<()> {
        let deadline = Instant::now() + CALM_LIMIT;
        let machines = &self.cluster.machines;
        let numbers = machines.numbers();
        if numbers.len() > 1 {
            let limit = deadline.saturating_duration_since(Instant::now());
            machines.wait_for(&numbers, "a whole cluster", limit, |status| status.is_whole(&numbers)).await?;
        }
        let watch = AckWatch::begin(self.cluster, SELDOM)?;
        watch.in_step(IN_STEP_MS, deadline.saturating_duration_since(Instant::now())).await?;
        self.family.check_alive()
    }

    /// Lets undisturbed time pass until terminals have caught up with what they had to wait for, and measures it.
    async fn settle(&mut self) -> Result<Windowed> {
        for _ in 1..QUIETS_MAX {
            self.figures.turn()?;
            self.quiet(QUIET).await?;
            let window = self.figures.turn()?;
            if window.p99_ms <= SETTLED_P99_MS {
                return Ok(window);
            }
        }
        self.quiet(QUIET).await?;
        self.figures.turn()
    }

    /// Lets time pass.
    pub(super) async fn quiet(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.look_after().await?;
        }
        self.share.pause();
        Ok(())
    }

    async fn look_after(&mut self) -> Result<()> {
        self.share.look(self.cluster, self.family).await;
        self.outcomes.hub_leader_share = self.share.share();
        tokio::time::sleep(LOOK_EVERY).await;
        self.family.check_alive()
    }
}

/// The worst second of the change beside the worst one of the undisturbed time before it.
fn tell_latencies(normal: &Windowed, during: &Windowed) -> String {
    let percent = |share: f64| (share * 100.0).round();
    let mut told = format!(
        "p99_ms_during {} (worst second of {:.0} s, {} s after the begin, {} % of the cores' time in it to other programs; {} in half of them), \
         p99_ms_normal {} (worst second of {:.0} s, {} % to others; {} in half of them); max_ms_normal {}",
        during.worst_second_p99_ms,
        during.took_s,
        during.worst_second_at_s,
        percent(during.worst_second_others_share),
        during.half_of_seconds_p99_ms,
        normal.worst_second_p99_ms,
        normal.took_s,
        percent(normal.worst_second_others_share),
        normal.half_of_seconds_p99_ms,
        normal.max_ms
    );
    if during.seconds_stalled + normal.seconds_stalled > 0 {
        told += &format!(
            "; in {} and {} of the seconds the disk answered nothing for 100 ms and more ({} and {} ms in the worst ones): without that the \
             worst ones are {} and {}",
            during.seconds_stalled,
            normal.seconds_stalled,
            during.worst_second_disk_stalled_ms,
            normal.worst_second_disk_stalled_ms,
            during.worst_own_second_p99_ms,
            normal.worst_own_second_p99_ms
        );
    }
    told
}

/// The longest operation, and what of it was not the disk's.
fn longest(during: &Windowed) -> String {
    let Windowed { max_ms, max_own_ms, .. } = during;
    match max_own_ms < max_ms {
        true => format!("{max_ms} ms ({max_own_ms} but for what the disk stalled)"),
        false => format!("{max_ms} ms"),
    }
}

fn duration_of(ms: f64) -> Duration {
    Duration::from_secs_f64(ms / 1_000.0)
}
