//! A request that is repeated is done once, for ever: after restarts, within one batch, past the merge of the index.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "each test binary uses its part of the outlet")]
mod outlet;

use std::path::Path;
use std::sync::Arc;

use jikai_node::decide::{PackSelection, Verb};
use jikai_node::keyring::Keyring;
use jikai_node::store::{self, OwnLog};
use jikai_node::writer::{Core, Reply, Request, WriteError};
use jikai_schema::barcode::parse_pack;
use jikai_schema::event::{EventBody, PackEvent};
use jikai_schema::vault::MasterKey;
use outlet::*;
use tempfile::TempDir;

/// Entries that the index keeps in memory before it merges them, as `store::RequestIndex` says.
const MERGE_AT: u32 = 32_768;

async fn outlet_with_packs() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    init(data.path());
    let (writer, _) = start(data.path());
    Feed::new().send(&writer, world()).await;
    data
}

fn core(data: &Path) -> Core {
    let connection = store::open(data).unwrap();
    let keys = Arc::new(Keyring::load(&connection, MasterKey::from_bytes([1; 32])).unwrap());
    Core::new(connection, keys, clock()).unwrap()
}

fn receives(numbers: &[u32], key: &str) -> Request {
    let packs = numbers.iter().map(|number| parse_pack(&format!("J1001-26001-{number:07}")).unwrap());
    request(owner(1), key, Verb::ReceivePacks(PackSelection::Packs(packs.collect())))
}

fn pays(pack: u32, key: &str) -> Request {
    request(clerk(1), key, Verb::PayClaims(vec![barcode(pack, 2)]))
}

fn one(core: &mut Core, request: &Request) -> Result<Reply, WriteError> {
    core.commit(&[request]).unwrap().pop().unwrap()
}

fn count(core: &Core, sql: &str) -> i64 {
    core.store().query_row(sql, [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn a_repeat_within_one_batch_is_done_once() {
    let data = outlet_with_packs().await;
    let mut core = core(data.path());
    let first = receives(&[1, 2], "key-0000000000001");
    let other = receives(&[3], "key-0000000000001");
    let replies = core.commit(&[&first, &first, &other, &first]).unwrap();
    let codes: Vec<String> = replies.iter().map(outcome).collect();
    assert_eq!(codes, ["done", "done", "idempotency_key_reused", "done"]);
    let done: Vec<&Reply> = replies.iter().filter_map(|reply| reply.as_ref().ok()).collect();
    assert!(done.iter().all(|reply| *reply == done[0]));
    assert_eq!(count(&core, "SELECT count(*) FROM own_log"), 2);
}

#[tokio::test]
async fn one_key_at_two_terminals_is_two_requests() {
    let data = outlet_with_packs().await;
    let mut core = core(data.path());
    assert_eq!(outcome(&one(&mut core, &receives(&[1], "key-0000000000001"))), "done");
    let packs = vec![parse_pack("J1001-26001-0000009").unwrap()];
    let there = request(owner(2), "key-0000000000001", Verb::ReceivePacks(PackSelection::Packs(packs)));
    assert_eq!(outcome(&one(&mut core, &there)), "insufficient_balance", "decided for itself, not taken for a repeat");
}

#[tokio::test]
async fn the_same_body_under_another_key_is_another_request() {
    let data = outlet_with_packs().await;
    let mut core = core(data.path());
    one(&mut core, &receives(&[1], "key-0000000000001")).unwrap();
    assert_eq!(outcome(&one(&mut core, &pays(1, "key-0000000000002"))), "done");
    assert_eq!(outcome(&one(&mut core, &pays(1, "key-0000000000003"))), "already_paid_here");
    assert_eq!(outcome(&one(&mut core, &pays(1, "key-0000000000002"))), "done", "the first one stays answered");
}

#[tokio::test]
async fn a_refused_request_may_be_tried_again_under_its_key() {
    let data = outlet_with_packs().await;
    let mut core = core(data.path());
    assert_eq!(outcome(&one(&mut core, &pays(1, "key-0000000000001"))), "pack_not_checked_in");
    one(&mut core, &receives(&[1], "key-0000000000002")).unwrap();
    assert_eq!(outcome(&one(&mut core, &pays(1, "key-0000000000001"))), "done");
}

#[tokio::test]
async fn a_repeat_after_the_merge_and_a_restart_still_finds_its_first_run() {
    let data = outlet_with_packs().await;
    let mut running = core(data.path());
    running.store().pragma_update(None, "synchronous", "OFF").unwrap();
    let received = receives(&[1, 2, 3], "key-0000000000001");
    let first = one(&mut running, &received).unwrap();
    let closes: Vec<Request> =
        (0..MERGE_AT).map(|number| request(clerk(1), &format!("close-{number:012}"), Verb::CloseSession)).collect();
    let mut newest = None;
    for run in closes.chunks(1_024) {
        newest = running.commit(&run.iter().collect::<Vec<_>>()).unwrap().pop();
    }
    let newest = newest.unwrap().unwrap();
    assert!(count(&running, "SELECT count(*) FROM request_index") >= i64::from(MERGE_AT), "the index was merged");
    for mut core in [running, core(data.path())] {
        let before = count(&core, "SELECT count(*) FROM own_log");
        assert_eq!(one(&mut core, &received).unwrap(), first);
        assert_eq!(one(&mut core, closes.last().unwrap()).unwrap(), newest);
        let reused = request(owner(1), "key-0000000000001", Verb::CloseSession);
        assert_eq!(outcome(&one(&mut core, &reused)), "idempotency_key_reused");
        assert_eq!(count(&core, "SELECT count(*) FROM own_log"), before, "nothing was done again");
    }
}

#[tokio::test]
async fn a_request_of_several_events_that_was_merged_last_is_repeated_whole() {
    let data = outlet_with_packs().await;
    let mut running = core(data.path());
    let received = receives(&[1, 2, 3], "key-0000000000001");
    let first = one(&mut running, &received).unwrap();
    // What a merge right behind this request leaves in the table: the position of its first event.
    let (outlet, seq) = (received.caller.outlet().get(), first.events[0].key.seq as i64);
    let row = (outlet, received.key.index_key(), first.events[0].key.origin.get(), seq);
    running.store().execute("INSERT INTO request_index VALUES (?1, ?2, ?3, ?4)", row).unwrap();
    running.store().execute("UPDATE request_merged SET seq = ?1", [seq]).unwrap();
    drop(running);
    let mut restarted = core(data.path());
    let again = one(&mut restarted, &received).unwrap();
    assert_eq!(again, first);
    let is_check_in = |body: &EventBody| matches!(body, EventBody::Pack(PackEvent::CheckedIn { .. }));
    assert_eq!(again.events.iter().filter(|event| is_check_in(&event.body)).count(), 3);
}

#[tokio::test]
async fn a_rolled_back_request_is_not_taken_for_done() {
    let data = outlet_with_packs().await;
    let mut core = core(data.path());
    let received = receives(&[1, 2, 3], "key-0000000000001");
    // A trigger stands for any failure of the store in mid-transaction.
    core.store()
        .execute_batch("CREATE TEMP TRIGGER fail BEFORE INSERT ON main.transfer BEGIN SELECT RAISE(ABORT, 'no'); END")
        .unwrap();
    assert!(matches!(core.commit(&[&received]), Err(WriteError::Storage(_))));
    core.store().execute_batch("DROP TRIGGER fail").unwrap();
    assert_eq!(count(&core, "SELECT count(*) FROM own_log"), 0);
    assert_eq!(one(&mut core, &received).unwrap().events.len(), 3);
    assert_eq!(OwnLog(core.store()).read(1, 10, usize::MAX).unwrap().len(), 3);
}
