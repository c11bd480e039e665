//! `/v1/exceptions` and `/v1/quarantine`: what waits for a person.

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::guard::Caller;
use super::page_rows;
use super::problem::Problem;
use crate::app::App;
use crate::reports::{self, ExceptionLine, Page, QuarantineLine};

/// Part of a worklist.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct WorklistParams {
    /// Most rows, at most 1000.
    limit: Option<usize>,
    /// `next` of the page before.
    after: Option<String>,
}

/// A page of a worklist.
#[derive(Serialize, ToSchema)]
pub(super) struct WorklistView<Row> {
    rows: Vec<Row>,
    applied_index: u64,
    next: Option<String>,
}

/// A fact that broke a rule. It was applied; what no rule explains came from suspense.
#[derive(Serialize, ToSchema)]
pub(super) struct ExceptionView {
    /// The log that holds the fact: a node's number.
    origin: u16,
    seq: u64,
    at_ms: i64,
    node: u16,
    /// overdrawn, charge_mismatch, returned_touched, paid_twice, unlisted_prize or ticket_locked (five wrong codes).
    kind: String,
    /// The outlet that holds the pack.
    outlet: Option<String>,
    /// Pack or ticket as printed.
    subject: String,
    amount_yuan: String,
}

/// An event of a node that could not be applied. Its bytes stand in the node's log: `GET /v1/nodes/{node}/events`.
#[derive(Serialize, ToSchema)]
pub(super) struct QuarantineView {
    node: u16,
    seq: u64,
    reason: String,
    event_bytes: u64,
}

impl From<ExceptionLine> for ExceptionView {
    fn from(line: ExceptionLine) -> Self {
        ExceptionView {
            origin: line.event.origin.get(),
            seq: line.event.seq,
            at_ms: line.at_ms.ms(),
            node: line.node.get(),
            kind: line.kind,
            outlet: line.outlet.map(|outlet| outlet.to_string()),
            subject: line.subject,
            amount_yuan: line.amount.to_string(),
        }
    }
}

impl From<QuarantineLine> for QuarantineView {
    fn from(line: QuarantineLine) -> Self {
        QuarantineView {
            node: line.event.origin.get(),
            seq: line.event.seq,
            reason: line.reason,
            event_bytes: line.event_bytes,
        }
    }
}

type Worklist<Row> = Result<Json<WorklistView<Row>>, Problem>;

fn view<Line, Row: From<Line>>(page: Page<Line, ()>) -> Json<WorklistView<Row>> {
    let Page { rows, applied, next, .. } = page;
    Json(WorklistView { rows: rows.into_iter().map(Row::from).collect(), applied_index: applied.get(), next })
}

/// Facts that broke a rule, at the outlets of the caller's area.
#[utoipa::path(get, path = "/v1/exceptions", params(WorklistParams),
    responses((status = 200, body = WorklistView<ExceptionView>), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn exceptions(
    State(app): State<App>,
    caller: Caller,
    Query(params): Query<WorklistParams>,
) -> Worklist<ExceptionView> {
    let limit = page_rows(params.limit);
    let read = move |store: &mut _| reports::exceptions(store, params.after.as_deref(), limit, caller.scope());
    Ok(view(app.pool.read(read).await??))
}

/// Events of nodes that could not be applied.
#[utoipa::path(get, path = "/v1/quarantine", params(WorklistParams),
    responses((status = 200, body = WorklistView<QuarantineView>), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn quarantine(
    State(app): State<App>,
    Query(params): Query<WorklistParams>,
) -> Worklist<QuarantineView> {
    let limit = page_rows(params.limit);
    let read = move |store: &mut _| reports::quarantine(store, params.after.as_deref(), limit);
    Ok(view(app.pool.read(read).await??))
}
