//! Who asks, and how a body is read.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use base64::Engine;
use jikai_schema::event::{RequestKey, TokenTag};
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::app::{App, Closed};
use crate::decide::Caller;
use crate::session::Session;

/// A request with a live session, within its terminal's allowance.
pub(super) struct SignedIn(pub Arc<Session>);

impl SignedIn {
    pub(super) fn caller(&self) -> Caller {
        self.0.caller
    }
}

impl FromRequestParts<App> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let bearer = parts.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = bearer.and_then(|value| value.strip_prefix("Bearer "));
        let hint = "Log in at /v1/login and send the token as `Authorization: Bearer …`.";
        let required = || Problem::new(StatusCode::UNAUTHORIZED, "session_required", "No session was presented.", hint);
        let token = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(token.ok_or_else(required)?)
            .map_err(|_| required())?;
        let expired = || Problem::new(StatusCode::UNAUTHORIZED, "session_expired", "The session has ended.", hint);
        let session = app.sessions.find(&TokenTag::of(&token)).ok_or_else(expired)?;
        if app.now_ms() >= session.expires_at_ms {
            return Err(expired());
        }
        check_open(app)?;
        if !session.allow() {
            let hint = "Wait a second before the next request.";
            let detail = "This terminal asks too often.";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail, hint));
        }
        Ok(SignedIn(session))
    }
}

/// Refuses while the node is fenced, or was cut off from the hub too long.
pub(super) fn check_open(app: &App) -> Result<(), Problem> {
    let (code, detail, hint) = match app.closed() {
        None => return Ok(()),
        Some(Closed::Fenced) => (
            "node_fenced",
            "The centre does not accept this node's records any more.",
            "Connect to the node that serves this outlet now; tell the operator that this one is fenced.",
        ),
        Some(Closed::OfflineTooLong) => (
            "offline_too_long",
            "This node has not heard the centre for too long to know who may still work here.",
            "Tell the operator that this node's line to the centre is down; it works on as soon as the line is back.",
        ),
    };
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, hint))
}

/// A JSON body of known form.
pub(super) struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        parse(&read(request, app).await?).map(JsonBody)
    }
}

/// A mutation: who asks, under which key, and the body.
pub(super) struct Mutation<T> {
    pub caller: Caller,
    pub key: RequestKey,
    pub body: T,
}

impl<T: DeserializeOwned> FromRequest<App> for Mutation<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &App) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let caller = SignedIn::from_request_parts(&mut parts, app).await?.caller();
        let key = idempotency_key(&parts)?;
        let verb = parts.uri.path().to_string();
        let bytes = read(Request::from_parts(parts, body), app).await?;
        let body = parse(&bytes)?;
        Ok(Mutation { caller, key: RequestKey::of_terminal(caller.terminal, &key, &verb, &bytes), body })
    }
}

/// The `Idempotency-Key` of a request: 16 to 64 letters, digits, `-` or `_`.
fn idempotency_key(parts: &Parts) -> Result<String, Problem> {
    let hint = "Send a new random key with every new request, and the same key when you repeat it.";
    let value = parts.headers.get("idempotency-key").ok_or_else(|| {
        let detail = "The header Idempotency-Key is missing.";
        Problem::new(StatusCode::BAD_REQUEST, "idempotency_key_required", detail, hint)
    })?;
    let text = value.to_str().unwrap_or("");
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if plain && (16..=64).contains(&text.len()) {
        Ok(text.to_string())
    } else {
        let detail = "An Idempotency-Key has 16 to 64 letters, digits, - or _.";
        Err(Problem::new(StatusCode::BAD_REQUEST, "idempotency_key_invalid", detail, hint))
    }
}

async fn read(request: Request, app: &App) -> Result<Bytes, Problem> {
    Bytes::from_request(request, app).await.map_err(|rejection| {
        let hint = "Split the request.";
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                let detail = format!("A body has at most {} bytes.", app.config.body_bytes_max);
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail, hint)
            }
            status => Problem::new(status, "malformed_request", "The body could not be read.", "Send it again."),
        }
    })
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(bytes).map_err(|error| {
        let hint = "Correct the body; /docs shows its form.";
        if error.is_data() {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", error.to_string(), hint)
        } else {
            Problem::new(StatusCode::BAD_REQUEST, "malformed_json", error.to_string(), hint)
        }
    })
}
