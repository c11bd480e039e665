use jikai_schema::chain::ChainHash;
use jikai_schema::command::{
    AccessCommand, Command, DirectoryCommand, HandoffCommand, NodeBatch, NodeCommand, Outcome, OutletMove, Refusal,
};
use jikai_schema::directory::nodes_of;
use jikai_schema::event::{EventBody, HandoffEvent, MasterEvent};
use jikai_schema::id::PrefectureCode;
use jikai_schema::time::TimeMs;

use crate::machine::{CertificateRow, EpochRow, RetiredRow};
use crate::province::*;

const OWN: [u8; 16] = [12; 16];
const DONE: Outcome = Outcome::Done { events: 1, existing: 0 };

fn add(number: u16, name: &str, prefectures: &[u16]) -> Command {
    let prefectures = prefectures.iter().map(|code| PrefectureCode::new(*code).unwrap()).collect();
    Command::Node(NodeCommand::Add { node: node(number), name: name.into(), prefectures, incarnation: OWN })
}

fn retire(number: u16, reason: &str) -> Command {
    Command::Node(NodeCommand::Retire { node: node(number), reason: reason.into() })
}

fn move_to(id: u32, to: u16) -> Command {
    let moves = vec![OutletMove { outlet: outlet(id), to: node(to) }];
    Command::Handoff(HandoffCommand::Move { moves, window: 1 })
}

fn released(handoff: u64, id: u32, to: u16) -> EventBody {
    EventBody::Handoff(HandoffEvent::Released { handoff, outlet: outlet(id), to: node(to) })
}

/// An empty batch, as a store's first contact.
fn contact(number: u16, incarnation: [u8; 16]) -> Command {
    let genesis = ChainHash::GENESIS;
    let (prev_hash, last_hash) = (genesis, genesis);
    let batch = NodeBatch { node: node(number), incarnation, first_seq: 1, prev_hash, last_hash, events: Vec::new() };
    Command::IngestEvents(batch)
}

#[test]
fn a_node_is_added_with_the_one_store_that_may_open_its_log() {
    let mut hub = Hub::set_up();
    let first = Outcome::Replaced { epoch: 1, next_seq: 1, hash: ChainHash::GENESIS };
    assert_eq!(hub.ask(add(12, "节点12", &[])), first);
    assert_eq!(hub.refuse(contact(12, [1; 16])), Refusal::Incarnation { node: node(12) });
    assert!(matches!(hub.ask(contact(12, OWN)), Outcome::Ingested { next_seq: 1, .. }));
    assert_eq!(EpochRow::newest(&hub.state, node(12)).unwrap(), 1);
    assert_eq!(hub.ask(move_to(13_010_001, 12)), DONE, "it may be given outlets");
}

#[test]
fn a_node_is_added_only_under_a_free_number_a_name_and_prefectures_that_nobody_serves() {
    let mut hub = Hub::set_up();
    for (command, code) in [
        (add(1, "node 1", &[1301]), "node_exists"),
        (add(0, "the hub", &[]), "invalid_node"),
        (add(12, "", &[]), "invalid_name"),
        (add(12, "节点12", &[1301]), "prefecture_taken"),
        (add(12, "节点12", &[1303, 1303]), "invalid_prefectures"),
    ] {
        assert_eq!(hub.refuse(command.clone()).code(), code, "{command:?}");
    }
    hub.ask(add(12, "节点12", &[1303]));
    assert_eq!(hub.refuse(add(12, "节点12", &[1303])).code(), "node_exists", "as it is");
}

#[test]
fn a_node_is_taken_out_of_use_only_once_it_serves_no_outlet_and_none_is_on_its_way() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(2);
    assert_eq!(hub.refuse(retire(2, "lease ends")).code(), "node_serves_outlets");
    for reason in ["", " ", "two\nlines", &"x".repeat(201)] {
        assert_eq!(hub.refuse(retire(2, reason)).code(), "invalid_reason");
    }
    assert_eq!(hub.refuse(retire(9, "lease ends")).code(), "unknown");
    hub.ask(move_to(13_020_001, 1));
    assert_eq!(hub.refuse(retire(2, "lease ends")).code(), "node_in_handoff", "from it");
    assert_eq!(hub.refuse(retire(1, "lease ends")).code(), "node_in_handoff", "to it");
    hub.ask(Command::IngestEvents(log.batch(vec![released(1, 13_020_001, 1)])));
    hub.ask(move_to(13_010_001, 2));
    hub.ask(move_to(13_010_002, 2));
    assert_eq!(hub.refuse(retire(2, "lease ends")).code(), "node_in_handoff", "one is ordered, one waits");
    hub.ask(Command::Handoff(HandoffCommand::Cancel { outlets: Vec::new() }));
    assert_eq!(hub.ask(retire(2, "lease ends")), DONE);
}

/// Node 2 has told facts, has moved its outlet to node 1, and is out of use.
fn retired() -> (Hub, NodeLog) {
    let (mut hub, mut log) = (Hub::set_up(), NodeLog::new(2));
    hub.ask(Command::IngestEvents(log.batch(vec![check_in(3, 13_020_001), sell(3, 0, 13_020_001)])));
    let (node, serial) = (node(2), "0a".to_string());
    let not_after_ms = TimeMs::from_ms(NOW_MS + 1);
    hub.ask(Command::Access(AccessCommand::RecordCertificate { node, serial, not_after_ms }));
    let addresses = vec!["node2.example:443".to_string()];
    hub.ask(Command::Directory(DirectoryCommand::Reach { node, addresses }));
    hub.ask(move_to(13_020_001, 1));
    hub.ask(Command::IngestEvents(log.batch(vec![released(1, 13_020_001, 1)])));
    hub.ask(retire(2, "lease ends"));
    (hub, log)
}

#[test]
fn a_node_that_is_out_of_use_is_none_any_more_and_what_it_did_stays() {
    let (mut hub, mut log) = retired();
    let shown: Vec<u16> = nodes_of(&hub.state).unwrap().into_iter().map(|node| node.node.get()).collect();
    assert_eq!((shown, hub.count("SELECT count(*) FROM node_address")), (vec![1], 0));
    let row = RetiredRow::all(&hub.state).unwrap().remove(0);
    assert_eq!((row.node, row.name.as_str(), row.next_seq), (node(2), "node 2", log.next_seq));
    assert_eq!((row.prefectures, row.reason.as_str()), (vec!["1302".to_string()], "lease ends"));
    assert!(!CertificateRow::read(&hub.state, "0a").unwrap().unwrap().is_good());
    assert_eq!(hub.count("SELECT count(*) FROM node_batch"), 2, "its log");
    assert_eq!(hub.count("SELECT sum(tickets_sold) FROM outlet_day"), 1, "what it sold");
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
    // It is told nothing any more by whatever session it still has.
    assert_eq!(hub.refuse(Command::IngestEvents(log.batch(vec![sell(3, 1, 13_020_001)]))).code(), "unknown");
    assert_eq!(hub.refuse(retire(2, "again")).code(), "unknown");
    assert_eq!(hub.refuse(move_to(13_010_001, 2)).code(), "unknown");
}

#[test]
fn the_number_of_a_node_that_is_out_of_use_is_never_given_again_and_its_prefectures_are_free() {
    let (mut hub, _) = retired();
    assert_eq!(hub.refuse(add(2, "another", &[])).code(), "node_retired");
    assert_eq!(hub.refuse(Command::DefineMaster(vec![define_node(2, &[1302])])).code(), "node_retired");
    let outlets = |id| Command::DefineMaster(vec![define_outlet(id, 130_202_001)]);
    assert_eq!(hub.refuse(outlets(13_020_002)).code(), "prefecture_unserved");
    assert_eq!(
        hub.ask(add(3, "node 3", &[1302])),
        Outcome::Replaced { epoch: 1, next_seq: 1, hash: ChainHash::GENESIS }
    );
    assert_eq!(hub.ask(outlets(13_020_002)), DONE);
    assert_eq!(hub.count("SELECT node FROM outlet WHERE outlet = 13020002"), 3);
    let is_outlet = |one: &MasterEvent| matches!(one, MasterEvent::OutletDefined { .. });
    hub.ask(Command::DefineMaster(master_data().into_iter().filter(is_outlet).collect()));
    assert_eq!(hub.count("SELECT node FROM outlet WHERE outlet = 13020001"), 1, "lists move no outlet");
}

#[test]
fn the_feed_of_a_node_that_is_out_of_use_stays_the_log_filtered_by_audience() {
    let (mut hub, _) = retired();
    let fed = |hub: &Hub| hub.count("SELECT count(*) FROM down_feed WHERE node = 2");
    let before = fed(&hub);
    hub.ask(add(3, "node 3", &[]));
    let for_all = "SELECT count(*) FROM hub_log WHERE audience IN (-1, 2)";
    assert_eq!((fed(&hub), hub.count(for_all)), (before + 1, before + 1));
}
