//! The guard before addresses that the hub does not have.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::connect_info::MockConnectInfo;
use axum::http::{Request, header};
use axum::routing::{delete, get, post};
use jikai_schema::staff::{Grant, Role};
use serde_json::Value;
use tower::ServiceExt;

use super::rights::{Settled, cookie, signed_in};
use super::{TOKEN, app};
use crate::http::guarded;
use crate::province::Running;
use crate::rights::route_of;

/// Addresses that nobody declared, some beside declared ones.
const UNDECLARED: [(&str, &str); 4] =
    [("GET", "/v1/everything"), ("DELETE", "/v1/nodes"), ("POST", "/health/live"), ("GET", "/v1/nodes/{node}")];

fn undeclared() -> Router {
    let open = || async { "open" };
    Router::new()
        .route("/v1/everything", get(open))
        .route("/v1/nodes", get(open).merge(delete(open)))
        .route("/health/live", get(open).merge(post(open)))
        .route("/v1/nodes/{node}", get(open))
}

async fn ask(router: &Router, request: Request<Body>) -> (u16, Vec<u8>) {
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec())
}

#[tokio::test]
async fn a_route_that_is_not_declared_is_refused_to_everybody_with_every_right() {
    let hub = Running::set_up().await;
    let router = guarded(undeclared(), app(&hub)).layer(MockConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))));
    let mut people = Vec::new();
    for role in Role::ALL {
        let login = role.name().replace('_', "-");
        people.push(signed_in(&hub, &login, vec![Grant::everywhere(role)], Settled::Yes).await);
    }
    for (method, path) in UNDECLARED {
        assert!(route_of(method, path).is_none(), "{method} {path} is declared");
        let request = || Request::builder().method(method).uri(path.replace("{node}", "1"));
        let mut requests = vec![request(), request().header(header::AUTHORIZATION, format!("Bearer {TOKEN}"))];
        let as_person = |token| request().header(header::COOKIE, cookie(token)).header("x-csrf-token", token.csrf());
        requests.extend(people.iter().map(as_person));
        for request in requests {
            let (status, body) = ask(&router, request.body(Body::empty()).unwrap()).await;
            let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
            assert_eq!((status, &problem["code"]), (403, &Value::from("not_declared")), "{method} {path}");
        }
    }
    // Beside them, what is declared is asked for what it needs and let through.
    let (status, body) = ask(&router, Request::get("/health/live").body(Body::empty()).unwrap()).await;
    assert_eq!((status, body.as_slice()), (200, b"open".as_slice()));
    let (status, _) = ask(&router, Request::get("/v1/nodes").body(Body::empty()).unwrap()).await;
    assert_eq!(status, 401);
    let console = Request::get("/v1/nodes").header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    assert_eq!(ask(&router, console.body(Body::empty()).unwrap()).await.1, b"open");
}
