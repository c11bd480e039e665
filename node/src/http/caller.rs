//! Who asks, and how a body is read.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use jikai_schema::event::RequestKey;
use serde::de::DeserializeOwned;

use super::problem::Problem;
use crate::app::App;
use crate::decide::Caller;
use crate::session::Session;

/// A request that the guard found to have a live session.
#[derive(Clone)]
pub(super) struct SignedIn {
    pub session: Arc<Session>,
    pub address: IpAddr,
}

impl SignedIn {
    pub(super) fn caller(&self) -> Caller {
        Caller { address: Some(self.address), ..self.session.caller }
    }
}

impl<S: Sync> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let found = parts.extensions.get().cloned();
        found.ok_or_else(|| Problem::internal(&"a handler asks for a session without a guard"))
    }
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
