//! `/v1/changes` and `/v1/parameters`: what one person proposes and another decides.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use jikai_schema::command::{ChangeCommand, ChangeSubject, Command, Outcome};
use jikai_schema::parameter::{Parameter, Place};
use jikai_schema::time::TimeMs;
use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::guard::Caller;
use super::page_rows;
use super::problem::Problem;
use super::subjects::SubjectBody;
use crate::app::App;
use crate::machine::ChangeRow;
use crate::reports::pack_is_within;
use crate::rights::{Resource, Verb};

/// What is to be changed, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeBody {
    subject: SubjectBody,
    /// 1 to 500 bytes on one line.
    reason: String,
}

/// Who may propose and decide a kind: the resource that the permission names.
fn resource_of(kind: &str) -> Resource {
    match kind {
        "parameter" | "outlet_class" => Resource::Parameters,
        "grants" => Resource::StaffRights,
        "prize_data" => Resource::PrizeData,
        "game" => Resource::Games,
        "sale" | "redemption_end" => Resource::Batches,
        "hold" => Resource::Holds,
        _ => Resource::Deposits,
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct ChangeView {
    number: u32,
    /// parameter, game, sale, redemption_end, hold, deposit, grants, prize_data or outlet_class.
    kind: &'static str,
    before: Value,
    after: Value,
    reason: String,
    maker: String,
    proposed_at_ms: i64,
    expires_at_ms: i64,
    /// open, expired, approved, refused or withdrawn.
    state: &'static str,
    checker: Option<String>,
    /// Why it was refused.
    answer: Option<String>,
    /// Whether the caller may decide it.
    may_decide: bool,
}

impl ChangeView {
    fn of(row: ChangeRow, caller: &Caller, now_ms: TimeMs) -> Self {
        let kind = row.subject.kind();
        let state = row.state_name(now_ms);
        let decides = caller.may(Verb::Approve, resource_of(kind)) && !caller.is(&row.maker) && state == "open";
        let json = |text: &str| serde_json::from_str(text).unwrap_or(Value::Null);
        ChangeView {
            number: row.number,
            kind,
            before: json(&row.before),
            after: json(&row.after),
            reason: row.reason,
            maker: row.maker,
            proposed_at_ms: row.proposed_at_ms.ms(),
            expires_at_ms: row.expires_at_ms.ms(),
            state,
            checker: row.checker,
            answer: row.answer,
            may_decide: decides,
        }
    }
}

/// Page of changes, newest first.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct ChangeParams {
    /// Most changes, at most 1000.
    limit: Option<usize>,
    /// Only numbers below this one.
    before: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ChangesView {
    changes: Vec<ChangeView>,
    /// To go on below; none on the last page.
    next: Option<u32>,
}

/// Changes of the kinds that the caller may propose, decide or see in the province, and the own ones.
#[utoipa::path(get, path = "/v1/changes", params(ChangeParams),
    responses((status = 200, body = ChangesView), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(params): Query<ChangeParams>,
) -> Result<Json<ChangesView>, Problem> {
    let (before, limit) = (params.before.unwrap_or(u32::MAX), page_rows(params.limit));
    let rows = app.pool.read(move |store| ChangeRow::page(store, before, limit)).await??;
    let next = rows.last().filter(|_| rows.len() == limit).map(|row| row.number);
    let now_ms = app.sequencer.now_ms();
    let shown = |row: &ChangeRow| caller.is(&row.maker) || caller.concerns(resource_of(row.subject.kind()));
    let changes = rows.into_iter().filter(shown).map(|row| ChangeView::of(row, &caller, now_ms)).collect();
    Ok(Json(ChangesView { changes, next }))
}

/// A change that waits.
#[derive(Serialize, ToSchema)]
pub(super) struct ProposedView {
    /// By which it is decided or taken back.
    number: u32,
}

/// Proposes a change; gives its number. Errors: 403 `not_permitted` for a kind that is not the caller's; 404; 409 `nothing_changes`,
/// `invalid_value`, `invalid_reason`, `too_many_changes`; 422.
#[utoipa::path(post, path = "/v1/changes", request_body = ChangeBody,
    responses((status = 200, body = ProposedView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn propose(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<ChangeBody>,
) -> Result<Json<ProposedView>, Problem> {
    let subject = app.pool.read(move |store| body.subject.read(store)).await??;
    check_proposer(&app, &caller, &subject).await?;
    let propose = Command::Change(ChangeCommand::Propose { subject, reason: body.reason });
    match caller.propose(&app, propose).await? {
        Outcome::Change { number } => Ok(Json(ProposedView { number })),
        other => Err(Problem::internal(&format!("a proposal ended as {other:?}"))),
    }
}

/// Approves a change and applies it. Errors: 403 `not_permitted`; 404; 409 `same_person`, `change_closed`,
/// `changed_meanwhile`, and what the rules of its kind refuse.
#[utoipa::path(post, path = "/v1/changes/{number}/approval", params(("number" = u32, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn approve(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<u32>,
) -> Result<StatusCode, Problem> {
    check_kind(&app, &caller, number).await?;
    caller.ask(&app, Command::Change(ChangeCommand::Approve { number })).await
}

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RefusalBody {
    /// 1 to 500 bytes on one line.
    reason: String,
}

/// Refuses a change. Errors: 403 `not_permitted`; 404; 409 `same_person`, `change_closed`, `invalid_reason`.
#[utoipa::path(post, path = "/v1/changes/{number}/refusal", params(("number" = u32, Path)), request_body = RefusalBody,
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn refuse(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<u32>,
    Json(body): Json<RefusalBody>,
) -> Result<StatusCode, Problem> {
    check_kind(&app, &caller, number).await?;
    caller.ask(&app, Command::Change(ChangeCommand::Refuse { number, reason: body.reason })).await
}

/// Takes the own change back. Errors: 404; 409 `not_own_change`, `change_closed`.
#[utoipa::path(delete, path = "/v1/changes/{number}", params(("number" = u32, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem)))]
pub(super) async fn withdraw(
    State(app): State<App>,
    caller: Caller,
    Path(number): Path<u32>,
) -> Result<StatusCode, Problem> {
    caller.ask(&app, Command::Change(ChangeCommand::Withdraw { number })).await
}

/// A hold may be proposed for packs of the own area; everything else concerns the province.
async fn check_proposer(app: &App, caller: &Caller, subject: &ChangeSubject) -> Result<(), Problem> {
    let ChangeSubject::Hold { pack, .. } = subject else {
        return caller.check(app, Verb::Ask, resource_of(subject.kind())).await;
    };
    let scope = match caller.scope_for(app, Verb::Ask, Resource::Holds) {
        Some(scope) if !scope.is_everywhere() => scope,
        // Nowhere, or everywhere.
        _ => return caller.check(app, Verb::Ask, Resource::Holds).await,
    };
    let pack = *pack;
    let within = app.pool.read(move |store| pack_is_within(store, pack, &scope)).await??;
    match within {
        true => Ok(()),
        false => {
            let hint = "Check the name on the pack, or ask somebody whose area it lies in.";
            let problem =
                Problem::new(StatusCode::NOT_FOUND, "unknown_pack", "There is no such pack in your area.", hint);
            caller.refuse(app, "ask holds", problem).await
        }
    }
}

async fn check_kind(app: &App, caller: &Caller, number: u32) -> Result<(), Problem> {
    let row = app.pool.read(move |store| ChangeRow::read(store, number)).await??;
    // One that does not exist is told by the machine.
    match row {
        Some(row) => caller.check(app, Verb::Approve, resource_of(row.subject.kind())).await,
        None => Ok(()),
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct ParameterValue {
    /// 0 for the province, 4 digits for a prefecture, 10001 to 10009 for an outlet class, from 1000000 for a game.
    scope: u32,
    value: i64,
    effective_from_ms: i64,
    maker: String,
    checker: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ParameterView {
    key: &'static str,
    unit: &'static str,
    default: i64,
    min: i64,
    max: i64,
    /// In the province now.
    value: i64,
    /// All that was ever set, newest first, at most 200.
    history: Vec<ParameterValue>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ParametersView {
    parameters: Vec<ParameterView>,
}

/// All parameters with what was set. A value is changed by `POST /v1/changes`.
#[utoipa::path(get, path = "/v1/parameters",
    responses((status = 200, body = ParametersView), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn parameters(State(app): State<App>) -> Result<Json<ParametersView>, Problem> {
    let now_ms = app.sequencer.now_ms();
    let read = move |store: &mut Connection| {
        Parameter::ALL.iter().map(|parameter| parameter_view(store, *parameter, now_ms)).collect()
    };
    let parameters: Result<Vec<ParameterView>, rusqlite::Error> = app.pool.read(read).await?;
    Ok(Json(ParametersView { parameters: parameters? }))
}

fn parameter_view(store: &Connection, parameter: Parameter, now_ms: TimeMs) -> Result<ParameterView, rusqlite::Error> {
    let sql = "SELECT scope, value, effective_from_ms, maker, checker FROM parameter WHERE key = ?1 \
               ORDER BY effective_from_ms DESC, seq DESC LIMIT 200";
    let mut statement = store.prepare_cached(sql)?;
    let history = statement.query_map([parameter.key()], |row| {
        Ok(ParameterValue {
            scope: row.get(0)?,
            value: row.get(1)?,
            effective_from_ms: row.get(2)?,
            maker: row.get(3)?,
            checker: row.get(4)?,
        })
    })?;
    let (min, max) = parameter.range();
    Ok(ParameterView {
        key: parameter.key(),
        unit: parameter.unit(),
        default: parameter.default_value(),
        min,
        max,
        value: parameter.read(store, &Place::PROVINCE, now_ms)?,
        history: history.collect::<Result<_, _>>()?,
    })
}
