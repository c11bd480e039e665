use openraft::storage::RaftLogStorageExt;
use openraft::{CommittedLeaderId, EntryPayload};

use super::*;
use crate::raft::types::EntryBytes;

fn id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn entry(index: u64, bytes: usize) -> Entry {
    Entry { log_id: id(1, index), payload: EntryPayload::Normal(EntryBytes(vec![1; bytes])) }
}

async fn log_of(count: u64) -> (tempfile::TempDir, LogStore) {
    let folder = tempfile::tempdir().unwrap();
    let mut log = LogStore::open(folder.path(), 1).unwrap();
    if count > 0 {
        log.blocking_append((0..count).map(|index| entry(index, 100))).await.unwrap();
    }
    (folder, log)
}

async fn closed(log: LogStore) {
    let mut closed = log.closed();
    drop(log);
    assert!(closed.changed().await.is_err());
}

fn indexes(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.log_id.index).collect()
}

#[tokio::test]
async fn everything_is_there_after_reopening() {
    let (folder, mut log) = log_of(10).await;
    log.save_vote(&Vote::new_committed(3, 2)).await.unwrap();
    log.purge(id(1, 3)).await.unwrap();
    log.save_committed(Some(id(1, 7))).await.unwrap();
    let instance = log.instance();
    closed(log).await;
    let mut log = LogStore::open(folder.path(), 1).unwrap();
    assert_eq!(log.instance(), instance);
    assert_eq!(log.read_vote().await.unwrap(), Some(Vote::new_committed(3, 2)));
    assert_eq!(log.read_committed().await.unwrap(), Some(id(1, 7)), "saved when the file was closed");
    let state = log.get_log_state().await.unwrap();
    assert_eq!((state.last_purged_log_id, state.last_log_id), (Some(id(1, 3)), Some(id(1, 9))));
    assert_eq!(indexes(&log.try_get_log_entries(..).await.unwrap()), (4..10).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_closed_log_is_one_file_even_if_a_reader_outlived_the_writer() {
    let (folder, mut log) = log_of(10).await;
    let (reader, mut end) = (log.get_log_reader().await, log.closed());
    drop(log);
    assert_eq!(reader.read(0, u64::MAX, usize::MAX).await.unwrap().len(), 10);
    drop(reader);
    assert!(end.changed().await.is_err());
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, [LOG_FILE]);
}

#[tokio::test]
async fn the_log_of_another_machine_is_refused() {
    let (folder, log) = log_of(0).await;
    closed(log).await;
    assert!(matches!(LogStore::open(folder.path(), 2), Err(LogError::OtherMachine { owner: 1, node: 2 })));
}

#[tokio::test]
async fn another_file_is_another_instance() {
    let ((_first, one), (_second, other)) = (log_of(0).await, log_of(0).await);
    assert_ne!(one.instance(), other.instance());
}

#[tokio::test]
async fn a_hole_is_refused_when_appending_and_when_opening() {
    let (folder, mut log) = log_of(5).await;
    let refused = log.blocking_append([entry(6, 1)]).await.unwrap_err().to_string();
    assert!(refused.contains("5 expected, 6 found"), "{refused}");
    let refused = log.blocking_append([entry(4, 1)]).await.unwrap_err().to_string();
    assert!(refused.contains("5 expected, 4 found"), "{refused}");
    closed(log).await;
    let file = Connection::open(folder.path().join(LOG_FILE)).unwrap();
    file.execute("DELETE FROM entry WHERE log_index = 2", []).unwrap();
    drop(file);
    assert!(matches!(LogStore::open(folder.path(), 1), Err(LogError::Hole { .. })));
}

#[tokio::test]
async fn committed_entries_are_never_cut_off() {
    let (_folder, mut log) = log_of(5).await;
    log.save_committed(Some(id(1, 3))).await.unwrap();
    assert!(log.truncate(id(1, 3)).await.is_err());
    log.truncate(id(1, 4)).await.unwrap();
    assert_eq!(indexes(&log.try_get_log_entries(..).await.unwrap()), [0, 1, 2, 3]);
    log.blocking_append([entry(4, 1)]).await.unwrap();
}

#[tokio::test]
async fn a_purge_behind_the_end_moves_the_end() {
    let (_folder, mut log) = log_of(5).await;
    // The entries here are of a later term than the snapshot: they were never committed.
    log.purge(LogId::new(CommittedLeaderId::new(0, 1), 20)).await.unwrap();
    assert_eq!(log.get_log_state().await.unwrap().last_log_id.map(|last| last.index), Some(20));
    assert!(log.try_get_log_entries(..).await.unwrap().is_empty());
    log.blocking_append([entry(21, 1)]).await.unwrap();
    assert_eq!(indexes(&log.try_get_log_entries(..).await.unwrap()), [21]);
}

#[tokio::test]
async fn purged_entries_are_swept_out_by_appends_faster_than_these_bring_others_however_many_they_bring_at_once() {
    for at_once in [1, 10] {
        let (folder, mut log) = log_of(20).await;
        log.purge(id(1, 18)).await.unwrap();
        for first in (20..30).step_by(at_once) {
            let rows = (first..first + at_once as u64).map(|index| entry(index, 1));
            log.blocking_append(rows).await.unwrap();
        }
        let file = Connection::open(folder.path().join(LOG_FILE)).unwrap();
        let first: i64 = file.query_row("SELECT min(log_index) FROM entry", [], |row| row.get(0)).unwrap();
        assert_eq!(first, 19, "{at_once} at once");
    }
}

#[tokio::test]
async fn reading_stops_at_the_limit_but_never_before_one_entry() {
    let (_folder, log) = log_of(10).await;
    let reader = &log.reader;
    assert_eq!(indexes(&reader.read(2, 9, 350).await.unwrap()), [2, 3, 4]);
    assert_eq!(indexes(&reader.read(2, 9, 1).await.unwrap()), [2]);
    assert_eq!(indexes(&reader.read(8, 100, usize::MAX).await.unwrap()), [8, 9]);
}

#[tokio::test]
async fn a_full_disk_refuses_the_entry_and_leaves_the_log_whole() {
    let (_folder, mut log) = log_of(1).await;
    let limit = |pages: i64| move |file: &mut LogFile| file.limit_pages(pages);
    log.write(limit(1)).await.unwrap();
    let refused = log.blocking_append([entry(1, 1_000_000)]).await.unwrap_err().to_string();
    assert!(refused.contains("disk of the replicated log is full"), "{refused}");
    log.write(limit(1_000_000)).await.unwrap();
    log.blocking_append([entry(1, 1_000_000)]).await.unwrap();
    assert_eq!(indexes(&log.try_get_log_entries(..).await.unwrap()), [0, 1]);
}

#[tokio::test]
async fn what_is_sent_begins_where_it_was_asked_to() {
    let (_folder, mut log) = log_of(10).await;
    log.purge(id(1, 4)).await.unwrap();
    assert_eq!(indexes(&log.limited_get_log_entries(5, 10).await.unwrap()), (5..10).collect::<Vec<_>>());
    assert!(log.limited_get_log_entries(3, 10).await.unwrap().is_empty());
}
