//! A node's directory is destroyed under load, and another store takes its place from the hub.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use super::acks::Marks;
use super::conduct::{Conductor, IN_STEP_MS, RECOVER_LIMIT, Stroke};
use crate::audit::KeptSalvage;
use crate::demo::cluster::{Cluster, has_everything};
use crate::demo::machines::LINKS;
use crate::demo::workers::Sums;
use crate::terminal::now_ms;

/// How long no node reaches the hub before one is killed: what that one acknowledges alone meanwhile goes down with its disk.
const CUT_FOR: Duration = Duration::from_secs(2);
/// Time for the load processes to hear an order.
const ORDER_LIMIT: Duration = Duration::from_secs(20);
/// Time for all terminals to come back to their node.
const SERVED_LIMIT: Duration = Duration::from_secs(180);
/// Time for a node to hear everything that is for it.
const NODE_LIMIT: Duration = Duration::from_secs(60);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(30);

/// Whose word was enough at the node that is lost, in the order of the trials.
const ACKNOWLEDGEMENTS: [Acknowledged; 2] = [Acknowledged::ByTheNode, Acknowledged::ByTheHub];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Acknowledged {
    /// As all nodes of the run: `ack = "local"`, with `--hub-ack-from` as it was given.
    ByTheNode,
    /// `ack = "hub"`: nothing may be lost.
    ByTheHub,
}

impl Conductor<'_> {
    /// Recovered is the time from the kill until the new store is ready and no operation waits for its node any more. What the old one
    /// holds alone is kept for the audit, which holds it against what terminals were told.
    pub(super) async fn replace_node(&mut self, trial: u32) -> Result<Stroke> {
        let acknowledged = ACKNOWLEDGEMENTS[trial as usize % ACKNOWLEDGEMENTS.len()];
        let node = self.busiest(trial / ACKNOWLEDGEMENTS.len() as u32 + trial % 2).await?;
        let hub_ack_from_fen = match acknowledged {
            Acknowledged::ByTheNode => self.args.faults.hub_ack_from,
            Acknowledged::ByTheHub => {
                self.wait_for_hub_at(node).await?;
                Some(0)
            }
        };
        let (since_ms, alone) = self.cut_off(node).await?;
        let (data, old) = (self.layout.node(node), self.layout.aside("destroyed", node, trial)?);
        let struck = Instant::now();
        self.family.kill(&Cluster::process_of(node)).await?;
        self.cluster.machines.heal();
        std::fs::rename(&data, &old).with_context(|| format!("take {} away", data.display()))?;
        let usual = self.args.faults.hub_ack_from;
        self.cluster.replace_store(node, &data, &old, usual).await?;
        self.doubt(node, since_ms).await?;
        let over_at_ms = now_ms();
        self.cluster.run_node(node, &data, self.family).await?;
        let ready = struck.elapsed();
        self.served().await?;
        let recovered = struck.elapsed();
        self.watch().await?.in_step(IN_STEP_MS, RECOVER_LIMIT).await?;
        self.cluster.wait_for_nodes("up to date", NODE_LIMIT, self.family, has_everything).await?;
        let told = self.cluster.salvage(node, &old).await.context("when the disk comes back")?;
        let (named, held) = (told["lost"].as_array().map_or(0, Vec::len), told["hub_seq"].clone());
        self.layout.keep_salvage(KeptSalvage { over_at_ms, hub_ack_from_fen, told })?;
        let word = match acknowledged {
            Acknowledged::ByTheNode => "the node",
            Acknowledged::ByTheHub => "the hub",
        };
        let told = format!(
            "node {node}, acknowledged by {word}, killed with {alone} events that the hub had not, its directory gone; another store ready \
             within {:.1} s, all its terminals served within {:.1} s; the old disk names {named} events behind {held}",
            ready.as_secs_f64(),
            recovered.as_secs_f64()
        );
        Ok(Stroke::of(recovered, told))
    }

    /// Starts a node anew, so that all its acknowledgements wait for the hub.
    async fn wait_for_hub_at(&mut self, node: u16) -> Result<()> {
        let data = self.layout.node(node);
        self.cluster.set_ack_hub(&data)?;
        self.cluster.crash_node(node, &data, self.family).await.context("start the node with ack = \"hub\"")?;
        self.served().await?;
        self.watch().await?.in_step(IN_STEP_MS, RECOVER_LIMIT).await
    }

    /// Cuts all nodes off from the hub, for long enough that the node holds something alone. Gives since when the hub may miss what it
    /// acknowledged, and how many events it misses.
    async fn cut_off(&mut self, node: u16) -> Result<(i64, u64)> {
        let watch = self.watch().await?;
        let since_ms = now_ms();
        let mut heads = watch.heads().await?;
        // Another one may have nothing to serve.
        heads.retain(|of, _| *of == node);
        watch.passed(&heads, RECOVER_LIMIT).await?;
        for link in 0..LINKS.len() {
            self.cluster.machines.cut_link(link)?;
        }
        tokio::time::sleep(CUT_FOR).await;
        let (heads, acked) = (watch.heads().await?, watch.acked().await?);
        let of_node = |marks: &Marks| marks.get(&node).copied().unwrap_or(0);
        let alone = of_node(&heads).saturating_sub(of_node(&acked));
        ensure!(alone > 0, "node {node} decided nothing while it was cut off for {CUT_FOR:?}: the load is too small");
        Ok((since_ms, alone))
    }

    /// Tells every load process that a node lost its disk, and waits until all have heard it.
    async fn doubt(&mut self, node: u16, since_ms: i64) -> Result<()> {
        let before = self.figures.sums().orders;
        self.figures.order(format!("doubt {node} {since_ms}"));
        self.wait_for_load("hear that a disk is lost", ORDER_LIMIT, |sums| sums.orders > before).await
    }

    /// Waits until no operation waits for a node that takes no connection, by lines that were printed from now on.
    async fn served(&mut self) -> Result<()> {
        let lines = self.figures.sums().lines;
        let is_so = |sums: &Sums| sums.lines >= lines + 2 && sums.waiting == 0;
        self.wait_for_load("be served again", SERVED_LIMIT, is_so).await
    }

    /// Waits until the load as it was told last is so.
    pub(super) async fn wait_for_load(
        &mut self,
        what: &str,
        limit: Duration,
        is_so: impl Fn(&Sums) -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            let sums = self.figures.sums();
            if is_so(&sums) {
                return Ok(());
            }
            let waiting = sums.waiting;
            ensure!(Instant::now() < deadline, "the load did not {what} within {limit:?}; {waiting} operations wait");
            self.family.check_alive()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
