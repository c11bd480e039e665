//! Outlets that leave this node and come back: whose sessions live here then.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "outlet/api.rs"]
#[expect(dead_code, reason = "each test binary uses its part of the outlet")]
mod api;
#[expect(dead_code, reason = "the rest is for the tests of the counter")]
mod outlet;

use std::num::NonZeroU32;
use std::time::Duration;

use api::{Api, problem};
use axum::http::StatusCode;
use jikai_node::decide::{PackSelection, Verb};
use jikai_node::session::Sessions;
use jikai_node::store;
use jikai_schema::barcode::parse_pack;
use jikai_schema::chain::ChainHash;
use jikai_schema::codec::decode_event;
use jikai_schema::event::{EventBody, HandoffEvent, MasterEvent, SessionEvent};
use jikai_schema::id::{NodeId, OutletId};
use jikai_schema::money::Money;
use jikai_schema::outlet_rows::{self, RowSet};
use jikai_schema::time::TimeMs;
use jikai_sync::transport::NodeStore;
use jikai_sync::wire::Cursor;
use outlet::*;
use rusqlite::Connection;

fn elsewhere() -> NodeId {
    NodeId::new(2).unwrap()
}

fn balance() -> Money {
    "1000.00".parse().unwrap()
}

fn ordered(handoff: u64, outlet: OutletId) -> EventBody {
    EventBody::Handoff(HandoffEvent::Ordered { handoff, outlet, from: node(), to: elsewhere() })
}

fn left(handoff: u64) -> EventBody {
    let (outlet, from, to, balance) = (outlet(1), node(), elsewhere(), balance());
    EventBody::Handoff(HandoffEvent::Left { handoff, outlet, from, to, balance })
}

/// The first outlet comes from the other node with these rows.
fn comes(handoff: u64, groups: Vec<Vec<RowSet>>) -> Vec<EventBody> {
    let (outlet, from, to, balance) = (outlet(1), elsewhere(), node(), balance());
    let rows = groups.into_iter().map(|rows| HandoffEvent::RowsMoved { handoff, outlet, to, rows });
    let arrived = HandoffEvent::Arrived { handoff, outlet, from, to, balance };
    rows.chain([arrived]).map(EventBody::Handoff).collect()
}

/// The first outlet's rows as another node has them that did this with them.
fn rows_after(api: &Api, sql: &str) -> Vec<Vec<RowSet>> {
    let mut connection = store::open(api.data.path()).unwrap();
    // Rolled back in the end.
    let there = connection.transaction().unwrap();
    there.execute_batch(sql).unwrap();
    outlet_rows::export(&there, outlet(1)).unwrap()
}

fn own_facts(connection: &Connection) -> Vec<EventBody> {
    let mut statement = connection.prepare("SELECT bytes FROM own_log ORDER BY seq").unwrap();
    let bytes = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    bytes.map(|bytes| decode_event(&bytes.unwrap()).unwrap().body).collect()
}

fn anew() -> EventBody {
    let is_clerk = |body: &EventBody| {
        let EventBody::Master(MasterEvent::OperatorDefined { operator, .. }) = body else { return false };
        *operator == clerk(1).operator
    };
    world().into_iter().find(is_clerk).unwrap()
}

#[tokio::test]
async fn a_session_that_the_hub_ended_is_closed_before_its_outlet_is_let_go_of_and_a_live_one_goes_along() {
    for is_ended in [true, false] {
        let mut api = Api::open(100).await;
        api.token(clerk(1).operator).await;
        if is_ended {
            api.hub(vec![anew()]).await;
        }
        api.hub(vec![ordered(1, outlet(1))]).await;
        api.app.writer.release(vec![outlet(1)]).await.unwrap();
        let connection = store::open(api.data.path()).unwrap();
        let facts = own_facts(&connection);
        let closed = facts.iter().position(|fact| matches!(fact, EventBody::Session(SessionEvent::Closed { .. })));
        assert_eq!(closed.is_some(), is_ended, "{facts:?}");
        assert!(matches!(facts.last(), Some(EventBody::Handoff(HandoffEvent::Released { .. }))), "its last word");
        // The node to which it goes has these rows, and not what this one noted of facts that were told to it alone.
        connection.execute("DELETE FROM session_end", []).unwrap();
        let there = Sessions::new(NonZeroU32::MIN, NonZeroU32::MIN);
        let live = there.load_outlet(&connection, outlet(1), TimeMs::from_ms(NOW_MS)).unwrap();
        assert_eq!(live, usize::from(!is_ended));
    }
}

#[tokio::test]
async fn an_outlet_that_comes_back_brings_the_sessions_that_live_where_it_was_and_no_other() {
    for (there, status) in [("", StatusCode::OK), ("UPDATE session SET closed_at_ms = 5", StatusCode::UNAUTHORIZED)] {
        let mut api = Api::open(100).await;
        let token = api.token(owner(1).operator).await;
        api.hub(vec![ordered(1, outlet(1))]).await;
        api.app.writer.release(vec![outlet(1)]).await.unwrap();
        let rows = rows_after(&api, there);
        api.hub(vec![left(1)]).await;
        assert_eq!(problem(&api.get(&token, "/v1/account").await, 421), "outlet_moved", "sent on, not out");
        api.hub(comes(2, rows)).await;
        assert_eq!(api.get(&token, "/v1/account").await.status, status, "{there:?}");
    }
}

#[tokio::test]
async fn a_person_defined_anew_on_the_way_is_told_behind_the_arrival_and_the_session_that_came_along_ends() {
    let mut api = Api::open(100).await;
    let token = api.token(clerk(1).operator).await;
    api.hub(vec![ordered(1, outlet(1))]).await;
    api.app.writer.release(vec![outlet(1)]).await.unwrap();
    let rows = rows_after(&api, "");
    api.hub(vec![left(1)]).await;
    let mut facts = comes(2, rows);
    facts.push(anew());
    api.hub(facts).await;
    assert_eq!(problem(&api.get(&token, "/v1/account").await, 401), "session_expired");
}

#[tokio::test]
async fn a_token_that_is_forgotten_with_its_outlet_is_sent_on_then_told_to_wait_for_its_return_and_then_good() {
    let mut api = Api::open(100).await;
    let token = api.token(owner(1).operator).await;
    api.hub(vec![ordered(1, outlet(1))]).await;
    api.app.writer.release(vec![outlet(1)]).await.unwrap();
    let rows = rows_after(&api, "");
    api.hub(vec![left(1)]).await;
    // As after a restart: nobody remembers who was logged in.
    api.app.sessions.close_outlet(outlet(1));
    assert_eq!(problem(&api.get(&token, "/v1/account").await, 421), "outlet_moved");
    let mut facts = comes(2, rows);
    let arrival = facts.pop().unwrap();
    api.hub(facts).await;
    let early = api.get(&token, "/v1/account").await;
    assert_eq!(problem(&early, 503), "outlet_arriving");
    assert_eq!(early.body["retry_after_ms"], 100);
    api.hub(vec![arrival]).await;
    assert_eq!(api.get(&token, "/v1/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_read_that_fails_behind_the_commit_holds_no_other_fact_up_and_is_made_up_for_before_the_next_session() {
    let mut api = Api::open(100).await;
    let token = api.token(owner(1).operator).await;
    api.hub(vec![ordered(1, outlet(1))]).await;
    api.ordered.notified().await;
    api.app.writer.release(vec![outlet(1)]).await.unwrap();
    let rows = rows_after(&api, "");
    api.hub(vec![left(1)]).await;
    // A table of the same name in front of the store's: no session can be read.
    in_both_readers(&api, "CREATE TEMP TABLE session (x)").await;
    let mut facts = comes(2, rows);
    facts.push(ordered(3, outlet(2)));
    api.try_hub(facts).await.unwrap_err();
    assert_eq!(api.app.moved.find(outlet(1)), None, "it is here");
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, api.ordered.notified()).await.expect("the order that came with it is heard");
    in_both_readers(&api, "DROP TABLE temp.session").await;
    assert_eq!(api.app.sessions.count(), 0, "not read yet");
    api.uplink.met_hub(1, Cursor { next_seq: 1, hash: ChainHash::GENESIS }).await.unwrap();
    assert_eq!(api.app.sessions.count(), 1);
    assert_eq!(api.get(&token, "/v1/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_node_that_let_go_for_nobody_serves_from_the_next_order_on_until_it_lets_go_for_that_one() {
    let mut api = Api::open(100).await;
    let receives = |key, number: u32| {
        let packs = vec![parse_pack(&format!("J1001-26001-000000{number}")).unwrap()];
        request(owner(1), key, Verb::ReceivePacks(PackSelection::Packs(packs)))
    };
    api.hub(vec![ordered(1, outlet(1))]).await;
    api.app.writer.release(vec![outlet(1)]).await.unwrap();
    assert_eq!(outcome(&api.app.writer.ask(receives("a", 1)).await), "outlet_moved");
    let cancelled = HandoffEvent::Cancelled { handoff: 1, outlet: outlet(1), from: node() };
    api.hub(vec![EventBody::Handoff(cancelled), ordered(2, outlet(1))]).await;
    assert_eq!(outcome(&api.app.writer.ask(receives("b", 2)).await), "done");
    api.app.writer.release(vec![outlet(1)]).await.unwrap();
    assert_eq!(outcome(&api.app.writer.ask(receives("c", 3)).await), "outlet_moved");
    // The hub heard of the first release only now.
    let returned = HandoffEvent::Returned { handoff: 1, outlet: outlet(1), node: node() };
    api.hub(vec![EventBody::Handoff(returned)]).await;
    assert_eq!(outcome(&api.app.writer.ask(receives("d", 4)).await), "outlet_moved");
    assert_eq!(api.app.moved.find(outlet(1)), Some(elsewhere()), "terminals are sent on");
}

async fn in_both_readers(api: &Api, sql: &'static str) {
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(2));
    let run = || {
        let barrier = barrier.clone();
        api.app.pool.read(move |connection: &mut Connection| {
            // Neither gives its connection back before the other has one.
            barrier.wait();
            connection.execute_batch(sql)
        })
    };
    let (first, second) = tokio::join!(run(), run());
    first.unwrap().unwrap();
    second.unwrap().unwrap();
}
