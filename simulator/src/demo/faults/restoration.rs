//! The hub's directory is put back from an older copy under load: nodes return what they had received of it, and send their logs again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::conduct::{Conductor, IN_STEP_MS, RECOVER_LIMIT, Stroke};
use super::nodes::NODE_LIMIT;
use crate::demo::cluster::has_everything;
use crate::demo::stores::copy_store;

/// How long the hub goes on behind the copy.
const AGED_FOR: Duration = Duration::from_secs(10);
/// Outlets that move meanwhile, if there are so many.
const MOVED_MAX: usize = 100;
/// Time for the hub to get back what its nodes had received.
const OVER_LIMIT: Duration = Duration::from_secs(180);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

impl Conductor<'_> {
    /// Recovered is the time from the start of the hub on the copy until it has back what its nodes had received, and all their logs.
    pub(super) async fn restore_hub(&mut self, trial: u32) -> Result<Stroke> {
        let number = self.leader().await?;
        let data = self.cluster.hub_data()?.to_owned();
        let (copy, lost) = (self.layout.aside("hub-copy", number, trial)?, self.layout.aside("hub", number, trial)?);
        // As a backup would be: of one moment.
        self.cluster.machines.kill(number, self.family).await?;
        tokio::task::block_in_place(|| copy_store(&data, &copy)).context("copy the hub's directory")?;
        let copied = Instant::now();
        self.cluster.machines.start(number, self.family).await?;
        self.watch().await?.in_step(IN_STEP_MS, RECOVER_LIMIT).await?;
        let moved = self.move_some().await?;
        self.quiet(AGED_FOR).await?;
        let aged = copied.elapsed();
        self.cluster.machines.kill(number, self.family).await?;
        put_back(&copy, &data, &lost)?;
        let struck = Instant::now();
        self.cluster.begin_recovery(&data).await?;
        self.cluster.machines.start(number, self.family).await?;
        let over = self.wait_until_over().await?;
        self.watch().await?.in_step(IN_STEP_MS, RECOVER_LIMIT).await?;
        self.cluster.wait_for_nodes("up to date", NODE_LIMIT, self.family, has_everything).await?;
        let recovered = struck.elapsed();
        std::fs::remove_dir_all(&lost).with_context(|| format!("remove {}", lost.display()))?;
        let told = format!(
            "the hub put back from a copy {:.0} s old; {moved} outlets had moved meanwhile, {} of its events came back, {} were nobody's; \
             it had its nodes' logs again within {:.1} s",
            aged.as_secs_f64(),
            over["recovered"],
            over["lost"],
            recovered.as_secs_f64()
        );
        Ok(Stroke::of(recovered, told))
    }

    /// Moves outlets, where there is a node to which they can go; how many.
    async fn move_some(&mut self) -> Result<usize> {
        let Some(((from, has), to)) = self.fullest_and_emptiest().await? else { return Ok(0) };
        let count = has.min(MOVED_MAX);
        self.move_outlets(&["--from", &from.to_string(), "--to", &to.to_string(), "--count", &count.to_string()])
            .await?;
        Ok(count)
    }

    /// Gives what the hub says of the recovery once it is over. Nothing may be in conflict or refused by the tables.
    async fn wait_until_over(&mut self) -> Result<Value> {
        let deadline = Instant::now() + OVER_LIMIT;
        loop {
            let told = self.cluster.hub()?.get_json("/v1/cluster/recovery").await?;
            if told["state"] == "over" {
                let is_whole = told["conflicts"] == 0 && told["quarantined"] == 0;
                ensure!(is_whole, "what nodes returned does not fit: {told}");
                return Ok(told);
            }
            ensure!(Instant::now() < deadline, "the recovery is not over within {OVER_LIMIT:?}: {told}");
            self.family.check_alive()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

fn put_back(copy: &Path, data: &Path, lost: &Path) -> Result<()> {
    std::fs::rename(data, lost).with_context(|| format!("take {} away", data.display()))?;
    std::fs::rename(copy, data).with_context(|| format!("put {} back", data.display()))
}
