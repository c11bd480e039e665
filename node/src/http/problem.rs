//! Errors as RFC 9457 problem details with a stable `code`, a sentence and a hint. One table of statuses.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jikai_schema::id::NodeId;
use serde::Serialize;
use utoipa::ToSchema;

use super::claims::AnswerView;
use crate::app::AskError;
use crate::decide::Refusal;
use crate::query::QueryError;
use crate::store::PoolError;
use crate::writer::WriteError;

/// An outlet that was let go of arrives at its new node within some hundred milliseconds.
const MOVED_RETRY_MS: u32 = 50;
/// Pause before a node is asked again to which an outlet is on its way. Milliseconds: most come within 300.
const ARRIVING_RETRY_MS: u32 = 100;

/// A refused or failed request.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Names the kind of problem: `urn:jikai:` and the code.
    #[serde(rename = "type")]
    kind: String,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// Stable code that programs act on.
    pub code: String,
    /// What is wrong, in a sentence.
    pub detail: String,
    /// What to do next.
    hint: String,
    /// Of a refused payment: the answer to each code, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    answers: Option<Vec<AnswerView>>,
    /// Of a terminal that is sent on: the node that serves its outlet. Its certificate bears the name `node-NUMBER.jikai`.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<u16>,
    /// Where that node is reached, `HOST:PORT`, the one to be tried first in front; empty: look into the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<Vec<String>>,
    /// How long to wait before the request is sent there, or sent again to a node where the outlet is not whole yet. Milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u32>,
}

impl Problem {
    /// A problem with its code, sentence and hint.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>, hint: &str) -> Self {
        Problem {
            kind: format!("urn:jikai:{code}"),
            title: status.canonical_reason().unwrap_or("error").to_string(),
            status: status.as_u16(),
            code: code.to_string(),
            detail: detail.into(),
            hint: hint.to_string(),
            answers: None,
            node: None,
            addresses: None,
            retry_after_ms: None,
        }
    }

    /// A value that cannot be read: 422 `invalid_<what>`.
    pub fn invalid(what: &str, detail: impl Into<String>) -> Self {
        let code = format!("invalid_{what}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &code, detail, "Correct the value; /docs shows its form.")
    }

    /// Another node serves the outlet: 421 `other_node`.
    pub fn other_node(node: NodeId, addresses: Vec<String>) -> Self {
        let detail = format!("Node {node} serves this outlet.");
        let hint = "Repeat the request there, with the same session and the same Idempotency-Key.";
        let problem = Problem::new(StatusCode::MISDIRECTED_REQUEST, "other_node", detail, hint);
        Problem { node: Some(node.get()), addresses: Some(addresses), retry_after_ms: Some(MOVED_RETRY_MS), ..problem }
    }

    /// A refusal by the rules.
    pub fn refused(refusal: &Refusal, answers: Option<Vec<AnswerView>>) -> Self {
        let status = match refusal {
            Refusal::OwnerRequired | Refusal::TerminalRevoked | Refusal::OperatorDisabled => StatusCode::FORBIDDEN,
            Refusal::ShipmentUnknown(_) => StatusCode::NOT_FOUND,
            Refusal::IdempotencyKeyReused => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::OutletElsewhere | Refusal::OutletMoved(_) => StatusCode::MISDIRECTED_REQUEST,
            Refusal::OutletArriving => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::CONFLICT,
        };
        let node = match refusal {
            Refusal::OutletMoved(to) => Some(to.get()),
            _ => None,
        };
        let retry_after_ms = match refusal {
            Refusal::OutletMoved(_) => Some(MOVED_RETRY_MS),
            Refusal::OutletArriving => Some(ARRIVING_RETRY_MS),
            _ => None,
        };
        Problem {
            answers,
            node,
            retry_after_ms,
            ..Problem::new(status, refusal.code(), refusal.to_string(), refusal.hint())
        }
    }

    /// The same with where the node is reached that the terminal is sent to.
    pub fn with_addresses(self, addresses: Vec<String>) -> Self {
        Problem { addresses: Some(addresses), ..self }
    }

    /// Whether it refuses whoever asked, and not only this node or this moment.
    pub(super) fn is_for_want_of_a_session(&self) -> bool {
        [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].iter().any(|status| status.as_u16() == self.status)
    }

    fn unavailable(code: &str, detail: &str, hint: &str) -> Self {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail, hint)
    }

    /// A defect or a failing store: the details go to the log, not to the terminal.
    pub(super) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        let hint = "Try again with the same Idempotency-Key; if it stays, tell the operator.";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The node could not do this.", hint)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        let comes_back =
            [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE, StatusCode::MISDIRECTED_REQUEST];
        if comes_back.contains(&status) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let retry = "Try again in a second with the same Idempotency-Key.";
        match error {
            WriteError::Refused(refusal) => Problem::refused(&refusal, None),
            WriteError::AnsweredElsewhere { .. } => {
                let detail =
                    "Whether this request was answered before, only the centre can tell, which does not answer now.";
                Problem::unavailable("try_later", detail, retry)
            }
            WriteError::Busy => Problem::unavailable("busy", "The node has too much to do.", retry),
            WriteError::Closed => Problem::unavailable("stopping", "The node is shutting down.", retry),
            WriteError::StorageFull => {
                let hint = "Nothing was changed. Tell the operator that this node's disk is full, then try again.";
                Problem::unavailable("storage_full", "The node has no space left on its disk.", hint)
            }
            WriteError::Storage(error) => Problem::internal(&error),
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Write(error) => error.into(),
            AskError::AckPending => {
                let hint = "Repeat the request with the same Idempotency-Key until the centre has confirmed it.";
                Problem::new(StatusCode::GATEWAY_TIMEOUT, "ack_pending", error.to_string(), hint)
            }
        }
    }
}

impl From<QueryError> for Problem {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::BadCursor(_) => Problem::invalid("page", error.to_string()),
            QueryError::Store(error) => Problem::internal(&error),
        }
    }
}

impl From<PoolError> for Problem {
    fn from(error: PoolError) -> Self {
        Problem::internal(&error)
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Problem::internal(&error)
    }
}

pub(super) async fn no_such_route() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no_such_route", "There is nothing at this address.", "See /docs.")
}

pub(super) async fn no_such_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", "This address has no such method.", "See /docs.")
}

pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::internal(&"a handler panicked").into_response()
}

/// Turns the frameworks' own refusals (bad query, wrong path, no such page of /docs) into problem details.
pub(super) async fn as_problem(request: Request<Body>, next: Next) -> Response {
    let response = next.run(request).await;
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.as_bytes());
    if !response.status().is_client_error() || kind == Some(b"application/problem+json") {
        return response;
    }
    let status = response.status();
    if status == StatusCode::NOT_FOUND {
        return no_such_route().await.into_response();
    }
    let text = to_bytes(response.into_body(), 4096).await.unwrap_or_default();
    let detail = String::from_utf8_lossy(&text).into_owned();
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => "body_too_large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        _ => "malformed_request",
    };
    Problem::new(status, code, detail, "Correct the request; /docs shows its form.").into_response()
}
