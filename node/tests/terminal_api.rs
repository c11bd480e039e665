//! The terminals' API over its router: who gets in, and what bad input is answered with.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "outlet/api.rs"]
#[expect(dead_code, reason = "each test binary uses its part of the outlet")]
mod api;
#[expect(dead_code, reason = "the rest is for the tests of the counter")]
mod outlet;

use std::sync::atomic::Ordering;

use api::{Answer, Api, problem};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use outlet::*;
use serde_json::json;

#[tokio::test]
async fn only_the_right_key_password_and_a_fresh_challenge_open_a_session() {
    let api = Api::open(100).await;
    let operator = owner(1).operator;
    let challenge = api.challenge(terminal(1)).await;
    assert_eq!(problem(&api.login(operator, "wrong", &challenge).await, 401), "login_failed");
    assert_eq!(
        problem(&api.login(operator, PASSWORD, &challenge).await, 401),
        "login_failed",
        "a challenge is used once"
    );
    assert_eq!(problem(&api.login(operator, PASSWORD, "made-up").await, 401), "login_failed");
    let stranger = owner(2).operator;
    let challenge = api.challenge(terminal(1)).await;
    assert_eq!(problem(&api.login(stranger, PASSWORD, &challenge).await, 401), "login_failed");
    let token = api.token(operator).await;
    assert_eq!(api.get(&token, "/v1/account").await.body["balance_yuan"], "1000.00");
    assert_eq!(api.post(Some(&token), None, "/v1/logout", "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(problem(&api.get(&token, "/v1/account").await, 401), "session_expired");
    for garbage in ["bm90LWEtdG9rZW4", "not a token", ""] {
        let answer = api.get(garbage, "/v1/account").await;
        assert_eq!(problem(&answer, 401), "session_expired");
        assert_eq!(answer.body["detail"], "This token is of no session.");
    }
    assert_eq!(problem(&api.post(None, None, "/v1/claims/inquire", "{}").await, 401), "session_required");
}

#[tokio::test]
async fn a_token_expires_at_its_time_and_not_before() {
    let api = Api::open(100).await;
    let token = api.token(owner(1).operator).await;
    api.forward_ms.store(api.session_ms_max - 1, Ordering::SeqCst);
    assert_eq!(api.get(&token, "/v1/account").await.status, StatusCode::OK);
    api.forward_ms.store(api.session_ms_max, Ordering::SeqCst);
    assert_eq!(problem(&api.get(&token, "/v1/account").await, 401), "session_expired");
}

#[tokio::test]
async fn bad_input_gets_a_stable_code_and_changes_nothing() {
    let api = Api::open(100).await;
    let token = api.token(owner(1).operator).await;
    let key = Some("0123456789abcdef");
    let receive = "/v1/packs/receive";
    let cases: Vec<(Option<&str>, &str, String, u16, &str)> = vec![
        (key, receive, "{".into(), 400, "malformed_json"),
        (key, receive, "{]".into(), 400, "malformed_json"),
        (key, receive, r#"{"shipment_id":"x"}"#.into(), 422, "invalid_body"),
        (key, receive, r#"{"shipment_id":-1}"#.into(), 422, "invalid_body"),
        (key, receive, r#"{"shipment_id":5,"packs":[]}"#.into(), 422, "invalid_body"),
        (key, receive, r#"{"unknown":5}"#.into(), 422, "invalid_body"),
        (key, receive, r#"{"packs":[]}"#.into(), 422, "invalid_packs"),
        (key, receive, r#"{"packs":["'; DROP TABLE pack; --"]}"#.into(), 422, "invalid_pack"),
        (key, receive, r#"{"packs":["J1001-26001-0000099"]}"#.into(), 409, "pack_not_yours"),
        (key, receive, r#"{"packs":["J1001-26001-0000009"]}"#.into(), 409, "pack_not_yours"),
        (key, receive, r#"{"shipment_id":77}"#.into(), 404, "shipment_unknown"),
        (None, receive, r#"{"shipment_id":5}"#.into(), 400, "idempotency_key_required"),
        (Some("short"), receive, r#"{"shipment_id":5}"#.into(), 400, "idempotency_key_invalid"),
        (key, "/v1/claims/pay", r#"{"codes":["too short"]}"#.into(), 409, "foreign_ticket"),
        (
            key,
            "/v1/claims/pay",
            json!({ "codes": [code(1, 2).replacen('J', "A", 1)] }).to_string(),
            409,
            "foreign_ticket",
        ),
        (key, "/v1/claims/pay", json!({ "codes": [code(1, 2).to_lowercase()] }).to_string(), 409, "unreadable"),
        (key, "/v1/claims/pay", json!({ "codes": [code(1, 2).replace("CC", "C*")] }).to_string(), 409, "unreadable"),
        (key, "/v1/claims/pay", r#"{"codes":[]}"#.into(), 422, "invalid_codes"),
        (key, "/v1/claims/pay", format!(r#"{{"codes":["{}"]}}"#, "x".repeat(70_000)), 413, "body_too_large"),
        (key, "/v1/nowhere", "{}".into(), 404, "no_such_route"),
    ];
    for (key, path, body, status, code) in cases {
        let shown = body.chars().take(60).collect::<String>();
        assert_eq!(problem(&api.post(Some(&token), key, path, body).await, status), code, "{path} {shown}");
    }
    assert_eq!(problem(&api.get(&token, "/v1/packs?state=lost").await, 422), "invalid_state");
    assert_eq!(problem(&api.get(&token, "/v1/packs?limit=many").await, 400), "malformed_request");
    assert_eq!(problem(&api.get(&token, "/v1/sales?from=2026-13-01").await, 422), "invalid_day");
    assert_eq!(problem(&api.get(&token, "/v1/account/entries?before=1.2").await, 422), "invalid_page");
    assert_eq!(problem(&api.get(&token, "/v1/account/entries?before=99.0.5").await, 422), "invalid_page");
    assert_eq!(api.get(&token, "/v1/account").await.body["balance_yuan"], "1000.00");
}

#[tokio::test]
async fn a_repeated_request_gets_the_same_reply_and_another_body_is_refused() {
    let api = Api::open(100).await;
    let token = api.token(owner(1).operator).await;
    let key = Some("0123456789abcdef");
    let body = r#"{"packs":["J1001-26001-0000001"]}"#;
    let first = api.post(Some(&token), key, "/v1/packs/receive", body).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    assert_eq!(
        (first.body["charge_yuan"].as_str(), first.body["commission_yuan"].as_str()),
        (Some("100.00"), Some("8.00"))
    );
    assert_eq!(api.post(Some(&token), key, "/v1/packs/receive", body).await.body, first.body);
    let other = r#"{"packs":["J1001-26001-0000002"]}"#;
    assert_eq!(problem(&api.post(Some(&token), key, "/v1/packs/receive", other).await, 422), "idempotency_key_reused");
    let entries = api.get(&token, "/v1/account/entries?limit=2").await.body;
    let lines: Vec<&str> =
        entries["entries"].as_array().unwrap().iter().map(|line| line["balance_yuan"].as_str().unwrap()).collect();
    assert_eq!(lines, ["908.00", "900.00"], "each line's balance follows from the one before");
    let next = entries["next"].as_str().unwrap();
    let older = api.get(&token, &format!("/v1/account/entries?before={next}")).await.body;
    assert_eq!((older["entries"][0]["code"].as_str(), older["next"].as_str()), (Some("deposit"), None));
}

#[tokio::test]
async fn a_clerk_may_not_receive_and_a_flood_is_held_back() {
    let api = Api::open(4).await;
    let token = api.token(clerk(1).operator).await;
    let body = r#"{"shipment_id":5}"#;
    let refused = api.post(Some(&token), Some("0123456789abcdef"), "/v1/packs/receive", body).await;
    assert_eq!(problem(&refused, 403), "owner_required");
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(api.get(&token, "/v1/stock").await.status.as_u16());
    }
    assert!(codes.contains(&200) && codes.contains(&429), "{codes:?}");
}

#[tokio::test]
async fn a_refused_payment_tells_the_answer_to_every_code() {
    let api = Api::open(100).await;
    let token = api.token(owner(1).operator).await;
    let received = api
        .post(Some(&token), Some("0123456789abcdef"), "/v1/packs/receive", r#"{"packs":["J1001-26001-0000001"]}"#)
        .await;
    assert_eq!(received.status, StatusCode::OK);
    let body = json!({ "codes": [code(1, 2), code(1, 5)] }).to_string();
    let refused = api.post(Some(&token), Some("0123456789abcdeg"), "/v1/claims/pay", body).await;
    assert_eq!(problem(&refused, 409), "not_a_winner");
    let answers: Vec<&str> =
        refused.body["answers"].as_array().unwrap().iter().map(|answer| answer["answer"].as_str().unwrap()).collect();
    assert_eq!(answers, ["won", "not_a_winner"]);
    let body = json!({ "codes": [code(1, 2), "junk", code(1, 5).replace("FF", "F*")] }).to_string();
    let told = api.post(Some(&token), None, "/v1/claims/inquire", body).await.body;
    let answer = |at: usize| told["answers"][at]["answer"].as_str();
    assert_eq!(told["answers"][0]["prize_yuan"].as_str(), Some("50.00"));
    assert_eq!((answer(1), answer(2)), (Some("foreign_ticket"), Some("unreadable")));
}

#[tokio::test]
async fn the_api_describes_itself() {
    let api = Api::open(1).await;
    let described = api.send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.body;
    assert!(described["openapi"].as_str().unwrap().starts_with("3.1"));
    for path in [
        "/v1/login",
        "/v1/packs/receive",
        "/v1/tickets/sell",
        "/v1/claims/pay",
        "/v1/account/entries",
        "/v1/stock",
        "/v1/sales",
    ] {
        assert!(described["paths"][path].is_object(), "{path}");
    }
    let ready = api.send(Request::get("/health/ready").body(Body::empty()).unwrap()).await;
    assert_eq!((ready.status, ready.body["connected"].as_bool()), (StatusCode::OK, Some(false)));
    assert_eq!(ready.body["certificate_expires_in_s"], 864_000);
}

#[tokio::test]
async fn a_challenge_does_not_tell_whether_the_terminal_exists() {
    let api = Api::open(100).await;
    let mut expiries = Vec::new();
    for terminal_id in [terminal(1).to_string(), "9999999901".to_string()] {
        let body = json!({ "terminal_id": terminal_id }).to_string();
        let answer = api.post(None, None, "/v1/login/challenge", body).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        assert_eq!(answer.body["challenge"].as_str().map(str::len), Some(54));
        expiries.push(answer.body["expires_at_ms"].as_i64());
    }
    assert_eq!(expiries[0], expiries[1]);
}

#[tokio::test]
async fn pages_are_bounded_and_made_up_marks_are_the_callers_mistake() {
    let api = Api::open(100).await;
    let token = api.token(owner(1).operator).await;
    let rows = |answer: &Answer, name: &str| answer.body[name].as_array().map(Vec::len);
    assert_eq!(rows(&api.get(&token, "/v1/packs?limit=0").await, "packs"), Some(1));
    assert_eq!(rows(&api.get(&token, "/v1/packs?limit=4294967295").await, "packs"), Some(8));
    for limit in ["-1", "4294967296", "x"] {
        let path = format!("/v1/account/entries?limit={limit}");
        assert_eq!(problem(&api.get(&token, &path).await, 400), "malformed_request");
    }
    let first = api.post(Some(&token), Some("0123456789abcdef"), "/v1/packs/receive", r#"{"shipment_id":5}"#).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let page = api.get(&token, "/v1/account/entries?limit=1").await.body;
    let mark = page["next"].as_str().unwrap().rsplit_once('.').unwrap().0.to_string();
    for balance_fen in [i64::MIN, i64::MAX] {
        let path = format!("/v1/account/entries?before={mark}.{balance_fen}");
        assert_eq!(problem(&api.get(&token, &path).await, 422), "invalid_page");
    }
}
