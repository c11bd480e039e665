//! Whether the machines of the hub have the same state. Each compares its digests with those of the voters, and stops where it is
//! the one that differs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::mark;
use crate::raft::cluster::{Cluster, Status};
use crate::raft::digests::{Agreement, StateDigest};

/// Pause before machines are asked again that were not so far yet.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// How often it is looked whether a machine that gives way has come to lead.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the digests at one entry tell about this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Too few have told, and none of them differs.
    Unknown,
    /// Most voters have what this machine has.
    Agrees,
    /// Voters differ, and neither has most of them behind it.
    Split {
        /// Tables that differ.
        tables: Vec<String>,
        /// Whether this machine gives way: the leader has another state.
        yields: bool,
        /// Whether no answer is missing.
        complete: bool,
    },
    /// Most voters have something else.
    Differs {
        /// Tables that differ.
        tables: Vec<String>,
    },
}

impl Verdict {
    /// Whether later answers cannot change it.
    fn is_final(&self) -> bool {
        matches!(self, Verdict::Agrees | Verdict::Differs { .. } | Verdict::Split { complete: true, .. })
    }

    /// Whether this machine must end.
    fn stops(&self) -> bool {
        matches!(self, Verdict::Differs { .. } | Verdict::Split { yields: true, complete: true, .. })
    }
}

/// Judges by the digests at one entry, that of machine `own` among them.
///
/// Where two of two differ nobody can tell which one is right. The one that does not lead stops: the leader's state is what commands
/// are answered from, and one of them must be the reference to which the other joins anew. While a voter is missing that could decide, the
/// one that does not lead is not ready, and goes on following the log, so that the hub keeps its quorum.
pub(super) fn judge(own: u64, leader: Option<u64>, voters: &[u64], digests: &BTreeMap<u64, StateDigest>) -> Verdict {
    let Some(mine) = digests.get(&own) else { return Verdict::Unknown };
    let told: Vec<(u64, &StateDigest)> = voters
        .iter()
        .filter_map(|id| Some((*id, digests.get(id)?)))
        .filter(|(_, one)| one.version == mine.version)
        .collect();
    let behind = |one: &StateDigest| told.iter().filter(|(_, other)| other.tables == one.tables).count();
    if let Some((_, most)) = told.iter().find(|(_, one)| behind(one) > voters.len() / 2) {
        return match mine.tables == most.tables {
            true => Verdict::Agrees,
            false => Verdict::Differs { tables: mine.differing(most) },
        };
    }
    let leads = told.iter().find(|(id, _)| Some(*id) == leader).map(|(_, one)| *one);
    let yields = leads.is_some_and(|one| one.tables != mine.tables);
    let other =
        leads.filter(|_| yields).or_else(|| told.iter().map(|(_, one)| *one).find(|one| one.tables != mine.tables));
    let complete = told.len() == voters.len() && leads.is_some();
    other.map_or(Verdict::Unknown, |other| Verdict::Split { tables: mine.differing(other), yields, complete })
}

/// Who compares.
pub(super) struct Comparing {
    pub cluster: Arc<Cluster>,
    /// The machine's directory.
    pub data: PathBuf,
    /// How long the others are waited for.
    pub wait: Duration,
}

impl Comparing {
    /// Compares each new digest, the newest first; ends with the task.
    pub async fn run(self, failed: watch::Sender<Option<String>>) {
        let mut told = self.cluster.digests().subscribe();
        let mut compared = 0;
        loop {
            let newest = told.wait_for(|told| told.newest().is_some_and(|newest| newest.index > compared));
            let newest = tokio::select! {
                newest = newest => newest.ok().and_then(|told| told.newest().cloned()),
                () = self.leads_though_it_gave_way() => {
                    // Nobody else leads to whom it could give way, and without its answers no further place would be reached.
                    tracing::warn!(compared, "this machine gave way to a leader that is gone, and leads: it serves again");
                    conclude(&self.cluster, compared, &Verdict::Unknown);
                    continue;
                }
            };
            let Some(own) = newest else { return };
            compared = own.index;
            let verdict = verdict_on(&self.cluster, own, self.wait).await;
            conclude(&self.cluster, compared, &verdict);
            let (tables, is_most) = match &verdict {
                Verdict::Differs { tables } => (tables, true),
                Verdict::Split { tables, .. } if verdict.stops() => (tables, false),
                _ => continue,
            };
            let place = format!("{} at entry {compared}", named(tables));
            let why = format!(
                "the state of this machine differs from that of the others in {place}: it stops. Remove it from the cluster and let it \
                 join anew"
            );
            // First: the process may end as soon as it has failed. Where no majority is left without this machine it must be able to start:
            // it could not be removed.
            if is_most {
                let data = self.data.clone();
                let _ =
                    tokio::task::spawn_blocking(move || mark::leave(&data, &format!("it differs in {place}"))).await;
            }
            failed.send_if_modified(|known| known.is_none().then(|| *known = Some(why)).is_some());
        }
    }

    /// Waits until this machine leads while it gives way: the leader before it is gone.
    async fn leads_though_it_gave_way(&self) {
        loop {
            let gives_way = self.cluster.digests().agreement().is_some_and(|agreement| agreement.yields);
            let Status { id, leader, .. } = self.cluster.status();
            if gives_way && leader == Some(id) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn verdict_on(cluster: &Cluster, own: StateDigest, wait: Duration) -> Verdict {
    let (until, index) = (Instant::now() + wait, own.index);
    let (mut digests, mut never) = (BTreeMap::new(), BTreeSet::new());
    digests.insert(cluster.status().id, own);
    loop {
        let Status { id: own, leader, voters, .. } = cluster.status();
        for voter in &voters {
            if digests.contains_key(voter) || never.contains(voter) {
                continue;
            }
            // Who does not answer is asked again until the time is up.
            let Ok(told) = cluster.digests_of(*voter).await else { continue };
            if let Some(digest) = told.at(index) {
                digests.insert(*voter, digest.clone());
            } else if told.newest().is_some_and(|newest| newest.index > index) {
                never.insert(*voter);
            }
        }
        let verdict = judge(own, leader, &voters, &digests);
        let asked_all = voters.iter().all(|voter| digests.contains_key(voter) || never.contains(voter));
        if verdict.is_final() || asked_all || Instant::now() >= until {
            return verdict;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn conclude(cluster: &Cluster, index: u64, verdict: &Verdict) {
    let (agrees, tables, yields) = match verdict {
        Verdict::Unknown => (None, Vec::new(), false),
        Verdict::Agrees => (Some(true), Vec::new(), false),
        Verdict::Split { tables, yields, .. } => (Some(false), tables.clone(), *yields),
        Verdict::Differs { tables } => (Some(false), tables.clone(), true),
    };
    metrics::gauge!("jikai_replica_differs").set(if agrees == Some(false) { 1.0 } else { 0.0 });
    if agrees == Some(false) {
        let hint = "stop the machine that is wrong, remove it from the cluster and let it join anew";
        let tables = named(&tables);
        tracing::error!(index, tables, yields, hint, "machines of the hub have different states");
    }
    cluster.digests().conclude(Agreement { index, agrees, tables, yields });
}

fn named(tables: &[String]) -> String {
    let word = if tables.len() == 1 { "table" } else { "tables" };
    format!("{word} {}", tables.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::digests::TableSum;

    /// A state of two tables, the second with this hash.
    fn state(hash: u8) -> StateDigest {
        let sum = |table: &str, hash| TableSum { table: table.into(), rows: 1, hash: [hash; 32] };
        StateDigest { index: 10, version: [1, 1], tables: vec![sum("pack", 0), sum("transfer", hash)] }
    }

    fn check(own: u64, leader: u64, voters: u64, hashes: &[(u64, u8)], expected: Verdict) {
        let voters: Vec<u64> = (1..=voters).collect();
        let digests = hashes.iter().map(|(id, hash)| (*id, state(*hash))).collect();
        assert_eq!(judge(own, Some(leader), &voters, &digests), expected, "machine {own} of {hashes:?}");
    }

    fn tables() -> Vec<String> {
        vec!["transfer".into()]
    }

    #[test]
    fn who_has_most_voters_behind_it_goes_on_and_who_has_not_stops() {
        for own in [1, 2] {
            check(own, 1, 3, &[(1, 7), (2, 7), (3, 8)], Verdict::Agrees);
        }
        check(3, 1, 3, &[(1, 7), (2, 7), (3, 8)], Verdict::Differs { tables: tables() });
        check(1, 1, 3, &[(1, 8), (2, 7), (3, 7)], Verdict::Differs { tables: tables() });
        check(1, 1, 1, &[(1, 7)], Verdict::Agrees);
        assert!(Verdict::Differs { tables: tables() }.stops());
    }

    #[test]
    fn a_learner_is_judged_by_the_voters_and_does_not_count() {
        check(4, 1, 3, &[(1, 7), (2, 7), (4, 8)], Verdict::Differs { tables: tables() });
        check(4, 1, 3, &[(1, 7), (2, 7), (4, 7)], Verdict::Agrees);
        check(2, 1, 1, &[(1, 7), (2, 8)], Verdict::Differs { tables: tables() });
        check(4, 1, 3, &[(1, 7), (4, 7)], Verdict::Unknown);
    }

    #[test]
    fn of_two_that_differ_the_one_that_does_not_lead_stops() {
        let split = |yields| Verdict::Split { tables: tables(), yields, complete: true };
        check(1, 1, 2, &[(1, 7), (2, 8)], split(false));
        check(2, 1, 2, &[(1, 7), (2, 8)], split(true));
        assert!(split(true).stops() && !split(false).stops());
    }

    #[test]
    fn while_a_voter_is_missing_that_could_decide_nobody_stops() {
        let split = Verdict::Split { tables: tables(), yields: true, complete: false };
        check(2, 1, 3, &[(1, 7), (2, 8)], split.clone());
        assert!(!split.stops() && !split.is_final());
        check(2, 1, 3, &[(2, 8)], Verdict::Unknown);
    }

    #[test]
    fn states_of_different_versions_are_not_compared() {
        let newer = StateDigest { version: [2, 1], ..state(8) };
        let digests = BTreeMap::from([(1, newer), (2, state(7))]);
        assert_eq!(judge(2, Some(1), &[1, 2], &digests), Verdict::Unknown);
    }
}
