use std::collections::{BTreeMap, BTreeSet};

use jikai_schema::command::{Command, encode_entry};
use rusqlite::Connection;

use super::*;
use crate::province::*;
use crate::raft::digests::StateDigest;
use crate::raft::settings::Settings;
use crate::raft::types::log_id;

const EVERY: u64 = 4;

fn credit(number: u64) -> Command {
    Command::CreditDeposits(vec![deposit(number, 13_010_001, "1.00")])
}

/// Entries of all kinds: the engine's own, and many commands in one.
fn entries() -> Vec<(LogId, Payload)> {
    let mut log = NodeLog::new(1);
    let mut commands = set_up();
    commands.push(Command::IngestEvents(log.batch(vec![check_in(1, 13_010_001), sell(1, 0, 13_010_001)])));
    commands.extend((10..30).map(credit));
    let entry = |command| {
        let (first, second) = (proposal(NOW_MS, command), proposal(NOW_MS + 1, credit(1)));
        Payload::Commands(encode_entry(&[first, second]).unwrap())
    };
    let payloads = commands.into_iter().flat_map(|command| [Payload::Blank, entry(command)]);
    payloads.enumerate().map(|(index, payload)| (log_id(1, 1, index as u64), payload)).collect()
}

/// Digests of a state to which these groups were applied.
fn digests_of(groups: Vec<Vec<(LogId, Payload)>>) -> BTreeMap<u64, StateDigest> {
    let data = tempfile::tempdir().unwrap();
    let (mut replica, followed) = Replica::open(data.path(), EVERY).unwrap();
    let mut found = BTreeMap::new();
    for group in groups {
        let due = group.iter().map(|(id, _)| id.index).find(|index| replica.digester.is_due(*index));
        replica.apply(group).unwrap();
        replica.digester.wait();
        let told = followed.digests.told();
        // Others of one group may be left out, as the first is still being made.
        assert!(due.is_none_or(|due| told.at(due).is_some()), "no digest at {due:?}");
        found.extend(told.kept.into_iter().map(|digest| (digest.index, digest)));
    }
    found
}

#[test]
fn a_digest_is_of_one_place_however_the_entries_were_grouped() {
    let entries = entries();
    let one_by_one = digests_of(entries.chunks(1).map(<[_]>::to_vec).collect());
    let expected: Vec<u64> = (1..entries.len() as u64).filter(|index| index % EVERY == 0).collect();
    assert_eq!(one_by_one.keys().copied().collect::<Vec<_>>(), expected);
    let different: BTreeSet<_> = one_by_one.values().map(|digest| format!("{:?}", digest.tables)).collect();
    assert_eq!(different.len(), one_by_one.len(), "each place has its own state");
    for size in [2, 3, 5, entries.len()] {
        let grouped = digests_of(entries.chunks(size).map(<[_]>::to_vec).collect());
        assert!(!grouped.is_empty());
        for (index, digest) in grouped {
            assert_eq!(digest, one_by_one[&index], "groups of {size}");
        }
    }
}

/// A copy of a state to which all entries were applied, in this folder, and its place.
fn copy_in(folder: &Path) -> (std::path::PathBuf, Applied) {
    let (mut replica, _followed) = Replica::open(folder, 0).unwrap();
    replica.apply(entries()).unwrap();
    let view = replica.view().unwrap();
    let (copy, applied) = (folder.join("copy"), view.applied().clone());
    view.copy(&copy).unwrap();
    (copy, applied)
}

fn outlets(state: &Connection) -> u32 {
    state.query_row("SELECT count(*) FROM outlet", [], |row| row.get(0)).unwrap()
}

#[test]
fn an_installed_copy_is_in_the_file_itself_and_who_reads_beside_sees_the_old_state_or_the_new_one() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (copy, applied) = copy_in(from.path());
    let (mut replica, followed) = Replica::open(to.path(), 0).unwrap();
    let cache =
        |replica: &Replica| -> i64 { replica.state.pragma_query_value(None, "cache_size", |row| row.get(0)).unwrap() };
    let (cache_before, reader) = (cache(&replica), store::open_reader(to.path()).unwrap());
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(outlets(&reader), 0);
    replica.install(&copy).unwrap();
    assert_eq!(outlets(&reader), 0, "its transaction still reads the old state");
    reader.execute_batch("COMMIT").unwrap();
    assert!(outlets(&reader) > 0);
    assert_eq!((replica.place.applied(), cache(&replica)), (applied.clone(), cache_before));
    assert_eq!(*followed.applied.borrow(), position_of(applied.last.unwrap().index));

    // Nobody reads beside any more: the whole is in the file, its log not needed.
    replica.install(&copy).unwrap();
    let alone = format!("file:{}?immutable=1", replica.files.path().display());
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_URI;
    assert_eq!(outlets(&Connection::open_with_flags(alone, flags).unwrap()), outlets(&reader));
}

#[test]
fn a_copy_is_not_installed_over_a_state_that_somebody_holds_and_changes_nothing() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (copy, _) = copy_in(from.path());
    let (mut replica, followed) = Replica::open(to.path(), 0).unwrap();
    replica.state.busy_timeout(std::time::Duration::ZERO).unwrap();
    let holder = Connection::open(replica.files.path()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = replica.install(&copy).unwrap_err();
    assert!(refused.to_string().contains("somebody holds the state's file"), "{refused}");
    assert!(followed.failed.borrow().is_some());
    assert_eq!(outlets(&holder), 0);
    holder.execute_batch("ROLLBACK").unwrap();
    replica.install(&copy).unwrap();
    assert!(outlets(&holder) > 0);
}

#[test]
fn commits_leave_the_moving_of_sqlites_log_to_who_does_it_beside_them() {
    let data = tempfile::tempdir().unwrap();
    let alone = crate::store::open(data.path()).unwrap();
    let (replica, _followed) = Replica::open(data.path(), 0).unwrap();
    let pages =
        |state: &Connection| -> i64 { state.pragma_query_value(None, "wal_autocheckpoint", |row| row.get(0)).unwrap() };
    assert!(pages(&replica.state) > 100 * pages(&alone), "{}", pages(&replica.state));
}

/// Short, and with a digest every few entries.
fn settings() -> Settings {
    Settings { digest_entries: 8, ..Settings::default() }
}

/// Proposes until a condition holds.
async fn load_until(machines: &Machines, numbers: &mut std::ops::RangeFrom<u64>, holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        machines.ask(1, credit(numbers.next().unwrap())).await;
    }
    panic!("it never held");
}

fn agrees_behind(machines: &Machines, machine: u16, behind: u64) -> bool {
    let agreement = machines[machine].sequencer.agreement();
    agreement.is_some_and(|agreement| agreement.index > behind && agreement.agrees == Some(true))
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_agree_under_load_and_the_one_that_was_meddled_with_stops_and_names_the_table() {
    let mut machines = Machines::set_up(3, &settings()).await;
    let mut log = NodeLog::new(1);
    let first = machines.ask(2, Command::IngestEvents(log.batch(vec![check_in(1, 13_010_001)]))).await;
    assert!(matches!(first, Outcome::Ingested { .. }), "{first:?}");
    for number in 100..130 {
        let sold = Command::IngestEvents(log.batch(vec![sell(1, number as u16 % 10, 13_010_001)]));
        let renamed = Command::DefineMaster(vec![define_division(1_303 + number as u32, 0)]);
        tokio::join!(machines.ask(1, renamed), machines.ask(2, sold), machines.ask(3, credit(number)));
    }
    let mut numbers = 1_000..;
    load_until(&machines, &mut numbers, || (1..=3).all(|machine| agrees_behind(&machines, machine, 40))).await;

    let meddler = Connection::open(machines[3].data.path().join(STATE_FILE)).unwrap();
    meddler.busy_timeout(LONG).unwrap();
    meddler.execute("UPDATE outlet SET name = 'another' WHERE outlet = 13020001", []).unwrap();
    let meddled = machines[1].member.cluster.status().last_index.unwrap();
    let failed = machines[3].sequencer.failed();
    load_until(&machines, &mut numbers, || failed.borrow().is_some()).await;
    let why = failed.borrow().clone().unwrap();
    assert!(why.contains("differs from that of the others in table outlet at entry"), "{why}");
    let asked = machines[1].member.cluster.agreement_of(3).await.unwrap().unwrap();
    assert_eq!((asked.agrees, asked.tables, asked.yields), (Some(false), vec!["outlet".to_owned()], true));
    load_until(&machines, &mut numbers, || (1..=2).all(|machine| agrees_behind(&machines, machine, meddled))).await;
    assert!([1, 2].iter().all(|machine| machines[*machine].sequencer.failed().borrow().is_none()));

    let Err(refused) = machines.try_restart(3).await else { panic!("it starts over a state that differs") };
    assert!(refused.to_string().contains("in table outlet at entry"), "{refused}");
}
