//! `/v1/cluster/recovery`: getting back from the nodes what a copy of the hub lacks.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jikai_schema::command::{Command, RecoveryCommand};
use jikai_schema::id::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::guard::Caller;
use super::problem::Problem;
use crate::app::App;
use crate::recovery::{NodeLine, Report};

#[derive(Serialize, ToSchema)]
pub(super) struct RecoveryNodeView {
    node: u16,
    /// awaited, returned, left_out, or differs: it has another feed than was merged, is refused, and must be replaced.
    state: &'static str,
    /// Events that it returned.
    events: u64,
    /// Epoch of its store, where the copy does not know that it took the node's place.
    met_epoch: Option<u32>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RecoveryView {
    /// never, awaiting, merging or over.
    state: &'static str,
    /// The generation that it began.
    generation: Option<u32>,
    began_at_ms: Option<i64>,
    /// Newest event of the hub in the copy.
    head_seq: u64,
    /// Newest event of the hub that was merged.
    merged_seq: u64,
    /// Events that came back.
    recovered: u64,
    /// Events that nobody had.
    lost: u64,
    /// Events that nodes had received differently.
    conflicts: u64,
    /// The node whose log up to a handoff is needed for the merge to go on: let it connect, or leave it out.
    log_awaited_of: Option<u16>,
    nodes: Vec<RecoveryNodeView>,
    /// What came back, by kind of event.
    kinds: BTreeMap<String, u64>,
    /// First and last position of what nobody had; at most 100 gaps.
    gaps: Vec<[u64; 2]>,
    /// Batches to be imported again from the printer's package: nobody returned their keys.
    batches_without_key: Vec<u32>,
    /// Batches whose approval is to be entered again before their sale is opened anew.
    batches_without_approval: Vec<u32>,
    /// Returned events in quarantine.
    quarantined: u64,
}

/// How the recovery of a hub that was put back from a copy stands, or what the last one led to.
#[utoipa::path(get, path = "/v1/cluster/recovery",
    responses((status = 200, body = RecoveryView), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn show(State(app): State<App>) -> Result<Json<RecoveryView>, Problem> {
    let report = app.pool.read(|store| Report::read(store)).await?.map_err(|error| Problem::internal(&error))?;
    Ok(Json(report.map_or_else(never, view)))
}

fn never() -> RecoveryView {
    RecoveryView {
        state: "never",
        generation: None,
        began_at_ms: None,
        head_seq: 0,
        merged_seq: 0,
        recovered: 0,
        lost: 0,
        conflicts: 0,
        log_awaited_of: None,
        nodes: Vec::new(),
        kinds: BTreeMap::new(),
        gaps: Vec::new(),
        batches_without_key: Vec::new(),
        batches_without_approval: Vec::new(),
        quarantined: 0,
    }
}

fn view(report: Report) -> RecoveryView {
    let row = report.row;
    let nodes = report.nodes.into_iter();
    RecoveryView {
        state: report.state,
        generation: Some(row.generation),
        began_at_ms: Some(row.began_at_ms.ms()),
        head_seq: row.head_seq,
        merged_seq: row.merged_seq,
        recovered: row.recovered,
        lost: row.lost,
        conflicts: row.conflicts,
        log_awaited_of: row.release.map(|release| release.node.get()),
        nodes: nodes
            .map(|NodeLine { node, state, events, met_epoch }| RecoveryNodeView { node, state, events, met_epoch })
            .collect(),
        kinds: report.kinds,
        gaps: report.gaps,
        batches_without_key: report.batches_without_key,
        batches_without_approval: report.batches_without_approval,
        quarantined: report.quarantined,
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FinishBody {
    /// Nodes that are left out: they are refused from now on and must be replaced.
    #[serde(default)]
    #[schema(max_items = 4095)]
    without: Vec<u16>,
}

/// Awaits no node any more. What only nodes that are left out had received is lost. Errors: 404; 409 `nodes_awaited`,
/// `node_returned`, `not_recovering`.
#[utoipa::path(post, path = "/v1/cluster/recovery/end", request_body = FinishBody,
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn finish(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<FinishBody>,
) -> Result<StatusCode, Problem> {
    let node =
        |number| NodeId::new(number).map_err(|_| Problem::invalid("without", "A node has a number from 1 to 4095."));
    let without = body.without.into_iter().map(node).collect::<Result<Vec<_>, _>>()?;
    caller.propose(&app, Command::Recovery(RecoveryCommand::Finish { without })).await?;
    Ok(StatusCode::NO_CONTENT)
}
