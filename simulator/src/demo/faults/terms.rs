//! What holds for each fault: its name, where it can strike and how often, and what is demanded of it.

use super::Fault;

/// Machines that still decide when one of them is lost.
const HUBS_MIN: u16 = 3;
/// How long an outlet may be interrupted by a move while nobody is killed. Milliseconds.
const UNSERVED_MS: f64 = 1_000.0;
/// What terminals do not notice, and the most that a planned change may delay an operation. Milliseconds.
const NOTICED_MS: f64 = 500.0;
/// An outlet that was interrupted longer fails the run, however busy the computer. Milliseconds.
pub(super) const UNSERVED_MS_BOUND: f64 = 5_000.0;

/// The terms of a fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Terms {
    /// The name on the command line and in the report.
    pub name: &'static str,
    /// Machines of the hub that it needs.
    pub hubs_min: u16,
    /// Machines beyond which it cannot strike.
    pub hubs_max: u16,
    /// How often it strikes, unless it is told.
    pub trials: u32,
    /// What has not recovered by then fails the run, however busy the computer: some times what is demanded on a quiet one, or the demand
    /// itself where it is long. Milliseconds.
    pub recover_ms_bound: f64,
    /// What is demanded.
    pub demands: &'static [Demand],
}

/// A demand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Demand {
    /// The 99th percentile of the time to recover. Milliseconds.
    Within(f64),
    /// The p99 of the worst second is below so many times that of an undisturbed time as long, each as half of the trials had it at most.
    SecondsBelow(f64),
    /// No operation takes longer, but for what the disk stalled; not demanded where operations wait for the hub. Milliseconds.
    OperationsWithin(f64),
    /// The 99th percentile of the longest interruption of each outlet that moved while nobody was killed is below this. Milliseconds.
    UnservedBelow(f64),
    /// What waited is worked off at so many times the rate at which it had come.
    DrainsAbove(f64),
    /// Told with the trial, or no number.
    Told(&'static str),
}

impl Fault {
    /// Its terms. Trials of `handoff`: undisturbed, then with each of those killed who take part; of `replace-node`: a node whose own word
    /// was enough, and one that waited for the hub.
    pub(super) fn terms(self) -> Terms {
        let terms = |name, hubs_min, trials, recover_s_bound: u32, demands| {
            let recover_ms_bound = f64::from(recover_s_bound) * 1_000.0;
            Terms { name, hubs_min, hubs_max: u16::MAX, trials, recover_ms_bound, demands }
        };
        let (one, several) = (1, HUBS_MIN);
        const NOTICED: Demand = Demand::OperationsWithin(NOTICED_MS);
        const UNSERVED: &[Demand] = &[Demand::UnservedBelow(UNSERVED_MS)];
        match self {
            Fault::KillFollower => terms("kill-follower", several, 3, 8, &[NOTICED]),
            Fault::KillVoter => terms("kill-voter", several, 3, 5, &[NOTICED]),
            Fault::CutLink => terms("cut-link", one, 3, 5, &[Demand::Within(1_000.0), NOTICED]),
            Fault::KillLeader => terms("kill-leader", several, 3, 12, &[Demand::Within(4_000.0), NOTICED]),
            Fault::PauseLeader => terms(
                "pause-leader",
                several,
                3,
                20,
                &[Demand::Told("another leads and has the jobs, the paused one follows it")],
            ),
            Fault::Partition => terms("partition", several, 3, 20, &[Demand::Told("heals by itself")]),
            Fault::Membership => terms("membership", several, 5, 12, &[Demand::SecondsBelow(2.0), NOTICED]),
            Fault::HubDown => terms("hub-down", one, 1, 30, &[Demand::DrainsAbove(5.0)]),
            Fault::Handoff => terms("handoff", one, 4, 30, UNSERVED),
            Fault::AddNode => terms("add-node", one, 1, 5, UNSERVED),
            Fault::RemoveNode => terms("remove-node", one, 1, 5, UNSERVED),
            Fault::CloneNode => {
                terms("clone-node", one, 1, 20, &[Demand::Told("refused and alarmed, the original goes on")])
            }
            Fault::ReplaceNode => terms("replace-node", one, 2, 60, &[Demand::Within(60_000.0)]),
            Fault::RestoreHub => {
                const TOLD: Demand = Demand::Told("nodes return what they had received and send their logs again");
                // Of several machines the others would be gone for good.
                Terms { hubs_max: 1, ..terms("restore-hub", one, 1, 120, &[TOLD]) }
            }
        }
    }
}
