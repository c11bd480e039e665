//! How a machine applies what it is behind.

use std::path::Path;
use std::time::Duration;

use openraft::storage::RaftStateMachine;
use openraft::{CommittedLeaderId, EntryPayload};
use tokio::time::Instant;

use super::machine::NOTHING_TO_DO;
use super::*;
use crate::raft::settings::CATCH_UP_ENTRIES;
use crate::raft::snapshots::Snapshots;
use crate::raft::types::{Entry, EntryBytes, Machine};

/// Notes how many entries were applied together, and what it is told.
struct Noted {
    applied: Applied,
    parts: Vec<usize>,
    digesting: Vec<bool>,
}

impl State for Noted {
    fn applied(&mut self) -> Result<Applied, StateError> {
        Ok(self.applied.clone())
    }

    fn apply(&mut self, entries: Vec<(LogId, Payload)>) -> Result<Vec<Answer>, StateError> {
        self.parts.push(entries.len());
        let answers = entries.iter().map(|(id, _)| Answer(id.index.to_be_bytes().to_vec()));
        Ok(answers.collect())
    }

    fn view(&mut self) -> Result<Box<dyn View>, StateError> {
        Err(StateError::Ended(crate::raft::worker::Ended))
    }

    fn install(&mut self, _: &Path) -> Result<(), StateError> {
        Err(StateError::Ended(crate::raft::worker::Ended))
    }

    fn set_digesting(&mut self, digesting: bool) {
        self.digesting.push(digesting);
    }
}

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, 1), index)
}

fn voters(ids: impl IntoIterator<Item = u64>) -> Membership {
    let ids: BTreeSet<u64> = ids.into_iter().collect();
    let machines = ids.iter().map(|&id| (id, Machine::default())).collect::<std::collections::BTreeMap<_, _>>();
    Membership::new(vec![ids], machines)
}

fn puts(indexes: std::ops::Range<u64>) -> Vec<Entry> {
    let put = |index| Entry { log_id: log_id(index), payload: EntryPayload::Normal(EntryBytes(vec![1])) };
    indexes.map(put).collect()
}

/// Machine 4 with a state that knows these voters, and its folder.
fn machine_of(known: Membership) -> (StateMachine<Noted>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let applied = Applied { last: Some(log_id(1)), membership: StoredMembership::new(Some(log_id(1)), known) };
    let snapshots = Snapshots::open(&folder.path().join("snapshots")).unwrap();
    let state = Noted { applied, parts: Vec::new(), digesting: Vec::new() };
    (StateMachine::start(4, state, snapshots).unwrap(), folder)
}

async fn applies(machine: &mut StateMachine<Noted>, entries: Vec<Entry>) -> Vec<usize> {
    let expected: Vec<Answer> = entries.iter().map(|entry| Answer(entry.log_id.index.to_be_bytes().to_vec())).collect();
    assert_eq!(machine.apply(entries).await.unwrap(), expected);
    machine.state.call(|state| std::mem::take(&mut state.parts)).await.unwrap()
}

#[tokio::test]
async fn a_machine_without_a_vote_applies_what_it_is_behind_in_parts_and_one_that_votes_at_once() {
    let part = CATCH_UP_ENTRIES;
    let much = 2 * part as u64 + 2;
    let (mut follows, _folder) = machine_of(voters([1, 2]));
    assert_eq!(applies(&mut follows, puts(2..much)).await, [part, part]);
    assert_eq!(applies(&mut follows, puts(much..much + 3)).await, [3], "what comes in meanwhile");
    let (mut votes, _folder) = machine_of(voters([1, 4]));
    assert_eq!(applies(&mut votes, puts(2..much)).await, [2 * part]);
}

#[tokio::test]
async fn a_machine_that_gets_a_vote_rests_no_more_and_one_that_loses_it_does() {
    let part = CATCH_UP_ENTRIES;
    let many = |from: u64| puts(from..from + part as u64 + 1);
    let (mut machine, _folder) = machine_of(voters([1]));
    assert_eq!(applies(&mut machine, many(2)).await, [part, 1]);
    for (index, known, expected) in [(100, voters([1, 4]), vec![part + 1]), (200, voters([1]), vec![part, 1])] {
        let changed = Entry { log_id: log_id(index), payload: EntryPayload::Membership(known) };
        assert_eq!(applies(&mut machine, vec![changed]).await, [1]);
        assert_eq!(applies(&mut machine, many(index + 1)).await, expected);
    }
}

#[tokio::test]
async fn a_machine_that_has_rested_long_enough_goes_on_without_until_it_has_nothing_to_do() {
    let part = CATCH_UP_ENTRIES;
    let (mut machine, _folder) = machine_of(voters([1]));
    // Whatever the time, it has only just applied something.
    let busy = Instant::now() + Duration::from_secs(3_600);
    (machine.rest_left, machine.applied_at) = (Duration::ZERO, busy);
    assert_eq!(applies(&mut machine, puts(2..2 + 3 * part as u64)).await, [3 * part]);
    machine.applied_at = busy;
    assert_eq!(applies(&mut machine, puts(100..101)).await, [1], "few entries do not mean that it is near");
    machine.applied_at = busy;
    assert_eq!(applies(&mut machine, puts(101..101 + 2 * part as u64)).await, [2 * part]);
    machine.applied_at = Instant::now() - NOTHING_TO_DO;
    assert_eq!(applies(&mut machine, puts(200..200 + 2 * part as u64)).await, [part, part]);
}

#[tokio::test]
async fn a_machine_that_stops_rests_no_more() {
    let part = CATCH_UP_ENTRIES;
    let (mut machine, _folder) = machine_of(voters([1]));
    machine.stopping().cancel();
    assert_eq!(applies(&mut machine, puts(2..2 + 3 * part as u64)).await, [part, 2 * part]);
}

#[tokio::test]
async fn a_machine_that_catches_up_without_a_vote_makes_no_digests_until_it_is_near() {
    let part = CATCH_UP_ENTRIES as u64;
    let told = async |known, parts: &[std::ops::Range<u64>]| {
        let (mut machine, _folder) = machine_of(known);
        for indexes in parts {
            applies(&mut machine, puts(indexes.clone())).await;
        }
        machine.state.call(|state| std::mem::take(&mut state.digesting)).await.unwrap()
    };
    let parts = [2..3, 3..3 + part, 30..30 + part, 50..52, 60..61];
    assert_eq!(told(voters([1]), &parts).await, [false, true]);
    assert_eq!(told(voters([1, 4]), &parts).await, [false; 0], "one that votes is compared at each place");
}
