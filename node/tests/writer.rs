//! The writing thread: what it acknowledged is there after a crash, bad events of the hub wait in quarantine, and a full
//! disk or a full queue refuses without a trace.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "each test binary uses its part of the outlet")]
mod outlet;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use jikai_node::decide::{PackSelection, Verb};
use jikai_node::keyring::Keyring;
use jikai_node::machine_log::take_waiting;
use jikai_node::store::{self, DownCursor, OwnLog};
use jikai_node::writer::{BATCH_MAX, Core, DownBatch, Reply, Request, WriteError, Writer};
use jikai_schema::barcode::{PackRef, parse_pack};
use jikai_schema::chain::ChainHash;
use jikai_schema::codec::{EVENT_VERSION, decode_event, encode_event};
use jikai_schema::event::*;
use jikai_schema::id::*;
use jikai_schema::money::Money;
use jikai_schema::time::{BusinessDay, TimeMs};
use jikai_schema::vault::MasterKey;
use jikai_sync::machine_log::MachineCommand;
use outlet::*;
use parking_lot::Mutex;
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::task::JoinSet;

/// Requests that may wait, as `writer` says.
const QUEUE_MAX: usize = 4_096;

async fn world_at_work() -> (TempDir, Writer, Feed) {
    let data = tempfile::tempdir().unwrap();
    init(data.path());
    let (writer, _) = start(data.path());
    let mut feed = Feed::new();
    feed.send(&writer, world()).await;
    (data, writer, feed)
}

fn core(data: &Path) -> Core {
    let connection = store::open(data).unwrap();
    let keys = Arc::new(Keyring::load(&connection, MasterKey::from_bytes([1; 32])).unwrap());
    Core::new(connection, keys, clock()).unwrap()
}

fn packs(numbers: &[u32]) -> Verb {
    let name = |number: &u32| -> PackRef { parse_pack(&format!("J1001-26001-{number:07}")).unwrap() };
    Verb::ReceivePacks(PackSelection::Packs(numbers.iter().map(name).collect()))
}

/// A request that is always done.
fn notes(number: u32) -> Request {
    request(clerk(1), &format!("note-{number:012}"), Verb::NoteLoginFailure { failures: number })
}

fn count(store: &Connection, sql: &str) -> i64 {
    store.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Sound file, unbroken chain without gaps, times that grow, and books that balance.
fn check_whole(store: &Connection) {
    assert_eq!(store.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(), "ok");
    let (mut hash, mut at_ms) = (ChainHash::GENESIS, TimeMs::from_ms(0));
    for (seq, stored) in (1..).zip(OwnLog(store).read(1, 100_000, usize::MAX).unwrap()) {
        let event = decode_event(&stored.bytes).unwrap();
        hash = hash.next(&stored.bytes);
        assert_eq!((stored.seq, event.key.seq, stored.hash), (seq, seq, hash));
        assert!(event.at_ms > at_ms, "event {seq} is not later than the one before");
        at_ms = event.at_ms;
    }
    assert_eq!(count(store, "SELECT coalesce(sum(balance_fen), 0) FROM account"), 0);
    assert_eq!(count(store, "SELECT count(*) FROM account WHERE account >> 44 = 1 AND balance_fen < 0"), 0);
}

/// The files as a crash at this moment would leave them.
fn crash_image(data: &Path) -> TempDir {
    let image = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(data).unwrap() {
        let path = entry.unwrap().path();
        // The shared-memory index is rebuilt from the write-ahead log.
        if !path.to_string_lossy().ends_with("-shm") {
            std::fs::copy(&path, image.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    image
}

#[tokio::test]
async fn a_store_left_by_a_crash_has_every_acknowledged_event_and_goes_on() {
    let (data, writer, mut feed) = world_at_work().await;
    let mut acknowledged: Vec<Reply> = vec![];
    acknowledged.push(writer.ask(request(owner(1), "receive-00000001", packs(&[1, 2, 3]))).await.unwrap());
    for number in 0..50 {
        acknowledged.push(writer.ask(notes(number)).await.unwrap());
    }
    let pays = request(clerk(1), "pay-000000000001", Verb::PayClaims(vec![barcode(1, 2), barcode(2, 2)]));
    acknowledged.push(writer.ask(pays.clone()).await.unwrap());
    feed.send(&writer, vec![deposit(2, "5.00")]).await;
    let image = crash_image(data.path());
    let mut restarted = core(image.path());
    check_whole(restarted.store());
    let log = OwnLog(restarted.store()).read(1, 10_000, usize::MAX).unwrap();
    let found: BTreeSet<Vec<u8>> = log.into_iter().map(|stored| stored.bytes).collect();
    for event in acknowledged.iter().flat_map(|reply| &reply.events) {
        assert!(found.contains(&encode_event(event).unwrap()), "{:?} was acknowledged", event.key);
    }
    assert_eq!(count(restarted.store(), "SELECT count(*) FROM deposit"), 2);
    let again = restarted.commit(&[&pays]).unwrap().pop().unwrap().unwrap();
    assert_eq!(Some(&again), acknowledged.last());
    let (writer, _) = start(image.path());
    feed.send(&writer, vec![deposit(3, "1.00")]).await;
}

#[tokio::test]
async fn requests_that_arrive_together_are_all_answered_and_stand_in_one_chain() {
    let (data, writer, _) = world_at_work().await;
    let mut asked = JoinSet::new();
    for number in 0..1_000 {
        let writer = writer.clone();
        asked.spawn(async move { writer.ask(notes(number)).await });
    }
    let replies = asked.join_all().await;
    let positions: BTreeSet<u64> = replies.iter().map(|reply| reply.as_ref().unwrap().seq).collect();
    assert_eq!(positions, (1..=1_000).collect());
    check_whole(&store::open_reader(data.path()).unwrap());
}

#[tokio::test]
async fn a_full_queue_answers_busy_and_loses_nothing_that_it_took() {
    let (data, writer, _) = world_at_work().await;
    drop(writer);
    let (open_gate, gate) = std::sync::mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let clock = Arc::new(move || {
        let _ = gate.lock().recv();
        TimeMs::from_ms(NOW_MS)
    });
    let connection = store::open(data.path()).unwrap();
    let keys = Arc::new(Keyring::load(&connection, MasterKey::from_bytes([1; 32])).unwrap());
    let (writer, _thread) = Writer::start(connection, keys, clock).unwrap();
    // While the clock stands still, one batch is in work and the queue fills behind it.
    let (mut busy, mut taken) = (0, Vec::new());
    for number in 0..(QUEUE_MAX + BATCH_MAX + 44) as u32 {
        let mut asked = Box::pin(writer.ask(notes(number)));
        match asked.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Err(WriteError::Busy)) => busy += 1,
            Poll::Ready(other) => panic!("answered while the clock stands still: {other:?}"),
            Poll::Pending => taken.push(asked),
        }
    }
    assert!(busy >= 44 && taken.len() >= QUEUE_MAX, "{busy} were refused, {} taken", taken.len());
    drop(open_gate);
    let done = taken.len();
    for asked in taken {
        assert!(asked.await.is_ok());
    }
    let store = store::open_reader(data.path()).unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM own_log"), done as i64);
    check_whole(&store);
}

fn operator_with_a_plain_password() -> EventBody {
    let (operator, role) = (clerk(1).operator, OperatorRole::Owner);
    master(MasterEvent::OperatorDefined { operator, node: node(), name: "x".into(), role, password_hash: "x".into() })
}

fn batch_with_a_prize_of_nothing() -> EventBody {
    let level = |level, fen| PrizeLevel { level, amount: Money::from_fen(fen), ticket_count: 1 };
    master(MasterEvent::BatchDefined(BatchFacts {
        batch: BatchNo::new(2).unwrap(),
        game: "J1001".parse().unwrap(),
        code: BatchCode::new(26_002).unwrap(),
        tickets_per_pack: TICKETS,
        packs_per_case: 10,
        packs: 10,
        print_completed_on: BusinessDay::from_number(9_500),
        package_hash: [0; 32],
        levels: vec![level(1, 100), level(2, 0)],
    }))
}

#[tokio::test]
async fn every_kind_of_bad_event_waits_in_quarantine_without_a_trace_elsewhere() {
    let (data, writer, mut feed) = world_at_work().await;
    let store = store::open_reader(data.path()).unwrap();
    let rows = "SELECT (SELECT count(*) FROM transfer) + (SELECT count(*) FROM batch) + \
                (SELECT count(*) FROM prize_level) + (SELECT sum(role) FROM operator)";
    let before = count(&store, rows);
    let nodes_own = EventBody::Session(SessionEvent::Closed { terminal: terminal(1) });
    let unknown_pack = PackEvent::HoldChanged { pack: pack(77), node: node(), hold: PackHold::Lost };
    let bad = vec![
        nodes_own,
        EventBody::Pack(unknown_pack),
        shipped(1, 2),
        deposit(7, "0.00"),
        deposit(1, "1000.00"),
        operator_with_a_plain_password(),
        batch_with_a_prize_of_nothing(),
    ];
    let poisoned = bad.len() as i64;
    feed.send(&writer, bad).await;
    assert_eq!(count(&store, "SELECT count(*) FROM quarantine"), poisoned);
    assert_eq!(count(&store, rows), before, "no event had half its effect");
    feed.send(&writer, vec![batch_with_a_prize_of_nothing(), deposit(8, "2.00"), deposit(8, "2.00")]).await;
    assert_eq!(count(&store, "SELECT count(*) FROM quarantine"), poisoned + 2);
    assert_eq!(count(&store, "SELECT sum(amount_fen) FROM deposit WHERE deposit = 8"), 200);
    check_whole(&store);
}

/// A run of one event whose bytes are these.
fn raw(data: &Path, bytes: Vec<u8>) -> DownBatch {
    let DownCursor { next_seq, hash } = DownCursor::load(&store::open_reader(data).unwrap()).unwrap();
    DownBatch { first_seq: next_seq, prev_hash: hash, last_hash: hash.next(&bytes), events: vec![bytes] }
}

#[tokio::test]
async fn bytes_that_are_no_event_are_set_aside_but_a_newer_version_stops_the_stream() {
    let (data, writer, _) = world_at_work().await;
    for bytes in [vec![], vec![1], vec![1, 255, 255], vec![1; 40_000]] {
        writer.apply_down(raw(data.path(), bytes)).await.unwrap();
    }
    let store = store::open_reader(data.path()).unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM quarantine"), 4);
    let before = DownCursor::load(&store).unwrap();
    let newer = writer.apply_down(raw(data.path(), vec![EVENT_VERSION + 1, 0, 0])).await;
    assert!(matches!(newer, Err(WriteError::Storage(reason)) if reason.contains("upgrade")));
    assert_eq!(DownCursor::load(&store).unwrap(), before, "it is asked for again after the upgrade");
    assert_eq!(outcome(&writer.ask(request(owner(1), "receive-00000001", packs(&[1]))).await), "done");
}

#[tokio::test]
async fn rows_of_newer_tables_stop_the_stream_and_are_never_set_aside() {
    let (data, writer, mut feed) = world_at_work().await;
    let store = store::open_reader(data.path()).unwrap();
    let before = DownCursor::load(&store).unwrap();
    for json in [
        r#"{"table":"outlet_mood","columns":["outlet"],"rows":[]}"#,
        r#"{"table":"outlet_class","columns":["outlet","class","mood"],"rows":[]}"#,
    ] {
        let rows = vec![serde_json::from_str(json).unwrap()];
        let moved = HandoffEvent::RowsMoved { handoff: 1, outlet: outlet(1), to: node(), rows };
        let batch = feed.batch(vec![EventBody::Handoff(moved)]);
        let newer = writer.apply_down(raw(data.path(), batch.events[0].clone())).await;
        assert!(matches!(newer, Err(WriteError::Storage(reason)) if reason.contains("upgrade")), "{json}");
    }
    assert_eq!(DownCursor::load(&store).unwrap(), before, "it is asked for again after the upgrade");
    assert_eq!(count(&store, "SELECT count(*) FROM quarantine"), 0);
}

#[tokio::test]
async fn a_gap_a_fork_and_a_run_sent_twice_change_nothing_also_after_a_restart() {
    let (data, writer, mut feed) = world_at_work().await;
    let sent = feed.batch(vec![deposit(2, "1.00"), deposit(3, "1.00")]);
    writer.apply_down(sent.clone()).await.unwrap();
    drop(writer);
    let (writer, _) = start(data.path());
    let next = feed.batch(vec![deposit(4, "1.00")]);
    let gap = DownBatch { first_seq: next.first_seq + 1, ..next.clone() };
    let overlap = DownBatch { first_seq: next.first_seq - 1, ..next.clone() };
    let fork = DownBatch { prev_hash: ChainHash::GENESIS, ..next.clone() };
    for refused in [sent, gap, overlap, fork] {
        assert!(writer.apply_down(refused).await.is_err());
    }
    let store = store::open_reader(data.path()).unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM deposit"), 3);
    writer.apply_down(next).await.unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM deposit"), 4);
}

#[tokio::test]
async fn when_space_returns_the_same_writer_does_what_it_refused() {
    let (data, writer, mut feed) = world_at_work().await;
    drop(writer);
    let mut core = core(data.path());
    // The page limit stands for the end of the disk: SQLite reports the same error for both.
    let pages = count(core.store(), "PRAGMA page_count");
    core.store().pragma_update(None, "max_page_count", pages).unwrap();
    let requests: Vec<Request> = (0..2_000).map(notes).collect();
    let asked: Vec<&Request> = requests.iter().collect();
    assert!(matches!(core.commit(&asked), Err(WriteError::StorageFull)));
    assert_eq!(count(core.store(), "SELECT count(*) FROM own_log"), 0, "nothing of the batch is left");
    check_whole(core.store());
    core.store().pragma_update(None, "max_page_count", 1_000_000).unwrap();
    assert!(core.commit(&asked).unwrap().iter().all(Result::is_ok));
    check_whole(core.store());
    drop(core);
    let (writer, _) = start(data.path());
    feed.send(&writer, vec![deposit(2, "1.00")]).await;
}

#[tokio::test]
async fn a_full_disk_stops_the_feed_where_it_is() {
    let (data, writer, mut feed) = world_at_work().await;
    drop(writer);
    let connection = store::open(data.path()).unwrap();
    let keys = Arc::new(Keyring::load(&connection, MasterKey::from_bytes([1; 32])).unwrap());
    let pages = count(&connection, "PRAGMA page_count");
    connection.pragma_update(None, "max_page_count", pages).unwrap();
    let (writer, _thread) = Writer::start(connection, keys, clock()).unwrap();
    let run = feed.batch((2..2_000).map(|number| deposit(number, "1.00")).collect());
    assert!(matches!(writer.apply_down(run.clone()).await, Err(WriteError::StorageFull)));
    let store = store::open_reader(data.path()).unwrap();
    assert_eq!(count(&store, "SELECT count(*) FROM deposit"), 1);
    assert_eq!(count(&store, "SELECT count(*) FROM quarantine"), 0, "lack of space is no fault of the event");
    drop(writer);
    let (writer, _) = start(data.path());
    writer.apply_down(run).await.unwrap();
    check_whole(&store);
}

/// A writer whose `COMMIT` fails while the flag is up, as it does when the disk is full by then.
fn writer_with_failing_commits(data: &Path) -> (Writer, Arc<AtomicBool>) {
    let mut connection = store::open(data).unwrap();
    let keys = Arc::new(Keyring::load(&connection, MasterKey::from_bytes([1; 32])).unwrap());
    let failing = Arc::new(AtomicBool::new(false));
    let fails = failing.clone();
    connection.commit_hook(Some(move || fails.load(Ordering::SeqCst))).unwrap();
    let (writer, _thread) = Writer::start(connection, keys, clock()).unwrap();
    (writer, failing)
}

#[tokio::test]
async fn a_commit_that_fails_moves_neither_head_nor_index_nor_catalog_and_the_same_writer_goes_on() {
    let (data, writer, mut feed) = world_at_work().await;
    drop(writer);
    let (writer, failing) = writer_with_failing_commits(data.path());
    let store = store::open_reader(data.path()).unwrap();
    writer.ask(notes(0)).await.unwrap();
    let (head, cursor) = (*writer.head().borrow(), DownCursor::load(&store).unwrap());
    let (receive, key) = (request(owner(1), "receive-00000001", packs(&[1, 2])), notes(1));
    let closing = feed.batch(vec![
        master(MasterEvent::BatchSaleChanged { batch: BatchNo::new(1).unwrap(), state: SaleState::Stopped }),
        deposit(2, "5.00"),
    ]);
    failing.store(true, Ordering::SeqCst);
    for refused in [&receive, &key, &receive] {
        assert!(matches!(writer.ask(refused.clone()).await, Err(WriteError::Storage(_))));
    }
    assert!(matches!(writer.apply_down(closing.clone()).await, Err(WriteError::Storage(_))));
    let mut asked = JoinSet::new();
    for number in 10..60 {
        let writer = writer.clone();
        asked.spawn(async move { writer.ask(notes(number)).await });
    }
    assert!(asked.join_all().await.iter().all(Result::is_err), "neither together nor one by one");
    assert_eq!(*writer.head().borrow(), head);
    assert_eq!(DownCursor::load(&store).unwrap(), cursor);
    assert_eq!(count(&store, "SELECT count(*) FROM own_log"), 1);
    assert_eq!(count(&store, "SELECT count(*) FROM deposit"), 1);
    failing.store(false, Ordering::SeqCst);
    // The batch is on sale as before, and the key was never used.
    let done = writer.ask(receive.clone()).await.unwrap();
    assert_eq!(done.events[0].key.seq, head.seq + 1);
    assert_eq!(writer.ask(receive).await.unwrap(), done);
    assert_eq!(count(&store, "SELECT count(*) FROM own_log"), done.seq as i64);
    writer.apply_down(closing).await.unwrap();
    let outcome = outcome(&writer.ask(request(owner(1), "receive-00000002", packs(&[3]))).await);
    assert_ne!(outcome, "done", "sale has ended");
    check_whole(&store);
}

#[tokio::test]
async fn the_names_of_a_batch_are_known_before_the_next_task_and_not_where_the_feed_was_rolled_back() {
    let (data, writer, mut feed) = world_at_work().await;
    drop(writer);
    let (writer, failing) = writer_with_failing_commits(data.path());
    let name = || writer.names().read().batch(BatchNo::new(2).unwrap());
    let EventBody::Master(MasterEvent::BatchDefined(mut facts)) = batch_with_a_prize_of_nothing() else { panic!() };
    facts.levels.pop();
    let defined = feed.batch(vec![master(MasterEvent::BatchDefined(facts))]);
    failing.store(true, Ordering::SeqCst);
    assert!(writer.apply_down(defined.clone()).await.is_err());
    assert_eq!(name(), None);
    failing.store(false, Ordering::SeqCst);
    // Both wait at once; the request is answered behind the feed.
    let (applied, answered) = tokio::join!(writer.apply_down(defined), async {
        writer.ask(notes(1)).await.unwrap();
        name()
    });
    applied.unwrap();
    assert_eq!(answered, Some("J1001-26002".to_string()));
    drop(writer);
    assert_eq!(start(data.path()).0.names().read().batch(BatchNo::new(2).unwrap()), answered, "after a restart");
}

#[tokio::test]
async fn what_was_done_on_the_machine_is_noted_once_each() {
    let (data, writer, _) = world_at_work().await;
    let text = str::to_string;
    let run = MachineCommand {
        id: 7,
        at_ms: 1_000,
        user: text("root (wei)"),
        address: text("10.0.0.7"),
        command: text("digest"),
        outcome: String::new(),
    };
    let before = writer.head().borrow().seq;
    for _ in 0..2 {
        run.clone().leave(data.path(), "done").unwrap();
        take_waiting(data.path(), &writer).await.unwrap();
    }
    MachineCommand { id: 8, ..run }.leave(data.path(), "no such file").unwrap();
    take_waiting(data.path(), &writer).await.unwrap();
    assert_eq!(writer.head().borrow().seq, before + 2);
    check_whole(&store::open_reader(data.path()).unwrap());
}
