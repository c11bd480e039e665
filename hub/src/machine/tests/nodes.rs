use jikai_schema::chain::ChainHash;
use jikai_schema::command::{Command, NodeBatch, NodeCommand, Outcome, Refusal};

use crate::machine::{EpochRow, claimed_run, clone_refused_at_ms};
use crate::province::*;

const AT: u32 = 13_010_001;
const NEW: [u8; 16] = [9; 16];
const TAKEN: Outcome = Outcome::Done { events: 0, existing: 0 };
const EXISTING: Outcome = Outcome::Done { events: 0, existing: 1 };

fn replace(number: u16, incarnation: [u8; 16], reason: &str) -> Command {
    Command::Node(NodeCommand::Replace { node: node(number), incarnation, reason: reason.into() })
}

fn begin(incarnation: [u8; 16], after: Option<u8>, run: u8) -> Command {
    let after = after.map(|after| [after; 16]);
    Command::Node(NodeCommand::BeginRun { node: node(1), incarnation, after, run: [run; 16] })
}

fn note_clone(run: u8) -> Command {
    Command::Node(NodeCommand::NoteClone { node: node(1), run: [run; 16] })
}

/// A hub to which node 1 has told two facts.
fn met() -> (Hub, NodeLog) {
    let (mut hub, mut log) = (Hub::set_up(), NodeLog::new(1));
    hub.ask(Command::IngestEvents(log.batch(vec![check_in(1, AT), sell(1, 0, AT)])));
    (hub, log)
}

#[test]
fn what_an_old_store_still_sends_is_refused_and_the_new_one_goes_on_behind_it() {
    let (mut hub, mut log) = met();
    let (next_seq, hash) = (log.next_seq, log.hash);
    assert_eq!(hub.ask(replace(1, NEW, "disk")), Outcome::Replaced { epoch: 2, next_seq, hash });
    let late = log.batch(vec![sell(1, 1, AT)]);
    assert_eq!(hub.refuse(Command::IngestEvents(late.clone())), Refusal::Incarnation { node: node(1) });
    let new = NodeBatch { incarnation: NEW, ..late };
    let taken = Outcome::Ingested { next_seq: log.next_seq, hash: log.hash, quarantined: 0 };
    assert_eq!(hub.ask(Command::IngestEvents(new)), taken);
    assert_eq!(hub.ask(replace(1, [8; 16], "again")), Outcome::Replaced { epoch: 3, next_seq: 4, hash: log.hash });
    assert_eq!(EpochRow::newest(&hub.state, node(1)).unwrap(), 3);
    assert_eq!(EpochRow::newest(&hub.state, node(2)).unwrap(), 1);
    let reasons: Vec<String> = EpochRow::all(&hub.state).unwrap().into_iter().map(|row| row.reason).collect();
    assert_eq!(reasons, ["disk", "again"]);
}

#[test]
fn a_node_is_replaced_only_with_a_reason_by_another_store_and_if_it_is_one() {
    let (mut hub, log) = met();
    for reason in ["", " ", "two\nlines", &"x".repeat(201)] {
        assert_eq!(hub.refuse(replace(1, NEW, reason)).code(), "invalid_reason");
    }
    assert_eq!(hub.refuse(replace(9, NEW, "disk")).code(), "unknown");
    assert_eq!(hub.refuse(replace(1, log.incarnation, "disk")).code(), "same_store");
    let start = Outcome::Replaced { epoch: 2, next_seq: 1, hash: ChainHash::GENESIS };
    assert_eq!(hub.ask(replace(2, NEW, "it never came")), start);
}

#[test]
fn a_run_follows_the_one_before_and_comes_again_as_long_as_its_answer_may_be_lost() {
    let (mut hub, log) = met();
    let own = log.incarnation;
    assert_eq!(hub.ask(begin(own, None, 1)), TAKEN);
    assert_eq!(hub.ask(begin(own, None, 1)), EXISTING, "its answer was lost");
    assert_eq!(hub.ask(begin(own, Some(1), 2)), TAKEN);
    assert_eq!(hub.ask(begin(own, Some(2), 3)), TAKEN);
    for (after, run) in [(None, 4), (Some(1), 4), (Some(1), 2), (Some(2), 4)] {
        assert_eq!(hub.refuse(begin(own, after, run)).code(), "store_cloned", "{after:?} {run}");
    }
    assert_eq!(hub.refuse(begin(NEW, Some(3), 5)).code(), "incarnation");
    assert_eq!(hub.ask(begin(own, Some(3), 6)), TAKEN, "the original goes on");
}

#[test]
fn a_run_that_is_claimed_is_admitted_unless_somebody_objects_meanwhile() {
    let (mut hub, log) = met();
    let own = log.incarnation;
    let claim = |after: u8, run: u8| {
        let (incarnation, after, run) = (own, Some([after; 16]), [run; 16]);
        Command::Node(NodeCommand::ClaimRun { node: node(1), incarnation, after, run })
    };
    hub.ask(begin(own, None, 1));
    assert_eq!(hub.ask(claim(1, 2)), TAKEN);
    assert_eq!(claimed_run(&hub.state, node(1)).unwrap(), Some([2; 16]));
    hub.ask(note_clone(2));
    assert_eq!(hub.refuse(begin(own, Some(1), 2)).code(), "store_cloned");
    assert_eq!(hub.refuse(claim(1, 2)).code(), "store_cloned");
    assert_eq!(hub.refuse(claim(5, 3)).code(), "store_cloned");
    assert_eq!(hub.ask(claim(1, 3)), TAKEN);
    assert_eq!(hub.ask(begin(own, Some(1), 3)), TAKEN, "nobody objected");
    assert_eq!(claimed_run(&hub.state, node(1)).unwrap(), None);
}

#[test]
fn a_run_that_was_found_to_be_on_a_copy_is_never_admitted_also_when_the_original_stands_still() {
    let (mut hub, log) = met();
    let own = log.incarnation;
    hub.ask(begin(own, None, 1));
    assert_eq!(hub.refuse(note_clone(1)).code(), "run_admitted");
    assert_eq!(clone_refused_at_ms(&hub.state, node(1)).unwrap(), None);
    assert_eq!(hub.ask(note_clone(2)), Outcome::Done { events: 1, existing: 0 });
    assert_eq!(hub.ask(note_clone(2)), EXISTING, "it is told of once");
    assert!(clone_refused_at_ms(&hub.state, node(1)).unwrap().is_some());
    assert_eq!(hub.refuse(begin(own, Some(1), 2)).code(), "store_cloned");
    assert_eq!(hub.ask(begin(own, Some(1), 3)), TAKEN);
    hub.ask(replace(1, NEW, "disk"));
    assert_eq!(clone_refused_at_ms(&hub.state, node(1)).unwrap(), None, "it was of the old store");
    assert_eq!(hub.ask(begin(NEW, None, 7)), TAKEN);
}
