use std::sync::Arc;

use jikai_schema::command::{Command, Outcome};
use jikai_schema::event::{Actor, MasterEvent};
use rusqlite::Connection;

use super::{ProposeError, ReplayError, replay};
use crate::log::{CommandLog, LocalLog, LogEntry, LogError, LogPosition};
use crate::province::*;
use crate::store;

/// A log that can be told to refuse entries.
struct Moody {
    log: LocalLog,
    full: Arc<std::sync::atomic::AtomicBool>,
    failing: bool,
}

impl CommandLog for Moody {
    fn append(&mut self, entry: &[u8]) -> Result<LogPosition, LogError> {
        match self.full.load(std::sync::atomic::Ordering::SeqCst) {
            true if self.failing => Err(LogError::Storage("disk I/O error".into())),
            true => Err(LogError::Full),
            false => self.log.append(entry),
        }
    }

    fn read_from(&self, from: LogPosition, bytes_max: usize) -> Result<Vec<LogEntry>, LogError> {
        self.log.read_from(from, bytes_max)
    }

    fn last(&self) -> Result<LogPosition, LogError> {
        self.log.last()
    }
}

fn define(code: u32) -> Command {
    Command::DefineMaster(vec![define_division(code, 0)])
}

const DONE: Outcome = Outcome::Done { events: 1, existing: 0 };

#[tokio::test]
async fn what_was_answered_is_in_log_and_state() {
    let hub = Running::set_up().await;
    let mut log = NodeLog::new(1);
    hub.ask(Command::IngestEvents(log.batch(vec![check_in(1, 13_010_001)]))).await;
    assert_eq!(hub.sequencer.applied(), LogPosition::new(set_up().len() as u64 + 1));
    let data = hub.stop();
    let reader = LocalLog::open_reader(data.path()).unwrap();
    assert_eq!(reader.last(), Ok(LogPosition::new(set_up().len() as u64 + 1)));
}

#[tokio::test]
async fn a_lost_state_is_rebuilt_from_the_log_row_by_row() {
    let hub = Running::set_up().await;
    let mut log = NodeLog::new(1);
    hub.ask(Command::IngestEvents(log.batch(vec![check_in(1, 13_010_001), sell(1, 0, 13_010_001)]))).await;
    hub.ask(ship(1, 13_010_002, 5..=5)).await;
    let data = hub.stop();
    let before = Running::digest(data.path());
    Running::lose_state(data.path());
    let again = Running::over(data.clone());
    again.stop();
    assert_eq!(Running::digest(data.path()), before);
}

#[tokio::test]
async fn a_crash_between_append_and_apply_loses_nothing_and_doubles_nothing() {
    let (data, whole) = {
        let hub = Running::set_up().await;
        hub.ask(ship(3, 13_010_002, 4..=6)).await;
        let data = hub.stop();
        let whole = Running::digest(data.path());
        (data, whole)
    };
    // The state as it was before the last entries: a crash in between.
    for applied in [0, 1, 3, set_up().len()] {
        Running::lose_state(data.path());
        let mut state = store::open(data.path()).unwrap();
        let log = LocalLog::open(data.path()).unwrap();
        let entries = log.read_from(LogPosition::new(1), usize::MAX).unwrap();
        super::replay::apply_entries(&mut state, &entries[..applied]).unwrap();
        drop((state, log));
        Running::over(data.clone()).stop();
        assert_eq!(Running::digest(data.path()), whole, "crash after {applied} entries");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_the_command_and_the_hub_goes_on_when_space_returns() {
    let data = Arc::new(tempfile::tempdir().unwrap());
    let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let log = Moody { log: LocalLog::open(data.path()).unwrap(), full: full.clone(), failing: false };
    let hub = Running::with_log(data, Box::new(log));
    let refused = hub.sequencer.propose(Actor::System, define(1301)).await;
    assert_eq!(refused, Err(ProposeError::Log(LogError::Full)));
    assert_eq!(hub.sequencer.applied(), LogPosition::default());
    full.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(hub.ask(define(1301)).await, DONE);
    assert_eq!(*hub.sequencer.failed().borrow(), None);
}

#[tokio::test]
async fn a_log_that_fails_otherwise_stops_the_hub_for_only_the_next_start_tells_what_is_on_disk() {
    let data = Arc::new(tempfile::tempdir().unwrap());
    let full = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let log = Moody { log: LocalLog::open(data.path()).unwrap(), full, failing: true };
    let hub = Running::with_log(data, Box::new(log));
    let mut failed = hub.sequencer.failed();
    assert_eq!(hub.sequencer.propose(Actor::System, define(1301)).await, Err(ProposeError::Stopped));
    assert!(failed.wait_for(Option::is_some).await.unwrap().is_some());
    assert_eq!(hub.sequencer.propose(Actor::System, define(1301)).await, Err(ProposeError::Stopped));
}

#[tokio::test]
async fn a_state_that_cannot_follow_the_log_stops_the_hub_and_the_log_wins() {
    let hub = Running::empty();
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
    let data = hub.stop();
    Running::lose_state(data.path());
    let again = Running::over(data);
    assert_eq!(again.ask(define(1302)).await, Outcome::Done { events: 0, existing: 1 }, "the log had it");
}

#[tokio::test]
async fn commands_that_queue_together_share_an_entry_and_keep_their_order() {
    let hub = Running::set_up().await;
    let mut pending = Vec::new();
    for number in 0..200 {
        let command = Command::CreditDeposits(vec![deposit(100 + number, 13_010_001, "1.00")]);
        pending.push(hub.sequencer.submit(Actor::System, command).await.unwrap());
    }
    for pending in pending {
        assert_eq!(pending.outcome().await, Ok(DONE));
    }
    let entries = hub.sequencer.applied().get() - set_up().len() as u64;
    assert!(entries < 200, "{entries} entries for 200 commands");
    let ordered = hub.pool.read(|store| -> Result<bool, rusqlite::Error> {
        let mut statement = store.prepare("SELECT deposit FROM deposit WHERE deposit >= 100 ORDER BY at_ms")?;
        let numbers: Vec<i64> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
        Ok(numbers.iter().copied().eq(100..300))
    });
    assert!(ordered.await.unwrap().unwrap());
}

#[tokio::test]
async fn a_command_over_its_limit_is_refused_before_it_queues() {
    let hub = Running::empty();
    let packs = (1..=50).map(|number| (number, vec![0; 24_000])).collect();
    let outcome = hub.sequencer.propose(Actor::System, Command::StockPacks { batch: batch(), packs }).await;
    assert!(matches!(outcome, Err(ProposeError::TooLong { .. })));
}

#[tokio::test]
async fn feeds_are_published_once_they_are_committed() {
    let hub = Running::empty();
    assert!(hub.sequencer.heads().watch(node(1)).is_none());
    hub.ask(Command::DefineMaster(master_data())).await;
    let mut head = hub.sequencer.heads().watch(node(1)).unwrap();
    let before = *head.borrow_and_update();
    hub.ask(Command::DefineMaster(vec![define_outlet(13_010_009, 130_102_001)])).await;
    head.changed().await.unwrap();
    assert_eq!(*head.borrow(), before + 1);
    assert_eq!(hub.sequencer.heads().head(node(2)), before - 3, "another node's outlets are not its business");
}

#[test]
fn a_log_behind_its_state_and_an_unreadable_entry_stop_the_start() {
    let data = tempfile::tempdir().unwrap();
    let mut log = LocalLog::open(data.path()).unwrap();
    let mut hub = Hub::set_up();
    assert!(matches!(replay(&log, &mut hub.state), Err(ReplayError::LogBehind { .. })));
    log.append(&[9, 9, 9]).unwrap();
    let mut empty = Hub::empty();
    let error = replay(&log, &mut empty.state).unwrap_err();
    assert!(matches!(error, ReplayError::Entry { at, .. } if at == LogPosition::new(1)));
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
