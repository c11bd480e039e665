//! Outlets move between nodes under load, a node is added and emptied again.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::Instant;

use super::conduct::{Conductor, IN_STEP_MS, RECOVER_LIMIT, Stroke};
use super::outcome::Interruption;
use crate::demo::cluster::{has_everything, is_connected};
use crate::demo::health::{Pulse, look_at_all, services};
use crate::demo::workers::Sums;

/// Outlets that one trial of `handoff` moves, if there are so many.
const MOVED_MAX: usize = 2_000;
/// Time for all of them to arrive.
const MOVE_LIMIT: Duration = Duration::from_secs(180);
/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(30);
/// Outlets on their way at once.
const WINDOW: u16 = 25;
/// Time for a new node to hear everything that is for everybody.
pub(super) const NODE_LIMIT: Duration = Duration::from_secs(60);
/// Time between the emptying of a node and its end, in which it sends terminals on that were idle meanwhile: as an operator leaves it.
const LEFT_FOR: Duration = Duration::from_secs(10);
/// Time behind the end of a removed node, in which more of them come to it, and find nobody.
const LATE_FOR: Duration = Duration::from_secs(5);
/// Time for every operation to be answered that met a move.
const SERVED_LIMIT: Duration = Duration::from_secs(60);
/// One that has been waiting for no longer is not waited for: under load some always do. Milliseconds.
const WAITING_MS_MAX: u64 = 500;
/// How far the outlets of a node may be from its plan. Percent.
const PLAN_PERCENT: usize = 10;

/// Who is killed in the middle of a handoff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Nobody,
    OldNode,
    NewNode,
    HubLeader,
}

/// In the order of the trials.
const VICTIMS: [Victim; 4] = [Victim::Nobody, Victim::OldNode, Victim::NewNode, Victim::HubLeader];

impl Victim {
    fn words(self) -> &'static str {
        match self {
            Victim::Nobody => "nobody",
            Victim::OldNode => "the old node",
            Victim::NewNode => "the new node",
            Victim::HubLeader => "the hub's leader",
        }
    }
}

impl Conductor<'_> {
    /// Moves outlets from the node that has most to the one that has least; from the second trial on somebody is killed in the middle of
    /// it: the old node, the new one, the hub's leader, and so on. Recovered is the longest that an outlet was interrupted; with a victim,
    /// the time from the kill until all have arrived.
    pub(super) async fn hand_off(&mut self, trial: u32) -> Result<Stroke> {
        let ((from, has), to) = self.fullest_and_emptiest().await?.context("there is one node only")?;
        let (count, began) = (has.min(MOVED_MAX), Instant::now());
        self.figures.take_interruptions();
        let options = ["--from", &from.to_string(), "--to", &to.to_string(), "--count", &count.to_string()];
        let victim = VICTIMS[trial as usize % VICTIMS.len()];
        let killed = match victim {
            Victim::Nobody => {
                self.move_outlets(&options).await?;
                None
            }
            victim => Some(self.move_and_kill(&options, count, (from, to), victim).await?),
        };
        let took_s = began.elapsed().as_secs_f64();
        let moved = format!("{count} outlets moved from node {from} to node {to} within {took_s:.1} s");
        match killed {
            None => self.interrupted(moved).await,
            Some((at, told)) => {
                let recovered = at.elapsed();
                let waits = Interruption::told(&self.interruptions().await?);
                Ok(Stroke::of(recovered, format!("{moved}; {told}; {waits}")))
            }
        }
    }

    /// The node with most outlets, and how many, and the one with fewest; `None` where there is no other.
    pub(super) async fn fullest_and_emptiest(&self) -> Result<Option<((u16, usize), u16)>> {
        let any = self.cluster.nodes.keys().next().copied().context("there is no node")?;
        let loads = spread(&self.plan("fill", any).await?, "outlets_now")?;
        let (from, has) = loads.iter().copied().max_by_key(|(_, now)| *now).context("there is no node")?;
        let to = loads.iter().copied().filter(|(node, _)| *node != from).min_by_key(|(_, now)| *now);
        Ok(to.map(|(to, _)| ((from, has), to)))
    }

    /// Kills the victim when about half of the outlets have moved, and starts it again. Gives when, and what was on its way then.
    async fn move_and_kill(
        &mut self,
        options: &[&str],
        count: usize,
        (from, to): (u16, u16),
        victim: Victim,
    ) -> Result<(Instant, String)> {
        let window = WINDOW.to_string();
        let options = [options, &["--window", &window, "--no-wait"]].concat();
        self.cluster.machines.handoff("start", &options).await?;
        let half = self.wait_for_moves(|waiting, _| waiting <= count / 2).await?;
        let of_state = |state: &str| half.iter().filter(|way| *way == state).count();
        let told = format!(
            "{} killed with {} outlets ordered and {} released",
            victim.words(),
            of_state("ordered"),
            of_state("released")
        );
        let struck = Instant::now();
        match victim {
            Victim::OldNode => self.cluster.crash_node(from, &self.layout.node(from), self.family).await?,
            Victim::NewNode => self.cluster.crash_node(to, &self.layout.node(to), self.family).await?,
            Victim::HubLeader => {
                let leader = self.leader().await?;
                self.cluster.machines.kill(leader, self.family).await?;
                self.cluster.machines.start(leader, self.family).await?;
            }
            Victim::Nobody => {}
        }
        self.wait_for_moves(|waiting, under_way| waiting + under_way == 0).await?;
        self.watch().await?.in_step(IN_STEP_MS, RECOVER_LIMIT).await?;
        self.cluster.wait_for_nodes("up to date", NODE_LIMIT, self.family, has_everything).await?;
        Ok((struck, told))
    }

    /// Waits until so many wait and are under way. Gives the states of those under way.
    async fn wait_for_moves(&mut self, is_so: impl Fn(usize, usize) -> bool) -> Result<Vec<String>> {
        let deadline = Instant::now() + MOVE_LIMIT;
        loop {
            // A hub that has just lost its leader may not answer.
            if let Ok(view) = self.cluster.hub()?.get_json("/v1/handoffs").await {
                let ways = view["under_way"].as_array().cloned().unwrap_or_default();
                let waiting = view["waiting"].as_u64().map_or(usize::MAX, |waiting| waiting as usize);
                if is_so(waiting, ways.len()) {
                    return Ok(ways.iter().filter_map(|way| way["state"].as_str().map(str::to_owned)).collect());
                }
                ensure!(Instant::now() < deadline, "outlets did not arrive within {MOVE_LIMIT:?}: {view}");
            }
            ensure!(Instant::now() < deadline, "the hub does not tell what moves within {MOVE_LIMIT:?}");
            self.family.check_alive()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// One more node is added, joins by its invitation, and gets its share.
    pub(super) async fn add_node(&mut self) -> Result<Stroke> {
        // The number of a node that was removed is given to no other.
        let node = self.layout.nodes()?.keys().max().map_or(1, |last| last + 1);
        let began = Instant::now();
        self.figures.take_interruptions();
        let (data, papers) = (self.layout.node(node), self.layout.aside("added", node, 0)?);
        self.cluster.add_node(node, &data, &papers, self.args.faults.hub_ack_from, self.family).await?;
        self.cluster.wait_for_nodes("connected", NODE_LIMIT, self.family, is_connected).await?;
        self.cluster.wait_for_nodes("up to date", NODE_LIMIT, self.family, has_everything).await?;
        let joined = began.elapsed();
        let moved = self.carry_out("fill", node).await?;
        let told = format!(
            "node {node} added and joined within {:.1} s, {moved} outlets moved there within {:.1} s",
            joined.as_secs_f64(),
            (began.elapsed() - joined).as_secs_f64()
        );
        self.interrupted(told).await
    }

    /// The newest node gives all its outlets away, is taken out of use, and its process ends. Its store stays for the audit. Terminals
    /// that come to it behind that find nobody there, ask another node, and are counted.
    pub(super) async fn remove_node(&mut self) -> Result<Stroke> {
        ensure!(self.cluster.nodes.len() > 1, "there is one node only: nobody could serve its outlets");
        let node = self.cluster.nodes.keys().max().copied().context("there is no node")?;
        let began = Instant::now();
        self.figures.take_interruptions();
        let moved = self.carry_out("empty", node).await?;
        let emptied = began.elapsed();
        self.quiet(LEFT_FOR).await?;
        let left = Instant::now();
        self.wait_until_drained(node).await?;
        self.cluster.remove_node(node, self.family).await?;
        self.layout.keep_removed(node)?;
        let told = format!(
            "node {node} gave {moved} outlets away within {:.1} s, was removed {} s later and ended within {:.1} s",
            emptied.as_secs_f64(),
            LEFT_FOR.as_secs(),
            left.elapsed().as_secs_f64()
        );
        self.quiet(LATE_FOR).await?;
        self.interrupted(told).await
    }

    /// Waits until the hub has all that a node decided: nothing of it comes any more once it is removed.
    async fn wait_until_drained(&mut self, node: u16) -> Result<()> {
        let deadline = Instant::now() + NODE_LIMIT;
        let mut services = services(self.cluster)?;
        services.retain(|of, _| *of == node);
        loop {
            let pulses = look_at_all(&mut services).await;
            if pulses.get(&node).is_some_and(Pulse::is_drained) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "node {node} did not drain within {NODE_LIMIT:?}: {pulses:?}");
            self.family.check_alive()?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Starts a plan as it was shown, and holds the outcome against it.
    async fn carry_out(&mut self, aim: &str, node: u16) -> Result<u64> {
        let plan = self.plan(aim, node).await?;
        let id = plan["plan"].as_str().context("the hub named no plan")?;
        self.move_outlets(&[&format!("--{aim}"), &node.to_string(), "--plan", id]).await?;
        let now = spread(&self.plan(aim, node).await?, "outlets_now")?;
        let planned = spread(&plan, "outlets_then")?;
        for ((node, then), (_, now)) in planned.iter().zip(&now) {
            let apart = then.abs_diff(*now) * 100;
            ensure!(apart <= then * PLAN_PERCENT, "node {node} has {now} outlets, {then} were planned");
        }
        Ok(plan["moves"].as_u64().unwrap_or(0))
    }

    /// How long the outlets were interrupted that moved since the interruptions were taken last. Recovered is the longest time.
    async fn interrupted(&mut self, told: String) -> Result<Stroke> {
        let waits = self.interruptions().await?;
        let told = format!("{told}; {}", Interruption::told(&waits));
        let recovered = waits.iter().max().copied().unwrap_or_default();
        Ok(Stroke { interruptions: Some(waits), ..Stroke::of(recovered, told) })
    }

    /// Takes the longest interruption of each outlet, once no operation waits for long any more.
    async fn interruptions(&mut self) -> Result<Vec<Duration>> {
        let lines = self.figures.sums().lines;
        let is_so = |sums: &Sums| sums.lines >= lines + 2 && sums.interrupted_ms < WAITING_MS_MAX;
        self.wait_for_load("be served behind a move", SERVED_LIMIT, is_so).await?;
        Ok(self.figures.take_interruptions())
    }

    pub(super) async fn plan(&self, aim: &str, node: u16) -> Result<Value> {
        let printed =
            self.cluster.machines.handoff("plan", &[&format!("--{aim}"), &node.to_string(), "--json"]).await?;
        serde_json::from_str(&printed).context("read the plan")
    }

    /// Of the nodes that serve outlets the one with most of them, then the next, in turn.
    pub(super) async fn busiest(&self, turn: u32) -> Result<u16> {
        let any = self.cluster.nodes.keys().next().copied().context("there is no node")?;
        let mut loads = spread(&self.plan("fill", any).await?, "outlets_now")?;
        loads.retain(|(_, outlets)| *outlets > 0);
        loads.sort_by_key(|(node, outlets)| (std::cmp::Reverse(*outlets), *node));
        let (node, _) = loads.get(turn as usize % loads.len().max(1)).context("no node serves any outlet")?;
        Ok(*node)
    }

    /// Moves outlets, and waits until all that it led to has reached every node.
    pub(super) async fn move_outlets(&mut self, options: &[&str]) -> Result<()> {
        let window = WINDOW.to_string();
        self.cluster.machines.handoff("start", &[options, &["--window", &window]].concat()).await?;
        self.watch().await?.in_step(IN_STEP_MS, RECOVER_LIMIT).await?;
        self.cluster.wait_for_nodes("up to date", NODE_LIMIT, self.family, has_everything).await
    }
}

/// Outlets by node, from a plan.
pub(super) fn spread(plan: &Value, key: &str) -> Result<Vec<(u16, usize)>> {
    let nodes = plan["nodes"].as_array().context("the plan lists no nodes")?;
    let one = |node: &Value| Some((u16::try_from(node["node"].as_u64()?).ok()?, node[key].as_u64()? as usize));
    nodes.iter().map(|node| one(node).with_context(|| format!("the plan says {node}"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_is_read_by_node() {
        let plan = json!({ "nodes": [{ "node": 1, "outlets_now": 9, "outlets_then": 4 }, { "node": 12, "outlets_now": 0, "outlets_then": 5 }] });
        assert_eq!(spread(&plan, "outlets_now").unwrap(), [(1, 9), (12, 0)]);
        assert_eq!(spread(&plan, "outlets_then").unwrap(), [(1, 4), (12, 5)]);
        assert!(spread(&json!({ "nodes": [{ "node": 1 }] }), "outlets_now").is_err());
    }
}
