//! `/v1/staff`: accounts, rights and sessions of others.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use jikai_schema::command::{Command, NewStaff, StaffCommand};
use jikai_schema::time::TimeMs;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::grants::GrantView;
use super::guard::Caller;
use super::own::no_such_session;
use super::page_rows;
use super::problem::Problem;
use super::session::{SessionsView, find, sessions_of};
use crate::app::App;
use crate::machine::StaffRow;
use crate::staff::{Busy, ConfirmationCode, Passwords};

/// How long a code that confirms an account is good. Milliseconds.
const CONFIRMATION_MS: i64 = 72 * 3_600_000;

/// Page of accounts.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct StaffParams {
    /// Most accounts, at most 1000.
    limit: Option<usize>,
    /// Only login names behind this one.
    after: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StaffView {
    login: String,
    name: String,
    /// Whether the person may log in.
    active: bool,
    roles: Vec<&'static str>,
    /// Whether the password is one that was given, and not chosen.
    password_temporary: bool,
    password_set_at_ms: i64,
    has_second_factor: bool,
    /// Whether the person behind it is known to who grants rights.
    confirmed: bool,
    /// No login before then; 0 if never locked.
    locked_until_ms: i64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StaffPage {
    staff: Vec<StaffView>,
    next: Option<String>,
}

/// Accounts by login name, without what is granted where.
#[utoipa::path(get, path = "/v1/staff", params(StaffParams),
    responses((status = 200, body = StaffPage), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    Query(params): Query<StaffParams>,
) -> Result<Json<StaffPage>, Problem> {
    let (after, limit) = (params.after.unwrap_or_default(), page_rows(params.limit));
    let mut rows = app.pool.read(move |store| StaffRow::page(store, &after, limit + 1)).await??;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(|row| row.login.clone());
    let view = |row: StaffRow| StaffView {
        roles: row.grants.iter().map(|grant| grant.role.name()).collect(),
        login: row.login,
        name: row.name,
        active: row.active,
        password_temporary: row.password_temporary,
        password_set_at_ms: row.password_set_at_ms.ms(),
        has_second_factor: row.factor_sealed.is_some(),
        confirmed: row.confirmed,
        locked_until_ms: row.locked_until_ms.ms(),
    };
    Ok(Json(StaffPage { staff: rows.into_iter().map(view).collect(), next }))
}

/// A new account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewStaffBody {
    /// 3 to 32 of a-z, 0-9, `.`, `_`, `-`; never given again.
    login: String,
    /// The person's name.
    name: String,
}

/// A password that was drawn for somebody. Shown once; must be changed at the first login.
#[derive(Serialize, ToSchema)]
pub(super) struct OneTimePasswordView {
    one_time_password: String,
}

impl OneTimePasswordView {
    fn of(password: &str) -> Self {
        OneTimePasswordView { one_time_password: password.to_string() }
    }
}

/// Makes an account without any right. Errors: 409 `exists_with_other`, `invalid_login`, `invalid_name`.
#[utoipa::path(post, path = "/v1/staff", request_body = NewStaffBody,
    responses((status = 200, body = OneTimePasswordView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<NewStaffBody>,
) -> Result<Json<OneTimePasswordView>, Problem> {
    let password = Passwords::one_time()?;
    let password_hash = app.passwords.hash(password.clone()).await?;
    let staff = NewStaff { login: body.login, name: body.name, password_hash };
    caller.ask(&app, Command::Staff(StaffCommand::Create(staff))).await?;
    Ok(Json(OneTimePasswordView::of(&password)))
}

/// What is changed about an account.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StaffBody {
    /// The person's name.
    name: String,
    /// Whether the person may log in.
    active: bool,
}

/// Changes name or state; an account that is put out of use loses its sessions. Errors: 404; 409 `own_account`.
#[utoipa::path(put, path = "/v1/staff/{login}", params(("login" = String, Path)), request_body = StaffBody,
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn change(
    State(app): State<App>,
    caller: Caller,
    Path(login): Path<String>,
    Json(body): Json<StaffBody>,
) -> Result<StatusCode, Problem> {
    caller.ask(&app, Command::Staff(StaffCommand::Change { login, name: body.name, active: body.active })).await
}

/// Gives a person a password that must be changed, and ends the open sessions. Errors: 404; 409 `own_account`.
#[utoipa::path(post, path = "/v1/staff/{login}/password-reset", params(("login" = String, Path)),
    responses((status = 200, body = OneTimePasswordView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn reset_password(
    State(app): State<App>,
    caller: Caller,
    Path(login): Path<String>,
) -> Result<Json<OneTimePasswordView>, Problem> {
    let password = Passwords::one_time()?;
    let password_hash = app.passwords.hash(password.clone()).await?;
    caller.ask(&app, Command::Staff(StaffCommand::ResetPassword { login, password_hash })).await?;
    Ok(Json(OneTimePasswordView::of(&password)))
}

/// Makes a person the first security administrator. Errors: 404; 409 `security_administrator_exists`, `own_account`,
/// `not_without_rights`.
#[utoipa::path(post, path = "/v1/staff/{login}/first-security-administrator", params(("login" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn grant_first_security(
    State(app): State<App>,
    caller: Caller,
    Path(login): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.ask(&app, Command::Staff(StaffCommand::GrantFirstSecurity { login })).await
}

/// What is granted to a person.
#[derive(Serialize, ToSchema)]
pub(super) struct GrantsView {
    grants: Vec<GrantView>,
}

/// What is granted to a person. Errors: 404.
#[utoipa::path(get, path = "/v1/staff/{login}/grants", params(("login" = String, Path)),
    responses((status = 200, body = GrantsView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem)))]
pub(super) async fn grants(State(app): State<App>, Path(login): Path<String>) -> Result<Json<GrantsView>, Problem> {
    let row = app.pool.read(move |store| StaffRow::read(store, &login)).await??.ok_or_else(no_such_staff)?;
    Ok(Json(GrantsView { grants: row.grants.iter().map(GrantView::from).collect() }))
}

/// All that is granted to a person from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GrantsBody {
    /// What was shown, so that two changes at once do not overwrite each other.
    seen: Vec<GrantView>,
    grants: Vec<GrantView>,
}

/// Replaces what is granted to a person, whose sessions end; once there are two security administrators besides, rights are
/// granted by `POST /v1/changes`. Errors: 404; 409 `own_account`, `two_persons_required`, `changed_meanwhile`, `roles_conflict`, `invalid_grant`, `too_many_grants`; 422 `invalid_grant`.
#[utoipa::path(put, path = "/v1/staff/{login}/grants", params(("login" = String, Path)), request_body = GrantsBody,
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set_grants(
    State(app): State<App>,
    caller: Caller,
    Path(login): Path<String>,
    Json(body): Json<GrantsBody>,
) -> Result<StatusCode, Problem> {
    let (seen, grants) = (GrantView::read_all(&body.seen)?, GrantView::read_all(&body.grants)?);
    caller.ask(&app, Command::Staff(StaffCommand::SetGrants { login, seen, grants })).await
}

/// Takes a lost second factor off, to be set up anew; the sessions end. Errors: 404; 409 `own_account`.
#[utoipa::path(delete, path = "/v1/staff/{login}/second-factor", params(("login" = String, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn clear_factor(
    State(app): State<App>,
    caller: Caller,
    Path(login): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.ask(&app, Command::Staff(StaffCommand::ClearSecondFactor { login })).await
}

/// A code that proves who a person is. Shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct ConfirmationView {
    code: String,
    expires_at_ms: i64,
}

/// Draws the code by which the person behind an account is known: hand it over in person. An earlier one is void. Errors: 404; 409
/// `own_account`, `account_out_of_use`, `security_administrator_exists`.
#[utoipa::path(post, path = "/v1/staff/{login}/confirmation", params(("login" = String, Path)),
    responses((status = 200, body = ConfirmationView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn offer_confirmation(
    State(app): State<App>,
    caller: Caller,
    Path(login): Path<String>,
) -> Result<Json<ConfirmationView>, Problem> {
    let code = ConfirmationCode::draw().ok_or(Busy)?;
    let code_hash = ConfirmationCode::hash(&login, &code);
    let expires_at_ms = TimeMs::from_ms(app.sequencer.now_ms().ms() + CONFIRMATION_MS);
    let offer = StaffCommand::OfferConfirmation { login, code_hash, expires_at_ms };
    caller.ask(&app, Command::Staff(offer)).await?;
    Ok(Json(ConfirmationView { code: code.to_string(), expires_at_ms: expires_at_ms.ms() }))
}

/// Open sessions of a person.
#[utoipa::path(get, path = "/v1/staff/{login}/sessions", params(("login" = String, Path)),
    responses((status = 200, body = SessionsView), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn sessions(State(app): State<App>, Path(login): Path<String>) -> Result<Json<SessionsView>, Problem> {
    Ok(Json(SessionsView::of(&sessions_of(&app, &login).await?, None)))
}

/// Ends a session of a person. Errors: 404 `no_such_session`.
#[utoipa::path(delete, path = "/v1/staff/{login}/sessions/{session}",
    params(("login" = String, Path), ("session" = String, Path, description = "16 hex digits")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn end_session(
    State(app): State<App>,
    caller: Caller,
    Path((login, session)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let rows = sessions_of(&app, &login).await?;
    let tag = find(&rows, &session).ok_or_else(no_such_session)?.tag;
    caller.ask(&app, Command::Staff(StaffCommand::EndSession { tag })).await
}

fn no_such_staff() -> Problem {
    let hint = "GET /v1/staff lists the accounts.";
    Problem::new(StatusCode::NOT_FOUND, "unknown_staff", "There is no account of this name.", hint)
}
