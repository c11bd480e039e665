//! Maker and checker through the API: roles and persons.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use jikai_schema::id::PrefectureCode;
use jikai_schema::staff::{Area, Grant, Role};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::rights::{Settled, cookie, signed_in};
use super::{app, router, worked};
use crate::staff::SessionToken;

pub(super) async fn ask(router: &Router, who: &SessionToken, method: &str, path: &str, body: Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header(header::COOKIE, cookie(who));
    let request = request.header("x-csrf-token", who.csrf()).header(header::CONTENT_TYPE, "application/json");
    let response = router.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

pub(super) fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

fn change(subject: Value) -> Value {
    json!({ "subject": subject, "reason": "order 7" })
}

fn idle(value: i64) -> Value {
    let from = "2026-11-23T00:00:00+08:00";
    change(json!({ "kind": "parameter", "key": "staff_session_idle", "value": value, "effective_from": from }))
}

#[tokio::test]
async fn a_parameter_is_changed_by_two_persons_with_the_two_roles_and_by_nobody_alone() {
    let hub = worked().await;
    let router = router(app(&hub));
    let both = [Role::ParameterMaker, Role::ParameterChecker].map(Grant::everywhere).to_vec();
    let wei = signed_in(&hub, "wei", both.clone(), Settled::Yes).await;
    let ming = signed_in(&hub, "ming", both, Settled::Yes).await;
    let clerk = signed_in(&hub, "clerk", vec![Grant::everywhere(Role::FinanceMaker)], Settled::Yes).await;
    let audit = signed_in(&hub, "audit", vec![Grant::everywhere(Role::AuditAdministrator)], Settled::Yes).await;
    assert_eq!(code(&ask(&router, &clerk, "POST", "/v1/changes", idle(5)).await), (403, "not_permitted"));
    assert_eq!(code(&ask(&router, &wei, "POST", "/v1/changes", idle(61)).await), (409, "invalid_value"));
    assert_eq!(ask(&router, &wei, "POST", "/v1/changes", idle(5)).await, (200, json!({ "number": 1 })));
    let (_, seen) = ask(&router, &ming, "GET", "/v1/changes", json!({})).await;
    let shown = &seen["changes"][0];
    assert_eq!(
        (&shown["after"]["value"], &shown["state"], &shown["may_decide"]),
        (&json!(5), &json!("open"), &json!(true))
    );
    let (_, own) = ask(&router, &wei, "GET", "/v1/changes", json!({})).await;
    assert_eq!(own["changes"][0]["may_decide"], false, "whatever the roles");
    let (_, other) = ask(&router, &clerk, "GET", "/v1/changes", json!({})).await;
    assert_eq!(other["changes"], json!([]), "not the finance's business");
    let approval = "/v1/changes/1/approval";
    assert_eq!(code(&ask(&router, &wei, "POST", approval, json!({})).await), (409, "same_person"));
    assert_eq!(code(&ask(&router, &clerk, "POST", approval, json!({})).await), (403, "not_permitted"));
    assert_eq!(ask(&router, &ming, "POST", approval, json!({})).await.0, 204);
    let (_, parameters) = ask(&router, &wei, "GET", "/v1/parameters", json!({})).await;
    let all = parameters["parameters"].as_array().unwrap();
    let idle = all.iter().find(|parameter| parameter["key"] == "staff_session_idle").unwrap();
    let set = &idle["history"][0];
    assert_eq!((&idle["value"], &set["maker"], &set["checker"]), (&json!(5), &json!("wei"), &json!("ming")));
    assert_eq!(ask(&router, &audit, "GET", "/v1/changes", json!({})).await.1["changes"].as_array().unwrap().len(), 1);
    hub.pass(5 * 60_000);
    assert_eq!(code(&ask(&router, &wei, "GET", "/v1/session", json!({})).await), (401, "session_expired"));
}

#[tokio::test]
async fn every_kind_is_read_and_asks_for_its_own_right() {
    let hub = worked().await;
    let router = router(app(&hub));
    let person = async |login: &str, role| signed_in(&hub, login, vec![Grant::everywhere(role)], Settled::Yes).await;
    let (maker, issue) = (person("maker", Role::ParameterMaker).await, person("issue", Role::IssueClerk).await);
    let (finance, manager) =
        (person("finance", Role::FinanceMaker).await, person("manager", Role::MarketManager).await);
    let game = json!({
        "kind": "game", "game": "G0201", "name": "燕赵红", "price_yuan": "2.00", "prize_fund_ppm": 650_000,
        "welfare_fund_ppm": 200_000, "commission_ppm": 80_000, "outlet_limit_yuan": "1.00", "city_limit_yuan": "2.00",
    });
    let sale = json!({ "kind": "sale", "batch": 1, "state": "paused" });
    let end = json!({ "kind": "redemption_end", "batch": "G0201-26001", "ends_at": "2027-11-23T00:00:00+08:00" });
    let hold = json!({ "kind": "hold", "pack": "G0201-26001-0000001", "hold": "stolen" });
    let deposit = json!({ "kind": "deposit", "deposit_id": 9, "outlet_id": "13010001", "amount_yuan": "5.00" });
    for (subject, whose) in [(&game, &maker), (&sale, &issue), (&end, &maker), (&hold, &manager), (&deposit, &finance)]
    {
        for who in [&maker, &issue, &finance, &manager] {
            let (status, answer) = ask(&router, who, "POST", "/v1/changes", change(subject.clone())).await;
            let both =
                (subject == &sale || subject == &end) && (std::ptr::eq(who, &maker) || std::ptr::eq(who, &issue));
            let expected = if std::ptr::eq(who, whose) || both { 200 } else { 403 };
            assert_eq!(status, expected, "{subject}: {answer}");
        }
    }
    for (subject, expected) in [
        (json!({ "kind": "hold", "pack": "G0201-26001-9999999", "hold": "lost" }), (404, "unknown")),
        (json!({ "kind": "hold", "pack": "G0999-26001-0000001", "hold": "lost" }), (404, "unknown_pack")),
        (json!({ "kind": "hold", "pack": "'; DROP TABLE pack;--", "hold": "lost" }), (422, "invalid_pack")),
        (json!({ "kind": "hold", "pack": "G0201-26001-0000001", "hold": "eaten" }), (422, "invalid_hold")),
        (json!({ "kind": "everything" }), (422, "malformed_request")),
    ] {
        assert_eq!(
            code(&ask(&router, &manager, "POST", "/v1/changes", change(subject.clone())).await),
            expected,
            "{subject}"
        );
    }
    for (batch, expected) in [
        (json!("G0201-26002"), (404, "unknown_batch")),
        (json!("26001"), (422, "invalid_batch")),
        (json!(0), (422, "invalid_batch")),
        (json!(-1), (422, "malformed_request")),
    ] {
        let sale = change(json!({ "kind": "sale", "batch": batch, "state": "paused" }));
        assert_eq!(code(&ask(&router, &maker, "POST", "/v1/changes", sale).await), expected, "{batch}");
    }
    let negative = json!({ "kind": "deposit", "deposit_id": 10, "outlet_id": "13010001", "amount_yuan": "-5.00" });
    let (status, _) = ask(&router, &finance, "POST", "/v1/changes", change(negative)).await;
    assert!(matches!(status, 409 | 422), "{status}");
}

#[tokio::test]
async fn a_hold_is_proposed_only_by_who_may_there_and_seen_and_withdrawn_by_its_maker() {
    let hub = worked().await;
    let router = router(app(&hub));
    let at =
        |role, code| Grant { area: Area::Prefecture(PrefectureCode::new(code).unwrap()), ..Grant::everywhere(role) };
    let hold = change(json!({ "kind": "hold", "pack": "G0201-26001-0000001", "hold": "stolen" }));
    let manager = signed_in(&hub, "manager", vec![at(Role::MarketManager, 1301)], Settled::Yes).await;
    let finance = signed_in(&hub, "finance", vec![at(Role::FinanceMaker, 1301)], Settled::Yes).await;
    let grants = vec![at(Role::MarketManager, 1302), at(Role::FinanceMaker, 1301)];
    let elsewhere = signed_in(&hub, "elsewhere", grants, Settled::Yes).await;
    let grants = vec![at(Role::MarketManager, 1301), Grant::everywhere(Role::FinanceMaker)];
    let both = signed_in(&hub, "both", grants, Settled::Yes).await;
    assert_eq!(code(&ask(&router, &finance, "POST", "/v1/changes", hold.clone()).await), (403, "not_permitted"));
    assert_eq!(code(&ask(&router, &elsewhere, "POST", "/v1/changes", hold.clone()).await), (404, "unknown_pack"));
    assert_eq!(ask(&router, &both, "POST", "/v1/changes", hold.clone()).await.0, 200, "the other role is wider");
    assert_eq!(ask(&router, &manager, "POST", "/v1/changes", hold).await.0, 200);
    let (_, own) = ask(&router, &manager, "GET", "/v1/changes", json!({})).await;
    let makers: Vec<&str> =
        own["changes"].as_array().unwrap().iter().map(|row| row["maker"].as_str().unwrap()).collect();
    assert_eq!(makers, ["manager"], "the own one and no other");
    assert_eq!(code(&ask(&router, &finance, "DELETE", "/v1/changes/2", json!({})).await), (409, "not_own_change"));
    assert_eq!(ask(&router, &manager, "DELETE", "/v1/changes/2", json!({})).await.0, 204);
}

#[tokio::test]
async fn who_tries_what_takes_another_person_is_named_in_the_trail() {
    let hub = worked().await;
    let router = router(app(&hub));
    let both = [Role::ParameterMaker, Role::ParameterChecker].map(Grant::everywhere).to_vec();
    let wei = signed_in(&hub, "wei", both, Settled::Yes).await;
    assert_eq!(ask(&router, &wei, "POST", "/v1/changes", idle(5)).await.0, 200);
    for _ in 0..3 {
        let own = ask(&router, &wei, "POST", "/v1/changes/1/approval", json!({})).await;
        assert_eq!(code(&own), (409, "same_person"));
    }
    let events = hub.pool.read(|store| crate::reports::hub_events(store, 0, 1_000)).await.unwrap().unwrap();
    let text = String::from_utf8(events).unwrap();
    let noted = text.lines().filter(|line| line.contains("access_refused") && line.contains("same_person"));
    assert_eq!(noted.count(), 1, "once a minute: {text}");
}
