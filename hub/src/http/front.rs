//! What every answer carries, and what a request carries once at most.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jikai_schema::event::RequestId;
use jikai_sync::https::{HEADERS_ONCE, protective_headers};

use rand::RngExt;

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
