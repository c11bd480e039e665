//! Devices and persons that are put out of use, wrong passwords, and a line to the hub that is down too long.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "outlet/api.rs"]
mod api;
#[expect(dead_code, reason = "the rest is for the tests of the counter")]
mod outlet;

use std::sync::atomic::Ordering;

use api::{Api, problem};
use axum::http::StatusCode;
use jikai_schema::event::{AccessEvent, ChangeEvent, EventBody, MasterEvent, OperatorRole, TerminalKind};
use jikai_schema::parameter::ParameterScope;
use jikai_schema::time::TimeMs;
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
