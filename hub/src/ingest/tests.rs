use std::sync::Arc;

use jikai_schema::chain::ChainHash;
use jikai_schema::codec::EVENT_VERSION;
use jikai_schema::command::{
    AccessCommand, Command, HandoffCommand, NodeBatch, NodeCommand, Outcome, OutletMove, RecoveryCommand,
};
use jikai_schema::id::{MachineNo, NodeId};
use jikai_schema::peer::{HubReply, NodeRequest};
use jikai_schema::seal::BatchKey;
use jikai_schema::store::SCHEMA_VERSION;
use jikai_schema::time::TimeMs;
use jikai_schema::vault::MasterKey;
use jikai_sync::identity::Certified;
use jikai_sync::session::VerifiedBatch;
use jikai_sync::transport::HubStore;
use jikai_sync::wire::{Cursor, Hello, Mark, RefusalV1};
use rusqlite::Connection;

use super::NodeGate;
use crate::machine::{NodeCursor, RecoveryRow};
use crate::province::*;
use crate::raft::settings::Settings;
use crate::store::STATE_FILE;

pub(super) fn gate(hub: &Running) -> NodeGate {
    NodeGate::new("test".into(), hub.sequencer.clone(), hub.pool.clone(), hub.vault.clone(), hub.links.clone())
}

pub(super) fn hello(log: &NodeLog) -> Hello {
    Hello {
        event_version: EVENT_VERSION,
        environment: "test".into(),
        node: log.node,
        incarnation: log.incarnation,
        epoch: 1,
        schema_version: SCHEMA_VERSION,
        up_head: Cursor { next_seq: log.next_seq, hash: log.hash },
        down: Cursor::START,
    }
}

pub(super) fn verified(batch: NodeBatch) -> VerifiedBatch {
    let NodeBatch { first_seq, prev_hash, last_hash, events, .. } = batch;
    let head_seq = first_seq + events.len() as u64 - 1;
    VerifiedBatch { first_seq, prev_hash, last_hash, head_seq, events }
}

/// A certificate of a node, good for a day.
pub(super) fn certified(number: u16, serial: &str) -> Certified {
    let at = |ms| jikai_schema::time::TimeMs::from_ms(NOW_MS + ms);
    let (node, serial, hosts) = (node(number), serial.to_string(), Vec::new());
    Certified { node, serial, not_before_ms: at(0), not_after_ms: at(86_400_000), hosts }
}

async fn refused(gate: &NodeGate, hello: Hello) -> RefusalV1 {
    gate.admit(hello).await.map(|_| ()).unwrap_err()
}

#[tokio::test]
async fn a_known_node_is_admitted_and_told_where_to_go_on() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let mut log = NodeLog::new(1);
    let admission = gate.admit(hello(&log)).await.unwrap();
    assert_eq!(admission.welcome.up, Cursor::START);
    assert_eq!(*admission.down_head.borrow(), hub.sequencer.heads().head(node(1)));
    let batch = verified(log.batch(vec![check_in(1, 13_010_001), sell(1, 0, 13_010_001)]));
    let end = batch.end();
    assert_eq!(gate.ingest(log.node, log.incarnation, batch.clone()).await, Ok(end));
    assert_eq!(gate.ingest(log.node, log.incarnation, batch).await, Ok(end), "again");
    assert_eq!(gate.admit(hello(&log)).await.unwrap().welcome.up, end);
}

#[tokio::test]
async fn a_batch_that_is_known_together_with_later_ones_is_acknowledged_as_far_as_it_goes() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let mut log = NodeLog::new(1);
    let first = verified(log.batch(vec![check_in(1, 13_010_001), sell(1, 0, 13_010_001)]));
    let second = verified(log.batch(vec![sell(1, 1, 13_010_001)]));
    // As two sessions at two machines of the hub bring them: the older one was not heard of any more.
    for batch in [&first, &second] {
        assert_eq!(gate.ingest(log.node, log.incarnation, batch.clone()).await, Ok(batch.end()));
    }
    assert_eq!(gate.ingest(log.node, log.incarnation, first.clone()).await, Ok(first.end()));
    assert_eq!(gate.ingest(log.node, log.incarnation, second.clone()).await, Ok(second.end()));
}

#[tokio::test]
async fn a_greeting_that_does_not_fit_is_refused_with_its_reason() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let mut log = NodeLog::new(1);
    gate.admit(hello(&log)).await.unwrap();
    let batch = verified(log.batch(vec![check_in(1, 13_010_001), sell(1, 0, 13_010_001)]));
    gate.ingest(log.node, log.incarnation, batch).await.unwrap();
    let good = || hello(&log);
    let node_1 = log.node;

    let refusal = refused(&gate, Hello { environment: "production".into(), ..good() }).await;
    assert_eq!(refusal, RefusalV1::WrongEnvironment { ours: "test".into(), theirs: "production".into() });
    let refusal = refused(&gate, Hello { schema_version: SCHEMA_VERSION + 1, ..good() }).await;
    assert_eq!(refusal, RefusalV1::SchemaTooNew { ours: SCHEMA_VERSION, theirs: SCHEMA_VERSION + 1 });
    assert_eq!(refused(&gate, Hello { node: node(9), ..good() }).await, RefusalV1::UnknownNode { node: node(9) });
    let refusal = refused(&gate, Hello { epoch: 0, ..good() }).await;
    assert_eq!(refusal, RefusalV1::Fenced { node: node_1, ours: 1, theirs: 0 });
    let refusal = refused(&gate, Hello { incarnation: [9; 16], ..good() }).await;
    assert_eq!(refusal, RefusalV1::Incarnation { node: node_1 });
    let refusal = refused(&gate, Hello { up_head: Cursor::START, ..good() }).await;
    assert_eq!(refusal, RefusalV1::Rewound { ours: 3, theirs: 1 });
    let other = ChainHash::from_bytes([1; 32]);
    let refusal = refused(&gate, Hello { up_head: Cursor { next_seq: 3, hash: other }, ..good() }).await;
    assert_eq!(refusal, RefusalV1::Fork { at: 3 });
    assert!(gate.admit(good()).await.is_ok());
}

#[tokio::test]
async fn a_nodes_place_in_its_feed_must_be_one_of_the_feeds_history() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let log = NodeLog::new(1);
    let at = |next_seq, hash| Hello { down: Cursor { next_seq, hash }, ..hello(&log) };
    let records = gate.read_down(log.node, 1, 3, usize::MAX).await.unwrap();
    let third = records.iter().fold(ChainHash::GENESIS, |hash, record| hash.next(&record.bytes));
    assert!(gate.admit(at(4, third)).await.is_ok());
    let head = hub.sequencer.heads().head(log.node);
    for (next_seq, hash) in [(4, ChainHash::GENESIS), (0, ChainHash::GENESIS), (head + 2, third)] {
        let refusal = refused(&gate, at(next_seq, hash)).await;
        assert_eq!(refusal, RefusalV1::HubBehind { ours: head, theirs: next_seq });
        assert!(!refusal.is_fence(), "a node is not stopped for what the hub lost");
    }
}

#[tokio::test]
async fn a_refused_greeting_registers_nothing() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let log = NodeLog::new(1);
    let stranger =
        Hello { incarnation: [9; 16], down: Cursor { next_seq: 9_999, hash: ChainHash::GENESIS }, ..hello(&log) };
    refused(&gate, stranger).await;
    assert!(gate.admit(hello(&log)).await.is_ok());
}

#[tokio::test]
async fn gaps_and_forks_end_the_session_with_both_positions() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let mut log = NodeLog::new(1);
    let first = verified(log.batch(vec![check_in(1, 13_010_001)]));
    let second = verified(log.batch(vec![sell(1, 0, 13_010_001)]));
    let gap = gate.ingest(log.node, log.incarnation, second).await;
    assert_eq!(gap, Err(RefusalV1::Gap { expected: 1, found: 2 }));
    gate.ingest(log.node, log.incarnation, first).await.unwrap();
    let other = verified(NodeLog::new(1).batch(vec![check_in(2, 13_010_001)]));
    assert_eq!(gate.ingest(log.node, log.incarnation, other.clone()).await, Err(RefusalV1::Fork { at: 2 }));
    assert_eq!(gate.ingest(log.node, [9; 16], other).await, Err(RefusalV1::Incarnation { node: log.node }));
}

#[tokio::test]
async fn a_feed_is_read_in_pages_of_events_and_bytes_and_never_empty_when_there_is_one() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let head = hub.sequencer.heads().head(node(1));
    let all = gate.read_down(node(1), 1, usize::MAX >> 1, usize::MAX).await.unwrap();
    assert!(all.iter().map(|record| record.seq).eq(1..=head));
    assert_eq!(gate.read_down(node(1), 2, 3, usize::MAX).await.unwrap(), all[1..4]);
    assert_eq!(gate.read_down(node(1), 2, 3, 1).await.unwrap(), all[1..2]);
    assert_eq!(gate.read_down(node(1), head + 1, 3, 1).await.unwrap(), []);
}

#[tokio::test]
async fn a_link_that_is_silent_is_never_caught_up() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let later = jikai_schema::time::TimeMs::from_ms(NOW_MS + 60_000);
    let view = || hub.links.view(node(1), later);
    assert_eq!((view().connected, view().lag_ms), (false, 60_000), "never heard");
    let mut log = NodeLog::new(1);
    gate.admit(hello(&log)).await.unwrap();
    assert_eq!((view().connected, view().lag_ms), (true, 0));
    let mut batch = verified(log.batch(vec![check_in(1, 13_010_001)]));
    batch.head_seq = 50;
    gate.ingest(log.node, log.incarnation, batch).await.unwrap();
    assert!(view().lag_ms > 50_000, "the node says that it has more");
    gate.down_acked(log.node, Cursor { next_seq: 8, hash: ChainHash::GENESIS });
    assert_eq!(view().down_acked, 7);
    gate.disconnected(log.node, Some(&RefusalV1::Superseded));
    assert!(!view().connected && view().lag_ms > 50_000 && view().refused.is_some());
}

#[tokio::test]
async fn keys_are_given_for_imported_batches_only() {
    let hub = Running::empty().await;
    let wrapped = MasterKey::from_bytes([3; 32]).wrap(batch(), &BatchKey::from_bytes([8; 32]), [1; 12]);
    for command in set_up().into_iter().take(3) {
        let command = match command {
            Command::ImportBatch { facts, .. } => Command::ImportBatch { facts, wrapped_key: wrapped.clone() },
            other => other,
        };
        hub.ask(command).await;
    }
    let gate = gate(&hub);
    let unknown = jikai_schema::id::BatchNo::new(7).unwrap();
    let request = NodeRequest::BatchKeys { batches: vec![batch(), unknown] }.encode().unwrap();
    let reply = HubReply::decode(&gate.answer(&certified(1, "0a"), request).await).unwrap();
    let HubReply::BatchKeys(keys) = reply else { panic!("{reply:?}") };
    assert_eq!(keys.iter().map(|(batch, key)| (*batch, key.0)).collect::<Vec<_>>(), [(batch(), [8; 32])]);
    let too_many = NodeRequest::BatchKeys { batches: vec![batch(); 1_001] }.encode().unwrap();
    for bad in [too_many, vec![], vec![1, 99]] {
        let reply = HubReply::decode(&gate.answer(&certified(1, "0a"), bad).await).unwrap();
        assert!(matches!(reply, HubReply::Refused(_)));
    }
}

#[tokio::test]
async fn keys_of_another_master_key_are_refused_without_saying_more() {
    let hub = Running::set_up().await;
    let gate = NodeGate { vault: Arc::new(super::KeyVault::new(MasterKey::from_bytes([4; 32]))), ..gate(&hub) };
    let request = NodeRequest::BatchKeys { batches: vec![batch()] }.encode().unwrap();
    let reply = HubReply::decode(&gate.answer(&certified(1, "0a"), request).await).unwrap();
    assert_eq!(reply, HubReply::Refused("the hub cannot open its batch keys".into()));
}

#[tokio::test]
async fn a_certificate_is_remembered_at_its_first_use_and_opens_nothing_once_it_is_revoked() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let certified = |serial: &str| certified(1, serial);
    let mut revocations = hub.sequencer.revocations();
    assert_eq!(gate.check_certificate(&certified("0a")).await, Ok(()));
    assert_eq!(gate.check_certificate(&certified("0b")).await, Ok(()));
    let revoke = AccessCommand::RevokeCertificate { serial: "0a".into(), reason: "stolen".into() };
    hub.ask(Command::Access(revoke)).await;
    revocations.changed().await.unwrap();
    let refusal = RefusalV1::Revoked { node: node(1) };
    assert_eq!(gate.check_certificate(&certified("0a")).await, Err(refusal));
    assert_eq!(gate.check_certificate(&certified("0b")).await, Ok(()));
}

#[tokio::test]
async fn once_all_certificates_of_a_node_were_revoked_none_is_believed_that_nobody_recorded() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let check = async |number, serial: &str| gate.check_certificate(&certified(number, serial)).await;
    assert_eq!(check(1, "0a").await, Ok(()));
    let revoke = AccessCommand::RevokeCertificatesOf { node: node(1), reason: "disk lost".into() };
    hub.ask(Command::Access(revoke)).await;
    let revoked = Err(RefusalV1::Revoked { node: node(1) });
    assert_eq!(check(1, "0a").await, revoked);
    assert_eq!(check(1, "0b").await, revoked, "signed before certificates were recorded");
    assert_eq!(check(2, "0c").await, Ok(()), "another node's");
    let (serial, not_after_ms) = ("0d".to_string(), certified(1, "0d").not_after_ms);
    hub.ask(Command::Access(AccessCommand::RecordCertificate { node: node(1), serial, not_after_ms })).await;
    assert_eq!(check(1, "0d").await, Ok(()), "signed by hand since then");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_another_machine_told_more_is_admitted_once_this_one_has_caught_up() {
    let machines = Machines::set_up(3, &Settings::default()).await;
    machines.applied(3, machines[1].sequencer.applied()).await;
    let (leader, follower) = (gate(&machines[1]), gate(&machines[3]));
    let held = Connection::open(machines[3].data.path().join(STATE_FILE)).unwrap();
    held.busy_timeout(LONG).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let log = NodeLog::new(3);
    machines.ask(1, Command::DefineMaster(vec![define_node(3, &[1303])])).await;
    let told = leader.admit(hello(&log)).await.unwrap();
    let head = *told.down_head.borrow();
    let records = leader.read_down(log.node, 1, usize::MAX, usize::MAX).await.unwrap();
    let hash = records.iter().fold(ChainHash::GENESIS, |hash, record| hash.next(&record.bytes));
    let hello = Hello { down: Cursor { next_seq: head + 1, hash }, ..hello(&log) };
    let (admitted, ()) = tokio::join!(follower.admit(hello), async { held.execute_batch("ROLLBACK").unwrap() });
    assert_eq!(admitted.unwrap().welcome.up, Cursor::START);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_never_told_less_than_another_machine_had_acknowledged_of_its_log() {
    let machines = Machines::set_up(3, &Settings::default()).await;
    machines.applied(3, machines[1].sequencer.applied()).await;
    let (leader, follower) = (gate(&machines[1]), gate(&machines[3]));
    machines.ask(1, Command::DefineMaster(vec![define_node(3, &[1303])])).await;
    let mut log = NodeLog::new(3);
    leader.admit(hello(&log)).await.unwrap();
    machines.applied(3, machines[1].sequencer.applied()).await;
    let held = Connection::open(machines[3].data.path().join(STATE_FILE)).unwrap();
    held.busy_timeout(LONG).unwrap();
    held.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batch = verified(log.batch(vec![check_in(1, 13_030_001)]));
    let end = batch.end();
    assert_eq!(leader.ingest(log.node, log.incarnation, batch).await, Ok(end));
    let admitting = follower.admit(hello(&log));
    let (admitted, ()) = tokio::join!(admitting, async { held.execute_batch("ROLLBACK").unwrap() });
    assert_eq!(admitted.unwrap().welcome.up, end);
}

#[tokio::test]
async fn a_replaced_store_is_fenced_for_good_and_only_its_successor_is_admitted() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let mut log = NodeLog::new(1);
    let old = hello(&log);
    let mut watching = gate.admit(old.clone()).await.unwrap().revocations;
    watching.mark_unchanged();
    gate.ingest(log.node, log.incarnation, verified(log.batch(vec![check_in(1, 13_010_001)]))).await.unwrap();
    let node_1 = log.node;
    let replace = NodeCommand::Replace { node: node_1, incarnation: [9; 16], reason: "disk".into() };
    hub.ask(Command::Node(replace)).await;
    assert!(watching.has_changed().unwrap(), "an open session looks whether it may go on");
    let fenced = RefusalV1::Fenced { node: node_1, ours: 2, theirs: 1 };
    assert_eq!(gate.check_store(&old).await, Err(fenced.clone()));
    assert_eq!(refused(&gate, hello(&log)).await, fenced);
    let late = gate.ingest(node_1, log.incarnation, verified(log.batch(vec![sell(1, 0, 13_010_001)]))).await;
    assert_eq!(late, Err(RefusalV1::Incarnation { node: node_1 }), "what was on its way comes too late");
    let at = gate.read(move |store| NodeCursor::load(store, node_1)).await.unwrap().unwrap();
    let up_head = Cursor { next_seq: at.next_seq, hash: at.hash };
    let new = Hello { epoch: 2, incarnation: [9; 16], up_head, ..hello(&log) };
    assert_eq!(
        refused(&gate, Hello { incarnation: [8; 16], ..new.clone() }).await,
        RefusalV1::Incarnation { node: node_1 }
    );
    let later = refused(&gate, Hello { epoch: 3, ..new.clone() }).await;
    assert!(matches!(later, RefusalV1::HubBehind { .. }), "a hub that knew more gave it");
    assert_eq!(gate.admit(new.clone()).await.unwrap().welcome.up, up_head);
    assert_eq!(gate.check_store(&new).await, Ok(()));
}

#[tokio::test]
async fn a_run_on_a_copy_is_refused_and_told_of_and_the_original_goes_on() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let log = NodeLog::new(1);
    gate.admit(hello(&log)).await.unwrap();
    let mark =
        |run: u8, after: Option<u8>| Mark { run: [run; 16], after: after.map(|after| [after; 16]), process: [0; 16] };
    assert_eq!(gate.begin_run(&hello(&log), mark(1, None)).await, Ok(()));
    assert_eq!(gate.begin_run(&hello(&log), mark(2, Some(1))).await, Ok(()));
    let cloned = RefusalV1::Cloned { node: log.node };
    assert_eq!(gate.begin_run(&hello(&log), mark(3, Some(1))).await, Err(cloned.clone()));
    let told = "SELECT count(*) FROM node_clone";
    let count = |sql: &'static str| gate.read(move |store| store.query_row(sql, [], |row| row.get::<_, i64>(0)));
    assert_eq!(count(told).await.unwrap(), 1);
    // Beside a process that lives, a copy that knows the newest run.
    gate.is_clone(log.node, [4; 16]).await;
    assert_eq!(gate.begin_run(&hello(&log), mark(4, Some(2))).await, Err(cloned));
    assert_eq!(count(told).await.unwrap(), 2);
    assert_eq!(gate.begin_run(&hello(&log), mark(2, Some(1))).await, Ok(()), "the original");
    assert_eq!(gate.begin_run(&hello(&log), mark(5, Some(2))).await, Ok(()), "started anew");
}

async fn asked(gate: &NodeGate, by: u16, request: NodeRequest) -> HubReply {
    let reply = gate.answer(&certified(by, "0a"), request.encode().unwrap()).await;
    HubReply::decode(&reply).unwrap()
}

#[tokio::test]
async fn a_node_tells_where_terminals_reach_it_and_asks_where_an_outlet_is() {
    let hub = Running::set_up().await;
    let gate = gate(&hub);
    let reach = |addresses: &[&str]| {
        let addresses = addresses.iter().map(ToString::to_string).collect();
        NodeRequest::Reached { addresses }
    };
    let facts = async || {
        let sql = "SELECT count(*) FROM node_address";
        hub.pool.read(move |store| store.query_row(sql, [], |row| row.get::<_, i64>(0))).await.unwrap().unwrap()
    };
    assert_eq!(asked(&gate, 2, reach(&["node2.example:443"])).await, HubReply::Noted);
    assert_eq!(asked(&gate, 2, reach(&["node2.example:443"])).await, HubReply::Noted);
    assert_eq!(facts().await, 1);
    let HubReply::Refused(reason) = asked(&gate, 2, reach(&["0.0.0.0:443"])).await else { panic!("not refused") };
    assert!(reason.contains("0.0.0.0:443"), "{reason}");
    let where_is = |id| NodeRequest::WhereIs { outlet: outlet(id) };
    assert_eq!(asked(&gate, 1, where_is(13_020_001)).await, HubReply::OutletAt(Some(node(2))));
    assert_eq!(asked(&gate, 1, where_is(13_020_999)).await, HubReply::OutletAt(None));
    let moves = vec![OutletMove { outlet: outlet(13_020_001), to: node(1) }];
    hub.ask(Command::Handoff(HandoffCommand::Move { moves, window: 1 })).await;
    assert_eq!(asked(&gate, 1, where_is(13_020_001)).await, HubReply::OutletAt(Some(node(1))), "it comes there");
    assert_eq!(asked(&gate, 2, where_is(13_020_001)).await, HubReply::OutletAt(Some(node(2))));
}

/// The version of its tables that a node with a session told.
fn told(gate: &NodeGate, node: NodeId) -> Option<u32> {
    gate.links.view(node, gate.sequencer.now_ms()).schema_version
}

#[tokio::test]
async fn the_feed_of_a_node_stops_in_front_of_what_it_cannot_read_and_its_own_log_is_taken_in() {
    let hub = Running::set_up().await;
    let (gate, mut log) = (gate(&hub), NodeLog::new(1));
    let head = |sql: &'static str| hub.pool.read(move |store| store.query_row(sql, [], |row| row.get::<_, i64>(0)));
    let before = head("SELECT seq FROM feed_head WHERE node = 1").await.unwrap().unwrap() as u64;
    let all = gate.read_down(log.node, 1, usize::MAX >> 1, usize::MAX).await.unwrap();
    let place = all.iter().fold(ChainHash::GENESIS, |hash, record| hash.next(&record.bytes));
    let addresses = vec!["node1.example:443".to_string()];
    assert_eq!(asked(&gate, 1, NodeRequest::Reached { addresses }).await, HubReply::Noted);
    let at_the_news = Cursor { next_seq: before + 1, hash: place };
    let schema_version = SCHEMA_VERSION - 1;
    let old = |log: &NodeLog, down| Hello { event_version: 3, schema_version, down, ..hello(log) };
    assert_eq!(told(&gate, log.node), None, "it has not come");
    gate.admit(old(&log, at_the_news)).await.unwrap();
    assert_eq!(told(&gate, log.node), Some(schema_version));
    let refusal = gate.read_down(log.node, before + 1, 1, 1).await.unwrap_err();
    assert_eq!(refusal, RefusalV1::SchemaTooOld { ours: 4, theirs: 3 });
    assert!(!refusal.is_fence() && refusal.hint().contains("Upgrade the node"));
    gate.feed_stopped(log.node, &refusal);
    assert_eq!(gate.links.stopped(), [(log.node, refusal.to_string())]);
    let (node, incarnation) = (log.node, log.incarnation);
    let batch = verified(log.batch(vec![check_in(1, 13_010_001)]));
    assert_eq!(gate.ingest(node, incarnation, batch).await.unwrap().next_seq, 2);
    gate.admit(old(&log, Cursor::START)).await.unwrap();
    assert_eq!(gate.links.stopped(), [], "a session that was not told so yet");
    let readable = gate.read_down(log.node, 1, usize::MAX >> 1, usize::MAX).await.unwrap();
    assert_eq!(readable.len() as u64, before, "what it can read it gets, up to there");
    let refusal = gate.read_down(log.node, before + 1, 9, usize::MAX).await.unwrap_err();
    assert_eq!(refusal, RefusalV1::SchemaTooOld { ours: 4, theirs: 3 });
    let upgraded = Hello { down: at_the_news, ..hello(&log) };
    gate.admit(upgraded).await.unwrap();
    assert_eq!(gate.read_down(log.node, before + 1, 9, usize::MAX).await.unwrap().len(), 1, "after its upgrade");
    assert_eq!(told(&gate, log.node), Some(SCHEMA_VERSION));
    gate.disconnected(log.node, None);
    assert_eq!(told(&gate, log.node), None, "it may be elsewhere, with another build");
}

fn begin_recovery() -> Command {
    let (machine, said_at_ms) = (MachineNo::new(1).unwrap(), TimeMs::from_ms(NOW_MS));
    Command::Recovery(RecoveryCommand::Begin { machine, said_at_ms })
}

#[tokio::test]
async fn a_store_that_took_its_nodes_place_since_the_copy_is_met_once_it_has_its_slice() {
    let hub = Running::set_up().await;
    let (gate, log) = (gate(&hub), NodeLog::new(1));
    gate.admit(hello(&log)).await.unwrap();
    hub.ask(begin_recovery()).await;
    let later = |incarnation, down| Hello { incarnation, epoch: 2, down, ..hello(&log) };
    let has_slice = Cursor { next_seq: 2, hash: ChainHash::GENESIS };
    let refusal = refused(&gate, later([7; 16], Cursor::START)).await;
    assert!(refusal.to_string().contains("has not received its slice"), "{refusal}");
    gate.admit(hello(&log)).await.expect("the store that the copy knows is the node's still");
    gate.admit(later([7; 16], has_slice)).await.unwrap();
    // Not for ever: the later one may have been the wrong one, and the copy be put back once more.
    assert_eq!(refused(&gate, hello(&log)).await, RefusalV1::Incarnation { node: log.node });
    let refusal = refused(&gate, later([8; 16], has_slice)).await;
    assert!(refusal.to_string().contains("not the one that the hub's copy knows"), "{refusal}");
    assert!(!refusal.is_fence(), "a person decides");
}

#[tokio::test]
async fn a_node_that_was_left_out_of_a_recovery_is_shut_out_if_it_had_received_more_and_goes_on_if_not() {
    let hub = Running::set_up().await;
    let (gate, log) = (gate(&hub), NodeLog::new(1));
    gate.admit(hello(&log)).await.unwrap();
    let head = hub.sequencer.heads().head(node(1));
    let ahead = || Hello { down: Cursor { next_seq: head + 5, hash: ChainHash::GENESIS }, ..hello(&log) };
    assert!(matches!(refused(&gate, ahead()).await, RefusalV1::HubBehind { .. }), "nobody was left out yet");
    let finish = RecoveryCommand::Finish { without: vec![log.node] };
    for command in [begin_recovery(), Command::Recovery(finish)] {
        let done = hub.ask(command).await;
        assert!(matches!(done, Outcome::Done { .. }), "{done:?}");
    }
    let row = hub.pool.read(|store| RecoveryRow::read(store)).await.unwrap().unwrap().unwrap();
    hub.ask(Command::Recovery(RecoveryCommand::Merge { from_seq: row.merged_seq + 1 })).await;
    let refusal = refused(&gate, ahead()).await;
    assert_eq!(refusal, RefusalV1::LeftOut { node: log.node });
    assert!(refusal.is_fence() && refusal.hint().contains("node replace"));
    gate.admit(hello(&log)).await.unwrap();
}
