use jikai_schema::chain::ChainHash;
use jikai_schema::codec::EVENT_VERSION;
use jikai_schema::command::{Command, NodeBatch, Outcome, Refusal};
use jikai_schema::event::{EventBody, EventKey, MasterEvent, MoneyEvent};
use jikai_schema::ledger::TransferId;
use jikai_schema::projection::Catalog;

use crate::log::LogPosition;
use crate::machine::{NodeHistory, commit};
use crate::province::*;

fn ingested(log: &NodeLog, quarantined: u64) -> Outcome {
    Outcome::Ingested { next_seq: log.next_seq, hash: log.hash, quarantined }
}

/// Three batches of two events each, and the log that wrote them.
fn three_batches() -> (NodeLog, [NodeBatch; 3]) {
    let mut log = NodeLog::new(1);
    let at = 13_010_001;
    let batches = [
        log.batch(vec![check_in(1, at), sell(1, 0, at)]),
        log.batch(vec![claim(1, 0, at, "10.00"), sell(1, 1, at)]),
        log.batch(vec![claim(1, 1, at, "5.00"), sell(1, 2, at)]),
    ];
    (log, batches)
}

#[test]
fn what_a_node_decided_is_applied_and_kept() {
    let (log, batches) = three_batches();
    let mut hub = Hub::set_up();
    for batch in &batches {
        hub.ask(Command::IngestEvents(batch.clone()));
    }
    let empty = NodeBatch {
        first_seq: log.next_seq,
        prev_hash: log.hash,
        last_hash: log.hash,
        events: Vec::new(),
        ..batches[0].clone()
    };
    assert_eq!(hub.ask(Command::IngestEvents(empty)), ingested(&log, 0));
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
    assert_eq!(hub.count("SELECT sum(claims) FROM outlet_day"), 2);
    assert_eq!(hub.count("SELECT sum(tickets_sold) FROM outlet_day"), 3);
    let history = NodeHistory::new(&hub.state, log.node);
    let kept = history.events_after(0, 100, usize::MAX).unwrap();
    let sent: Vec<&Vec<u8>> = batches.iter().flat_map(|batch| &batch.events).collect();
    assert!(kept.iter().map(|event| &event.bytes).eq(sent));
    assert_eq!(kept.last().map(|event| event.prev.next(&event.bytes)), Some(log.hash));
    assert_eq!(
        history.events_after(3, 2, usize::MAX).unwrap().iter().map(|event| event.seq).collect::<Vec<_>>(),
        [4, 5]
    );
    assert_eq!(history.events_after(u64::MAX, 2, usize::MAX).unwrap(), Vec::new());
}

#[test]
fn a_batch_delivered_again_changes_nothing() {
    let (log, batches) = three_batches();
    let mut hub = Hub::set_up();
    for batch in &batches {
        hub.ask(Command::IngestEvents(batch.clone()));
    }
    let before = digest_of(&hub.state, "applied");
    for batch in batches {
        assert_eq!(hub.ask(Command::IngestEvents(batch)), ingested(&log, 0));
    }
    assert_eq!(digest_of(&hub.state, "applied"), before);
}

#[test]
fn a_batch_that_overlaps_is_taken_from_where_the_log_ends() {
    let (log, [first, second, _]) = three_batches();
    let mut hub = Hub::set_up();
    hub.ask(Command::IngestEvents(first.clone()));
    let events = [first.events.clone(), second.events.clone()].concat();
    let overlapping = NodeBatch { events, last_hash: second.last_hash, ..first };
    let outcome = hub.ask(Command::IngestEvents(overlapping.clone()));
    assert_eq!(outcome, Outcome::Ingested { next_seq: 5, hash: second.last_hash, quarantined: 0 });
    assert_eq!(hub.ask(Command::IngestEvents(overlapping)), outcome);
    assert_eq!(NodeHistory::new(&hub.state, log.node).events_after(0, 9, usize::MAX).unwrap().len(), 4);
}

#[test]
fn a_gap_is_refused_with_both_positions() {
    let (log, [first, _, third]) = three_batches();
    let mut hub = Hub::set_up();
    hub.ask(Command::IngestEvents(first));
    let refusal = hub.refuse(Command::IngestEvents(third));
    assert_eq!(refusal, Refusal::Gap { node: log.node, next_seq: 3, first_seq: 5 });
}

#[test]
fn another_history_is_refused_wherever_it_begins() {
    let (_, [first, second, _]) = three_batches();
    let mut hub = Hub::set_up();
    hub.ask(Command::IngestEvents(first.clone()));
    let node = first.node;
    let fork = |at| Refusal::Fork { node, next_seq: at };
    let other_past = NodeBatch { prev_hash: ChainHash::from_bytes([1; 32]), ..second.clone() };
    assert_eq!(hub.refuse(Command::IngestEvents(other_past)), fork(3));
    let mut other = NodeLog::new(1);
    let rewritten = other.batch(vec![check_in(2, 13_010_001), sell(2, 0, 13_010_001)]);
    assert_eq!(hub.refuse(Command::IngestEvents(rewritten)), fork(3));
    let mut other = NodeLog::new(1);
    let short = other.batch(vec![check_in(2, 13_010_001)]);
    assert_eq!(hub.refuse(Command::IngestEvents(short)), fork(2));
    let nowhere = NodeBatch { first_seq: 0, ..second };
    assert_eq!(hub.refuse(Command::IngestEvents(nowhere)), fork(0));
}

#[test]
fn the_first_contact_registers_the_store_and_another_one_is_refused() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    assert_eq!(hub.ask(Command::IngestEvents(log.batch(Vec::new()))), ingested(&log, 0));
    let mut copy = NodeLog { incarnation: [99; 16], ..NodeLog::new(1) };
    let refusal = hub.refuse(Command::IngestEvents(copy.batch(vec![check_in(1, 13_010_001)])));
    assert_eq!(refusal, Refusal::Incarnation { node: log.node });
    let unknown = NodeLog::new(9).batch(Vec::new());
    assert_eq!(hub.refuse(Command::IngestEvents(unknown)).code(), "unknown");
    assert_eq!(hub.refuse(Command::IngestEvents(NodeLog::new(0).batch(Vec::new()))).code(), "unknown");
}

#[test]
fn poison_is_quarantined_and_never_blocks_the_stream() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    let good = log.batch(vec![check_in(1, 13_010_001)]);
    hub.ask(Command::IngestEvents(good.clone()));
    let deposit =
        MoneyEvent::DepositCredited { deposit: 77, outlet: outlet(13_010_001), node: log.node, amount: yuan("9.00") };
    let poison = vec![
        check_in(9, 13_010_001),                               // never shipped
        check_in(3, 13_020_001),                               // another node's pack
        EventBody::Money(deposit),                             // the hub's business
        EventBody::Master(MasterEvent::BatchDefined(facts())), // the hub's business
        sell(1, 999, 13_010_001),                              // no such ticket
    ];
    let mut events = log.batch(poison).events;
    events.extend([Vec::new(), vec![1, 2, 3], good.events[0].clone()]); // unreadable, and a wrong position
    let mut log = NodeLog::new(1);
    log.raw_batch(good.events.clone());
    let batch = log.raw_batch(events);
    assert_eq!(hub.ask(Command::IngestEvents(batch)), ingested(&log, 8));
    let next = log.batch(vec![sell(1, 0, 13_010_001)]);
    assert_eq!(hub.ask(Command::IngestEvents(next)), ingested(&log, 0), "the stream goes on");
    assert_eq!(hub.count("SELECT count(*) FROM quarantine WHERE node = 1 AND reason <> ''"), 8);
    assert_eq!(hub.count("SELECT sum(tickets_sold) FROM outlet_day"), 1);
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
    assert_eq!(NodeHistory::new(&hub.state, log.node).events_after(0, 99, usize::MAX).unwrap().len(), 10);
}

#[test]
fn a_fact_that_breaks_a_rule_is_applied_and_put_on_the_worklist() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    let twice = vec![check_in(1, 13_010_001), claim(1, 0, 13_010_001, "10.00"), claim(1, 0, 13_010_001, "10.00")];
    assert_eq!(hub.ask(Command::IngestEvents(log.batch(twice))), ingested(&log, 0));
    assert_eq!(hub.count("SELECT count(*) FROM exception WHERE kind = 'paid_twice'"), 1);
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
}

#[test]
fn a_prize_that_the_signed_list_or_the_pack_does_not_have_is_paid_by_no_fund() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    let invented = vec![
        claim(2, 0, 13_010_001, "10.00"), // its pack is still on its way
        check_in(1, 13_010_001),
        claim(1, 0, 13_010_001, "10.01"),
        claim(1, TICKETS_PER_PACK, 13_010_001, "10.00"),
        claim(1, 1, 13_010_001, "10.00"),
    ];
    assert_eq!(hub.ask(Command::IngestEvents(log.batch(invented))), ingested(&log, 0));
    assert_eq!(hub.count("SELECT count(*) FROM exception WHERE kind = 'unlisted_prize'"), 3);
    let prize = jikai_schema::ledger::TransferCode::Prize as i64;
    assert_eq!(hub.count(&format!("SELECT count(*) FROM transfer WHERE code = {prize}")), 1);
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
}

#[test]
fn an_event_that_a_table_refuses_in_the_middle_is_rolled_back_and_quarantined_alone() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    // Somebody else's row stands where the second event's third transfer belongs.
    let taken = TransferId::new(EventKey { origin: log.node, seq: 2 }, 2).key();
    let meddle = format!("INSERT INTO transfer VALUES ({taken}, 1, 2, 5, 1, 0, 0, 0, 0)");
    hub.meddle().execute_batch(&meddle).unwrap();
    let batch = log.batch(vec![check_in(1, 13_010_001), check_in(2, 13_010_001), sell(1, 0, 13_010_001)]);
    let at = LogPosition::new(hub.position + 1);
    let entry = (at, vec![proposal(NOW_MS, Command::IngestEvents(batch))]);
    let (outcomes, applied) = commit(&mut hub.state, &mut Catalog::default(), &[entry]).unwrap();
    assert_eq!((outcomes, applied.position), (vec![ingested(&log, 1)], at));
    assert_eq!(hub.count("SELECT seq FROM quarantine"), 2);
    assert_eq!(
        hub.count("SELECT count(*) FROM transfer WHERE transfer >> 51 = 1"),
        6,
        "five of the first, the meddler's"
    );
    assert_eq!(hub.count("SELECT state FROM pack ORDER BY pack LIMIT 1 OFFSET 1"), 0, "pack 2 is still on its way");
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
}

#[test]
fn events_of_a_newer_version_stop_the_stream_until_the_hub_is_upgraded() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    let newer = log.raw_batch(vec![vec![EVENT_VERSION + 1, 1, 1]]);
    assert_eq!(hub.refuse(Command::IngestEvents(newer)).code(), "event_too_new");
}
