use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::command::{
    ClusterCommand, Command, DirectoryCommand, FeedReturn, NodeBatch, Outcome, RecoveryCommand, Refusal, SessionTag,
    StaffCommand,
};
use jikai_schema::digest::{digest_whole, projection_tables};
use jikai_schema::event::{Actor, Event, EventBody, EventKey, HandoffEvent, HubEvent, MoneyEvent};
use jikai_schema::id::{MachineNo, NodeId};
use jikai_schema::time::TimeMs;

use crate::machine::{NodeReturn, RecoveryNodeRow, RecoveryRow, RecoveryState, generation};
use crate::province::*;

/// A feed as its node received it: positions from 1.
pub(super) type Feed = Vec<Vec<u8>>;

pub(super) fn ask_recovery(hub: &mut Hub, command: RecoveryCommand) -> Outcome {
    hub.ask(Command::Recovery(command))
}

pub(super) fn begin(hub: &mut Hub) {
    let (machine, said_at_ms) = (MachineNo::new(1).unwrap(), TimeMs::from_ms(NOW_MS));
    let began = ask_recovery(hub, RecoveryCommand::Begin { machine, said_at_ms });
    assert_eq!(began, Outcome::Done { events: 0, existing: 0 });
}

/// A province whose nodes have connected.
pub(super) fn connected() -> Hub {
    let mut hub = Hub::set_up();
    for number in [1, 2] {
        let log = NodeLog::new(number);
        let NodeLog { node, incarnation, hash, .. } = log;
        let empty = NodeBatch { node, incarnation, first_seq: 1, prev_hash: hash, last_hash: hash, events: Vec::new() };
        hub.ask(Command::IngestEvents(empty));
    }
    hub
}

/// What is done after the copy was made: for everybody, for each node, and for nobody but the hub.
pub(super) fn go_on(hub: &mut Hub) {
    hub.ask(Command::CreditDeposits(vec![deposit(71, 13_010_001, "900.00"), deposit(72, 13_020_001, "80.00")]));
    let invite = Command::Cluster(ClusterCommand::Invite { voter_only: true });
    hub.ask(invite.clone());
    hub.ask(invite);
    hub.ask(ship(9, 13_010_002, 4..=5));
    hub.ask(Command::DefineMaster(vec![define_division(1303, 0)]));
    hub.ask(Command::CreditDeposits(vec![deposit(73, 13_010_002, "7.00")]));
}

pub(super) fn feed_of(hub: &Hub, number: u16) -> Feed {
    let sql = "SELECT bytes FROM down_feed f JOIN hub_log l ON l.seq = f.hub_seq WHERE node = ?1 ORDER BY f.seq";
    let mut statement = hub.state.prepare(sql).unwrap();
    statement.query_map([number], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn chain(feed: &[Vec<u8>]) -> ChainHash {
    feed.iter().fold(ChainHash::GENESIS, |hash, bytes| hash.next(bytes))
}

/// The run of a feed that begins at a position.
pub(super) fn run(hub: &Hub, number: u16, feed: &Feed, first_seq: u64, count: usize) -> FeedReturn {
    let from = feed.iter().skip(first_seq as usize - 1);
    FeedReturn {
        node: node(number),
        incarnation: [number as u8; 16],
        generation: generation(&hub.state).unwrap(),
        first_seq,
        events: from.take(count).cloned().collect(),
        end_seq: feed.len() as u64 + 1,
        end_hash: chain(feed),
    }
}

pub(super) fn place(hub: &Hub, number: u16) -> RecoveryNodeRow {
    RecoveryNodeRow::place(&hub.state, node(number)).unwrap()
}

pub(super) fn return_all(hub: &mut Hub, number: u16, feed: &Feed) {
    let next = place(hub, number).next_seq;
    let run = run(hub, number, feed, next, usize::MAX);
    let outcome = ask_recovery(hub, RecoveryCommand::Return(run));
    assert!(matches!(outcome, Outcome::Ingested { .. }), "{outcome:?}");
    assert_eq!(place(hub, number).state, NodeReturn::Returned);
}

pub(super) fn finish(hub: &mut Hub, without: &[u16]) -> Outcome {
    let without = without.iter().map(|number| node(*number)).collect();
    ask_recovery(hub, RecoveryCommand::Finish { without })
}

pub(super) fn merge(hub: &mut Hub) -> RecoveryRow {
    for _ in 0..100 {
        let row = RecoveryRow::read(&hub.state).unwrap().unwrap();
        if row.state == RecoveryState::Over {
            return row;
        }
        ask_recovery(hub, RecoveryCommand::Merge { from_seq: row.merged_seq + 1 });
    }
    panic!("the recovery does not end");
}

fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(refusal) => refusal.code(),
        other => panic!("{other:?} is no refusal"),
    }
}

pub(super) fn tables(hub: &Hub) -> Vec<String> {
    let digests = digest_whole(&hub.state, projection_tables()).unwrap();
    digests.iter().map(|digest| format!("{digest:?}")).collect()
}

#[test]
fn what_all_nodes_returned_stands_where_it_was_and_the_tables_are_as_before() {
    let mut lost = connected();
    go_on(&mut lost);
    let (first, second) = (feed_of(&lost, 1), feed_of(&lost, 2));
    let mut hub = connected();
    begin(&mut hub);
    assert_eq!(generation(&hub.state).unwrap(), 2);
    return_all(&mut hub, 2, &second);
    assert_eq!(code(&finish(&mut hub, &[])), "nodes_awaited");
    return_all(&mut hub, 1, &first);
    finish(&mut hub, &[]);
    let row = merge(&mut hub);
    assert_eq!((row.recovered, row.lost, row.conflicts), (6, 2, 0), "the two invitations were the hub's alone");
    assert_eq!((feed_of(&hub, 1), feed_of(&hub, 2)), (first, second));
    assert_eq!(tables(&hub), tables(&lost));
    for sql in ["SELECT count(*) FROM warehouse", "SELECT count(*) FROM shipment", "SELECT count(*) FROM transfer"] {
        assert_eq!(hub.count(sql), lost.count(sql), "{sql}");
    }
    // Entered again, nothing changes.
    let again = hub.ask(Command::CreditDeposits(vec![deposit(71, 13_010_001, "900.00")]));
    assert_eq!(again, Outcome::Done { events: 0, existing: 1 });
    assert_eq!(hub.ask(ship(9, 13_010_002, 4..=5)), Outcome::Done { events: 0, existing: 2 });
    hub.ask(ship(10, 13_020_001, 6..=6));
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
}

#[test]
fn the_places_of_lost_events_are_filled_and_the_trail_tells_of_the_recovery() {
    let mut lost = connected();
    go_on(&mut lost);
    let mut hub = connected();
    begin(&mut hub);
    for number in [1, 2] {
        return_all(&mut hub, number, &feed_of(&lost, number));
    }
    finish(&mut hub, &[]);
    let row = merge(&mut hub);
    let mut statement =
        hub.state.prepare("SELECT seq, bytes, audience FROM hub_log WHERE seq > ?1 ORDER BY seq").unwrap();
    let rows = statement.query_map([row.head_seq as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    let events: Vec<(i64, Event)> = rows
        .unwrap()
        .map(Result::unwrap)
        .map(|(seq, bytes, audience): (i64, Vec<u8>, i64)| {
            let event = codec::decode_event(&bytes).unwrap();
            assert_eq!(event.key.seq as i64, seq);
            assert!(!matches!(event.body, EventBody::Hub(HubEvent::EventsLost { .. })) || audience == -2);
            (seq, event)
        })
        .collect();
    assert!(events.windows(2).all(|pair| pair[0].0 + 1 == pair[1].0 && pair[0].1.at_ms <= pair[1].1.at_ms));
    let first = row.head_seq + 3;
    let gaps: Vec<&HubEvent> = events
        .iter()
        .filter_map(|(_, event)| match &event.body {
            EventBody::Hub(event @ HubEvent::EventsLost { .. }) => Some(event),
            _ => None,
        })
        .collect();
    let gap = |from_seq| HubEvent::EventsLost { from_seq, to_seq: first + 1 };
    assert_eq!(gaps, [&gap(first), &gap(first + 1)]);
    let (_, last) = events.last().unwrap();
    let expected = HubEvent::FeedRecovered {
        began_at_ms: TimeMs::from_ms(NOW_MS),
        recovered: 6,
        lost: 2,
        conflicts: 0,
        left_out: Vec::new(),
    };
    assert_eq!(last.body, EventBody::Hub(expected));
}

#[test]
fn a_hub_that_lost_nothing_ends_at_once() {
    let mut hub = connected();
    let feeds = [feed_of(&hub, 1), feed_of(&hub, 2)];
    begin(&mut hub);
    let behind: Feed = feeds[0][..2].to_vec();
    return_all(&mut hub, 1, &behind);
    return_all(&mut hub, 2, &feeds[1]);
    finish(&mut hub, &[]);
    let row = merge(&mut hub);
    assert_eq!((row.recovered, row.lost), (0, 0));
    assert_eq!([feed_of(&hub, 1), feed_of(&hub, 2)], feeds);
    assert!(RecoveryNodeRow::list(&hub.state).unwrap().iter().all(|row| row.state == NodeReturn::Returned));
}

#[test]
fn while_nodes_are_awaited_everything_else_is_refused_and_changes_nothing() {
    let mut hub = connected();
    begin(&mut hub);
    let mut log = NodeLog::new(1);
    let commands = [
        Command::CreditDeposits(vec![deposit(71, 13_010_001, "900.00")]),
        Command::IngestEvents(log.batch(vec![check_in(1, 13_010_001)])),
        ship(9, 13_010_002, 4..=5),
        Command::Staff(StaffCommand::EndSession { tag: SessionTag([0; 32]) }),
        Command::Cluster(ClusterCommand::Invite { voter_only: false }),
    ];
    for command in commands {
        assert_eq!(hub.refuse(command).code(), "recovering");
    }
    let again = RecoveryCommand::Begin { machine: MachineNo::new(1).unwrap(), said_at_ms: TimeMs::from_ms(1) };
    assert_eq!(hub.refuse(Command::Recovery(again)).code(), "recovering");
    let merge = RecoveryCommand::Merge { from_seq: 1 };
    assert_eq!(hub.refuse(Command::Recovery(merge.clone())).code(), "nodes_awaited");
    let mut well = connected();
    assert_eq!(well.refuse(Command::Recovery(merge)).code(), "not_recovering");
}

fn rows_of_newer_tables() -> Vec<u8> {
    let rows = vec![serde_json::from_str(r#"{"table":"outlet","columns":["mood"],"rows":[]}"#).unwrap()];
    let moved = HandoffEvent::RowsMoved { handoff: 1, outlet: outlet(13_010_001), to: node(1), rows };
    let (key, at_ms) = (EventKey { origin: NodeId::HUB, seq: 9_000 }, TimeMs::from_ms(NOW_MS));
    let event = Event { key, at_ms, actor: Actor::System, request: None, body: EventBody::Handoff(moved) };
    codec::encode_event(&event).unwrap()
}

#[test]
fn a_return_must_be_the_nodes_own_feed_in_order() {
    let mut lost = connected();
    go_on(&mut lost);
    let (feed, other) = (feed_of(&lost, 1), feed_of(&lost, 2));
    let mut hub = connected();
    begin(&mut hub);
    let next = place(&hub, 1).next_seq;
    let good = run(&hub, 1, &feed, next, 2);
    let mut refuse = |change: &dyn Fn(&mut FeedReturn)| {
        let mut bad = good.clone();
        change(&mut bad);
        hub.refuse(Command::Recovery(RecoveryCommand::Return(bad))).code().to_owned()
    };
    assert_eq!(refuse(&|run| run.generation = 1), "other_recovery");
    assert_eq!(refuse(&|run| run.incarnation = [9; 16]), "incarnation");
    assert_eq!(refuse(&|run| run.first_seq += 1), "gap");
    assert_eq!(refuse(&|run| run.events.swap(0, 1)), "not_its_feed");
    assert_eq!(refuse(&|run| run.events[0] = vec![1, 2, 3]), "not_its_feed");
    assert_eq!(refuse(&|run| run.events[0] = rows_of_newer_tables()), "event_too_new");
    assert_eq!(refuse(&|run| run.events.clear()), "empty_return");
    assert_eq!(refuse(&|run| run.end_seq = next + 2), "fork");
    assert_eq!(refuse(&|run| run.end_seq = next - 1), "fork");
    assert_eq!(refuse(&|run| run.events = other[other.len() - 2..].to_vec()), "not_its_feed");
    // In parts, each once.
    for first in [next, next + 2] {
        let part = run(&hub, 1, &feed, first, 2);
        ask_recovery(&mut hub, RecoveryCommand::Return(part.clone()));
        assert_eq!(place(&hub, 1).next_seq, first + 2);
        if first == next {
            assert!(matches!(hub.refuse(Command::Recovery(RecoveryCommand::Return(part))), Refusal::Gap { .. }));
        }
    }
}

#[test]
fn of_different_events_at_one_place_the_one_of_most_nodes_is_taken_and_the_other_node_is_told_apart() {
    let division = |code| Event {
        key: EventKey { origin: NodeId::HUB, seq: 0 },
        at_ms: TimeMs::from_ms(NOW_MS + 1_000_000),
        actor: Actor::System,
        request: None,
        body: EventBody::Master(define_division(code, 0)),
    };
    let mut hub = connected();
    hub.ask(Command::DefineMaster(vec![define_division(1303, 0), define_node(3, &[1303])]));
    let empty = NodeBatch {
        node: node(3),
        incarnation: [3; 16],
        first_seq: 1,
        prev_hash: ChainHash::GENESIS,
        last_hash: ChainHash::GENESIS,
        events: Vec::new(),
    };
    hub.ask(Command::IngestEvents(empty));
    begin(&mut hub);
    let seq = RecoveryRow::read(&hub.state).unwrap().unwrap().head_seq + 1;
    for (number, code) in [(1, 1309), (2, 1308), (3, 1308)] {
        let mut event = division(code);
        event.key.seq = seq;
        let mut feed = feed_of(&hub, number);
        feed.push(codec::encode_event(&event).unwrap());
        return_all(&mut hub, number, &feed);
    }
    finish(&mut hub, &[]);
    let row = merge(&mut hub);
    assert_eq!((row.recovered, row.conflicts), (1, 1));
    assert_eq!(hub.count("SELECT count(*) FROM division WHERE code = 1308"), 1);
    assert_eq!(hub.count("SELECT count(*) FROM division WHERE code = 1309"), 0);
    let states: Vec<NodeReturn> = RecoveryNodeRow::list(&hub.state).unwrap().iter().map(|row| row.state).collect();
    assert_eq!(states, [NodeReturn::Differs, NodeReturn::Returned, NodeReturn::Returned]);
}

#[test]
fn what_only_a_node_had_that_is_left_out_is_lost() {
    let mut lost = connected();
    go_on(&mut lost);
    let mut hub = connected();
    begin(&mut hub);
    return_all(&mut hub, 1, &feed_of(&lost, 1));
    let next = place(&hub, 2).next_seq;
    let part = run(&hub, 2, &feed_of(&lost, 2), next, 1);
    ask_recovery(&mut hub, RecoveryCommand::Return(part));
    assert_eq!(code(&finish(&mut hub, &[1, 2])), "node_returned");
    assert_eq!(code(&finish(&mut hub, &[2, 7])), "unknown");
    finish(&mut hub, &[2]);
    let row = merge(&mut hub);
    assert_eq!((row.recovered, row.lost), (5, 3));
    assert_eq!(hub.count("SELECT count(*) FROM deposit WHERE deposit = 72"), 0);
    assert_eq!(hub.count("SELECT count(*) FROM deposit WHERE deposit IN (71, 73)"), 2);
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
}

#[test]
fn a_node_that_the_copy_does_not_know_returns_too() {
    let mut lost = connected();
    lost.ask(Command::DefineMaster(vec![define_division(1303, 0), define_node(3, &[1303])]));
    let mut hub = connected();
    begin(&mut hub);
    for number in [1, 2, 3] {
        return_all(&mut hub, number, &feed_of(&lost, number));
    }
    finish(&mut hub, &[]);
    let row = merge(&mut hub);
    assert_eq!((row.recovered, row.lost), (2, 0));
    assert_eq!(feed_of(&hub, 3), feed_of(&lost, 3));
    let head = |hub: &Hub| hub.count("SELECT seq FROM feed_head WHERE node = 3");
    assert_eq!(head(&hub), head(&lost));
    assert_eq!(tables(&hub), tables(&lost));
}

#[test]
fn a_node_of_which_another_one_heard_that_it_came_is_awaited_though_the_copy_does_not_know_it() {
    let mut lost = connected();
    lost.ask(Command::DefineMaster(vec![define_division(1303, 0), define_node(3, &[1303])]));
    let invited_only = feed_of(&lost, 3);
    let addresses = vec!["10.0.0.3:7500".to_string()];
    lost.ask(Command::Directory(DirectoryCommand::Reach { node: node(3), addresses }));
    let mut hub = connected();
    let known = hub.count("SELECT count(*) FROM hub_log WHERE audience = -1") as u64;
    begin(&mut hub);
    for number in [1, 2] {
        return_all(&mut hub, number, &feed_of(&lost, number));
    }
    assert_eq!(code(&finish(&mut hub, &[])), "nodes_awaited");
    let awaited = place(&hub, 3);
    assert_eq!((awaited.state, awaited.next_seq), (NodeReturn::Awaited, known + 1));
    // It may have received less than the copy has for all, or other things.
    let less: Feed = invited_only[..3].to_vec();
    let mut other = run(&hub, 3, &less, known + 1, usize::MAX);
    other.end_hash = chain(&invited_only[..2]);
    let refused = ask_recovery(&mut hub, RecoveryCommand::Return(other));
    assert!(matches!(refused, Outcome::Refused(Refusal::Fork { .. })), "{refused:?}");
    let mut at_less = connected();
    begin(&mut at_less);
    return_all(&mut at_less, 3, &less);
    return_all(&mut hub, 3, &feed_of(&lost, 3));
    finish(&mut hub, &[]);
    let row = merge(&mut hub);
    assert_eq!((row.recovered, row.lost), (3, 0));
    assert_eq!(feed_of(&hub, 3), feed_of(&lost, 3));
    assert_eq!(tables(&hub), tables(&lost));
}

#[test]
fn an_event_that_the_tables_refuse_stands_in_the_log_and_in_quarantine() {
    let mut hub = connected();
    let mut other = feed_of(&hub, 2);
    begin(&mut hub);
    let seq = RecoveryRow::read(&hub.state).unwrap().unwrap().head_seq + 1;
    // A deposit of an outlet that was never defined.
    let money =
        MoneyEvent::DepositCredited { deposit: 5, outlet: outlet(13_020_999), node: node(2), amount: yuan("1.00") };
    let event = Event {
        key: EventKey { origin: NodeId::HUB, seq },
        at_ms: TimeMs::from_ms(NOW_MS + 1_000_000),
        actor: Actor::System,
        request: None,
        body: EventBody::Money(money),
    };
    other.push(codec::encode_event(&event).unwrap());
    let first = feed_of(&hub, 1);
    return_all(&mut hub, 1, &first);
    return_all(&mut hub, 2, &other);
    finish(&mut hub, &[]);
    merge(&mut hub);
    assert_eq!(feed_of(&hub, 2), other);
    assert_eq!(hub.count("SELECT count(*) FROM quarantine WHERE node = 0"), 1);
}

#[test]
fn what_one_node_alone_says_was_for_all_is_not_taken() {
    let three = || {
        let mut hub = connected();
        hub.ask(Command::DefineMaster(vec![define_node(3, &[])]));
        let NodeLog { node, incarnation, hash, .. } = NodeLog::new(3);
        let empty = NodeBatch { node, incarnation, first_seq: 1, prev_hash: hash, last_hash: hash, events: Vec::new() };
        hub.ask(Command::IngestEvents(empty));
        hub
    };
    let mut lost = three();
    go_on(&mut lost);
    let mut hub = three();
    begin(&mut hub);
    // At the place of an event that was the hub's alone, which stands between others of the feed.
    let mut forged = feed_of(&lost, 1);
    let seq_of = |bytes: &Vec<u8>| codec::decode_event(bytes).unwrap().key.seq;
    let own: Vec<u64> = forged.iter().map(seq_of).collect();
    let gap = (1..own.len()).rev().find(|&at| own[at] > own[at - 1] + 1).unwrap();
    let mut event = codec::decode_event(&forged[gap]).unwrap();
    event.key.seq -= 1;
    event.body = EventBody::Master(define_division(1304, 0));
    forged.insert(gap, codec::encode_event(&event).unwrap());
    return_all(&mut hub, 1, &forged);
    for number in [2, 3] {
        return_all(&mut hub, number, &feed_of(&lost, number));
    }
    finish(&mut hub, &[]);
    let row = merge(&mut hub);
    assert_eq!((row.conflicts, row.lost), (1, 2), "the hub's own two places");
    assert_eq!(tables(&hub), tables(&lost));
    let states = [1, 2, 3].map(|number| place(&hub, number).state);
    assert_eq!(states, [NodeReturn::Differs, NodeReturn::Returned, NodeReturn::Returned]);
}
