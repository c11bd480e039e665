//! `/v1/terminals` and `/v1/operators`: devices and persons of outlets.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use jikai_schema::command::{AccessCommand, Command};
use jikai_schema::event::{OperatorRole, TerminalKind};
use jikai_schema::id::{IdError, OperatorId, OutletId, TerminalId};
use jikai_schema::peer::Enrolment;
use jikai_schema::time::TimeMs;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::guard::Caller;
use super::problem::Problem;
use crate::app::App;
use crate::reports::{OperatorLine, TerminalLine, operators_of, outlet_is_within, terminals_of};
use crate::staff::Passwords;

/// How long a code is valid when nothing is asked for. Hours.
const CODE_HOURS_DEFAULT: u16 = 24;

/// Whose devices.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct OutletParams {
    /// 8 digits.
    outlet: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TerminalView {
    terminal_id: String,
    /// dedicated, gun or phone.
    kind: &'static str,
    /// First 16 hex digits of the hash of its public key.
    key: String,
    /// Why it is out of use.
    revoked: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct OperatorView {
    operator_id: String,
    name: String,
    /// owner or clerk.
    role: &'static str,
    active: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct OutletAccessView {
    terminals: Vec<TerminalView>,
    operators: Vec<OperatorView>,
}

/// Devices and persons of an outlet. Errors: 404 `unknown_outlet`, also for one outside the caller's area.
#[utoipa::path(get, path = "/v1/terminals", params(OutletParams),
    responses((status = 200, body = OutletAccessView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(params): Query<OutletParams>,
) -> Result<Json<OutletAccessView>, Problem> {
    let outlet: OutletId = parse("outlet", &params.outlet)?;
    check_area(&app, &caller, outlet).await?;
    let read = move |store: &mut rusqlite::Connection| Ok((terminals_of(store, outlet)?, operators_of(store, outlet)?));
    let (terminals, operators) = app.pool.read(read).await?.map_err(|error: rusqlite::Error| Problem::from(error))?;
    let terminal = |line: TerminalLine| TerminalView {
        terminal_id: line.terminal.to_string(),
        kind: kind_name(line.kind),
        key: line.key,
        revoked: line.revoked,
    };
    let operator = |line: OperatorLine| OperatorView {
        operator_id: line.operator.to_string(),
        name: line.name,
        role: if line.role == OperatorRole::Owner { "owner" } else { "clerk" },
        active: line.active,
    };
    let (terminals, operators) = (terminals.into_iter().map(terminal), operators.into_iter().map(operator));
    Ok(Json(OutletAccessView { terminals: terminals.collect(), operators: operators.collect() }))
}

/// What sort of device, and how long its code is valid.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OfferBody {
    /// dedicated, gun or phone.
    kind: String,
    /// 1 to 168; 24 without.
    hours: Option<u16>,
}

/// A one-time code. Shown once.
#[derive(Serialize, ToSchema)]
pub(super) struct OfferedView {
    code: String,
    expires_at_ms: i64,
}

/// Issues a one-time code for a terminal number; an earlier code of it is void. Errors: 404; 409 `terminal_in_use`,
/// `invalid_expiry`; 422.
#[utoipa::path(post, path = "/v1/terminals/{terminal}/enrolment", params(("terminal" = String, Path, description = "10 digits")),
    request_body = OfferBody,
    responses((status = 200, body = OfferedView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn offer(
    State(app): State<App>,
    caller: Caller,
    Path(terminal): Path<String>,
    Json(body): Json<OfferBody>,
) -> Result<Json<OfferedView>, Problem> {
    let terminal: TerminalId = parse("terminal", &terminal)?;
    let kinds = [TerminalKind::Dedicated, TerminalKind::Gun, TerminalKind::Phone];
    let kind = kinds.into_iter().find(|kind| kind_name(*kind) == body.kind);
    let kind = kind.ok_or_else(|| Problem::invalid("kind", "A device is dedicated, gun or phone."))?;
    check_area(&app, &caller, terminal.outlet()).await?;
    let code = Passwords::one_time()?;
    let hours = i64::from(body.hours.unwrap_or(CODE_HOURS_DEFAULT));
    let expires_at_ms = TimeMs::from_ms(app.sequencer.now_ms().ms() + hours * 3_600_000);
    let code_hash = Enrolment::code_hash(terminal, &code);
    caller
        .ask(&app, Command::Access(AccessCommand::OfferEnrolment { terminal, kind, code_hash, expires_at_ms }))
        .await?;
    Ok(Json(OfferedView { code: code.to_string(), expires_at_ms: expires_at_ms.ms() }))
}

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonBody {
    /// 1 to 200 bytes on one line.
    reason: String,
}

/// Puts a device out of use: its sessions end at its node as soon as the node hears it. Errors: 404; 409 `invalid_reason`.
#[utoipa::path(post, path = "/v1/terminals/{terminal}/revocation", params(("terminal" = String, Path, description = "10 digits")),
    request_body = ReasonBody,
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(terminal): Path<String>,
    Json(body): Json<ReasonBody>,
) -> Result<StatusCode, Problem> {
    let terminal: TerminalId = parse("terminal", &terminal)?;
    check_area(&app, &caller, terminal.outlet()).await?;
    caller.ask(&app, Command::Access(AccessCommand::RevokeTerminal { terminal, reason: body.reason })).await
}

/// A person of an outlet.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct OperatorBody {
    name: String,
    /// owner or clerk.
    role: String,
}

/// The password that was drawn for a person of an outlet. Shown once; it is good until this address draws another.
#[derive(Serialize, ToSchema)]
pub(super) struct OperatorPasswordView {
    password: String,
}

/// Takes a person in, or changes name and role; gives a new password, and the open sessions end. Errors: 404; 409; 422.
#[utoipa::path(put, path = "/v1/operators/{operator}", params(("operator" = String, Path, description = "10 digits")),
    request_body = OperatorBody,
    responses((status = 200, body = OperatorPasswordView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem),
        (status = 503, body = Problem)))]
pub(super) async fn define_operator(
    State(app): State<App>,
    caller: Caller,
    Path(operator): Path<String>,
    Json(body): Json<OperatorBody>,
) -> Result<Json<OperatorPasswordView>, Problem> {
    let operator: OperatorId = parse("operator", &operator)?;
    let role = match body.role.as_str() {
        "owner" => OperatorRole::Owner,
        "clerk" => OperatorRole::Clerk,
        _ => return Err(Problem::invalid("role", "A person is owner or clerk.")),
    };
    check_area(&app, &caller, operator.outlet()).await?;
    let password = Passwords::one_time()?;
    let password_hash = app.passwords.hash(password.clone()).await?;
    let command = AccessCommand::DefineOperator { operator, name: body.name, role, password_hash };
    caller.ask(&app, Command::Access(command)).await?;
    Ok(Json(OperatorPasswordView { password: password.to_string() }))
}

/// Puts a person of an outlet out of use: the sessions end. Errors: 404.
#[utoipa::path(delete, path = "/v1/operators/{operator}", params(("operator" = String, Path, description = "10 digits")),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 422, body = Problem)))]
pub(super) async fn disable_operator(
    State(app): State<App>,
    caller: Caller,
    Path(operator): Path<String>,
) -> Result<StatusCode, Problem> {
    let operator: OperatorId = parse("operator", &operator)?;
    check_area(&app, &caller, operator.outlet()).await?;
    caller.ask(&app, Command::Access(AccessCommand::DisableOperator { operator })).await
}

/// Refuses an outlet outside the caller's area as if it did not exist.
pub(super) async fn check_area(app: &App, caller: &Caller, outlet: OutletId) -> Result<(), Problem> {
    let scope = caller.scope().clone();
    match app.pool.read(move |store| outlet_is_within(store, outlet, &scope)).await?? {
        true => Ok(()),
        false => {
            let hint = "Check the number, or ask somebody whose area it lies in.";
            let text = "There is no such outlet in your area.";
            caller.refuse(app, "another area", Problem::new(StatusCode::NOT_FOUND, "unknown_outlet", text, hint)).await
        }
    }
}

pub(super) fn parse<T: std::str::FromStr<Err = IdError>>(what: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|error: IdError| Problem::invalid(what, error.to_string()))
}

fn kind_name(kind: TerminalKind) -> &'static str {
    match kind {
        TerminalKind::Dedicated => "dedicated",
        TerminalKind::Gun => "gun",
        TerminalKind::Phone => "phone",
    }
}
