//! What a machine of the hub says of all: `GET /v1/cluster`.

use serde::Deserialize;

/// Entries that a machine may be behind and yet count as caught up: under load some are always on their way.
const BEHIND_MAX: u64 = 500;

/// The cluster as one machine sees it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Who says so.
    pub machine: u16,
    /// Who leads, as far as is known there.
    pub leader: Option<u16>,
    /// Who does what only one machine does, as the log says.
    pub jobs_at: Option<u16>,
    /// Entry that it has applied.
    pub applied_index: Option<u64>,
    /// What comparing its tables with those of the others led to.
    pub digest: Option<Comparison>,
    /// All that are known.
    pub machines: Vec<MachineStatus>,
}

/// A comparison of the tables of all machines.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// Entry of the log.
    pub index: u64,
    /// Whether the machine has what most have; `None` where too few told.
    pub agrees: Option<bool>,
    /// Tables that differ.
    pub tables: Vec<String>,
}

impl Comparison {
    /// Whether the tables were found equal behind this entry.
    pub fn agrees_behind(&self, index: u64) -> bool {
        self.agrees == Some(true) && self.index > index
    }
}

/// One machine as another sees it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MachineStatus {
    /// Its number.
    pub machine: u16,
    /// voter, learner or outside.
    pub role: String,
    /// serving, draining, retired or unknown.
    pub state: String,
    /// Whether it serves nobody.
    pub voter_only: bool,
    /// Whether it answered.
    pub answers: bool,
    /// Newest entry of its log.
    pub last_index: Option<u64>,
    /// Entry that it has applied.
    pub applied_index: Option<u64>,
}

impl Status {
    /// Whether these machines vote, answer and have all but the newest entries.
    pub fn is_whole(&self, machines: &[u16]) -> bool {
        let newest = self.machines.iter().filter_map(|machine| machine.applied_index).chain(self.applied_index).max();
        let is_there = |number: &u16| {
            let found = self.machines.iter().find(|machine| machine.machine == *number);
            found.is_some_and(|machine| {
                let reached = machine.applied_index.unwrap_or(0) + BEHIND_MAX;
                machine.role == "voter" && machine.answers && reached >= newest.unwrap_or(0)
            })
        };
        self.leader.is_some_and(|leader| machines.contains(&leader)) && machines.iter().all(is_there)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn status(applied: u64, answers: bool) -> Status {
        let machine = |number: u16, applied: u64, answers: bool| {
            json!({ "machine": number, "role": "voter", "state": "serving", "voter_only": false, "leads": number == 2,
                    "peer_address": "127.0.0.1:1", "answers": answers, "applied_index": applied })
        };
        let machines = [machine(1, applied, answers), machine(2, 2_000, true)];
        serde_json::from_value(json!({ "machine": 2, "leader": 2, "term": 4, "machines": machines })).unwrap()
    }

    #[test]
    fn only_equal_tables_behind_the_entry_count_as_compared() {
        let agrees = |index: u64, agrees: serde_json::Value| {
            let told = json!({ "digest": { "index": index, "agrees": agrees, "tables": [] } });
            serde_json::from_value::<Status>(told).unwrap().digest.unwrap().agrees_behind(1_000)
        };
        assert!(agrees(2_000, json!(true)));
        assert!(!agrees(1_000, json!(true)), "it was compared before");
        assert!(!agrees(2_000, json!(false)));
        assert!(!agrees(2_000, json!(null)), "too few told");
    }

    #[test]
    fn a_cluster_is_whole_when_every_machine_answers_and_is_near_the_newest_entry() {
        assert!(status(1_990, true).is_whole(&[1, 2]));
        assert!(!status(1_990, false).is_whole(&[1, 2]), "one does not answer");
        assert!(!status(900, true).is_whole(&[1, 2]), "one is far behind");
        assert!(!status(1_990, true).is_whole(&[1, 2, 3]), "one is not known");
        assert!(!status(1_990, true).is_whole(&[1]), "a machine leads that is taken out");
        let unled = Status { leader: None, ..status(1_990, true) };
        assert!(!unled.is_whole(&[1, 2]));
    }
}
