//! What every answer carries, what a request carries once at most, and who may ask without a session.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jikai_sync::https::{HEADERS_ONCE, protective_headers};

use super::problem::Problem;
use crate::app::App;

/// Gives every answer its headers, and refuses a request that says one thing twice. Errors: 400 `duplicate_header`.
pub(super) async fn protect(request: Request<Body>, next: Next) -> Response {
    let headers = protective_headers(request.uri().path());
    let twice = HEADERS_ONCE.into_iter().find(|name| request.headers().get_all(*name).iter().nth(1).is_some());
    let mut response = match twice {
        Some(name) => said_twice(name).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in headers {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn said_twice(name: &str) -> Problem {
    let detail = format!("The header {name} stands twice in the request.");
    Problem::new(StatusCode::BAD_REQUEST, "duplicate_header", detail, "Send it once.")
}

/// A request without a session, within its address's allowance. Errors: 429 `too_many_requests`.
pub(super) struct Stranger;

impl FromRequestParts<App> for Stranger {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if app.strangers.allow(peer(parts, app).await?) {
            return Ok(Stranger);
        }
        let hint = "Wait a second before the next request.";
        let detail = "Too many requests without a session come from this address.";
        Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail, hint))
    }
}

/// A request from the machine itself: what only its operator may read. Errors: 403 `local_only`.
pub(super) struct Local;

impl FromRequestParts<App> for Local {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        if peer(parts, app).await?.to_canonical().is_loopback() {
            return Ok(Local);
        }
        let hint = "Ask on the node's machine, or through a tunnel.";
        Err(Problem::new(StatusCode::FORBIDDEN, "local_only", "This is read on the machine itself only.", hint))
    }
}

async fn peer(parts: &mut Parts, app: &App) -> Result<IpAddr, Problem> {
    let found = ConnectInfo::<SocketAddr>::from_request_parts(parts, app).await;
    found.map(|info| info.0.ip()).map_err(|_| Problem::internal(&"no peer address"))
}
