//! What every answer carries, and how often a stranger may ask.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;

use axum::body::Body;
use axum::extract::{ConnectInfo, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use super::problem::Problem;
use crate::app::App;

/// Addresses that are remembered; beyond it those that were quiet are forgotten.
const ADDRESSES_MAX: usize = 10_000;
/// Seconds' worth of requests that one address may make at once.
const BURST_S: u32 = 10;

/// How often one address may ask without a session.
pub struct Strangers(DefaultKeyedRateLimiter<IpAddr>);

impl Strangers {
    /// So many requests a second in the long run, ten seconds' worth at once.
    pub fn new(per_second: NonZeroU32) -> Self {
        let burst = per_second.saturating_mul(NonZeroU32::new(BURST_S).unwrap_or(NonZeroU32::MIN));
        Strangers(RateLimiter::keyed(Quota::per_second(per_second).allow_burst(burst)))
    }

    /// Takes one request from the address's allowance; `false` when it is used up.
    pub fn allow(&self, address: IpAddr) -> bool {
        if self.0.len() > ADDRESSES_MAX {
            self.0.retain_recent();
        }
        self.0.check_key(&address.to_canonical()).is_ok()
    }
}

/// Headers of every answer: browsers come back over TLS only, guess no types, show it in no frame, tell no other site where
/// they came from, and keep no copy. No origin but our own may read an answer: there is no CORS header.
pub(super) async fn protect(request: Request<Body>, next: Next) -> Response {
    let is_docs = request.uri().path().starts_with("/docs");
    let mut response = next.run(request).await;
    let policy = if is_docs {
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'"
    } else {
        "default-src 'none'; frame-ancestors 'none'"
    };
    let headers: [(HeaderName, &'static str); 6] = [
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000; includeSubDomains"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, if is_docs { "max-age=3600" } else { "no-store" }),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
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
