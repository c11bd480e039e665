//! What the trials of a fault have shown: the part of the report, and the words.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Fault;
use super::terms::Demand;
use crate::demo::report::tenth;

/// One fault in the report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultReport {
    /// How often it struck.
    pub trials: u32,
    /// From the stroke until every node had an event acknowledged that it decided behind the stroke.
    pub recover_ms: Recovery,
    /// Operations that failed between a stroke and the calm behind it.
    pub failed_operations: u64,
    /// Whether the longest time is within what fails the run.
    #[serde(skip)]
    pub within_bound: bool,
}

/// Time to recover over the trials. Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// Half of the trials took at most this.
    pub p50: f64,
    /// 99 of 100 took at most this; with fewer than 100 trials the longest.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Recovery {
    /// Quantiles by nearest rank. Without trials all are 0.
    fn of(trials: &[Trial]) -> Self {
        let mut sorted: Vec<f64> = trials.iter().map(|trial| trial.recovered.as_secs_f64() * 1_000.0).collect();
        sorted.sort_by(f64::total_cmp);
        let at_percent = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            tenth(sorted.get(rank - 1).copied().unwrap_or(0.0))
        };
        Recovery { p50: at_percent(50), p99: at_percent(99), max: at_percent(100) }
    }
}

/// One stroke and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::demo) struct Trial {
    /// Time to recover.
    pub recovered: Duration,
    /// Operations that failed meanwhile.
    pub failed_operations: u64,
    /// What else was measured, in words.
    pub told: String,
}

/// All trials of a run by fault.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::demo) struct Outcomes {
    trials: BTreeMap<Fault, Vec<Trial>>,
    /// The leader's part of the CPU time of all hub machines while nothing was struck; `None`: one machine, or not measured.
    pub hub_leader_share: Option<f64>,
}

impl Outcomes {
    /// Adds one.
    pub fn add(&mut self, fault: Fault, trial: Trial) {
        self.trials.entry(fault).or_default().push(trial);
    }

    /// The part of the report, by the faults' names.
    pub fn report(&self) -> BTreeMap<String, FaultReport> {
        let of = |(fault, trials): (&Fault, &Vec<Trial>)| {
            let recover_ms = Recovery::of(trials);
            let report = FaultReport {
                within_bound: recover_ms.max <= fault.terms().recover_ms_bound,
                trials: u32::try_from(trials.len()).unwrap_or(u32::MAX),
                recover_ms,
                failed_operations: trials.iter().map(|trial| trial.failed_operations).sum(),
            };
            (fault.name().to_owned(), report)
        };
        self.trials.iter().map(of).collect()
    }

    /// A line for each fault, with its demand.
    pub fn words(&self) -> String {
        let mut words = String::new();
        for (fault, trials) in &self.trials {
            let recovery = Recovery::of(trials);
            let failed: u64 = trials.iter().map(|trial| trial.failed_operations).sum();
            let demand = match fault.terms().demand {
                Demand::Within(limit_ms) => {
                    let met = if recovery.p99 <= limit_ms { "met" } else { "MISSED" };
                    format!("p99 within {limit_ms} ms: {met}")
                }
                Demand::Told(demand) => demand.to_owned(),
            };
            words += &format!(
                "fault       {:13} {} trials · recovers in p50 {} · p99 {} · max {} ms · {failed} operations failed · demand: {demand}\n",
                fault.name(),
                trials.len(),
                recovery.p50,
                recovery.p99,
                recovery.max,
            );
            let told = trials.iter().filter(|trial| !trial.told.is_empty());
            told.for_each(|trial| words += &format!("            {:13} {}\n", "", trial.told));
        }
        words
    }
}

impl FaultReport {
    /// Whether nothing failed, and the hub recovered in bounded time.
    pub fn holds(&self) -> bool {
        self.failed_operations == 0 && self.within_bound
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(recovered_ms: u64, failed_operations: u64) -> Trial {
        Trial { recovered: Duration::from_millis(recovered_ms), failed_operations, told: String::new() }
    }

    fn recovery(times_ms: impl IntoIterator<Item = u64>) -> Recovery {
        Recovery::of(&times_ms.into_iter().map(|ms| trial(ms, 0)).collect::<Vec<_>>())
    }

    #[test]
    fn quantiles_are_times_that_were_measured() {
        assert_eq!(recovery([]), Recovery { p50: 0.0, p99: 0.0, max: 0.0 });
        assert_eq!(recovery([70]), Recovery { p50: 70.0, p99: 70.0, max: 70.0 });
        assert_eq!(recovery([30, 10, 20]), Recovery { p50: 20.0, p99: 30.0, max: 30.0 });
        assert_eq!(recovery((1..=20).rev()), Recovery { p50: 10.0, p99: 20.0, max: 20.0 });
        assert_eq!(recovery(1..=200), Recovery { p50: 100.0, p99: 198.0, max: 200.0 });
    }

    #[test]
    fn a_fault_is_reported_by_its_name_with_all_its_trials_and_failures() {
        let mut outcomes = Outcomes::default();
        outcomes.add(Fault::KillLeader, trial(900, 0));
        outcomes.add(Fault::KillLeader, trial(1_100, 2));
        outcomes.add(Fault::CutLink, trial(5, 0));
        let json = serde_json::to_value(outcomes.report()).unwrap();
        let expected = serde_json::json!({
            "cut-link": { "trials": 1, "recover_ms": { "p50": 5.0, "p99": 5.0, "max": 5.0 }, "failed_operations": 0 },
            "kill-leader": { "trials": 2, "recover_ms": { "p50": 900.0, "p99": 1100.0, "max": 1100.0 }, "failed_operations": 2 },
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_failure_or_a_recovery_beyond_the_bound_fails_and_a_missed_demand_is_told() {
        let held = |trials: &[Trial]| {
            let mut outcomes = Outcomes::default();
            trials.iter().for_each(|trial| outcomes.add(Fault::CutLink, trial.clone()));
            (outcomes.report()["cut-link"].holds(), outcomes.words())
        };
        let (holds, words) = held(&[trial(400, 0), trial(1_000, 0)]);
        assert!(holds && words.contains("within 1000 ms: met"), "{words}");
        let (holds, words) = held(&[trial(1_001, 0)]);
        assert!(holds && words.contains("MISSED"), "{words}");
        assert!(!held(&[trial(400, 1)]).0);
        assert!(!held(&[trial(5_001, 0)]).0);
    }
}
