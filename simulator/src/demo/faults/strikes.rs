//! What each fault does to the hub, and how recovery is measured: from the stroke until every node had an event acknowledged
//! that it decided behind the stroke.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::Instant;

use super::acks::{AckWatch, CLOSE, Marks};
use super::conduct::{Conductor, IN_STEP_MS, RECOVER_LIMIT, Stroke};
use crate::demo::machines::{LINKS, Status};

/// Time for the machines to agree on what the nodes have felt already.
const AGREE_LIMIT: Duration = Duration::from_secs(60);
/// Time after an outage for all that waited at the nodes.
const DRAIN_LIMIT: Duration = Duration::from_secs(600);

/// Who hears whom in a partition, in the order of the trials.
const PARTITIONS: [(&str, bool, bool); 3] =
    [("apart both ways", true, true), ("unheard by the others", true, false), ("deaf to the others", false, true)];

impl Conductor<'_> {
    pub(super) async fn kill_leader(&mut self) -> Result<Stroke> {
        let leader = self.leader().await?;
        let connected = self.cluster.machines.nodes_at(leader).await.unwrap_or(0);
        let recovered = self.kill(leader).await?;
        let next = self.leader_but(leader).await?;
        self.cluster.machines.start(leader, self.family).await?;
        let told = format!("machine {leader}, to which {connected} nodes were connected, killed, machine {next} leads");
        Ok(Stroke::of(recovered, told))
    }

    pub(super) async fn kill_follower(&mut self) -> Result<Stroke> {
        let leader = self.leader().await?;
        let machines = self.cluster.machines.all();
        let follower = machines.iter().find(|machine| machine.number != leader && !machine.is_voter_only);
        let follower = follower.context("no machine serves and does not lead")?.number;
        let connected = self.cluster.machines.nodes_at(follower).await?;
        let recovered = self.kill(follower).await?;
        self.cluster.machines.start(follower, self.family).await?;
        let told =
            format!("machine {follower}, to which {connected} nodes were connected, killed while machine {leader} led");
        Ok(Stroke::of(recovered, told))
    }

    pub(super) async fn kill_voter(&mut self) -> Result<Stroke> {
        let voter = self.cluster.machines.all().iter().find(|machine| machine.is_voter_only);
        let voter = voter.context("no machine is there that only votes")?.number;
        let recovered = self.kill(voter).await?;
        self.cluster.machines.start(voter, self.family).await?;
        Ok(Stroke::of(recovered, format!("machine {voter}, which only votes, killed")))
    }

    /// Kills one and waits until all nodes are acknowledged again.
    async fn kill(&mut self, number: u16) -> Result<Duration> {
        let watch = self.watch().await?;
        let struck = Instant::now();
        self.cluster.machines.kill(number, self.family).await?;
        recovered(&watch, struck).await
    }

    pub(super) async fn pause_leader(&mut self) -> Result<Stroke> {
        let leader = self.leader().await?;
        let watch = self.watch().await?;
        let struck = Instant::now();
        self.cluster.machines.pause(leader, self.family).await?;
        let marks = watch.heads().await?;
        let early = self.recovered_in_time(&watch, &marks, struck).await?;
        let next = self.leader_but(leader).await?;
        let paused = struck.elapsed();
        self.cluster.machines.go_on(leader, self.family).await?;
        let recovered = or_later(early, &watch, &marks, struck).await?;
        drop(watch);
        // By its own word: a leader of the past must learn of it, and that the jobs are another one's.
        let (machines, what) = (&self.cluster.machines, "the paused machine following another, which has the jobs");
        let is_other = |known: Option<u16>| known.is_some_and(|known| known != leader);
        let has_let_go = |status: &Status| is_other(status.leader) && is_other(status.jobs_at);
        let status = machines.wait_for(&[leader], what, AGREE_LIMIT, has_let_go).await?;
        let known = status.leader.unwrap_or(next);
        let told = format!("machine {leader} paused for {:.1} s, then follows machine {known}", paused.as_secs_f64());
        Ok(Stroke::of(recovered, told))
    }

    /// The links take turns.
    pub(super) async fn cut_link(&mut self, trial: u32) -> Result<Stroke> {
        let link = trial as usize % LINKS.len();
        let watch = self.watch().await?;
        let struck = Instant::now();
        self.cluster.machines.cut_link(link)?;
        let recovered = recovered(&watch, struck).await?;
        watch.in_step(IN_STEP_MS, RECOVER_LIMIT).await?;
        let dropped = self.cluster.machines.heal();
        Ok(Stroke::of(recovered, format!("link {} of all machines cut, {dropped} datagrams lost", LINKS[link])))
    }

    /// Both ways, unheard, deaf: one after another.
    pub(super) async fn partition(&mut self, trial: u32) -> Result<Stroke> {
        let (how, is_unheard, is_deaf) = PARTITIONS[trial as usize % PARTITIONS.len()];
        let leader = self.leader().await?;
        let connected = self.cluster.machines.nodes_at(leader).await.unwrap_or(0);
        let watch = self.watch().await?;
        let struck = Instant::now();
        self.cluster.machines.part(leader, is_unheard, is_deaf)?;
        let marks = watch.heads().await?;
        let early = self.recovered_in_time(&watch, &marks, struck).await?;
        let meanwhile = match self.leader_now(leader).await {
            Some(next) => format!("machine {next} led meanwhile"),
            None => "nobody led meanwhile".to_owned(),
        };
        let lasted_s = struck.elapsed().as_secs_f64();
        let dropped = self.cluster.machines.heal();
        let recovered = or_later(early, &watch, &marks, struck).await?;
        let told = format!(
            "machine {leader}, with {connected} nodes, {how} for {lasted_s:.1} s, {meanwhile}, {dropped} datagrams lost"
        );
        Ok(Stroke::of(recovered, told))
    }

    /// All machines at once. Recovered is from the begin of their starting until every node is acknowledged again.
    pub(super) async fn hub_down(&mut self) -> Result<Stroke> {
        let numbers = self.cluster.machines.numbers();
        let watch = self.watch().await?;
        let struck = Instant::now();
        let failed_before = self.figures.failed();
        for &number in &numbers {
            self.cluster.machines.kill(number, self.family).await?;
        }
        let heads = watch.heads().await?;
        tokio::time::sleep_until(struck + self.args.faults.hub_down_for).await;
        let (waiting, acked) = (watch.heads().await?, watch.acked().await?);
        let arriving = sum(&waiting).saturating_sub(sum(&heads)) as f64 / struck.elapsed().as_secs_f64();
        ensure!(self.figures.failed() == failed_before, "operations failed at outlets while the hub was down");
        let started = Instant::now();
        for &number in &numbers {
            self.cluster.machines.spawn(number, self.family)?;
        }
        for &number in &numbers {
            self.cluster.machines.wait_ready(number, self.family).await?;
        }
        watch.any_passed(&acked, RECOVER_LIMIT).await?;
        let (draining, from) = (Instant::now(), watch.acked().await?);
        watch.passed(&acked, RECOVER_LIMIT).await?;
        let recovered = started.elapsed();
        watch.in_step(IN_STEP_MS, DRAIN_LIMIT).await?;
        let took_s = draining.elapsed().as_secs_f64().max(0.001);
        let drained = sum(&watch.acked().await?).saturating_sub(sum(&from)) as f64 / took_s;
        let told = format!(
            "all machines down for {:.1} s, {} events waited; drained {drained:.0} events a second in {took_s:.1} s, {arriving:.0} \
             a second had arrived",
            (started - struck).as_secs_f64(),
            sum(&waiting).saturating_sub(sum(&acked)),
        );
        Ok(Stroke { drain_factor: Some(drained / arriving.max(1.0)), ..Stroke::of(recovered, told) })
    }

    /// Lets a fault last for its time. Returns after which time all nodes had passed their marks, if they did while it lasted.
    async fn recovered_in_time(&self, watch: &AckWatch, marks: &Marks, struck: Instant) -> Result<Option<Duration>> {
        let until = struck + self.args.faults.fault_for;
        let early = match tokio::time::timeout_at(until, watch.passed(marks, RECOVER_LIMIT)).await {
            Ok(passed) => Some(passed.map(|()| struck.elapsed())?),
            Err(_) => None,
        };
        tokio::time::sleep_until(until).await;
        Ok(early)
    }

    /// A watch that has seen every node.
    pub(super) async fn watch(&self) -> Result<AckWatch> {
        self.watch_every(CLOSE).await
    }

    /// The same, which looks so often.
    pub(super) async fn watch_every(&self, every: Duration) -> Result<AckWatch> {
        let watch = AckWatch::begin(self.cluster, every)?;
        watch.heads().await?;
        Ok(watch)
    }

    pub(super) async fn leader(&self) -> Result<u16> {
        self.cluster.machines.leader(AGREE_LIMIT).await
    }

    /// Who leads now by the word of the others, if anybody does but this one.
    async fn leader_now(&self, old: u16) -> Option<u16> {
        let machines = &self.cluster.machines;
        let others: Vec<u16> = machines.numbers().into_iter().filter(|&number| number != old).collect();
        let is_other = |leader: Option<u16>| leader.is_some_and(|leader| leader != old);
        let status =
            machines.wait_for(&others, "another leader", Duration::ZERO, |status| is_other(status.leader)).await;
        status.ok().and_then(|status| status.leader)
    }

    /// Who leads now that this one does not.
    pub(super) async fn leader_but(&self, old: u16) -> Result<u16> {
        let machines = &self.cluster.machines;
        let asked: Vec<u16> = machines.numbers().into_iter().filter(|&number| number != old).collect();
        let is_new = |leader: Option<u16>| leader.is_some_and(|leader| leader != old);
        let status = machines.wait_for(&asked, "another leader", AGREE_LIMIT, |status| is_new(status.leader)).await?;
        status.leader.context("the status has no leader")
    }
}

/// Time from the stroke until every node had something acknowledged that it decided behind it.
pub(super) async fn recovered(watch: &AckWatch, struck: Instant) -> Result<Duration> {
    let marks = watch.heads().await?;
    watch.passed(&marks, RECOVER_LIMIT).await?;
    Ok(struck.elapsed())
}

/// What recovered only behind the fault did it late.
async fn or_later(early: Option<Duration>, watch: &AckWatch, marks: &Marks, struck: Instant) -> Result<Duration> {
    match early {
        Some(early) => Ok(early),
        None => watch.passed(marks, RECOVER_LIMIT).await.map(|()| struck.elapsed()),
    }
}

fn sum(marks: &Marks) -> u64 {
    marks.values().sum()
}
