//! What the trials of a fault have shown: the part of the report, and the words.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Fault;
use super::terms::{Demand, UNSERVED_MS_BOUND};
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
    /// How long outlets were interrupted that moved while nobody was killed: each by the operation of it that waited longest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interruption_ms: Option<Interruption>,
    /// The p99 of the worst second of each trial, without the disk's stalls, beside that of an undisturbed time as long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_second_p99_ms: Option<Seconds>,
    /// The longest operation of each trial, without the disk's stalls. Milliseconds.
    pub longest_operation_ms: Recovery,
    /// What was demanded, and whether it was met.
    pub demands: Vec<Judged>,
    /// Whether the longest times are within what fails the run.
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
    /// Quantiles by nearest rank. Without times all are 0.
    fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut sorted: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1_000.0).collect();
        sorted.sort_by(f64::total_cmp);
        let at_percent = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100).max(1);
            tenth(sorted.get(rank - 1).copied().unwrap_or(0.0))
        };
        Recovery { p50: at_percent(50), p99: at_percent(99), max: at_percent(100) }
    }
}

/// Interruptions of outlets that moved.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interruption {
    /// Outlets that had an operation to do while they moved, or came to their old node behind it. The others were not interrupted.
    pub outlets: u64,
    /// The longest wait of each, over the outlets.
    #[serde(flatten)]
    pub longest: Recovery,
}

impl Interruption {
    /// Over the outlets of all trials.
    fn of(waits: &[Duration]) -> Self {
        Interruption { outlets: waits.len() as u64, longest: Recovery::of(waits.iter().copied()) }
    }

    /// In words.
    pub(super) fn told(waits: &[Duration]) -> String {
        let Interruption { outlets, longest: Recovery { p50, p99, max } } = Interruption::of(waits);
        format!("{outlets} outlets interrupted for p50 {p50} · p99 {p99} · max {max} ms")
    }
}

/// The p99 of the worst second, over the trials. Milliseconds. Normal is the worst of a time in which nothing was struck, about as long as the
/// stroke and the calm behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// While nothing was struck.
    pub normal: Recovery,
    /// From the stroke until all was calm.
    pub during: Recovery,
    /// During by normal of each trial by itself, in their order.
    #[serde(default)]
    pub ratios: Vec<f64>,
}

impl Seconds {
    /// Over the trials in which they were measured; `None`: in none.
    fn of(trials: &[Trial]) -> Option<Self> {
        let pairs: Vec<[Duration; 2]> = trials.iter().filter_map(|trial| trial.worst_seconds).collect();
        let over = |which: usize| Recovery::of(pairs.iter().map(|pair| pair[which]));
        // With two trials the worse one decides.
        let upper = |which: usize| {
            let mut sorted: Vec<Duration> = pairs.iter().map(|pair| pair[which]).collect();
            sorted.sort();
            tenth(sorted[sorted.len() / 2].as_secs_f64() * 1_000.0)
        };
        let ratio = |[normal, during]: &[Duration; 2]| during.as_secs_f64() / normal.as_secs_f64().max(0.001);
        let ratios = pairs.iter().map(|pair| (ratio(pair) * 100.0).round() / 100.0).collect();
        (!pairs.is_empty()).then(|| Seconds { normal: over(0), during: Recovery { p50: upper(1), ..over(1) }, ratios })
    }

    /// One trial tells little: the twenty slowest of the 2,000 operations of its worst second lie behind one flush of a disk that all stores of
    /// the demo share. So half of the trials are compared with half of the undisturbed times, and each by itself is told beside it.
    fn are_below(&self, factor: f64) -> bool {
        self.during.p50 < factor * self.normal.p50
    }

    fn told(&self, factor: f64) -> String {
        let Seconds { normal, during, ratios } = self;
        let below = ratios.iter().filter(|&&ratio| ratio < factor).count();
        let each: Vec<String> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
        format!(
            "{} ms beside {} ms in half of the trials, {} beside {} in the worst; by itself below in {below} of {} ({} ×)",
            during.p50,
            normal.p50,
            during.max,
            normal.max,
            ratios.len(),
            each.join(", ")
        )
    }
}

/// A demand and what was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judged {
    /// In words, with its limit.
    pub demand: String,
    /// In words; empty where no number tells it.
    pub measured: String,
    /// `None`: it was not measured for it, or is no number.
    pub is_met: Option<bool>,
}

impl Judged {
    fn of(demand: String, is_met: bool, measured: String) -> Self {
        Judged { demand, measured, is_met: Some(is_met) }
    }

    fn words(&self) -> String {
        let Judged { demand, measured, is_met } = self;
        let judged = is_met.map(|is_met| if is_met { "met" } else { "MISSED" });
        let what: Vec<&str> = judged.into_iter().chain((!measured.is_empty()).then_some(measured.as_str())).collect();
        if what.is_empty() { demand.clone() } else { format!("{demand}: {}", what.join(", ")) }
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
    /// Where outlets moved and nobody was killed: the longest interruption of each.
    pub interruptions: Option<Vec<Duration>>,
    /// Where terminals shall notice little: the p99 of the worst second before and during.
    pub worst_seconds: Option<[Duration; 2]>,
    /// The longest operation between the stroke and the calm behind it. Both are without the time that the disk stalled.
    pub longest_operation: Duration,
    /// Where something waited: how many times faster it was worked off than it had come.
    pub drain_factor: Option<f64>,
}

fn longest_of(trials: &[Trial]) -> Recovery {
    Recovery::of(trials.iter().map(|trial| trial.longest_operation))
}

fn recovery_of(trials: &[Trial]) -> Recovery {
    Recovery::of(trials.iter().map(|trial| trial.recovered))
}

/// `None` where no outlet moved undisturbed.
fn interruption_of(trials: &[Trial]) -> Option<Interruption> {
    let undisturbed: Vec<&Vec<Duration>> = trials.iter().filter_map(|trial| trial.interruptions.as_ref()).collect();
    (!undisturbed.is_empty()).then(|| Interruption::of(&undisturbed.into_iter().flatten().copied().collect::<Vec<_>>()))
}

/// All trials of a run by fault.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::demo) struct Outcomes {
    trials: BTreeMap<Fault, Vec<Trial>>,
    /// The leader's part of the CPU time of all hub machines while nothing was struck; `None`: one machine, or not measured.
    pub hub_leader_share: Option<f64>,
    /// Whether some operations wait for the hub.
    wait_for_hub: bool,
}

impl Outcomes {
    /// None yet, of a load of which some operations wait for the hub, or none does.
    pub fn of(wait_for_hub: bool) -> Self {
        Outcomes { wait_for_hub, ..Outcomes::default() }
    }

    /// Adds one.
    pub fn add(&mut self, fault: Fault, trial: Trial) {
        self.trials.entry(fault).or_default().push(trial);
    }

    /// The part of the report, by the faults' names.
    pub fn report(&self) -> BTreeMap<String, FaultReport> {
        let of = |(fault, trials): (&Fault, &Vec<Trial>)| {
            let (recover_ms, interruption_ms) = (recovery_of(trials), interruption_of(trials));
            let interrupted_ms = interruption_ms.map_or(0.0, |interruption| interruption.longest.max);
            let report = FaultReport {
                within_bound: recover_ms.max <= fault.terms().recover_ms_bound && interrupted_ms <= UNSERVED_MS_BOUND,
                interruption_ms,
                worst_second_p99_ms: Seconds::of(trials),
                longest_operation_ms: longest_of(trials),
                demands: self.judged(*fault, trials),
                trials: u32::try_from(trials.len()).unwrap_or(u32::MAX),
                recover_ms,
                failed_operations: trials.iter().map(|trial| trial.failed_operations).sum(),
            };
            (fault.name().to_owned(), report)
        };
        self.trials.iter().map(of).collect()
    }

    /// The demands of a fault and what its trials have shown.
    fn judged(&self, fault: Fault, trials: &[Trial]) -> Vec<Judged> {
        fault.terms().demands.iter().map(|&demand| self.judge(demand, trials)).collect()
    }

    fn judge(&self, demand: Demand, trials: &[Trial]) -> Judged {
        match demand {
            Demand::Within(limit_ms) => {
                let p99 = recovery_of(trials).p99;
                Judged::of(format!("recovers in p99 within {limit_ms} ms"), p99 <= limit_ms, format!("{p99} ms"))
            }
            Demand::OperationsWithin(limit_ms) => {
                let demand = format!("no operation beyond {limit_ms} ms but for what the disk stalled");
                let Recovery { p50, max, .. } = longest_of(trials);
                match self.wait_for_hub {
                    true => Judged { demand, measured: format!("{max} ms where some wait for the hub"), is_met: None },
                    false => {
                        Judged::of(demand, max <= limit_ms, format!("{p50} ms in half of the trials, {max} ms at most"))
                    }
                }
            }
            Demand::UnservedBelow(limit_ms) => {
                // What was not measured was not met.
                let measured = interruption_of(trials).filter(|interruption| interruption.outlets > 0);
                let is_met = measured.is_some_and(|interruption| interruption.longest.p99 < limit_ms);
                let p99 = measured.map_or("not measured".to_owned(), |found| format!("{} ms", found.longest.p99));
                Judged::of(format!("interruption of moved outlets p99 below {limit_ms} ms"), is_met, p99)
            }
            Demand::SecondsBelow(factor) => {
                let demand = format!("p99 of the worst second, without what the disk stalled, below {factor} × normal");
                match Seconds::of(trials) {
                    Some(seconds) => Judged::of(demand, seconds.are_below(factor), seconds.told(factor)),
                    None => Judged::of(demand, false, "not measured".to_owned()),
                }
            }
            Demand::DrainsAbove(factor) => {
                let slowest = trials.iter().filter_map(|trial| trial.drain_factor).min_by(f64::total_cmp);
                let told = slowest.map_or("not measured".to_owned(), |slowest| format!("{} ×", tenth(slowest)));
                let is_met = slowest.is_some_and(|slowest| slowest >= factor);
                Judged::of(format!("drains at {factor} × the arrival rate or more"), is_met, told)
            }
            Demand::Told(demand) => Judged { demand: demand.to_owned(), measured: String::new(), is_met: None },
        }
    }

    /// A line for each fault, with its demands.
    pub fn words(&self) -> String {
        let mut words = String::new();
        for (fault, trials) in &self.trials {
            let recovery = recovery_of(trials);
            let failed: u64 = trials.iter().map(|trial| trial.failed_operations).sum();
            let demands: Vec<String> = self.judged(*fault, trials).iter().map(Judged::words).collect();
            let demand = demands.join("; ");
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
        let recovered = Duration::from_millis(recovered_ms);
        let (told, interruptions, worst_seconds) = (String::new(), None, None);
        let (longest_operation, drain_factor) = (Duration::from_millis(30), None);
        Trial { recovered, failed_operations, told, interruptions, worst_seconds, longest_operation, drain_factor }
    }

    fn recovery(times_ms: impl IntoIterator<Item = u64>) -> Recovery {
        Recovery::of(times_ms.into_iter().map(Duration::from_millis))
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
        let longest = serde_json::json!({ "p50": 30.0, "p99": 30.0, "max": 30.0 });
        let demands = |recovers: &str, measured: &str| {
            let longest = "no operation beyond 500 ms but for what the disk stalled";
            serde_json::json!([
                { "demand": recovers, "measured": measured, "is_met": true },
                { "demand": longest, "measured": "30 ms in half of the trials, 30 ms at most", "is_met": true },
            ])
        };
        let expected = serde_json::json!({
            "cut-link": {
                "trials": 1,
                "recover_ms": { "p50": 5.0, "p99": 5.0, "max": 5.0 },
                "failed_operations": 0,
                "longest_operation_ms": longest,
                "demands": demands("recovers in p99 within 1000 ms", "5 ms"),
            },
            "kill-leader": {
                "trials": 2,
                "recover_ms": { "p50": 900.0, "p99": 1100.0, "max": 1100.0 },
                "failed_operations": 2,
                "longest_operation_ms": longest,
                "demands": demands("recovers in p99 within 4000 ms", "1100 ms"),
            },
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

    #[test]
    fn an_operation_beyond_what_terminals_do_not_notice_is_told_and_judged_only_where_none_waits_for_the_hub() {
        let judged = |longest_ms, wait_for_hub| {
            let mut outcomes = Outcomes::of(wait_for_hub);
            let longest_operation = Duration::from_millis(longest_ms);
            outcomes.add(Fault::KillFollower, Trial { longest_operation, ..trial(5, 0) });
            outcomes.add(Fault::KillFollower, trial(5, 0));
            outcomes.report()["kill-follower"].demands[0].clone()
        };
        assert_eq!(judged(500, false).is_met, Some(true));
        let missed = judged(501, false);
        assert!(missed.is_met == Some(false) && missed.measured.ends_with("501 ms at most"), "{missed:?}");
        assert_eq!(judged(501, true).is_met, None);
    }

    #[test]
    fn what_waited_is_worked_off_fast_enough_in_every_trial_or_the_demand_is_missed() {
        let words = |factors: &[Option<f64>]| {
            let mut outcomes = Outcomes::default();
            factors
                .iter()
                .for_each(|&drain_factor| outcomes.add(Fault::HubDown, Trial { drain_factor, ..trial(5, 0) }));
            outcomes.words()
        };
        assert!(words(&[Some(25.4), Some(5.0)]).contains("5 × the arrival rate or more: met, 5 ×"));
        assert!(words(&[Some(25.4), Some(4.9)]).contains(": MISSED, 4.9 ×"));
        assert!(words(&[None]).contains(": MISSED, not measured"));
    }

    /// One of `handoff` with nobody killed, in which the outlets were interrupted so long.
    fn moved(waits_ms: impl IntoIterator<Item = u64>) -> Trial {
        let waits: Vec<Duration> = waits_ms.into_iter().map(Duration::from_millis).collect();
        Trial { interruptions: Some(waits), ..trial(0, 0) }
    }

    fn moves(trials: &[Trial]) -> (FaultReport, String) {
        let mut outcomes = Outcomes::default();
        trials.iter().for_each(|trial| outcomes.add(Fault::Handoff, trial.clone()));
        (outcomes.report()["handoff"].clone(), outcomes.words())
    }

    #[test]
    fn interruptions_are_summed_up_by_outlet_over_the_trials_in_which_nobody_was_killed() {
        let (report, words) = moves(&[moved(1..=150), trial(20_000, 0), moved(151..=200)]);
        let json = serde_json::to_value(&report).unwrap();
        let expected = serde_json::json!({ "outlets": 200, "p50": 100.0, "p99": 198.0, "max": 200.0 });
        assert_eq!(json["interruption_ms"], expected);
        assert_eq!(serde_json::from_value::<FaultReport>(json).unwrap().interruption_ms, report.interruption_ms);
        assert!(report.holds() && words.contains("p99 below 1000 ms: met, 198 ms"), "{words}");
        let told = Interruption::told(&[Duration::from_millis(7)]);
        assert_eq!(told, "1 outlets interrupted for p50 7 · p99 7 · max 7 ms");
    }

    #[test]
    fn one_outlet_of_many_may_wait_longer_than_a_second_and_two_of_100_or_none_measured_miss_the_demand() {
        let quick = std::iter::repeat_n(60, 98);
        let (report, words) = moves(&[moved(quick.clone().chain([60, 4_000]))]);
        assert!(report.holds() && words.contains(": met"), "{words}");
        let (report, words) = moves(&[moved(quick.chain([1_000, 4_000]))]);
        assert!(report.holds() && words.contains(": MISSED, 1000 ms"), "{words}");
        for trials in [[moved([])], [trial(0, 0)]] {
            assert!(moves(&trials).1.contains(": MISSED, not measured"), "{}", moves(&trials).1);
        }
    }

    #[test]
    fn the_worst_seconds_are_compared_by_half_of_the_trials_and_all_of_them_are_reported() {
        let told = |pairs: &[[u64; 2]]| {
            let mut outcomes = Outcomes::default();
            for pair in pairs {
                let worst_seconds = Some(pair.map(Duration::from_millis));
                outcomes.add(Fault::Membership, Trial { worst_seconds, ..trial(0, 0) });
            }
            (serde_json::to_value(outcomes.report()).unwrap(), outcomes.words())
        };
        let (report, words) = told(&[[60, 50], [50, 400], [100, 119]]);
        let during = serde_json::json!({ "p50": 119.0, "p99": 400.0, "max": 400.0 });
        assert_eq!(report["membership"]["worst_second_p99_ms"]["during"], during);
        assert!(
            words.contains(": met, 119 ms beside 60 ms in half of the trials, 400 beside 100 in the worst"),
            "{words}"
        );
        assert!(words.contains("by itself below in 2 of 3 (0.83, 8.00, 1.19 ×)"), "{words}");
        assert_eq!(report["membership"]["worst_second_p99_ms"]["ratios"], serde_json::json!([0.83, 8.0, 1.19]));
        let (_, words) = told(&[[60, 50], [50, 400], [100, 120]]);
        assert!(words.contains(": MISSED, 120 ms beside 60 ms"), "{words}");
        let mut unmeasured = Outcomes::default();
        unmeasured.add(Fault::Membership, trial(0, 0));
        assert!(unmeasured.words().contains("MISSED, not measured"), "{}", unmeasured.words());
    }

    #[test]
    fn an_outlet_that_is_interrupted_beyond_the_bound_fails_the_run() {
        assert!(moves(&[moved([60, 5_000])]).0.holds());
        assert!(!moves(&[moved([60, 5_001]), trial(20_000, 0)]).0.holds());
        assert!(moves(&[trial(20_000, 0)]).0.holds(), "a kill has a bound of its own");
    }
}
