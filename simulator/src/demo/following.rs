//! The load as it is followed, and what befalls the processes meanwhile.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

use super::args::Victim;
use super::faults::Conductor;
use super::health::Watch;
use super::screen::Live;
use super::workers::Workers;
use super::{DemoArgs, Screen};
use crate::load::Phase;
use crate::world::World;

/// Time after the load for the last operation.
const END_GRACE: Duration = Duration::from_secs(90);

/// The load as it is followed.
pub(super) struct Following<'a> {
    pub args: &'a DemoArgs,
    pub screen: &'a Screen,
    pub world: &'a World,
    pub watch: &'a Watch,
    pub from: Instant,
}

impl Following<'_> {
    /// Shows the load until all have done. Returns when the last operation was seen.
    pub async fn follow(&self, workers: &mut Workers) -> Result<Instant> {
        let (mut sums, mut last_operation) = (workers.sums(), self.from);
        // With faults the load ends once they are over, otherwise by itself.
        let mut to = (!self.args.has_faults()).then(|| self.from + self.args.duration);
        while !workers.are_all(Phase::Done) {
            workers.listen(Duration::from_millis(250)).await?;
            for order in workers.figures.take_orders() {
                workers.say(&order).await?;
            }
            let now = Instant::now();
            if to.is_none() && workers.figures.is_released() && now >= self.from + self.args.duration {
                workers.say("stop").await?;
                to = Some(now);
            }
            if to.is_some_and(|to| now > to) {
                self.watch.record(false);
            }
            let (before, pulses) = (sums.operations(), self.watch.pulses());
            sums = workers.sums();
            if sums.operations() > before {
                last_operation = now;
            }
            let left = to.unwrap_or(self.from + self.args.duration).saturating_duration_since(now);
            let (p50_ms, p99_ms) = (workers.recent_ms(0.5)?, workers.recent_ms(0.99)?);
            self.screen.live(&Live { sums: &sums, pulses: &pulses, p50_ms, p99_ms, left }, &self.world.nodes);
            if to.is_some_and(|to| now > to + END_GRACE) {
                bail!("the load did not end within {END_GRACE:?} after its time; see the logs of load-1 …");
            }
        }
        Ok(last_operation)
    }
}

/// Strikes faults, or kills processes at their times, and looks after all processes. Ends only with an error.
pub(super) async fn trouble(
    mut conductor: Conductor<'_>,
    crashes: VecDeque<(Instant, Victim)>,
    (node, data): (u16, PathBuf),
) -> Result<()> {
    conductor.conduct().await?;
    conductor.figures.release();
    for (at, victim) in crashes {
        conductor.idle_until(at).await?;
        match victim {
            Victim::Node => conductor.cluster.crash_node(node, &data, conductor.family).await?,
            Victim::Hub => conductor.cluster.crash_hub(conductor.family).await?,
        }
        let line = format!("killed {victim:?} in the middle of the load and started it again");
        conductor.chronicle.step(&line);
    }
    conductor.idle().await
}
