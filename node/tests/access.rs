//! Devices and persons that are put out of use, wrong passwords, and a line to the hub that is down too long.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "outlet/api.rs"]
#[expect(dead_code, reason = "each test binary uses its part of the outlet")]
mod api;
#[expect(dead_code, reason = "the rest is for the tests of the counter")]
mod outlet;

use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use api::{Api, problem};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use jikai_node::config::Acknowledge;
use jikai_node::session::Sessions;
use jikai_schema::chain::ChainHash;
use jikai_schema::codec::decode_event;
use jikai_schema::event::{
    AccessEvent, BatchNames, ChangeEvent, EventBody, EventView, MasterEvent, OperatorRole, TerminalKind,
};
use jikai_schema::parameter::ParameterScope;
use jikai_schema::time::TimeMs;
use jikai_sync::transport::NodeStore;
use jikai_sync::wire::{Cursor, RefusalV1};
use outlet::*;

fn revoked() -> EventBody {
    let (terminal, node, reason) = (terminal(1), node(), "lost".to_string());
    EventBody::Access(AccessEvent::TerminalRevoked { terminal, node, reason })
}

#[tokio::test]
async fn a_revoked_terminals_session_ends_with_the_fact_and_no_other_opens_until_it_has_another_key() {
    let mut api = Api::open(100).await;
    let operator = owner(1).operator;
    let token = api.token(operator).await;
    assert_eq!(api.get(&token, "/v1/account").await.status, StatusCode::OK);
    api.hub(vec![revoked()]).await;
    assert_eq!(problem(&api.get(&token, "/v1/account").await, 401), "session_expired");
    let challenge = api.challenge(terminal(1)).await;
    assert_eq!(problem(&api.login(operator, PASSWORD, &challenge).await, 403), "terminal_revoked");
    let kind = TerminalKind::Dedicated;
    let same_key = device_key().verifying_key().to_bytes();
    let defined =
        |public_key| master(MasterEvent::TerminalDefined { terminal: terminal(1), node: node(), kind, public_key });
    api.hub(vec![defined(same_key)]).await;
    let challenge = api.challenge(terminal(1)).await;
    assert_eq!(problem(&api.login(operator, PASSWORD, &challenge).await, 403), "terminal_revoked", "the lost key");
    api.hub(vec![defined([9; 32]), defined(same_key)]).await;
    api.token(operator).await;
}

#[tokio::test]
async fn an_operator_who_left_is_out_at_once_and_one_with_another_role_logs_in_anew() {
    let mut api = Api::open(100).await;
    let operator = clerk(1).operator;
    let token = api.token(operator).await;
    api.hub(vec![EventBody::Access(AccessEvent::OperatorDisabled { operator, node: node() })]).await;
    assert_eq!(problem(&api.get(&token, "/v1/account").await, 401), "session_expired");
    let challenge = api.challenge(terminal(1)).await;
    assert_eq!(problem(&api.login(operator, PASSWORD, &challenge).await, 403), "operator_disabled");
    let back = world().into_iter().find(|body| {
        matches!(body, EventBody::Master(MasterEvent::OperatorDefined { operator: defined, .. }) if *defined == operator)
    });
    api.hub(vec![back.clone().unwrap()]).await;
    let token = api.token(operator).await;
    let Some(EventBody::Master(MasterEvent::OperatorDefined { operator, node, name, password_hash, .. })) = back else {
        panic!("the clerk is defined")
    };
    let role = OperatorRole::Owner;
    api.hub(vec![master(MasterEvent::OperatorDefined { operator, node, name, role, password_hash })]).await;
    assert_eq!(problem(&api.get(&token, "/v1/account").await, 401), "session_expired");
    let challenge = api.challenge(terminal(1)).await;
    assert_eq!(api.login(operator, PASSWORD, &challenge).await.body["operator_role"], "owner");
}

#[tokio::test]
async fn five_wrong_passwords_make_the_person_wait_and_a_wrong_device_makes_nobody_wait() {
    let api = Api::open(100).await;
    let operator = owner(1).operator;
    for _ in 0..7 {
        assert_eq!(problem(&api.login(operator, PASSWORD, "made-up").await, 401), "login_failed");
    }
    for _ in 0..5 {
        let challenge = api.challenge(terminal(1)).await;
        assert_eq!(problem(&api.login(operator, "wrong", &challenge).await, 401), "login_failed");
    }
    let challenge = api.challenge(terminal(1)).await;
    assert_eq!(problem(&api.login(operator, PASSWORD, &challenge).await, 429), "too_many_failures");
    api.token(clerk(1).operator).await;
    api.forward_ms.store(40_000, Ordering::SeqCst);
    api.token(operator).await;
}

#[tokio::test]
async fn a_node_that_was_cut_off_too_long_trusts_nobody_until_the_line_is_back() {
    let api = Api::open(100).await;
    let operator = owner(1).operator;
    let token = api.token(operator).await;
    assert!(api.session_ms_max < api.offline_ms_max - 60_000, "a shift ends before the node loses its trust");
    api.forward_ms.store(api.offline_ms_max - 60_000, Ordering::SeqCst);
    let token_of_the_day = api.token(operator).await;
    assert_eq!(problem(&api.get(&token, "/v1/account").await, 401), "session_expired", "its shift has ended");
    assert_eq!(api.get(&token_of_the_day, "/v1/account").await.status, StatusCode::OK);
    api.forward_ms.store(api.offline_ms_max + 60_000, Ordering::SeqCst);
    assert_eq!(problem(&api.get(&token_of_the_day, "/v1/account").await, 503), "offline_too_long");
    let challenge = api.challenge(terminal(1)).await;
    assert_eq!(problem(&api.login(operator, PASSWORD, &challenge).await, 503), "offline_too_long");
    api.connect(true);
    assert_eq!(api.get(&token_of_the_day, "/v1/account").await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_length_of_a_session_is_the_parameter_of_the_prefecture_from_its_day_on() {
    let mut api = Api::open(100).await;
    let operator = owner(1).operator;
    let set = |scope, value| {
        let (key, maker, checker) = ("terminal_session".to_string(), "li.wei".to_string(), "zhang".to_string());
        let effective_from_ms = TimeMs::from_ms(NOW_MS - 1);
        EventBody::Change(ChangeEvent::ParameterSet { key, scope, value, effective_from_ms, maker, checker })
    };
    let here = ParameterScope::Prefecture(outlet(1).prefecture());
    api.hub(vec![set(here, 30), set(ParameterScope::Province, 60)]).await;
    let token = api.token(operator).await;
    api.forward_ms.store(29 * 60_000, Ordering::SeqCst);
    assert_eq!(api.get(&token, "/v1/account").await.status, StatusCode::OK);
    api.forward_ms.store(31 * 60_000, Ordering::SeqCst);
    assert_eq!(problem(&api.get(&token, "/v1/account").await, 401), "session_expired");
}

/// Sessions that a node would find alive if it started again now.
fn sessions_after_a_restart(api: &Api) -> usize {
    let store = jikai_node::store::open_reader(api.data.path()).unwrap();
    let sessions = Sessions::new(NonZeroU32::MIN, NonZeroU32::MIN);
    sessions.load(&store, TimeMs::from_ms(NOW_MS)).unwrap()
}

#[tokio::test]
async fn a_restart_brings_no_session_back_that_a_fact_of_the_hub_had_ended() {
    let mut api = Api::open(100).await;
    let defined = |public_key| {
        let (terminal, kind) = (terminal(1), TerminalKind::Dedicated);
        master(MasterEvent::TerminalDefined { terminal, node: node(), kind, public_key })
    };
    let clerk_defined = || {
        world().into_iter().find(|body| {
            matches!(body, EventBody::Master(MasterEvent::OperatorDefined { operator, .. }) if *operator == clerk(1).operator)
        })
    };
    let mut ended_by = vec![vec![revoked(), defined([9; 32]), defined(device_key().verifying_key().to_bytes())]];
    ended_by.push(vec![clerk_defined().unwrap()]);
    for facts in ended_by {
        let token = api.token(clerk(1).operator).await;
        assert_eq!(sessions_after_a_restart(&api), 1);
        api.hub(facts).await;
        assert_eq!(problem(&api.get(&token, "/v1/account").await, 401), "session_expired");
        assert_eq!(sessions_after_a_restart(&api), 0, "the device and the person are in use again, the session is not");
    }
    api.token(clerk(1).operator).await;
    assert_eq!(sessions_after_a_restart(&api), 1);
}

#[tokio::test]
async fn a_fenced_node_serves_nobody_until_the_hub_takes_it_back() {
    let api = Api::open(100).await;
    let operator = owner(1).operator;
    let token = api.token(operator).await;
    let ready = || Request::get("/health/ready").body(Body::empty()).unwrap();
    assert_eq!(api.send(ready()).await.status, StatusCode::OK);
    let node = node();
    for harmless in [RefusalV1::UnknownNode { node }, RefusalV1::Superseded, RefusalV1::Silent { silent_ms: 1 }] {
        api.uplink.disconnected(Some(&harmless));
        assert_eq!(api.get(&token, "/v1/account").await.status, StatusCode::OK, "{harmless}");
    }
    for fence in [
        RefusalV1::Incarnation { node },
        RefusalV1::Fenced { node, ours: 2, theirs: 1 },
        RefusalV1::Fork { at: 9 },
        RefusalV1::Rewound { ours: 9, theirs: 4 },
        RefusalV1::Revoked { node },
    ] {
        api.uplink.disconnected(Some(&fence));
        assert_eq!(problem(&api.get(&token, "/v1/account").await, 503), "node_fenced", "{fence}");
        let sale = r#"{"tickets":["J1001-26001-0000001-001"]}"#;
        let sold = api.post(Some(&token), Some("fenced-0000000001"), "/v1/tickets/sell", sale).await;
        assert_eq!(problem(&sold, 503), "node_fenced");
        let challenge = api.challenge(terminal(1)).await;
        assert_eq!(problem(&api.login(operator, PASSWORD, &challenge).await, 503), "node_fenced");
        assert_eq!(problem(&api.send(ready()).await, 503), "node_fenced");
        api.uplink.disconnected(None);
        assert_eq!(
            problem(&api.get(&token, "/v1/account").await, 503),
            "node_fenced",
            "a lost line takes nothing back"
        );
        api.uplink.connected();
        assert_eq!(api.get(&token, "/v1/account").await.status, StatusCode::OK);
    }
}

fn noted(api: &Api, kind: &str) -> usize {
    let store = jikai_node::store::open_reader(api.data.path()).unwrap();
    let events = jikai_node::store::OwnLog(&store).read(1, 10_000, usize::MAX).unwrap();
    let names = BatchNames::load(&store).unwrap();
    let view = |bytes: &[u8]| EventView::new(&decode_event(bytes).unwrap(), bytes, ChainHash::GENESIS, &names).event;
    events.iter().filter(|event| view(&event.bytes)["kind"] == kind).count()
}

#[tokio::test]
async fn failed_logins_refusals_for_want_of_a_right_and_inquiries_are_facts() {
    let api = Api::open(100).await;
    for _ in 0..3 {
        let challenge = api.challenge(terminal(1)).await;
        assert_eq!(problem(&api.login(owner(1).operator, "wrong", &challenge).await, 401), "login_failed");
    }
    assert_eq!(problem(&api.login(owner(1).operator, PASSWORD, "made-up").await, 401), "login_failed");
    assert_eq!(noted(&api, "login_failed"), 3, "who holds no key of a device leaves no trace");
    let token = api.token(clerk(1).operator).await;
    for number in 0..3 {
        let (key, body) = (format!("refused-{number:010}"), r#"{"shipment_id":5}"#);
        let refused = api.post(Some(&token), Some(&key), "/v1/packs/receive", body).await;
        assert_eq!(problem(&refused, 403), "owner_required");
        assert_eq!(problem(&api.get(&token, "/v1/account/entries").await, 403), "owner_required");
    }
    assert_eq!(noted(&api, "right_refused"), 2, "once a minute for each request");
    let body = format!(r#"{{"codes":["{}","{}"]}}"#, code(1, 2), code(1, 3));
    assert_eq!(api.post(Some(&token), None, "/v1/claims/inquire", body).await.status, StatusCode::OK);
    assert_eq!(noted(&api, "tickets_inquired"), 1);
}

#[tokio::test]
async fn with_ack_of_the_hub_money_waits_for_it_and_who_logs_in_asks_or_logs_out_does_not() {
    let api = Api::open_with(100, Acknowledge::Hub).await;
    let token = api.token(owner(1).operator).await;
    let inquiry = format!(r#"{{"codes":["{}"]}}"#, code(1, 2));
    assert_eq!(api.post(Some(&token), None, "/v1/claims/inquire", inquiry).await.status, StatusCode::OK);
    let receive = || api.post(Some(&token), Some("waits-for-the-hub"), "/v1/packs/receive", r#"{"shipment_id":5}"#);
    let waiting = receive();
    let acked = async {
        let store = jikai_node::store::open_reader(api.data.path()).unwrap();
        let checked_in =
            || store.query_row("SELECT count(*) FROM pack WHERE state = 1", [], |row| row.get::<_, i64>(0)).unwrap();
        while checked_in() == 0 {
            tokio::task::yield_now().await;
        }
        api.link.send_modify(|state| state.acked_seq = u64::MAX);
    };
    let (answer, ()) = tokio::join!(waiting, acked);
    assert_eq!(answer.status, StatusCode::OK, "told once the hub had it: {}", answer.body);
    assert_eq!(receive().await.body, answer.body);
    api.link.send_modify(|state| state.acked_seq = 0);
    assert_eq!(api.post(Some(&token), None, "/v1/logout", "{}").await.status, StatusCode::NO_CONTENT);
    assert_eq!(problem(&api.get(&token, "/v1/account").await, 401), "session_expired");
}

#[tokio::test]
async fn a_hub_that_comes_back_with_less_than_it_acknowledged_is_counted_and_waited_for_again() {
    let api = Api::open_with(100, Acknowledge::Hub).await;
    let up = |next_seq| Cursor { next_seq, ..Cursor::START };
    let welcome = async |generation, next_seq| {
        api.uplink.met_hub(generation, up(next_seq)).await.unwrap();
        api.uplink.acked(up(next_seq));
    };
    let seen = || (api.app.link.borrow().acked_seq, api.app.link.borrow().hub_forgot);
    welcome(1, 1).await;
    api.uplink.acked(up(9));
    welcome(1, 9).await;
    assert_eq!(seen(), (8, 0), "it holds what it acknowledged");
    welcome(1, 5).await;
    assert_eq!(seen(), (4, 1), "it is told where the hub stands, and that it stood further");
    welcome(1, 5).await;
    api.uplink.acked(up(9));
    assert_eq!(seen(), (8, 1), "what was sent again is no second loss");
    welcome(2, 3).await;
    assert_eq!(seen(), (2, 1), "a take-over may lose its newest entries");
}
