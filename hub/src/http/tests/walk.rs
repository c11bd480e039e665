//! Every address as everybody: what is answered is what `walk.txt` says, and nothing is answered that is not declared.

use std::collections::BTreeSet;
use std::fmt::Write;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use jikai_schema::id::PrefectureCode;
use jikai_schema::staff::{Area, Grant, Role};
use serde_json::Value;
use tower::ServiceExt;

use super::rights::{Settled, cookie, signed_in};
use super::{TOKEN, app, router, worked};
use crate::rights::{Needs, ROUTES, Reach, Route};
use crate::staff::SessionToken;

const SNAPSHOT: &str = include_str!("walk.txt");

/// Who asks.
enum Who {
    Nobody,
    Console,
    Staff(SessionToken),
}

fn request(route: &Route, who: &Who) -> Request<Body> {
    let path = route.path.replace("{login}", "somebody").replace("{session}", "0123456789abcdef");
    let path = path
        .replace("{terminal}", "1301000101")
        .replace("{operator}", "1301000101")
        .replace("{number}", "99")
        .replace("{serial}", "0a")
        .replace("{node}", "1")
        .replace("{kind}", "outlets")
        .replace("{outlet}", "13010001")
        .replace("{field}", "phone");
    let path = path.replace("{*rest}", "index.css");
    assert!(!path.contains('{'), "{path}: say what stands for the parameter");
    let request = Request::builder().method(route.method).uri(path).header(header::CONTENT_TYPE, "application/json");
    let request = match who {
        Who::Nobody => request,
        Who::Console => request.header(header::AUTHORIZATION, format!("Bearer {TOKEN}")),
        Who::Staff(token) => request.header(header::COOKIE, cookie(token)).header("x-csrf-token", token.csrf()),
    };
    request.body(Body::from("{}")).unwrap()
}

/// The status and the body of an answer.
async fn ask(router: &Router, route: &Route, who: &Who) -> (u16, Value) {
    let response = router.clone().oneshot(request(route, who)).await.unwrap();
    let status = response.status().as_u16();
    assert!(status < 500, "{} {} answered {status}", route.method, route.path);
    let bytes = to_bytes(response.into_body(), 16 << 20).await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Logging out comes last, or nobody could ask any more.
fn in_order() -> Vec<&'static Route> {
    let mut routes: Vec<&Route> = ROUTES.iter().collect();
    routes.sort_by_key(|route| (route.method, route.path) == ("DELETE", "/v1/session"));
    routes
}

#[tokio::test]
async fn every_address_answers_exactly_those_whom_the_snapshot_names() {
    let hub = worked().await;
    let router = router(app(&hub));
    let elsewhere = Area::Prefecture(PrefectureCode::new(1302).unwrap());
    let mut people = vec![("nobody".to_string(), Who::Nobody), ("console".to_string(), Who::Console)];
    for role in Role::ALL {
        let (here, there) = (role.name().replace('_', "-"), format!("{}.1302", role.name().replace('_', "-")));
        let grant = Grant::everywhere(role);
        let part = Grant { area: elsewhere.clone(), ..grant.clone() };
        people.push((role.name().into(), Who::Staff(signed_in(&hub, &here, vec![grant], Settled::Yes).await)));
        people.push((
            format!("{}@1302", role.name()),
            Who::Staff(signed_in(&hub, &there, vec![part], Settled::Yes).await),
        ));
    }
    let auditor = || vec![Grant::everywhere(Role::AuditAdministrator)];
    let fresh = signed_in(&hub, "fresh", auditor(), Settled::OneTimePassword).await;
    people.push(("with_one_time_password".into(), Who::Staff(fresh)));
    let unproven = signed_in(&hub, "unproven", auditor(), Settled::NoFactor).await;
    people.push(("without_second_factor".into(), Who::Staff(unproven)));
    people.push(("without_rights".into(), Who::Staff(signed_in(&hub, "idle", Vec::new(), Settled::Yes).await)));

    let (mut text, mut pairs) = (String::new(), 0);
    for route in in_order() {
        let mut admitted = Vec::new();
        for (name, who) in &people {
            let (status, body) = ask(&router, route, who).await;
            pairs += 1;
            if matches!(status, 401 | 403) && body["code"] != "login_failed" {
                continue;
            }
            admitted.push(name.as_str());
            if name.ends_with("@1302") && matches!(route.needs, Needs::May(_)) {
                assert_eq!(route.reach, Reach::Area, "{} {} answers a part of the province", route.method, route.path);
                check_empty(route, &body);
            }
        }
        let sessions = people.len() - 2;
        let admitted = match admitted.len() {
            all if all == people.len() => "everybody".to_string(),
            all if all == sessions && !admitted.contains(&"nobody") && !admitted.contains(&"console") => {
                "every session".to_string()
            }
            _ => admitted.join(" "),
        };
        writeln!(text, "{} {}: {admitted}", route.method, route.path).unwrap();
    }
    assert!(text == SNAPSHOT, "the rights changed; if that was meant, put this into walk.txt:\n{text}");
    // Written past the capture of the test harness: `make test` shows how much was checked.
    let line = format!("hub: route × role pairs checked: {pairs}\n");
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).unwrap();
}

/// Everything in this province happened in 1301.
fn check_empty(route: &Route, body: &Value) {
    if body["code"] == "unknown_outlet" || route.path == "/v1/terminals" {
        return;
    }
    let none = Vec::new();
    let rows = body["rows"].as_array().or(body["accounts"].as_array()).unwrap_or(&none);
    let outside = rows.iter().any(|row| row.to_string().contains("1301"));
    assert!(!outside, "{}: rows of another area: {body}", route.path);
}

#[tokio::test]
async fn the_openapi_document_and_the_declared_addresses_are_the_same() {
    let hub = worked().await;
    let declared = ROUTES.iter().filter(|route| !route.path.starts_with("/docs") && route.path != "/openapi.json");
    let declared: BTreeSet<String> = declared.map(|route| format!("{} {}", route.method, route.path)).collect();
    let openapi = ROUTES.iter().find(|route| route.path == "/openapi.json").unwrap();
    let (_, document) = ask(&router(app(&hub)), openapi, &Who::Nobody).await;
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            documented.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert_eq!(declared, documented);
}
