//! A copy of a running node's directory is started elsewhere: it must serve nobody, and the original must not notice.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::conduct::{Conductor, IN_STEP_MS, RECOVER_LIMIT, Stroke};
use crate::client::Service;
use crate::demo::cluster::Cluster;
use crate::demo::stores::copy_store;

/// Time for the hub to tell of the copy, and for the copy to know that it is one.
const REFUSED_LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl Conductor<'_> {
    /// Recovered is the time from the start of the copy until the hub told of it, or until it shut out the copy, whichever is later.
    pub(super) async fn clone_node(&mut self, trial: u32) -> Result<Stroke> {
        let node = self.busiest(trial).await?;
        let before = self.clone_refused_at_ms(node).await?;
        let copy = self.layout.aside("copy", node, trial)?;
        self.copy_at_once(node, &copy).await?;
        let watch = self.watch().await?;
        let struck = Instant::now();
        let name = format!("{}-copy-{}", Cluster::process_of(node), trial + 1);
        let mut served = self.cluster.run_copy(node, &copy, &name, self.family).await.context("start the copy")?;
        self.wait_for_alarm(node, before).await?;
        wait_for_fence(&mut served).await?;
        let refused = struck.elapsed();
        // What the original decided meanwhile comes to the hub.
        let mut heads = watch.heads().await?;
        heads.retain(|of, _| *of == node);
        watch.passed(&heads, RECOVER_LIMIT).await?;
        watch.in_step(IN_STEP_MS, RECOVER_LIMIT).await?;
        let stall = watch.longest_stall();
        self.family.retire(&name).await?;
        std::fs::remove_dir_all(&copy).with_context(|| format!("remove {}", copy.display()))?;
        let told = format!(
            "a copy of node {node} was refused, and told of by the hub, within {:.1} s; the hub missed something of a node for {} ms at most",
            refused.as_secs_f64(),
            stall.as_millis()
        );
        Ok(Stroke::of(refused, told))
    }

    /// As a snapshot of its disk would be: the node stands still meanwhile.
    async fn copy_at_once(&mut self, node: u16, copy: &std::path::Path) -> Result<()> {
        let (name, data) = (Cluster::process_of(node), self.layout.node(node));
        self.family.signal(&name, "STOP").await?;
        let copied = tokio::task::block_in_place(|| copy_store(&data, copy));
        self.family.signal(&name, "CONT").await?;
        copied.with_context(|| format!("copy the store of node {node}"))
    }

    /// When the hub refused a copy of the node's store last.
    async fn clone_refused_at_ms(&self, node: u16) -> Result<Option<i64>> {
        let shown = self.cluster.show_node(node).await?;
        let shown: Value = serde_json::from_str(&shown).context("read what the hub says of a node")?;
        Ok(shown["clone_refused_at_ms"].as_i64())
    }

    async fn wait_for_alarm(&mut self, node: u16, before: Option<i64>) -> Result<()> {
        let deadline = Instant::now() + REFUSED_LIMIT;
        while self.clone_refused_at_ms(node).await? <= before {
            ensure!(Instant::now() < deadline, "the hub tells of no copy of node {node} within {REFUSED_LIMIT:?}");
            self.family.check_alive()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }
}

/// Waits until the copy says that it serves nobody.
async fn wait_for_fence(copy: &mut Service) -> Result<()> {
    let deadline = Instant::now() + REFUSED_LIMIT;
    loop {
        let reply = copy.once("/health/ready").await?;
        if reply.status == 503 && reply.json()["code"] == "node_fenced" {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        ensure!(Instant::now() < deadline, "the copy does not stop serving within {REFUSED_LIMIT:?}: {text}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
