use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use jikai_schema::command::{Command, Outcome};
use jikai_schema::event::{Actor, MasterEvent};
use jikai_schema::time::TimeMs;
use rusqlite::Connection;

use super::{ProposeError, Sequencer};
use crate::log::{LogError, ReplicatedLog, Reply};
use crate::province::*;
use crate::raft::log_store::{CommandReader, LOG_FILE};
use crate::store;

fn define(code: u32) -> Command {
    Command::DefineMaster(vec![define_division(code, 0)])
}

const DONE: Outcome = Outcome::Done { events: 1, existing: 0 };

/// Entries with commands in a log.
fn entry_count(data: &std::path::Path) -> usize {
    let mut log = CommandReader::open(data).unwrap();
    std::iter::from_fn(|| Some(log.next(usize::MAX).unwrap()).filter(|entries| !entries.is_empty()))
        .map(|some| some.len())
        .sum()
}

/// A log whose answer got lost so many times: every entry is committed and applied.
struct Losing {
    log: Arc<dyn ReplicatedLog>,
    left: AtomicU32,
}

impl ReplicatedLog for Losing {
    fn commit(&self, entry: Vec<u8>) -> Reply<'_, Vec<u8>> {
        Box::pin(async {
            let answer = self.log.commit(entry).await?;
            let loses = self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if loses.is_ok() { Err(LogError::Unknown) } else { Ok(answer) }
        })
    }

    fn catch_up(&self) -> Reply<'_, ()> {
        self.log.catch_up()
    }
}

#[tokio::test]
async fn a_command_whose_answer_got_lost_is_sent_again_and_answered_as_if_it_came_once_and_given_up_after_three_times()
{
    let hub = Running::empty().await;
    assert_eq!(hub.ask(define(1301)).await, DONE);
    let (followed, room) = (hub.member.followed.clone(), hub.member.room.clone());
    let log = |left| Arc::new(Losing { log: hub.member.cluster.clone(), left: AtomicU32::new(left) });
    let (twice, three_times) = (log(2), log(3));
    let count = "SELECT count(*) FROM hub_log";
    let events = async || hub.pool.read(|store| store.query_row(count, [], |row| row.get(0))).await.unwrap().unwrap();
    let (before, events_before): (u64, i64) = (hub.sequencer.applied().get(), events().await);
    let (sequencer, _) = Sequencer::start(twice, followed.clone(), room.clone(), Arc::new(|| TimeMs::from_ms(NOW_MS)));
    assert_eq!(sequencer.propose(Actor::System, define(1302)).await, Ok(DONE), "not as one that is there already");
    assert_eq!(hub.sequencer.applied().get(), before + 3, "it stands in the log each time");
    assert_eq!(events().await, events_before + 1, "and is applied once");
    let (sequencer, _) = Sequencer::start(three_times, followed, room, Arc::new(|| TimeMs::from_ms(NOW_MS)));
    let outcome = sequencer.propose(Actor::System, define(1303)).await;
    assert_eq!(outcome, Err(ProposeError::Log(LogError::Unknown)));
}

#[tokio::test]
async fn what_was_answered_is_in_log_and_state() {
    let hub = Running::set_up().await;
    let before = hub.sequencer.applied();
    let mut log = NodeLog::new(1);
    hub.ask(Command::IngestEvents(log.batch(vec![check_in(1, 13_010_001)]))).await;
    assert_eq!(hub.sequencer.applied(), before.next());
    let data = hub.stop().await;
    assert_eq!(entry_count(data.path()), set_up().len() + 1);
}

#[tokio::test]
async fn a_lost_state_is_rebuilt_from_the_log_row_by_row() {
    let hub = Running::set_up().await;
    let mut log = NodeLog::new(1);
    hub.ask(Command::IngestEvents(log.batch(vec![check_in(1, 13_010_001), sell(1, 0, 13_010_001)]))).await;
    hub.ask(ship(1, 13_010_002, 5..=5)).await;
    let data = hub.stop().await;
    let before = Running::digest(data.path());
    Running::lose_state(data.path());
    let again = Running::over(data.clone()).await;
    again.stop().await;
    assert_eq!(Running::digest(data.path()), before);
}

#[tokio::test]
async fn a_crash_between_append_and_apply_loses_nothing_and_doubles_nothing() {
    let hub = Running::set_up().await;
    hub.ask(ship(3, 13_010_002, 4..=6)).await;
    let data = hub.stop().await;
    let whole = Running::digest(data.path());
    let entries = entry_count(data.path()) as i64;
    // The state as it was before the last entries: a log cut short is taken in, then the whole one.
    let copy = tempfile::tempdir().unwrap();
    for applied in [1, 3, entries - 1] {
        let short = Arc::new(tempfile::tempdir_in(copy.path()).unwrap());
        std::fs::copy(data.path().join(LOG_FILE), short.path().join(LOG_FILE)).unwrap();
        let log = Connection::open(short.path().join(LOG_FILE)).unwrap();
        let cut = "DELETE FROM entry WHERE log_index > (SELECT log_index FROM entry WHERE kind = 1 ORDER BY log_index LIMIT 1 OFFSET ?1)";
        log.execute(cut, [applied - 1]).unwrap();
        log.execute("UPDATE position SET log_index = (SELECT max(log_index) FROM entry)", []).unwrap();
        drop(log);
        Running::over(short.clone()).await.stop().await;
        for file in [LOG_FILE, "raft.db-wal", "raft.db-shm"] {
            let _ = std::fs::remove_file(short.path().join(file));
        }
        std::fs::copy(data.path().join(LOG_FILE), short.path().join(LOG_FILE)).unwrap();
        Running::over(short.clone()).await.stop().await;
        assert_eq!(Running::digest(short.path()), whole, "crash after {applied} entries");
    }
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_refuses_the_command_and_the_hub_goes_on_when_space_returns() {
    let hub = Running::empty().await;
    // Behind the entries by which the machine began to lead.
    assert_eq!(hub.ask(define(1302)).await, DONE);
    let before = hub.sequencer.applied();
    hub.member.room.reserve(u64::MAX);
    let refused = hub.sequencer.propose(Actor::System, define(1301)).await;
    assert_eq!(refused, Err(ProposeError::Log(LogError::Full)));
    assert_eq!(hub.sequencer.applied(), before);
    hub.member.room.reserve(0);
    assert_eq!(hub.ask(define(1301)).await, DONE);
    assert_eq!(*hub.sequencer.failed().borrow(), None);
}

#[tokio::test]
async fn a_state_that_cannot_follow_the_log_stops_the_hub_and_the_log_wins() {
    let hub = Running::empty().await;
    assert_eq!(hub.ask(define(1301)).await, DONE);
    let mut failed = hub.sequencer.failed();
    // Somebody else's hands on the state: the next event finds its place taken.
    let meddler = Connection::open(hub.data.path().join(store::STATE_FILE)).unwrap();
    meddler.execute("INSERT INTO hub_log SELECT 2, bytes, hash, audience FROM hub_log", []).unwrap();
    let outcome = hub.sequencer.propose(Actor::System, define(1302)).await;
    assert_eq!(outcome, Err(ProposeError::Stopped));
    failed.wait_for(Option::is_some).await.unwrap();
    assert_eq!(hub.sequencer.propose(Actor::System, define(1303)).await, Err(ProposeError::Stopped));
    drop(meddler);
    let data = hub.stop().await;
    Running::lose_state(data.path());
    let again = Running::over(data).await;
    assert_eq!(again.ask(define(1302)).await, Outcome::Done { events: 0, existing: 1 }, "the log had it");
}

#[tokio::test]
async fn a_log_that_fails_stops_the_hub() {
    let hub = Running::empty().await;
    assert_eq!(hub.ask(define(1301)).await, DONE);
    let mut failed = hub.sequencer.failed();
    let meddler = Connection::open(hub.data.path().join(LOG_FILE)).unwrap();
    meddler.execute("INSERT INTO entry SELECT max(log_index) + 1, 9, 9, 0, x'' FROM entry", []).unwrap();
    let outcome = hub.sequencer.propose(Actor::System, define(1302)).await;
    assert!(matches!(outcome, Err(ProposeError::Stopped | ProposeError::Log(LogError::Unknown))), "{outcome:?}");
    assert!(failed.wait_for(Option::is_some).await.unwrap().is_some());
    assert_eq!(hub.sequencer.propose(Actor::System, define(1302)).await, Err(ProposeError::Stopped));
}

#[tokio::test]
async fn commands_that_queue_together_share_an_entry_and_keep_their_order() {
    let hub = Running::set_up().await;
    let before = hub.sequencer.applied().get();
    let mut pending = Vec::new();
    for number in 0..200 {
        let command = Command::CreditDeposits(vec![deposit(100 + number, 13_010_001, "1.00")]);
        pending.push(hub.sequencer.submit(Actor::System, command).await.unwrap());
    }
    for pending in pending {
        assert_eq!(pending.outcome().await, Ok(DONE));
    }
    let entries = hub.sequencer.applied().get() - before;
    assert!(entries < 200, "{entries} entries for 200 commands");
    let ordered = hub.pool.read(|store| -> Result<bool, rusqlite::Error> {
        let mut statement = store.prepare("SELECT subject FROM transfer WHERE subject >= 100 ORDER BY transfer")?;
        let numbers: Vec<i64> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(numbers.iter().copied().eq(100..300))
    });
    assert!(ordered.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_command_over_its_limit_is_refused_before_it_queues() {
    let hub = Running::empty().await;
    let packs = (1..=50).map(|number| (number, vec![0; 24_000])).collect();
    let outcome = hub.sequencer.propose(Actor::System, Command::StockPacks { batch: batch(), packs }).await;
    assert!(matches!(outcome, Err(ProposeError::TooLong { .. })));
}

#[tokio::test]
async fn feeds_are_published_once_they_are_committed() {
    let hub = Running::empty().await;
    assert!(hub.sequencer.heads().watch(node(1)).is_none());
    hub.ask(Command::DefineMaster(master_data())).await;
    let mut head = hub.sequencer.heads().watch(node(1)).unwrap();
    let before = *head.borrow_and_update();
    hub.ask(Command::DefineMaster(vec![define_outlet(13_010_009, 130_102_001)])).await;
    head.changed().await.unwrap();
    assert_eq!(*head.borrow(), before + 1);
    assert_eq!(hub.sequencer.heads().head(node(2)), before - 3, "another node's outlets are not its business");
}

#[tokio::test]
async fn a_log_that_is_gone_is_not_taken_for_a_new_one() {
    let hub = Running::set_up().await;
    let data = hub.stop().await;
    for file in [LOG_FILE, "raft.db-wal", "raft.db-shm"] {
        let _ = std::fs::remove_file(data.path().join(file));
    }
    let error = Running::try_over(data).await.err().unwrap();
    assert!(format!("{error:#}").contains("the log of this machine is gone"), "{error:#}");
}

#[tokio::test]
async fn definitions_of_the_longest_names_fit_their_weight() {
    let hub = Running::set_up().await;
    let named = |id: u32| {
        let mut outlet = define_outlet(id, 130_102_001);
        if let MasterEvent::OutletDefined { name, .. } = &mut outlet {
            *name = "n".repeat(200);
        }
        outlet
    };
    let outcome = hub.ask(Command::DefineMaster((13_011_000..13_011_512).map(named).collect())).await;
    assert_eq!(outcome, Outcome::Done { events: 512, existing: 0 });
}
