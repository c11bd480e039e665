//! Faults of the hub, struck one after another under load, each as often as is asked for.
//!
//! [`FaultArgs`] what is asked for → [`conduct`] strikes, waits for recovery and for calm → [`acks`] measures → [`outcome`]
//! sums up. What a fault does lies in [`strikes`], [`membership`], [`nodes`], [`copies`], [`replacement`] and [`restoration`]; what holds for each, and what
//! is demanded of it, in [`terms`].

mod acks;
mod conduct;
mod copies;
mod membership;
mod nodes;
mod outcome;
mod replacement;
mod restoration;
mod share;
mod strikes;
mod terms;

use std::time::Duration;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};

use crate::amount::parse_yuan;
use crate::duration::parse_duration;

pub(super) use conduct::Conductor;
#[cfg(test)]
pub(super) use outcome::Recovery;
pub(super) use outcome::{FaultReport, Outcomes};
pub(super) use share::LeaderShare;

/// Trials of `kill-leader` alone: enough for a 99th percentile that is more than the second worst of three.
const TRIALS_KILL_LEADER_ALONE: u32 = 20;
/// Most trials of one fault.
const TRIALS_MAX: u32 = 1_000;

/// What is done to the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Fault {
    /// kill -9 of a machine that serves and does not lead
    KillFollower,
    /// kill -9 of the machine that only votes (the last one is then `--voter-only`)
    KillVoter,
    /// Every machine has two links; one of them carries nothing, at all machines
    CutLink,
    /// kill -9 of the leading machine
    KillLeader,
    /// SIGSTOP of the leading machine, later SIGCONT
    PauseLeader,
    /// The leading machine apart from the others: both ways, then unheard, then deaf
    Partition,
    /// Take in one more machine, and take out the leading one
    Membership,
    /// kill -9 of all machines, for a while
    HubDown,
    /// Move outlets from one node to another
    Handoff,
    /// Add one more node, let it join, and give it its share of the outlets
    AddNode,
    /// Move all outlets of the newest node to the others, take it out of use, and end it
    RemoveNode,
    /// Start a copy of a running node's directory
    CloneNode,
    /// kill -9 of a node that the hub did not hear for a while; its directory is gone, another store takes its place
    ReplaceNode,
    /// Put the hub's directory back from a copy that is some seconds old (with one machine)
    RestoreHub,
}

impl Fault {
    /// All, in the order in which they strike: first those that leave nodes and machines where they were, for a follower that
    /// has just come back serves no node that would feel its loss.
    pub const ALL: [Fault; 14] = [
        Fault::KillFollower,
        Fault::KillVoter,
        Fault::CutLink,
        Fault::KillLeader,
        Fault::PauseLeader,
        Fault::Partition,
        Fault::Membership,
        Fault::HubDown,
        Fault::Handoff,
        Fault::AddNode,
        Fault::RemoveNode,
        Fault::CloneNode,
        Fault::ReplaceNode,
        Fault::RestoreHub,
    ];

    /// The name on the command line and in the report.
    pub fn name(self) -> &'static str {
        self.terms().name
    }

    fn trials_default(self, is_alone: bool) -> u32 {
        match self {
            Fault::KillLeader if is_alone => TRIALS_KILL_LEADER_ALONE,
            fault => fault.terms().trials,
        }
    }
}

/// A fault on the command line, or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    One(Fault),
    All,
}

/// Reads one name of a comma list.
fn parse_wanted(text: &str) -> Result<Wanted, String> {
    match text {
        "all" => Ok(Wanted::All),
        name => Fault::from_str(name, false).map(Wanted::One).map_err(|_| {
            let names: Vec<&str> = Fault::ALL.map(Fault::name).to_vec();
            format!("no such fault; choose of {}, or all", names.join(", "))
        }),
    }
}

/// An amount above 0 in yuan, in fen.
fn parse_amount(text: &str) -> Result<i64, String> {
    parse_yuan(text).filter(|&fen| fen >= 0).ok_or_else(|| format!("{text} is no amount in yuan, such as 50 or 12.50"))
}

/// Options of the faults.
#[derive(Debug, Clone, Args)]
pub(super) struct FaultArgs {
    /// Faults of the hub under load, a comma list of kill-leader, kill-follower, kill-voter, pause-leader, cut-link, partition,
    /// membership, hub-down, handoff, add-node, remove-node, clone-node, replace-node, restore-hub; or all that so many --hubs allow. The load lasts until the last is over, and at least --duration
    #[arg(
        long,
        value_parser = parse_wanted,
        value_delimiter = ',',
        value_name = "FAULTS",
        conflicts_with = "crash"
    )]
    faults: Vec<Wanted>,
    /// How often each fault strikes [default: 3; kill-leader alone 20; membership 5; handoff 4; replace-node 2; hub-down, add-node, remove-node,
    /// clone-node, restore-hub 1]
    #[arg(long, value_name = "COUNT", requires = "faults")]
    fault_trials: Option<u32>,
    /// How long a pause or a partition lasts
    #[arg(long, default_value = "10s", value_parser = parse_duration, value_name = "TIME")]
    pub fault_for: Duration,
    /// How long all hub machines are down (hub-down)
    #[arg(long, default_value = "20s", value_parser = parse_duration, value_name = "TIME")]
    pub hub_down_for: Duration,
    /// Operations from this amount on wait for the hub; below, they are acknowledged by the node alone
    #[arg(long, value_parser = parse_amount, value_name = "YUAN")]
    pub hub_ack_from: Option<i64>,
}

impl FaultArgs {
    /// `all` is what can strike with so many machines of the hub.
    pub fn settle(&mut self, hubs: u16) {
        if self.faults.contains(&Wanted::All) {
            let is_possible = |fault: &Fault| (fault.terms().hubs_min..=fault.terms().hubs_max).contains(&hubs);
            self.faults = Fault::ALL.into_iter().filter(is_possible).map(Wanted::One).collect();
        }
    }

    /// The faults to strike, in their order, each once.
    pub fn chosen(&self) -> Vec<Fault> {
        let is_wanted =
            |fault: &Fault| self.faults.iter().any(|w| matches!(w, Wanted::All) || *w == Wanted::One(*fault));
        Fault::ALL.into_iter().filter(is_wanted).collect()
    }

    /// Whether this fault is to strike.
    pub fn has(&self, fault: Fault) -> bool {
        self.chosen().contains(&fault)
    }

    /// Whether outlets are moved between nodes.
    pub fn move_outlets(&self) -> bool {
        [Fault::Handoff, Fault::AddNode, Fault::RemoveNode, Fault::RestoreHub].into_iter().any(|fault| self.has(fault))
    }

    /// How often a fault strikes.
    pub fn trials(&self, fault: Fault) -> u32 {
        self.fault_trials.unwrap_or_else(|| fault.trials_default(self.chosen().len() == 1))
    }

    /// The options that strike the same again, each with a space before it.
    pub fn to_options(&self) -> String {
        let chosen = self.chosen();
        if chosen.is_empty() {
            return String::new();
        }
        let names: Vec<&str> = chosen.iter().map(|fault| fault.name()).collect();
        let trials = self.fault_trials.map_or(String::new(), |trials| format!(" --fault-trials {trials}"));
        format!(" --faults {}{trials}", names.join(","))
    }

    /// Refuses what cannot work with so many machines.
    pub fn verify(&self, hubs: u16) -> Result<()> {
        for fault in self.chosen() {
            let needed = fault.terms().hubs_min;
            ensure!(hubs >= needed, "--faults {} needs at least {needed} machines: --hubs {needed}", fault.name());
            let most = fault.terms().hubs_max;
            ensure!(hubs <= most, "--faults {} can strike {most} machine only: --hubs {most}", fault.name());
        }
        ensure!(self.trials_are_possible(), "--fault-trials must be 1 to {TRIALS_MAX}");
        ensure!(
            !self.fault_for.is_zero() && !self.hub_down_for.is_zero(),
            "--fault-for and --hub-down-for are above 0"
        );
        Ok(())
    }

    fn trials_are_possible(&self) -> bool {
        self.fault_trials.is_none_or(|trials| (1..=TRIALS_MAX).contains(&trials))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: FaultArgs,
        #[arg(long)]
        crash: bool,
    }

    fn parse(words: &[&str]) -> FaultArgs {
        Line::try_parse_from([&["demo"], words].concat()).unwrap().args
    }

    #[test]
    fn a_comma_list_names_faults_in_any_order_and_each_strikes_once() {
        assert_eq!(parse(&[]).chosen(), []);
        let args = parse(&["--faults", "kill-leader,cut-link,kill-leader"]);
        assert_eq!(args.chosen(), [Fault::CutLink, Fault::KillLeader]);
        assert_eq!(parse(&["--faults", "all"]).chosen(), Fault::ALL);
        let told = " --faults cut-link,kill-leader --fault-trials 2";
        assert_eq!(parse(&told.split_whitespace().collect::<Vec<_>>()).to_options(), told);
        for fault in Fault::ALL {
            assert_eq!(parse(&["--faults", fault.name()]).chosen(), [fault]);
        }
    }

    #[test]
    fn the_leader_alone_is_killed_20_times_and_each_fault_strikes_as_often_as_its_terms_say_unless_it_is_told() {
        assert_eq!(parse(&["--faults", "kill-leader"]).trials(Fault::KillLeader), 20);
        let all = parse(&["--faults", "all"]);
        let trials = [Fault::KillLeader, Fault::Partition, Fault::Membership, Fault::HubDown].map(|f| all.trials(f));
        assert_eq!(trials, [3, 3, 5, 1]);
        assert_eq!(parse(&["--faults", "all", "--fault-trials", "7"]).trials(Fault::HubDown), 7);
    }

    #[test]
    fn all_is_what_so_many_machines_allow() {
        let all = |hubs| {
            let mut args = parse(&["--faults", "all"]);
            args.settle(hubs);
            args.verify(hubs).unwrap();
            args.chosen()
        };
        assert_eq!(all(3), Fault::ALL[..Fault::ALL.len() - 1], "without the one that needs a single machine");
        let alone = [
            Fault::CutLink,
            Fault::HubDown,
            Fault::Handoff,
            Fault::AddNode,
            Fault::RemoveNode,
            Fault::CloneNode,
            Fault::ReplaceNode,
            Fault::RestoreHub,
        ];
        assert_eq!(all(1), alone);
        assert_eq!(all(2), alone[..alone.len() - 1]);
        let mut one = parse(&["--faults", "kill-leader"]);
        one.settle(1);
        assert!(one.verify(1).is_err(), "what was asked for by its name is not left out");
    }

    #[test]
    fn what_cannot_work_is_refused() {
        for words in [
            ["--faults", "kill-all"].as_slice(),
            &["--fault-trials", "3"],
            &["--faults", "all", "--crash"],
            &["--hub-ack-from", "-1"],
            &["--hub-ack-from", "a lot"],
        ] {
            assert!(Line::try_parse_from([&["demo"], words].concat()).is_err(), "{words:?}");
        }
        for (words, hubs, is_possible) in [
            (["--faults", "kill-leader"].as_slice(), 1, false),
            (&["--faults", "kill-leader"], 2, false),
            (&["--faults", "kill-leader"], 3, true),
            (&["--faults", "cut-link,hub-down"], 1, true),
            (&["--faults", "restore-hub"], 1, true),
            (&["--faults", "restore-hub"], 3, false),
            (&["--faults", "all", "--fault-trials", "0"], 3, false),
            (&["--faults", "all", "--fault-trials", "1001"], 3, false),
            (&["--faults", "all", "--fault-for", "0s"], 3, false),
        ] {
            assert_eq!(parse(words).verify(hubs).is_ok(), is_possible, "{words:?} with {hubs}");
        }
    }
}
