//! What every answer carries, what a request carries once at most, and that a request is heard out.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jikai_schema::event::RequestId;
use jikai_sync::https::{HEADERS_ONCE, lend, protective_headers};
use rand::RngExt;
use tokio::time::Instant;

use super::problem::Problem;

/// The header under which an answer tells its request's id; the trail knows the request by it.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Gives every request an id and every answer its headers, and refuses a request that says one thing twice. Errors: 400 `duplicate_header`.
pub(super) async fn protect(mut request: Request<Body>, next: Next) -> Response {
    let id = RequestId(rand::rng().random());
    request.extensions_mut().insert(id);
    let headers = protective_headers(request.uri().path());
    let twice = HEADERS_ONCE.into_iter().find(|name| request.headers().get_all(*name).iter().nth(1).is_some());
    let mut response = match twice {
        Some(name) => said_twice(name).into_response(),
        None => next.run(request).await,
    };
    for (name, value) in headers {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn said_twice(name: &str) -> Problem {
    let detail = format!("The header {name} stands twice in the request.");
    Problem::new(StatusCode::BAD_REQUEST, "duplicate_header", detail, "Send it once.")
}

/// How much of a body that no handler wanted is read, and how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct HearingOut {
    /// Bytes beyond what a handler read.
    pub(super) bytes_max: usize,
    /// From the beginning of the request.
    pub(super) patience: Duration,
}

/// Reads what the handlers left of a body before the answer goes out: a client that is still sending would lose it. One that
/// waits to be told to go on (HTTP/1.1) is answered at once.
pub(super) async fn hear_out(State(bounds): State<HearingOut>, request: Request<Body>, next: Next) -> Response {
    let until = Instant::now() + bounds.patience;
    let is_asking = request.version() < Version::HTTP_2 && request.headers().contains_key(header::EXPECT);
    if is_asking {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let (body, rest) = lend(body);
    let response = next.run(Request::from_parts(parts, Body::new(body))).await;
    rest.discard(bounds.bytes_max, until).await;
    response
}
