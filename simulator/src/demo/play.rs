//! The run, step by step.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use tokio::time::Instant;

use super::args::{Crash, Victim};
use super::child::{Usage, usage_of};
use super::cluster::{Cluster, has_everything, is_connected};
use super::faults::{Conductor, Fault, LeaderShare, Outcomes};
use super::following::{Following, trouble};
use super::health::{Watch, confirmed_by_nodes, look_at_all, services};
use super::inspection::audit;
use super::machines::HUB_NICENESS;
use super::report::{Cpu, Latency, Memory, Operations, SyncLag, Terminals, table_by_prefecture, tenth};
use super::screen::Chronicle;
use super::workers::{Sums, Workers};
use super::{Binaries, DemoArgs, Family, Layout, Report, Screen};
use crate::audit::Findings;
use crate::load::Phase;
use crate::printer::Pools;
use crate::world::{World, WorldFiles, write_world};

/// Time for nodes to find the hub.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// Time for stock and money to reach the nodes.
const DELIVERY_LIMIT: Duration = Duration::from_secs(300);
/// Time after the ramp for the last terminal.
const RAMP_GRACE: Duration = Duration::from_secs(150);
/// Time for the logs to drain.
const DRAIN_LIMIT: Duration = Duration::from_secs(120);

/// One run.
struct Play<'a> {
    args: &'a DemoArgs,
    layout: &'a Layout,
    screen: &'a Screen,
    family: &'a mut Family,
    binaries: Binaries,
    world: World,
    pools: Pools,
    began: Instant,
    /// CPU time of command lines that had ended before the load processes were started.
    commands_cpu_s: f64,
    /// What faults have shown.
    outcomes: Outcomes,
}

/// What the load phase has shown.
struct Loaded {
    connected: u64,
    sums: Sums,
    took: Duration,
    latency_ms: Latency,
}

/// Plays the whole run and prints what it has shown.
pub(super) async fn play(args: &DemoArgs, layout: &Layout, screen: &Screen, family: &mut Family) -> Result<Report> {
    let began = Instant::now();
    let binaries = Binaries::find()?;
    let world = World::make(&args.plan.plan())?;
    layout.write_plan(&world.plan)?;
    let pools = Pools::print(world.plan.seed, &world.games)?;
    let outcomes = Outcomes::of(args.faults.hub_ack_from.is_some());
    let mut play = Play { args, layout, screen, family, binaries, world, pools, began, commands_cpu_s: 0.0, outcomes };
    let files = tokio::task::block_in_place(|| write_world(&layout.world(), &play.world, &play.pools))?;
    play.step(&format!(
        "printed {} batches with {} tickets; {} outlets, {} terminals",
        files.batches.len(),
        play.world.games.iter().map(|game| u64::from(game.ticket_count)).sum::<u64>(),
        play.world.outlets.len(),
        play.world.terminals.len()
    ));
    let mut cluster = play.set_up(&files).await?;
    let watch = Watch::start(&cluster)?;
    play.commands_cpu_s = ended_children_seconds();
    let mut workers = Workers::start(args, &play.binaries, layout, &play.world, play.family)?;
    let connected = play.ramp(&mut workers, &cluster).await?;
    let loaded = play.load(&mut workers, &mut cluster, &watch, connected).await?;
    workers.journal_counts()?.write(&layout.journals())?;
    let drain = play.drain(&cluster).await?;
    let report = play.report(&loaded, &watch, drain);
    play.finish(report, &cluster, &workers).await
}

impl Play<'_> {
    fn step(&self, line: &str) {
        self.chronicle().step(line);
    }

    fn chronicle(&self) -> Chronicle<'_> {
        Chronicle { screen: self.screen, began: self.began }
    }

    /// Hub, nodes, master data, batches, stock and money.
    async fn set_up(&mut self, files: &WorldFiles) -> Result<Cluster> {
        let wiring = self.args.wiring();
        let mut cluster = Cluster::start_hub(&self.binaries, self.layout, files, wiring, self.family).await?;
        self.step("hub is ready");
        for number in 2..=self.args.hubs {
            // The last one only votes where that one shall be lost.
            let is_voter_only = number == self.args.hubs && self.args.faults.has(Fault::KillVoter);
            cluster.machines.join(is_voter_only, self.family).await?;
            let what = if is_voter_only { "votes" } else { "votes and serves" };
            self.step(&format!("machine {number} of the hub {what}"));
        }
        self.layout.write_machines(&cluster.machines.to_kept())?;
        for node in &self.world.nodes {
            cluster.register(node).await?;
        }
        for kind in ["divisions", "townships", "games", "outlets", "terminals", "operators"] {
            cluster.import(kind, &files.csv(kind)).await?;
        }
        self.step("imported divisions, townships, games, outlets, terminals, operators");
        for batch in &files.batches {
            cluster.import("batch", batch).await?;
            self.step(&format!("imported batch {}", batch.file_name().unwrap_or_default().to_string_lossy()));
        }
        cluster.import("openings", &files.csv("openings")).await?;
        for node in &self.world.nodes {
            let data = self.layout.node(node.id);
            cluster.start_node(node.id, &data, self.args.faults.hub_ack_from, self.family).await?;
        }
        cluster.wait_for_nodes("connected", CONNECT_LIMIT, self.family, is_connected).await?;
        self.step(&format!("{} nodes are connected", cluster.nodes.len()));
        for kind in ["shipments", "deposits"] {
            cluster.import(kind, &files.csv(kind)).await?;
        }
        cluster.wait_for_nodes("up to date", DELIVERY_LIMIT, self.family, has_everything).await?;
        self.step(&format!(
            "{} packs and {} deposits have reached their nodes",
            self.world.stock.pack_count(),
            self.world.outlets.len()
        ));
        cluster.endpoints().write(&self.layout.endpoints())?;
        Ok(cluster)
    }

    /// All terminals connect and log in. Returns how many are connected when all have: lines that are open at this end, as
    /// far as the nodes hold their sessions too.
    async fn ramp(&mut self, workers: &mut Workers, cluster: &Cluster) -> Result<u64> {
        let configured = self.world.terminals.len() as u64;
        let deadline = Instant::now() + self.args.ramp() + RAMP_GRACE;
        while !workers.are_all(Phase::Ready) {
            workers.listen(Duration::from_millis(250)).await?;
            self.screen.ramp(workers.sums().connected, configured);
            self.family.check_alive()?;
            if Instant::now() > deadline {
                bail!(
                    "only {} of {configured} terminals are connected; see the logs of load-1 …",
                    workers.sums().connected
                );
            }
        }
        // A worker that was ready first may have lost lines since: what counts is a line that it prints from now on.
        let seen = workers.lines_seen().to_vec();
        while workers.lines_seen().iter().zip(&seen).any(|(now, then)| *now < then + 2) {
            workers.listen(Duration::from_millis(250)).await?;
            self.family.check_alive()?;
            if Instant::now() > deadline {
                bail!("a load process fell silent when it was ready; see the logs of load-1 …");
            }
        }
        let open = workers.sums().connected;
        let sessions: BTreeMap<u16, u64> =
            look_at_all(&mut services(cluster)?).await.iter().map(|(&node, pulse)| (node, pulse.sessions)).collect();
        let connected = confirmed_by_nodes(open, &sessions, &self.world);
        self.step(&format!("{connected} terminals are connected and logged in"));
        if connected < configured {
            let told: Vec<String> = sessions.iter().map(|(node, count)| format!("node {node}: {count}")).collect();
            self.step(&format!(
                "{configured} terminals are configured, {open} lines are open, the nodes hold sessions: {}",
                told.join(", ")
            ));
        }
        Ok(connected)
    }

    /// The load phase; crashes and faults happen beside it.
    async fn load(
        &mut self,
        workers: &mut Workers,
        cluster: &mut Cluster,
        watch: &Watch,
        connected: u64,
    ) -> Result<Loaded> {
        let from = Instant::now();
        let crashes = self.crashes(from);
        let chronicle = Chronicle { screen: self.screen, began: self.began };
        let figures = workers.figures.clone();
        watch.record(true);
        workers.say("start").await?;
        let conductor = Conductor {
            args: self.args,
            layout: self.layout,
            family: self.family,
            cluster,
            figures: &figures,
            chronicle,
            outcomes: &mut self.outcomes,
            share: LeaderShare::default(),
        };
        let victim = (self.world.nodes[0].id, self.layout.node(self.world.nodes[0].id));
        let load = Following { args: self.args, screen: self.screen, world: &self.world, watch, from };
        let last_operation = tokio::select! {
            ended = load.follow(workers) => ended?,
            failed = trouble(conductor, crashes, victim) => return Err(failed.err().unwrap_or_else(|| anyhow!("idle"))),
        };
        watch.record(false);
        let (sums, took) = (workers.sums(), last_operation - from);
        self.step(&format!("load has ended: {} operations in {:.1} s", sums.operations(), took.as_secs_f64()));
        self.layout.write_machines(&cluster.machines.to_kept())?;
        Ok(Loaded { connected, sums, took, latency_ms: Latency::of(&workers.total) })
    }

    /// When which process is killed: spread evenly over the load.
    fn crashes(&self, from: Instant) -> VecDeque<(Instant, Victim)> {
        let victims = self.args.crash.map_or(&[] as &[Victim], Crash::victims);
        let step = self.args.duration / (victims.len() as u32 + 1);
        victims.iter().zip(1..).map(|(&victim, count)| (from + step * count, victim)).collect()
    }

    /// Waits until the hub has all events, and the nodes all of the hub's. Every look is fresh: none is as old as the load.
    async fn drain(&mut self, cluster: &Cluster) -> Result<Duration> {
        let from = Instant::now();
        let mut services = services(cluster)?;
        loop {
            let pulses = look_at_all(&mut services).await;
            let behind: Vec<_> = pulses.iter().filter(|(_, pulse)| !pulse.is_drained()).collect();
            if behind.is_empty() {
                break;
            }
            self.family.check_alive()?;
            if from.elapsed() > DRAIN_LIMIT {
                bail!("the logs did not drain within {DRAIN_LIMIT:?}: {behind:?}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let drained = from.elapsed();
        cluster.wait_for_nodes("up to date", DRAIN_LIMIT, self.family, has_everything).await?;
        self.step(&format!("logs have drained in {} ms", drained.as_millis()));
        Ok(drained)
    }

    /// Everything but the invariants.
    fn report(&self, loaded: &Loaded, watch: &Watch, drain: Duration) -> Report {
        let (hubs, nodes, loads) = (self.family.usage("hub"), self.family.usage("node"), self.family.usage("load"));
        let most = |usages: &[Usage]| tenth(usages.iter().map(|usage| usage.memory_mib).fold(0.0, f64::max));
        let cpu = |usages: &[Usage]| tenth(usages.iter().map(|usage| usage.cpu_seconds).sum());
        // Load processes that have ended are counted by the kernel with this one's children, no longer in /proc/PID.
        let ended = ended_children_seconds() - self.commands_cpu_s - self.family.killed_cpu_seconds();
        let simulator = cpu(&loads) + usage_of("self").cpu_seconds + ended;
        Report {
            seed: self.world.plan.seed.0,
            terminals: Terminals { configured: self.world.terminals.len() as u64, connected: loaded.connected },
            nodes: self.world.plan.node_count,
            hubs: self.args.hubs,
            hub_niceness: HUB_NICENESS,
            operations: Operations {
                acked: loaded.sums.acked,
                refused: loaded.sums.refused,
                failed: loaded.sums.failed,
                per_second: tenth(loaded.sums.operations() as f64 / loaded.took.as_secs_f64().max(0.001)),
            },
            retries: loaded.sums.retries,
            latency_ms: loaded.latency_ms.clone(),
            sync_lag_ms: SyncLag::of(&watch.lags_ms(), drain.as_secs_f64() * 1_000.0),
            memory_mib: Memory { node_max: most(&nodes), hub_max: most(&hubs) },
            cpu_seconds: Cpu {
                nodes: cpu(&nodes),
                hub: cpu(&hubs),
                hub_leader_share: self.outcomes.hub_leader_share,
                simulator: tenth(simulator),
            },
            faults: self.outcomes.report(),
            salvages: Vec::new(),
            invariants: crate::audit::Invariants::default(),
        }
    }

    /// Audit, table, summary.
    async fn finish(&mut self, mut report: Report, cluster: &Cluster, workers: &Workers) -> Result<Report> {
        let mut hub = cluster.hub()?;
        let findings = audit(&self.binaries, self.layout, &self.pools, cluster).await?;
        report.invariants = findings.invariants.clone();
        report.salvages = findings.local_tails.clone();
        self.step("audit is done");
        let by_prefecture = table_by_prefecture(&mut hub).await.context("fetch the table by prefecture")?;
        self.screen.clear();
        println!("\n{by_prefecture}\n{}{}", report.summary(), self.outcomes.words());
        print_details(&findings, workers)?;
        if let Some(path) = &self.args.report {
            std::fs::write(path, serde_json::to_vec_pretty(&report)?)
                .with_context(|| format!("write the report {}", path.display()))?;
            println!("report written to {}", path.display());
        }
        Ok(report)
    }
}

/// Violations, failures in words, refusals by code.
fn print_details(findings: &Findings, workers: &Workers) -> Result<()> {
    findings.local_tails.iter().for_each(|tail| println!("salvage     {tail}"));
    for violation in &findings.violations {
        println!("violation   {violation}");
    }
    let mut refusals: BTreeMap<&str, u64> = BTreeMap::new();
    for line in workers.last_lines()? {
        line.refusals.iter().for_each(|(code, count)| *refusals.entry(code).or_default() += count);
        line.failures.iter().for_each(|failure| println!("failed      {failure}"));
    }
    let refusals: Vec<String> = refusals.iter().map(|(code, count)| format!("{code} {count}")).collect();
    println!("refusals    {}", refusals.join(" · "));
    Ok(())
}

/// Time of children that have ended: fields 16 and 17 of /proc/self/stat.
fn ended_children_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    super::child::children_cpu_seconds(&stat)
}
