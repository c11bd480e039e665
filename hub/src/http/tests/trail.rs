//! What was asked is found in the trail: by whom, from where, in answer to which request.

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use jikai_schema::staff::{Grant, Role};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::rights::{Settled, cookie, signed_in};
use super::{TOKEN, app, router, worked};
use crate::province::Running;

/// The id that the answer told, and the events in the log that bear it.
async fn asked(hub: &Running, request: Request<Body>) -> (String, Vec<Value>) {
    let router = router(app(hub));
    let answer = router.clone().oneshot(request).await.unwrap();
    let told = answer.headers()["x-request-id"].to_str().unwrap().to_string();
    let log = Request::get("/v1/events?limit=1000").header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    let log = router.oneshot(log.body(Body::empty()).unwrap()).await.unwrap();
    let lines = String::from_utf8(to_bytes(log.into_body(), 16 << 20).await.unwrap().to_vec()).unwrap();
    let events = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let events = events.filter(|event| event["request"] == told.as_str()).collect();
    (told, events)
}

#[tokio::test]
async fn a_change_a_refusal_and_a_failed_login_bear_the_request_and_the_address_they_came_from() {
    let hub = worked().await;
    let system = signed_in(&hub, "system", vec![Grant::everywhere(Role::SystemAdministrator)], Settled::Yes).await;
    let as_system = |path: &str, body: Value| {
        let request = Request::post(path).header(header::COOKIE, cookie(&system)).header("x-csrf-token", system.csrf());
        request.header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap()
    };
    let (_, made) = asked(&hub, as_system("/v1/staff", json!({ "login": "wei", "name": "王芳" }))).await;
    assert_eq!(made.len(), 1, "{made:?}");
    assert_eq!(made[0]["event"]["kind"], "staff_created");
    assert_eq!(made[0]["actor"], json!({ "staff": "system", "address": "127.0.0.1" }));
    let (first, refused) = asked(&hub, as_system("/v1/terminals/1301000101/enrolment", json!({}))).await;
    assert_eq!(refused[0]["event"]["kind"], "access_refused", "{refused:?}");
    assert_eq!(refused[0]["actor"]["address"], "127.0.0.1");
    let body = json!({ "login": "wei", "password": "wrong" }).to_string();
    let login = Request::post("/v1/session").header(header::CONTENT_TYPE, "application/json");
    let (second, failed) = asked(&hub, login.body(Body::from(body)).unwrap()).await;
    assert_eq!(failed[0]["event"]["kind"], "staff_login_failed", "{failed:?}");
    assert_eq!((&failed[0]["actor"], &failed[0]["event"]["address"]), (&json!("system"), &json!("127.0.0.1")));
    assert_ne!(first, second, "each request has an id of its own");
    assert_eq!(asked(&hub, Request::get("/health/live").body(Body::empty()).unwrap()).await.1, Vec::<Value>::new());
}
