//! `/v1/directory`: all nodes, as the centre signed them. Every answer names its version, so that a terminal notices a new one.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jikai_schema::directory::SignedDirectory;
use serde::Serialize;
use utoipa::ToSchema;

use super::problem::Problem;
use crate::app::App;
use crate::directory::DirectoryBoard;

/// Names the newest directory's version in every answer, once there is one.
const DIRECTORY_VERSION: HeaderName = HeaderName::from_static("jikai-directory");

/// A signed directory.
#[derive(Serialize, ToSchema)]
pub(super) struct DirectoryView {
    /// Grows with each; a terminal never goes back.
    version: u64,
    /// Base64 of the document as it was signed: JSON with `environment`, `version`, `issued_at_ms`, `key`, and of each of the
    /// `nodes` its `node` number, `name`, `prefectures` and `addresses`.
    document: String,
    /// Base64 of the Ed25519 signature over `jikai-directory-v1`, a line feed, and the document.
    signature: String,
}

impl DirectoryView {
    pub(super) fn of(signed: &SignedDirectory) -> Self {
        let SignedDirectory { version, bytes, signature } = signed;
        DirectoryView { version: *version, document: STANDARD.encode(bytes), signature: STANDARD.encode(signature) }
    }
}

/// All nodes. With `If-None-Match` of its `ETag`: 304 while it is the newest. Errors: 404 `no_directory`; 429 `too_many_requests`.
#[utoipa::path(get, path = "/v1/directory", responses((status = 200, body = DirectoryView), (status = 304), (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn show(State(app): State<App>, headers: HeaderMap) -> Result<Response, Problem> {
    let newest = app.directory.newest().ok_or_else(|| {
        let detail = "The centre has not published where its nodes are reached.";
        Problem::new(StatusCode::NOT_FOUND, "no_directory", detail, "Go on with this node; ask again later.")
    })?;
    let tag = format!("\"{}\"", newest.version);
    let asked = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).unwrap_or("");
    let is_known = asked.split(',').map(str::trim).any(|known| known == tag || known == "*");
    let mut response = match is_known {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Json(DirectoryView::of(&newest)).into_response(),
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Gives every answer the version that is the newest now.
pub(super) async fn tell_version(State(board): State<DirectoryBoard>, request: Request<Body>, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Some(newest) = board.newest() {
        response.headers_mut().insert(DIRECTORY_VERSION, HeaderValue::from(newest.version));
    }
    response
}
