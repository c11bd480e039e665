//! `/v1/support`: the vendor's access, asked for by one person, opened by another, for a while.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use jikai_schema::command::{Command, StaffCommand};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::guard::Caller;
use super::page_rows;
use super::problem::Problem;
use crate::app::App;
use crate::machine::SupportRow;

/// Page of accesses, newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct SupportParams {
    /// Most accesses, at most 1000.
    limit: Option<usize>,
    /// Only numbers below this one.
    before: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SupportView {
    number: u32,
    /// The vendor's account.
    login: String,
    reason: String,
    minutes: u16,
    asked_by: String,
    asked_at_ms: i64,
    opened_by: Option<String>,
    until_ms: Option<i64>,
    /// waiting, open or ended.
    state: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SupportPage {
    support: Vec<SupportView>,
}

/// Accesses of the vendor, newest first.
#[utoipa::path(get, path = "/v1/support", params(SupportParams),
    responses((status = 200, body = SupportPage), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Query(params): Query<SupportParams>,
) -> Result<Json<SupportPage>, Problem> {
    let (before, limit) = (params.before.unwrap_or(u32::MAX), page_rows(params.limit));
    let rows = app.pool.read(move |store| SupportRow::page(store, before, limit)).await??;
    let now_ms = app.sequencer.now_ms();
    let view = |row: SupportRow| SupportView {
        state: row.state(now_ms).name(),
        number: row.number,
        login: row.login,
        reason: row.reason,
        minutes: row.minutes,
        asked_by: row.asked_by,
        asked_at_ms: row.asked_at_ms.ms(),
        opened_by: row.opened_by,
        until_ms: row.until_ms.map(|until_ms| until_ms.ms()),
    };
    Ok(Json(SupportPage { support: rows.into_iter().map(view).collect() }))
}

/// What is asked for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SupportBody {
    /// The vendor's account.
    login: String,
    /// What for, 1 to 500 bytes.
    reason: String,
    /// 1 to 480, from the approval.
    minutes: u16,
}

/// Asks that an account of the vendor may be used. Errors: 404; 409 `not_vendor`, `invalid_reason`, `invalid_minutes`.
#[utoipa::path(post, path = "/v1/support", request_body = SupportBody,
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn ask(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<SupportBody>,
) -> Result<StatusCode, Problem> {
    let SupportBody { login, reason, minutes } = body;
    caller.ask(&app, Command::Staff(StaffCommand::AskSupport { login, reason, minutes })).await
}

/// Opens an access that another person asked for. Errors: 404; 409 `not_waiting`, `same_person`.
#[utoipa::path(post, path = "/v1/support/{number}/approval", params(("number" = u32, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn approve(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<u32>,
) -> Result<StatusCode, Problem> {
    caller.ask(&app, Command::Staff(StaffCommand::ApproveSupport { number })).await
}

/// Refuses an access that waits, or ends an open one; the account's sessions end. Errors: 404.
#[utoipa::path(delete, path = "/v1/support/{number}", params(("number" = u32, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn end(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<u32>,
) -> Result<StatusCode, Problem> {
    caller.ask(&app, Command::Staff(StaffCommand::EndSupport { number })).await
}
