//! Stores that come to a recovery, and of which the copy does not know that they took their node's place.

use jikai_schema::codec;
use jikai_schema::command::{Command, FeedReturn, NodeCommand, Outcome, RecoveryCommand, Refusal};
use jikai_schema::event::{EventBody, NodeEvent};
use jikai_schema::id::NodeId;

use super::recovery::*;
use crate::machine::{EpochRow, NodeCursor, NodeReturn, clone_refused_at_ms};
use crate::province::*;

/// Identity of the store that takes the place of the first one.
const LATER: [u8; 16] = [7; 16];

fn meet(node: NodeId, epoch: u32) -> RecoveryCommand {
    RecoveryCommand::MeetStore { node, incarnation: LATER, epoch }
}

/// What the later store of a node returns of its feed.
fn return_of_later(hub: &Hub, number: u16, feed: &Feed) -> RecoveryCommand {
    let run = run(hub, number, feed, place(hub, number).next_seq, usize::MAX);
    RecoveryCommand::Return(FeedReturn { incarnation: LATER, ..run })
}

fn replace(hub: &mut Hub, number: u16) {
    let reason = "the disk is gone".to_string();
    hub.ask(Command::Node(NodeCommand::Replace { node: node(number), incarnation: LATER, reason }));
}

fn replacements(hub: &Hub) -> usize {
    let mut statement = hub.state.prepare("SELECT bytes FROM hub_log ORDER BY seq").unwrap();
    let events = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let bodies = events.map(|bytes| codec::decode_event(&bytes.unwrap()).unwrap().body);
    bodies.filter(|body| matches!(body, EventBody::Node(NodeEvent::Replaced { .. }))).count()
}

#[test]
fn a_store_that_took_its_nodes_place_since_the_copy_returns_its_feed_and_stays_the_nodes() {
    let mut lost = connected();
    replace(&mut lost, 1);
    go_on(&mut lost);
    let (first, second) = (feed_of(&lost, 1), feed_of(&lost, 2));
    let mut hub = connected();
    begin(&mut hub);
    let returned = return_of_later(&hub, 1, &first);
    assert_eq!(hub.refuse(Command::Recovery(returned.clone())), Refusal::Incarnation { node: node(1) });
    assert_eq!(ask_recovery(&mut hub, meet(node(1), 2)), Outcome::Done { events: 0, existing: 0 });
    assert_eq!(ask_recovery(&mut hub, meet(node(1), 2)), Outcome::Done { events: 0, existing: 1 }, "once");
    ask_recovery(&mut hub, returned);
    return_all(&mut hub, 2, &second);
    finish(&mut hub, &[]);
    let row = merge(&mut hub);
    assert_eq!((row.recovered, row.conflicts), (6, 0));
    assert_eq!((feed_of(&hub, 1), feed_of(&hub, 2)), (first, second));
    assert_eq!(tables(&hub), tables(&lost));
    let cursor = NodeCursor::load(&hub.state, node(1)).unwrap().unwrap();
    assert_eq!((cursor.incarnation, EpochRow::newest(&hub.state, node(1)).unwrap()), (LATER, 2));
    let older = Command::IngestEvents(NodeLog::new(1).batch(vec![check_in(1, 13_010_001)]));
    assert_eq!(hub.refuse(older), Refusal::Incarnation { node: node(1) });
    assert_eq!(replacements(&hub), 1, "the event of it was lost with the hub, and is told anew");
}

#[test]
fn a_store_is_met_by_a_later_epoch_alone_and_while_nodes_are_awaited() {
    let mut hub = connected();
    assert_eq!(hub.refuse(Command::Recovery(meet(node(1), 2))).code(), "not_recovering");
    begin(&mut hub);
    for (of, epoch) in [(node(1), 0), (node(1), 1), (node(1), 1_002), (node(1), u32::MAX), (NodeId::HUB, 2)] {
        assert_eq!(hub.refuse(Command::Recovery(meet(of, epoch))), Refusal::Incarnation { node: of }, "epoch {epoch}");
    }
    ask_recovery(&mut hub, meet(node(1), 3));
    for epoch in [2, 1_002] {
        assert_eq!(hub.refuse(Command::Recovery(meet(node(1), epoch))), Refusal::Incarnation { node: node(1) });
    }
    finish(&mut hub, &[1, 2]);
    assert_eq!(hub.refuse(Command::Recovery(meet(node(2), 2))).code(), "recovering");
}

#[test]
fn what_the_store_before_returned_stays_and_the_later_one_is_awaited() {
    let mut lost = connected();
    lost.ask(ship(3, 13_010_002, 4..=6));
    let of_older = feed_of(&lost, 1);
    replace(&mut lost, 1);
    go_on(&mut lost);
    let mut hub = connected();
    begin(&mut hub);
    return_all(&mut hub, 1, &of_older);
    let before = place(&hub, 1);
    ask_recovery(&mut hub, meet(node(1), 2));
    let now = place(&hub, 1);
    assert_eq!((now.state, now.next_seq, now.met_epoch), (NodeReturn::Awaited, before.next_seq, Some(2)));
    let rest = return_of_later(&hub, 1, &feed_of(&lost, 1));
    ask_recovery(&mut hub, rest);
    return_all(&mut hub, 2, &feed_of(&lost, 2));
    finish(&mut hub, &[]);
    merge(&mut hub);
    assert_eq!(tables(&hub), tables(&lost));
}

#[test]
fn a_node_that_came_and_was_replaced_since_the_copy_returns_as_well() {
    let mut lost = connected();
    lost.ask(Command::DefineMaster(vec![define_division(1303, 0), define_node(3, &[1303])]));
    replace(&mut lost, 3);
    let mut hub = connected();
    begin(&mut hub);
    ask_recovery(&mut hub, meet(node(3), 2));
    for number in [1, 2] {
        return_all(&mut hub, number, &feed_of(&lost, number));
    }
    let refused = finish(&mut hub, &[]);
    assert!(matches!(&refused, Outcome::Refused(refusal) if refusal.code() == "nodes_awaited"), "{refused:?}");
    let returned = return_of_later(&hub, 3, &feed_of(&lost, 3));
    ask_recovery(&mut hub, returned);
    finish(&mut hub, &[]);
    merge(&mut hub);
    assert_eq!(tables(&hub), tables(&lost));
    assert_eq!(EpochRow::newest(&hub.state, node(3)).unwrap(), 2);
    let log = NodeLog { incarnation: LATER, ..NodeLog::new(3) }.batch(Vec::new());
    assert!(matches!(hub.ask(Command::IngestEvents(log)), Outcome::Ingested { .. }), "it registers as any store");
}

#[test]
fn what_the_store_before_had_proven_is_merged_though_the_later_one_is_left_out() {
    let mut lost = connected();
    lost.ask(ship(3, 13_010_002, 4..=6));
    let of_older = feed_of(&lost, 1);
    let mut hub = connected();
    begin(&mut hub);
    return_all(&mut hub, 1, &of_older);
    ask_recovery(&mut hub, meet(node(1), 2));
    // The later one begins to return what nobody proves.
    lost.ask(Command::CreditDeposits(vec![deposit(71, 13_010_001, "900.00")]));
    lost.ask(Command::CreditDeposits(vec![deposit(72, 13_010_001, "80.00")]));
    let RecoveryCommand::Return(mut part) = return_of_later(&hub, 1, &feed_of(&lost, 1)) else { panic!("no return") };
    part.events.truncate(1);
    ask_recovery(&mut hub, RecoveryCommand::Return(part));
    return_all(&mut hub, 2, &feed_of(&lost, 2));
    finish(&mut hub, &[1]);
    let row = merge(&mut hub);
    assert_eq!((row.recovered, row.conflicts), (3, 0), "three packs were shipped");
    assert_eq!(feed_of(&hub, 1), of_older);
}

#[test]
fn copies_of_the_store_before_are_not_told_of_the_later_one() {
    let mut hub = connected();
    let (node, run) = (node(1), [4; 16]);
    hub.ask(Command::Node(NodeCommand::NoteClone { node, run }));
    begin(&mut hub);
    ask_recovery(&mut hub, meet(node, 2));
    assert_eq!(clone_refused_at_ms(&hub.state, node).unwrap(), None);
}

#[test]
fn of_a_met_store_whose_node_nobody_returned_nothing_stays() {
    let mut hub = connected();
    begin(&mut hub);
    ask_recovery(&mut hub, meet(node(3), 2));
    for number in [1, 2] {
        let feed = feed_of(&hub, number);
        return_all(&mut hub, number, &feed);
    }
    finish(&mut hub, &[3]);
    merge(&mut hub);
    assert_eq!((EpochRow::newest(&hub.state, node(3)).unwrap(), replacements(&hub)), (1, 0));
}
