//! `/v1/events` and `/v1/nodes/{node}/events`: the logs, verifiable line by line.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use jikai_schema::id::NodeId;
use serde::Deserialize;
use utoipa::IntoParams;

use super::problem::Problem;
use super::{json_lines, page_rows};
use crate::app::App;
use crate::reports;

/// Part of a log.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct LogParams {
    /// Only events behind this position.
    after: Option<u64>,
    /// Most events, at most 1000. A page may end earlier; it ends the log when it is empty.
    limit: Option<usize>,
}

/// The hub's own log, one JSON object a line.
#[utoipa::path(get, path = "/v1/events", params(LogParams),
    responses((status = 200, body = String, content_type = "application/x-ndjson")))]
pub(super) async fn of_hub(State(app): State<App>, Query(params): Query<LogParams>) -> Result<Response, Problem> {
    let (after, limit) = (params.after.unwrap_or(0), page_rows(params.limit));
    let applied = app.sequencer.applied();
    let lines = app.pool.read(move |store| reports::hub_events(store, after, limit)).await??;
    Ok(json_lines(lines, applied))
}

/// A node's log as the hub has taken it in, one JSON object a line.
#[utoipa::path(get, path = "/v1/nodes/{node}/events", params(("node" = u16, Path), LogParams),
    responses((status = 200, body = String, content_type = "application/x-ndjson"), (status = 422, body = Problem)))]
pub(super) async fn of_node(
    State(app): State<App>,
    Path(node): Path<u16>,
    Query(params): Query<LogParams>,
) -> Result<Response, Problem> {
    let node = NodeId::new(node).map_err(|error| Problem::invalid("node", error.to_string()))?;
    let (after, limit) = (params.after.unwrap_or(0), page_rows(params.limit));
    let applied = app.sequencer.applied();
    let lines = app.pool.read(move |store| reports::node_events(store, node, after, limit)).await??;
    Ok(json_lines(lines, applied))
}
