//! Every address of the terminals' API as everybody: what is answered is what `walk.txt` says.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "outlet/api.rs"]
#[expect(dead_code, reason = "each test binary uses its part of the outlet")]
mod api;
#[expect(dead_code, reason = "the rest is for the tests of the counter")]
mod outlet;

use std::collections::BTreeSet;
use std::fmt::Write;

use api::{Answer, Api, problem};
use axum::body::Body;
use axum::http::Request;
use jikai_node::rights::{Needs, ROUTES, Route, may, permissions_of, words};
use jikai_schema::event::OperatorRole;
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
    let mut routes: Vec<&Route> = ROUTES.iter().collect();
    // Logging out comes last, or nobody could ask any more.
    routes.sort_by_key(|route| (route.path == "/v1/logout", route.path, route.method));
    let before = api.get(&api.token(owner(1).operator).await, "/v1/stock").await.body;
    let (mut text, mut pairs) = (String::new(), 0);
    for Route { method, path, needs } in routes {
        let path = path.replace("{*rest}", "index.css");
        let mut admitted = Vec::new();
        for who in ["nobody", "clerk", "owner"] {
            let token = match who {
                "clerk" => Some(api.token(clerk(1).operator).await),
                "owner" => Some(api.token(owner(1).operator).await),
                _ => None,
            };
            pairs += 1;
            let answer = ask(&api, method, &path, token.as_deref(), pairs).await;
            let status = answer.status.as_u16();
            assert!(status < 500 || answer.body["code"] == "hub_unreachable", "{method} {path}: {status}");
            let refused = matches!(status, 401 | 403) && answer.body["code"] != "login_failed";
            if !refused {
                admitted.push(who);
            }
            if let Needs::May(permission) = needs {
                let role = match who {
                    "clerk" => Some(OperatorRole::Clerk),
                    "owner" => Some(OperatorRole::Owner),
                    _ => None,
                };
                let may = role.is_some_and(|role| may(role, *permission));
                assert_eq!(!refused, may, "{method} {path} as {who}: the answer is not that of the table");
            }
            // A customer may ask about a ticket at any outlet.
            if who != "nobody" && path != "/v1/claims/inquire" && foreign(&path) != json!({}) {
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

#[tokio::test]
async fn the_openapi_document_and_the_declared_addresses_are_the_same() {
    let api = Api::open(1_000).await;
    let document = api.send(Request::get("/openapi.json").body(Body::empty()).unwrap()).await.body;
    let declared = ROUTES.iter().filter(|route| !route.path.starts_with("/docs") && route.path != "/openapi.json");
    let declared: BTreeSet<String> = declared.map(|route| format!("{} {}", route.method, route.path)).collect();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods: Vec<String> = methods.as_object().unwrap().keys().map(|method| method.to_uppercase()).collect();
        methods.into_iter().map(move |method| format!("{method} {path}")).collect::<Vec<_>>()
    };
    let documented: BTreeSet<String> = document["paths"].as_object().unwrap().iter().flat_map(of_path).collect();
    assert_eq!(declared, documented);
}

#[tokio::test]
async fn a_session_tells_exactly_what_its_person_may() {
    let api = Api::open(1_000).await;
    for (operator, role) in [(clerk(1).operator, OperatorRole::Clerk), (owner(1).operator, OperatorRole::Owner)] {
        let token = api.token(operator).await;
        let session = api.get(&token, "/v1/session").await.body;
        let told: Vec<String> = session["permissions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|permission| {
                format!("{} {}", permission["verb"].as_str().unwrap(), permission["resource"].as_str().unwrap())
            })
            .collect();
        assert_eq!(told, permissions_of(role).map(words).collect::<Vec<_>>());
        assert_eq!(session["outlet_id"], "13010001");
    }
    assert_eq!(problem(&api.get("bm9uZQ", "/v1/session").await, 401), "session_expired");
}
