//! Errors as RFC 9457 problem details with a stable `code`, a sentence and a hint. One table of statuses.

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jikai_schema::command::Refusal;
use serde::Serialize;
use utoipa::ToSchema;

use super::hints::{hint, import_hint, machines_hint};
use crate::import::ImportError;
use crate::import::printer::PrinterError;
use crate::log::LogError;
use crate::machine::StorageError;
use crate::machines::MachinesError;
use crate::raft::cluster::ChangeError;
use crate::reports::ReportError;
use crate::sequencer::ProposeError;
use crate::staff::Busy;
use crate::store::PoolError;

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
    pub hint: String,
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
        }
    }

    /// A value that cannot be read: 422 `invalid_<what>`.
    pub fn invalid(what: &str, detail: impl Into<String>) -> Self {
        let code = format!("invalid_{what}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &code, detail, "Correct the value; /docs shows its form.")
    }

    /// A defect or a failing store: the details go to the log, not to the caller.
    pub(super) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a request failed");
        let hint = "Look at the hub's log; nothing that was answered before is lost.";
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The hub could not do this.", hint)
    }

    fn refused(refusal: &Refusal, detail: String, hint: &str) -> Self {
        let status = match refusal {
            Refusal::Unknown { .. } => StatusCode::NOT_FOUND,
            _ => StatusCode::CONFLICT,
        };
        Problem::new(status, refusal.code(), detail, hint)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = match &refusal {
            Refusal::ExistsWithOther { kind, id } if kind == "staff" => format!("The login name {id} is taken."),
            _ => refusal.to_string(),
        };
        Problem::refused(&refusal, detail, hint(&refusal))
    }
}

impl From<ProposeError> for Problem {
    fn from(error: ProposeError) -> Self {
        let unavailable = |code, hint| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string(), hint);
        match &error {
            ProposeError::TooLong { .. } => {
                let hint = "Send it in smaller parts.";
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "command_too_long", error.to_string(), hint)
            }
            ProposeError::Log(LogError::Full) => {
                unavailable("storage_full", "Nothing was changed. Make room on the hub's disk, then try again.")
            }
            ProposeError::Log(LogError::NotTaken(_)) => {
                let hint =
                    "Nothing was changed. Try again in some seconds; `jikai-hub cluster status` shows the machines.";
                unavailable("no_leader", hint)
            }
            ProposeError::Log(LogError::Unknown) => unavailable(
                "outcome_unknown",
                "Look whether it was done before you send it again; equal parts are skipped.",
            ),
            ProposeError::Log(LogError::Stopped(_)) => {
                unavailable("stopping", "Try again once the hub runs; equal parts are skipped.")
            }
            ProposeError::Stopped => unavailable("stopping", "Try again once the hub runs."),
        }
    }
}

impl From<MachinesError> for Problem {
    fn from(error: MachinesError) -> Self {
        let detail = error.to_string();
        match error {
            MachinesError::Propose(error) => error.into(),
            MachinesError::Refused(refusal) => refusal.into(),
            MachinesError::Change(ChangeError::NotLeader { .. }) => {
                let hint =
                    "Nothing was changed. Try again in some seconds; without a majority of voters see DESIGN.md.";
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_leader", detail, hint)
            }
            MachinesError::Change(_) => {
                let hint = "`jikai-hub cluster status` shows how far it went; asking again is harmless.";
                Problem::new(StatusCode::CONFLICT, "cluster_not_changed", detail, hint)
            }
            MachinesError::NotNow { code, .. } => Problem::new(StatusCode::CONFLICT, code, detail, machines_hint(code)),
            MachinesError::State(error) => Problem::internal(&error),
            MachinesError::Stopping => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail, "Try again once the hub runs.")
            }
        }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        let detail = error.to_string();
        match error {
            ImportError::Line(_) => {
                let hint = "Nothing was imported. Correct the line, then import the file again.";
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_line", detail, hint)
            }
            ImportError::Refused { refusal, .. } => Problem::refused(&refusal, detail, import_hint(&refusal)),
            ImportError::Propose { source, .. } => Problem { detail, ..source.into() },
            ImportError::Store(error) => Problem::internal(&error),
        }
    }
}

impl From<PrinterError> for Problem {
    fn from(error: PrinterError) -> Self {
        let detail = error.to_string();
        match error {
            PrinterError::File { .. } | PrinterError::Line { .. } | PrinterError::Check { .. } => {
                let hint = "Nothing was imported. Fetch the directory from the printer again, whole.";
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_printer_files", detail, hint)
            }
            PrinterError::Refused(refusal) => Problem::refused(&refusal, detail, import_hint(&refusal)),
            PrinterError::Propose(error) => error.into(),
            PrinterError::Key(error) => Problem::internal(&error),
            PrinterError::Internal(error) => Problem::internal(&error),
        }
    }
}

impl From<ReportError> for Problem {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::BadCursor(_) => Problem::invalid("after", error.to_string()),
            ReportError::BadAxis(_) => Problem::invalid("by", error.to_string()),
            ReportError::Store(_) | ReportError::History(_) | ReportError::Money(_) => Problem::internal(&error),
        }
    }
}

impl From<Busy> for Problem {
    fn from(error: Busy) -> Self {
        let hint = "Try again in a second.";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", format!("There are {error}."), hint)
    }
}

impl From<StorageError> for Problem {
    fn from(error: StorageError) -> Self {
        Problem::internal(&error)
    }
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Problem::internal(&error)
    }
}

impl From<PoolError> for Problem {
    fn from(error: PoolError) -> Self {
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

/// Turns the frameworks' own refusals (bad query, wrong path, oversize body, no such page of /docs) into problem details.
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
