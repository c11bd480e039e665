//! Options of the demo.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;

use super::faults::{Fault, FaultArgs};
use super::machines::Wiring;
use crate::duration::parse_duration;
use crate::terminal::{Mix, Pace};
use crate::world::PlanArgs;

/// Options of `demo`.
#[derive(Debug, Clone, Args)]
#[command(after_help = "Examples:\n  \
    jikai-sim demo                                            # 20,000 terminals, 11 nodes, one minute\n  \
    jikai-sim demo --terminals 100 --duration 5s --ramp 2s    # a small one\n  \
    jikai-sim demo --rate max --report report.json            # as fast as it goes\n  \
    jikai-sim demo --data /tmp/run --keep --plain && jikai-sim check --data /tmp/run\n  \
    jikai-sim demo --hubs 3 --faults all                      # lose machines and lines under load\n  \
    jikai-sim demo --faults handoff,add-node,remove-node,replace-node,clone-node   # move outlets, lose and copy nodes\n  \
    jikai-sim demo --hubs 3 --faults kill-leader --terminals 400 --nodes 4 --rate 200\n\n\
    Exit code 0 only if every invariant is 0, no operation failed, and the hub recovered from every fault within its bound (5 to 60 s).")]
pub struct DemoArgs {
    #[command(flatten)]
    pub(super) plan: PlanArgs,
    /// Machines of the hub; three go on working when one is lost
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    pub(super) hubs: u16,
    /// Time of load
    #[arg(long, default_value = "60s", value_parser = parse_duration, value_name = "TIME")]
    pub(super) duration: Duration,
    /// Operations a second of all terminals together, or max
    #[arg(long, default_value = "2000", value_name = "N|max")]
    pub(super) rate: Pace,
    /// Time over which the terminals connect and log in [default: 4.5 ms for each terminal, at least 2s and at most 90s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub(super) ramp: Option<Duration>,
    /// Where all data goes [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Keep the data, for `jikai-sim check`; implied by --data
    #[arg(long)]
    pub(super) keep: bool,
    /// Write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Print lines, draw nothing
    #[arg(long)]
    pub(super) plain: bool,
    /// Kill this process (kill -9) twice in the middle of the load and start it again; all: a node, the hub, and both again
    #[arg(long, value_enum, value_name = "PROCESS")]
    pub(super) crash: Option<Crash>,
    /// Load processes [default: one for every 5,000 terminals]
    #[arg(long, value_name = "COUNT")]
    pub(super) workers: Option<u32>,
    #[command(flatten)]
    pub(super) faults: FaultArgs,
    #[command(flatten)]
    pub(super) mix: Mix,
}

/// What is killed in the middle of the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Crash {
    /// The first node.
    Node,
    /// The hub.
    Hub,
    /// The first node, then the hub, and both again.
    All,
}

impl Crash {
    /// The processes to kill, in order; each twice, for a store that was recovered once must be able to do it again.
    pub(super) fn victims(self) -> &'static [Victim] {
        match self {
            Crash::Node => &[Victim::Node, Victim::Node],
            Crash::Hub => &[Victim::Hub, Victim::Hub],
            Crash::All => &[Victim::Node, Victim::Hub, Victim::Node, Victim::Hub],
        }
    }
}

/// One process to kill.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Victim {
    /// The first node.
    Node,
    /// The hub.
    Hub,
}

/// Time of the ramp for each terminal: 20,000 take 90 s, so that both processors are busy with handshakes and passwords,
/// but not more than that.
const RAMP_PER_TERMINAL: Duration = Duration::from_micros(4_500);
/// Shortest ramp by default.
const RAMP_MIN: Duration = Duration::from_secs(2);
/// Longest ramp by default.
const RAMP_MAX: Duration = Duration::from_secs(90);
/// Machines of a hub: more make it slower and hardly safer.
const HUBS_MAX: u16 = 7;
/// The longest load with faults.
const FAULTS_LIMIT: Duration = Duration::from_secs(4 * 3_600);
/// Longest time that a node is waited for which is being replaced: some times what is demanded.
const NODE_AWAY_MAX: Duration = Duration::from_secs(180);
/// Terminals that one load process holds by default.
const TERMINALS_PER_WORKER: u32 = 5_000;

/// Entries between two comparisons of the tables where faults are struck, of a small province and of a great one.
const COMPARE_ENTRIES_MIN: u32 = 200;
const COMPARE_ENTRIES_MAX: u32 = 2_000;

impl DemoArgs {
    /// Refuses what cannot work before anything is started.
    pub(super) fn verify(&self) -> Result<()> {
        ensure!((1..=HUBS_MAX).contains(&self.hubs), "--hubs must be 1 to {HUBS_MAX}");
        self.faults.verify(self.hubs)?;
        ensure!(!self.duration.is_zero(), "--duration must be above 0; for example 5s");
        ensure!(self.workers.is_none_or(|count| (1..=64).contains(&count)), "--workers must be 1 to 64");
        self.mix.verify()
    }

    /// What lies in the path to the machines of the hub: only what a fault needs, since it costs processor time.
    pub(super) fn wiring(&self) -> Wiring {
        Wiring {
            has_link_relays: self.faults.has(Fault::CutLink) || self.faults.has(Fault::ReplaceNode),
            has_peer_relays: self.faults.has(Fault::Partition),
            has_peers: self.hubs > 1,
            compare_entries: (self.hubs > 1 && self.has_faults()).then(|| self.compare_entries()),
        }
    }

    /// Entries between two comparisons of the tables: twenty a second come at most, and comparing reads the whole state.
    fn compare_entries(&self) -> u32 {
        (self.plan.terminals / 10).clamp(COMPARE_ENTRIES_MIN, COMPARE_ENTRIES_MAX)
    }

    /// How long terminals wait for a node that takes no connection: it may be replaced meanwhile, or out of use.
    pub(super) fn node_away_max(&self) -> Duration {
        match self.faults.has(Fault::ReplaceNode) || self.faults.has(Fault::RemoveNode) {
            true => NODE_AWAY_MAX,
            false => Duration::ZERO,
        }
    }

    /// When the load ends by itself: with faults it is told to end.
    pub(super) fn load_limit(&self) -> Duration {
        match self.has_faults() {
            true => self.duration.max(FAULTS_LIMIT),
            false => self.duration,
        }
    }

    /// Whether any fault is to strike.
    pub(super) fn has_faults(&self) -> bool {
        !self.faults.chosen().is_empty()
    }

    /// Time over which the terminals connect and log in.
    pub(super) fn ramp(&self) -> Duration {
        self.ramp.unwrap_or_else(|| RAMP_PER_TERMINAL.saturating_mul(self.plan.terminals).clamp(RAMP_MIN, RAMP_MAX))
    }

    /// Load processes.
    pub(super) fn worker_count(&self) -> u32 {
        let needed = self.plan.terminals.div_ceil(TERMINALS_PER_WORKER).clamp(1, 64);
        self.workers.unwrap_or(needed).min(self.plan.terminals.max(1))
    }

    /// The command that repeats this run.
    pub(super) fn rerun(&self) -> String {
        let options = self.plan.plan().to_options().join(" ");
        let (rate, duration_ms, hubs) = (self.rate, self.duration.as_millis(), self.hubs);
        let faults = self.faults.to_options();
        format!("jikai-sim demo {options} --rate {rate} --duration {duration_ms}ms --hubs {hubs}{faults}")
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DemoArgs,
    }

    fn ramp(words: &[&str]) -> Duration {
        Line::parse_from([&["demo"], words].concat()).args.ramp()
    }

    #[test]
    fn the_ramp_grows_with_the_terminals_unless_it_is_told() {
        let seconds = [
            (vec![], 90),
            (vec!["--terminals", "40"], 2),
            (vec!["--terminals", "2000"], 9),
            (vec!["--terminals", "4000000"], 90),
            (vec!["--terminals", "40", "--ramp", "7s"], 7),
            (vec!["--ramp", "5m"], 300),
        ];
        for (words, expected_s) in seconds {
            assert_eq!(ramp(&words), Duration::from_secs(expected_s), "{words:?}");
        }
        assert!(Line::try_parse_from(["demo", "--ramp", "soon"]).is_err());
    }
}
