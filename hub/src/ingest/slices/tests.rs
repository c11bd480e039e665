use jikai_schema::command::Command;
use jikai_schema::peer::{HubReply, NodeRequest, SliceHead};
use jikai_schema::slice::{SliceImport, SlicePart};
use jikai_schema::store::{MIGRATIONS, migrate};
use jikai_sync::transport::HubStore;
use rusqlite::Connection;

use crate::ingest::NodeGate;
use crate::ingest::tests::{certified, gate};
use crate::province::*;

async fn ask(gate: &NodeGate, number: u16, request: NodeRequest) -> HubReply {
    let reply = gate.answer(&certified(number, "0a"), request.encode().unwrap()).await;
    HubReply::decode(&reply).unwrap()
}

async fn open(gate: &NodeGate, number: u16) -> SliceHead {
    match ask(gate, number, NodeRequest::OpenSlice).await {
        HubReply::SliceOpened(head) => head,
        other => panic!("{other:?}"),
    }
}

async fn part(gate: &NodeGate, number: u16, transfer: u64, part: u64) -> HubReply {
    loop {
        match ask(gate, number, NodeRequest::SlicePart { transfer, part }).await {
            HubReply::SlicePending => {}
            reply => return reply,
        }
    }
}

/// A hub to which node 1 has told some facts.
async fn told() -> (Running, NodeLog) {
    let (hub, mut log) = (Running::set_up().await, NodeLog::new(1));
    let facts = vec![check_in(1, 13_010_001), sell(1, 0, 13_010_001), claim(1, 0, 13_010_001, "10.00")];
    hub.ask(Command::IngestEvents(log.batch(facts))).await;
    (hub, log)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slice_holds_every_table_and_the_nodes_own_log_as_of_one_moment() {
    let (hub, mut log) = told().await;
    let gate = gate(&hub);
    let (up, head) = ((log.next_seq, log.hash), open(&gate, 1).await);
    let fed = hub.sequencer.heads().head(log.node);
    // What comes in meanwhile is not of that moment.
    hub.ask(Command::IngestEvents(log.batch(vec![sell(1, 1, 13_010_001)]))).await;
    hub.ask(Command::CreditDeposits(vec![deposit(77, 13_010_001, "5.00")])).await;
    assert_eq!((head.up, head.down.0), (up, fed + 1));
    let mut store = Connection::open_in_memory().unwrap();
    migrate(&mut store, "projection", MIGRATIONS).unwrap();
    let transaction = store.transaction().unwrap();
    let mut import = SliceImport::begin(&transaction).unwrap();
    let mut events = Vec::new();
    for number in 0.. {
        let HubReply::SlicePart(bytes) = part(&gate, 1, head.transfer, number).await else { panic!("part {number}") };
        match SlicePart::decode(&bytes).unwrap() {
            SlicePart::Rows { table, columns, rows } => import.rows(&table, columns, &rows).unwrap(),
            SlicePart::TableEnd { table, rows, hash } => import.table_end(table, rows, hash),
            SlicePart::Log { events: more, .. } => events.extend(more),
            SlicePart::Facts { .. } | SlicePart::Feed { .. } => {}
            SlicePart::End => break,
        }
    }
    import.finish().unwrap();
    let hash = events.iter().fold(jikai_schema::chain::ChainHash::GENESIS, |hash, bytes| hash.next(bytes));
    assert_eq!((events.len() as u64 + 1, hash), up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_given_again_when_its_answer_was_lost_and_no_other_out_of_turn() {
    let (hub, _) = told().await;
    let gate = gate(&hub);
    let head = open(&gate, 1).await;
    let first = part(&gate, 1, head.transfer, 0).await;
    assert!(matches!(first, HubReply::SlicePart(_)));
    assert_eq!(part(&gate, 1, head.transfer, 0).await, first);
    for (number, transfer, wanted) in [(1, head.transfer, 5), (1, head.transfer ^ 1, 1), (2, head.transfer, 1)] {
        let reply = part(&gate, number, transfer, wanted).await;
        assert!(matches!(reply, HubReply::Refused(_)), "{number} {wanted}: {reply:?}");
    }
    assert_ne!(part(&gate, 1, head.transfer, 1).await, first);
    // Begun anew as often as one likes: what was before makes room.
    for _ in 0..5 {
        let again = open(&gate, 1).await;
        assert!(matches!(part(&gate, 1, head.transfer, 2).await, HubReply::Refused(_)), "the transfer before is over");
        assert_eq!(part(&gate, 1, again.transfer, 0).await, first);
    }
}
