//! Every address of the terminals' API as everybody: what is answered is what `walk.txt` says.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "outlet/api.rs"]
#[expect(dead_code, reason = "each test binary uses its part of the outlet")]
mod api;
#[expect(dead_code, reason = "the rest is for the tests of the counter")]
mod outlet;

use std::fmt::Write;

use api::{Answer, Api};
use axum::body::Body;
use axum::http::Request;
use outlet::*;
use serde_json::{Value, json};

const SNAPSHOT: &str = include_str!("walk.txt");

/// A body that names things of outlet 2: nobody at outlet 1 may touch them.
fn foreign(path: &str) -> Value {
    match path {
        "/v1/packs/receive" | "/v1/packs/return" => json!({ "packs": ["J1001-26001-0000009"] }),
        "/v1/tickets/sell" => json!({ "tickets": ["J1001-26001-0000009-001"] }),
        "/v1/claims/inquire" | "/v1/claims/pay" => json!({ "codes": [code(9, 1)] }),
        _ => json!({}),
    }
}

async fn ask(api: &Api, method: &str, path: &str, token: Option<&str>, key: u32) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request = request.header("idempotency-key", format!("walk-{key:016}"));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    api.send(request.body(Body::from(foreign(path).to_string())).unwrap()).await
}

#[tokio::test]
async fn every_address_answers_exactly_those_whom_the_snapshot_names_and_nothing_of_another_outlet() {
    let api = Api::open(1_000).await;
    let document = api.send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.body;
    let mut routes = vec![("GET".to_string(), "/docs/".to_string()), ("GET".into(), "/openapi.json".into())];
    for (path, methods) in document["paths"].as_object().unwrap() {
        routes.extend(methods.as_object().unwrap().keys().map(|method| (method.to_uppercase(), path.clone())));
    }
    // Logging out comes last, or nobody could ask any more.
    routes.sort_by_key(|(method, path)| (path == "/v1/logout", path.clone(), method.clone()));
    let before = api.get(&api.token(owner(1).operator).await, "/v1/stock").await.body;
    let (mut text, mut pairs) = (String::new(), 0);
    for (method, path) in &routes {
        let mut admitted = Vec::new();
        for who in ["nobody", "clerk", "owner"] {
            let token = match who {
                "clerk" => Some(api.token(clerk(1).operator).await),
                "owner" => Some(api.token(owner(1).operator).await),
                _ => None,
            };
            pairs += 1;
            let answer = ask(&api, method, path, token.as_deref(), pairs).await;
            let status = answer.status.as_u16();
            assert!(status < 500 || answer.body["code"] == "hub_unreachable", "{method} {path}: {status}");
            let refused = matches!(status, 401 | 403) && answer.body["code"] != "login_failed";
            if !refused {
                admitted.push(who);
            }
            // A customer may ask about a ticket at any outlet.
            if who != "nobody" && path != "/v1/claims/inquire" && foreign(path) != json!({}) {
                assert_ne!(status, 200, "{method} {path} as {who} touched another outlet's: {}", answer.body);
            }
        }
        writeln!(text, "{method} {path}: {}", admitted.join(" ")).unwrap();
    }
    let after = api.get(&api.token(owner(1).operator).await, "/v1/stock").await.body;
    assert_eq!(after, before, "the walk changed the stock");
    assert!(text == SNAPSHOT, "the rights changed; if that was meant, put this into walk.txt:\n{text}");
    // Written past the capture of the test harness: `make test` shows how much was checked.
    use std::io::Write;
    writeln!(std::io::stdout(), "node: route × role pairs checked: {pairs}").unwrap();
}
