//! One more machine is taken in, and the one that leads is taken out: no operation may fail for it.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use super::acks::SELDOM;
use super::conduct::{Conductor, IN_STEP_MS, RECOVER_LIMIT, Stroke};

/// Time for a machine to take over the lead that was asked of it.
const LEAD_LIMIT: Duration = Duration::from_secs(30);

impl Conductor<'_> {
    /// Recovered is the longest time for which the hub was seen to miss something of a node meanwhile, from the first order to the last.
    pub(super) async fn change_membership(&mut self) -> Result<Stroke> {
        let parting = self.parting_leader().await?;
        let watch = self.watch_every(SELDOM).await?;
        let began = Instant::now();
        let added = self.cluster.machines.join(false, self.family).await.context("take in one more machine")?;
        let (joined, struck) = (began.elapsed(), Instant::now());
        self.cluster.machines.remove(parting, self.family).await.context("take out the machine that leads")?;
        let removed = struck.elapsed();
        let next = self.leader_but(parting).await?;
        watch.in_step(IN_STEP_MS, RECOVER_LIMIT).await?;
        let told = format!(
            "machine {added} taken in within {:.1} s, machine {parting}, which led, taken out within {:.1} s; machine {next} leads",
            joined.as_secs_f64(),
            removed.as_secs_f64()
        );
        // A stall between two looks is not seen: the longest was at most so much longer.
        Ok(Stroke::of(watch.longest_stall() + SELDOM, told))
    }

    /// The first machine, brought to lead where it does not, or whichever leads once the first is gone.
    async fn parting_leader(&self) -> Result<u16> {
        let machines = &self.cluster.machines;
        let leader = self.leader().await?;
        let serving = machines.all().iter().filter(|machine| !machine.is_voter_only).map(|machine| machine.number);
        let first = serving.min().context("no machine serves")?;
        if first != leader {
            machines.order("transfer-leadership", first, &[]).await?;
            let leads = |known: Option<u16>| known == Some(first);
            machines.wait_for(&machines.numbers(), "the lead goes over", LEAD_LIMIT, |s| leads(s.leader)).await?;
        }
        Ok(first)
    }
}
