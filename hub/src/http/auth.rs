//! The administrator's token.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

use super::problem::Problem;
use crate::app::App;

/// Lets only requests with the token pass. Errors: 401 `token_required`, 401 `token_invalid`.
pub(super) async fn require_token(
    State(app): State<App>,
    request: Request<Body>,
    next: Next,
) -> Result<Response, Problem> {
    let refuse = |code: &str, detail: &str| {
        let hint = "Send `Authorization: Bearer TOKEN` with the token in admin.token of the hub's data directory.";
        Problem::new(StatusCode::UNAUTHORIZED, code, detail, hint)
    };
    let value = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = value.and_then(|value| value.strip_prefix("Bearer ")) else {
        return Err(refuse("token_required", "This address needs the administrator's token."));
    };
    if !app.token.is_of(token.trim()) {
        metrics::counter!("jikai_tokens_refused_total").increment(1);
        return Err(refuse("token_invalid", "This is not the administrator's token."));
    }
    Ok(next.run(request).await)
}
