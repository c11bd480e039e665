//! Outlets that moved since the copy was made: the hub comes to the same tables, whichever part of a move came back.

use jikai_schema::codec;
use jikai_schema::command::{Command, HandoffCommand, NodeBatch, Outcome, OutletMove, RecoveryCommand};
use jikai_schema::event::{EventBody, HandoffEvent, MovedRequest};
use jikai_schema::ledger::AccountId;
use jikai_schema::projection::Projection;

use super::recovery::{Feed, ask_recovery, begin, connected, feed_of, finish, return_all, tables};
use crate::machine::{NodeCursor, NodeReturn, RecoveryNodeRow, RecoveryRow, RecoveryState};
use crate::province::*;

const OUTLET: u32 = 13_010_001;

/// A hub, and the logs that its nodes 1 and 2 have sent it.
struct Story {
    hub: Hub,
    logs: [NodeLog; 2],
    sent: [Vec<Vec<u8>>; 2],
}

impl Story {
    fn begin() -> Self {
        Story { hub: connected(), logs: [NodeLog::new(1), NodeLog::new(2)], sent: [Vec::new(), Vec::new()] }
    }

    fn decide(&mut self, number: u16, bodies: Vec<EventBody>) {
        let index = usize::from(number) - 1;
        let batch = self.logs[index].batch(bodies);
        self.sent[index].extend(batch.events.clone());
        let outcome = self.hub.ask(Command::IngestEvents(batch));
        assert!(matches!(outcome, Outcome::Ingested { quarantined: 0, .. }), "{outcome:?}");
    }

    fn order(&mut self, to: u16) {
        let moves = vec![OutletMove { outlet: outlet(OUTLET), to: node(to) }];
        self.hub.ask(Command::Handoff(HandoffCommand::Move { moves, window: 5 }));
    }

    fn release(&mut self, handoff: u64, from: u16, to: u16) {
        let requests = vec![MovedRequest { index: handoff as i64, origin: node(from), seq: 1 }];
        let listed = HandoffEvent::RequestsListed { handoff, outlet: outlet(OUTLET), requests };
        let released = HandoffEvent::Released { handoff, outlet: outlet(OUTLET), to: node(to) };
        self.decide(from, vec![EventBody::Handoff(listed), EventBody::Handoff(released)]);
    }

    /// Packs are taken in and tickets paid at both nodes, the outlet goes to node 2 and money and packs follow it there.
    fn move_once(&mut self) {
        self.hub.ask(ship(9, OUTLET, 4..=5));
        self.hub.ask(Command::CreditDeposits(vec![deposit(71, OUTLET, "900.00")]));
        self.decide(1, vec![check_in(4, OUTLET)]);
        self.order(2);
        self.decide(1, vec![claim(4, 3, OUTLET, "10.00")]);
        self.release(1, 1, 2);
    }

    fn go_on_at_the_new_node(&mut self) {
        self.hub.ask(ship(10, OUTLET, 6..=6));
        self.hub.ask(Command::CreditDeposits(vec![deposit(72, OUTLET, "50.00")]));
        self.decide(2, vec![check_in(5, OUTLET), claim(4, 7, OUTLET, "10.00"), check_in(6, OUTLET)]);
    }

    fn feeds(&self) -> [Feed; 2] {
        [feed_of(&self.hub, 1), feed_of(&self.hub, 2)]
    }

    /// Ends a recovery of the copy of the beginning, to which the nodes return these feeds; then they send what is left of their logs.
    fn recover(&self, feeds: &[Feed; 2]) -> Hub {
        let mut hub = connected();
        begin(&mut hub);
        for (number, feed) in (1..).zip(feeds) {
            return_all(&mut hub, number, feed);
        }
        finish(&mut hub, &[]);
        self.merge(&mut hub);
        for number in [1, 2] {
            let outcome = hub.ask(Command::IngestEvents(self.rest(&hub, number)));
            assert!(matches!(outcome, Outcome::Ingested { quarantined: 0, .. }), "{outcome:?}");
        }
        assert_eq!(hub.count("SELECT count(*) FROM quarantine"), 0);
        assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
        assert_eq!(hub.count("SELECT (SELECT count(*) FROM handoff) + (SELECT count(*) FROM handoff_request)"), 0);
        hub
    }

    fn merge(&self, hub: &mut Hub) {
        for _ in 0..100 {
            let row = RecoveryRow::read(&hub.state).unwrap().unwrap();
            let next = match row.release {
                _ if row.state == RecoveryState::Over => return,
                Some(release) => RecoveryCommand::ReturnLog(self.rest(hub, release.node.get())),
                None => RecoveryCommand::Merge { from_seq: row.merged_seq + 1 },
            };
            ask_recovery(hub, next);
        }
        panic!("the recovery does not end");
    }

    /// What a hub lacks of a node's log.
    fn rest(&self, hub: &Hub, number: u16) -> NodeBatch {
        let cursor = NodeCursor::load(&hub.state, node(number)).unwrap().unwrap();
        let mut log = NodeLog { next_seq: cursor.next_seq, hash: cursor.hash, ..NodeLog::new(number) };
        log.raw_batch(self.sent[usize::from(number) - 1].iter().skip(cursor.next_seq as usize - 1).cloned().collect())
    }
}

/// The feed up to, without, the first event that is so.
fn until(feed: &Feed, is_so: impl Fn(&HandoffEvent) -> bool) -> Feed {
    let is_end = |bytes: &Vec<u8>| match codec::decode_event(bytes).unwrap().body {
        EventBody::Handoff(event) => is_so(&event),
        _ => false,
    };
    let end = feed.iter().position(is_end).expect("there is such an event");
    feed[..end].to_vec()
}

fn owner(hub: &Hub) -> i64 {
    hub.count(&format!("SELECT node FROM outlet WHERE outlet = {OUTLET}"))
}

#[test]
fn a_move_that_came_back_whole_leads_to_the_same_tables_and_feeds() {
    let mut story = Story::begin();
    story.move_once();
    story.go_on_at_the_new_node();
    let hub = story.recover(&story.feeds());
    assert_eq!(feed_of(&hub, 1), story.feeds()[0]);
    assert_eq!(feed_of(&hub, 2), story.feeds()[1]);
    assert_eq!((tables(&hub), owner(&hub)), (tables(&story.hub), 2));
}

#[test]
fn an_outlet_that_went_to_and_fro_is_where_it_was() {
    let mut story = Story::begin();
    story.move_once();
    story.go_on_at_the_new_node();
    story.order(1);
    story.release(2, 2, 1);
    story.decide(1, vec![claim(5, 3, OUTLET, "10.00")]);
    story.order(2);
    story.release(3, 1, 2);
    story.decide(2, vec![claim(6, 3, OUTLET, "10.00")]);
    let hub = story.recover(&story.feeds());
    assert_eq!(hub.count("SELECT last_handoff FROM handoff_pace"), 3);
    assert_eq!((tables(&hub), owner(&hub)), (tables(&story.hub), 2));
}

#[test]
fn a_release_that_crossed_its_cancellation_goes_back_once() {
    let mut story = Story::begin();
    story.order(2);
    story.hub.ask(Command::Handoff(HandoffCommand::Cancel { outlets: vec![outlet(OUTLET)] }));
    story.release(1, 1, 2);
    let hub = story.recover(&story.feeds());
    assert_eq!(feed_of(&hub, 1), story.feeds()[0], "no second word of the return");
    assert_eq!((tables(&hub), owner(&hub)), (tables(&story.hub), 1));
}

#[test]
fn a_release_to_which_no_answer_came_back_is_answered() {
    let mut story = Story::begin();
    story.move_once();
    let [first, second] = story.feeds();
    let first = until(&first, |event| matches!(event, HandoffEvent::Left { .. }));
    let second = until(&second, |event| matches!(event, HandoffEvent::RequestsMoved { .. }));
    assert_moved_once(&story, &[first, second]);
}

#[test]
fn rows_without_an_arrival_are_told_again_with_it() {
    let mut story = Story::begin();
    story.move_once();
    let [first, second] = story.feeds();
    let first = until(&first, |event| matches!(event, HandoffEvent::Left { .. }));
    let second = until(&second, |event| matches!(event, HandoffEvent::Arrived { .. }));
    assert_moved_once(&story, &[first, second]);
}

#[test]
fn an_arrival_without_its_leave_is_followed_by_it() {
    let mut story = Story::begin();
    story.move_once();
    let [first, second] = story.feeds();
    let first = until(&first, |event| matches!(event, HandoffEvent::Left { .. }));
    assert_moved_once(&story, &[first, second]);
}

#[test]
fn a_leave_without_an_arrival_takes_no_rows_away_and_the_new_node_gets_them() {
    let mut story = Story::begin();
    story.move_once();
    let [first, second] = story.feeds();
    let second = until(&second, |event| matches!(event, HandoffEvent::RequestsMoved { .. }));
    assert_moved_once(&story, &[first, second]);
}

#[test]
fn rows_whose_old_node_is_left_out_arrive_with_the_money_that_is_known() {
    let mut story = Story::begin();
    story.move_once();
    let mut hub = connected();
    begin(&mut hub);
    let [_, second] = story.feeds();
    return_all(&mut hub, 2, &until(&second, |event| matches!(event, HandoffEvent::Arrived { .. })));
    finish(&mut hub, &[1]);
    story.merge(&mut hub);
    assert_eq!((owner(&hub), hub.count("SELECT count(*) FROM handoff")), (2, 0));
    let balance = |hub: &Hub, number| {
        Projection::new(&hub.state).account(AccountId::outlet(node(number), outlet(OUTLET))).unwrap().balance
    };
    assert_eq!((balance(&hub, 1), balance(&hub, 2)), (yuan("0.00"), yuan("1000.00")));
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
}

#[test]
fn a_leave_of_more_than_the_copy_knows_takes_what_there_is_and_the_hub_goes_on() {
    let mut story = Story::begin();
    story.hub.ask(Command::CreditDeposits(vec![deposit(71, OUTLET, "900.00")]));
    story.order(2);
    story.release(1, 1, 2);
    let mut hub = connected();
    begin(&mut hub);
    return_all(&mut hub, 2, &story.feeds()[1]);
    finish(&mut hub, &[1]);
    story.merge(&mut hub);
    assert_eq!((owner(&hub), hub.count("SELECT count(*) FROM handoff")), (2, 0));
    let balance =
        |number| Projection::new(&hub.state).account(AccountId::outlet(node(number), outlet(OUTLET))).unwrap().balance;
    assert_eq!((balance(1), balance(2)), (yuan("0.00"), yuan("1900.00")));
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
    assert_eq!(
        hub.ask(Command::CreditDeposits(vec![deposit(99, OUTLET, "1.00")])),
        Outcome::Done { events: 1, existing: 0 }
    );
}

#[test]
fn an_outlet_that_came_back_while_its_first_node_was_away_keeps_its_rows() {
    let mut story = Story::begin();
    story.move_once();
    let [first, _] = story.feeds();
    let first = until(&first, |event| matches!(event, HandoffEvent::Left { .. }));
    story.go_on_at_the_new_node();
    story.order(1);
    story.release(2, 2, 1);
    let second = story.feeds()[1].clone();
    let hub = story.recover(&[first, second]);
    // Transfers are named after the places of their facts, which are later now; all balances are the same.
    let rest = |hub: &Hub| -> Vec<String> {
        let of_facts = |table: &String| ["\"account\"", "\"transfer\""].iter().any(|name| table.contains(name));
        tables(hub).into_iter().filter(|table| !of_facts(table)).collect()
    };
    assert_eq!((rest(&hub), owner(&hub)), (rest(&story.hub), 1));
    let balances = "SELECT sum(balance_fen * (account % 1000003)) FROM account";
    assert_eq!(hub.count(balances), story.hub.count(balances));
    let handoffs = |hub: &Hub| -> Vec<String> {
        let bodies = feed_of(hub, 1).into_iter().map(|bytes| codec::decode_event(&bytes).unwrap().body);
        let name = |body| match body {
            EventBody::Handoff(HandoffEvent::RowsMoved { handoff, .. }) => Some(format!("rows {handoff}")),
            EventBody::Handoff(HandoffEvent::Arrived { handoff, .. }) => Some(format!("arrived {handoff}")),
            EventBody::Handoff(HandoffEvent::Left { handoff, .. }) => Some(format!("left {handoff}")),
            _ => None,
        };
        bodies.filter_map(name).collect()
    };
    let told = handoffs(&hub);
    assert_eq!(
        (told.first().map(String::as_str), told.last().map(String::as_str)),
        (Some("left 1"), Some("arrived 2"))
    );
}

/// Whatever came back: the outlet is the new node's with its rows and money, and each node was told its part once it knows it.
fn assert_moved_once(story: &Story, feeds: &[Feed; 2]) {
    let hub = story.recover(feeds);
    assert_eq!(owner(&hub), 2);
    for sql in [
        format!("SELECT count(*) FROM pack WHERE outlet = {OUTLET} AND node = 2"),
        format!("SELECT to_node FROM outlet_moved WHERE outlet = {OUTLET} AND node = 1"),
        "SELECT count(*) FROM account WHERE balance_fen <> 0".to_string(),
        "SELECT sum(abs(balance_fen)) FROM account".to_string(),
    ] {
        assert_eq!(hub.count(&sql), story.hub.count(&sql), "{sql}");
    }
    let told = |feed: Feed, is_so: fn(&HandoffEvent) -> bool| {
        let is_so = |bytes: &Vec<u8>| match codec::decode_event(bytes).unwrap().body {
            EventBody::Handoff(event) => is_so(&event),
            _ => false,
        };
        feed.iter().filter(|bytes| is_so(bytes)).count()
    };
    assert_eq!(told(feed_of(&hub, 1), |event| matches!(event, HandoffEvent::Left { .. })), 1);
    assert_eq!(told(feed_of(&hub, 2), |event| matches!(event, HandoffEvent::Arrived { .. })), 1);
}

#[test]
fn a_log_that_is_not_awaited_is_not_taken_in_and_one_whose_node_is_left_out_is_done_without() {
    let mut story = Story::begin();
    story.move_once();
    let mut hub = connected();
    begin(&mut hub);
    for (number, feed) in (1..).zip(&story.feeds()) {
        return_all(&mut hub, number, feed);
    }
    let log = |hub: &Hub, number| RecoveryCommand::ReturnLog(story.rest(hub, number));
    let early = log(&hub, 1);
    let early = ask_recovery(&mut hub, early);
    assert!(matches!(&early, Outcome::Refused(refusal) if refusal.code() == "log_not_awaited"), "{early:?}");
    finish(&mut hub, &[]);
    let row = RecoveryRow::read(&hub.state).unwrap().unwrap();
    ask_recovery(&mut hub, RecoveryCommand::Merge { from_seq: row.merged_seq + 1 });
    let row = RecoveryRow::read(&hub.state).unwrap().unwrap();
    assert_eq!(row.release.map(|release| (release.node, release.handoff)), Some((node(1), 1)));
    let on = ask_recovery(&mut hub, RecoveryCommand::Merge { from_seq: row.merged_seq + 1 });
    assert!(matches!(&on, Outcome::Refused(refusal) if refusal.code() == "release_awaited"), "{on:?}");
    let other = log(&hub, 2);
    let other = ask_recovery(&mut hub, other);
    assert!(matches!(&other, Outcome::Refused(refusal) if refusal.code() == "log_not_awaited"), "{other:?}");
    finish(&mut hub, &[1]);
    story.merge(&mut hub);
    assert_eq!(RecoveryNodeRow::place(&hub.state, node(1)).unwrap().state, NodeReturn::LeftOut);
    assert_eq!(owner(&hub), 2);
}
