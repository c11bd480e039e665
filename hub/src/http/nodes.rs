//! `/v1/nodes`: registration, and how the links stand.

use axum::Json;
use axum::extract::State;
use jikai_schema::command::{Command, Outcome};
use jikai_schema::event::MasterEvent;
use jikai_schema::id::{NodeId, PrefectureCode};
use jikai_schema::time::TimeMs;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fleet::RetiredView;
use super::guard::Caller;
use super::problem::Problem;
use crate::app::App;
use crate::machine::EpochRow;
use crate::machines::NodeLink;
use crate::reports;

#[derive(Serialize, ToSchema)]
pub(super) struct NodeView {
    node: u16,
    name: String,
    /// Next position expected of the node's log.
    up_next: u64,
    /// Newest position of the node's feed.
    down_head: u64,
    /// Newest position that the node has applied, as far as it was heard since this hub started.
    down_acked: u64,
    /// Whether it is connected to a machine of the hub, as far as they told; see `silent_machines`.
    connected: bool,
    /// The machine of the hub that it is connected to, or by whose word it is not: the one that heard it last; null where none did since
    /// it started.
    machine: Option<u16>,
    /// 0 when all that the node claims to have was taken in; else the age of what came last. A node that is not
    /// connected may hold anything: the time since it was heard.
    lag_ms: i64,
    /// Events that could not be applied and wait for a person.
    quarantined: u64,
    /// Why the last session ended, where a reason was given.
    refused: Option<String>,
    /// Why nothing more of its feed is sent to it: it is to be upgraded. What its outlets do is taken in all the same.
    feed_stopped: Option<String>,
    /// Epoch of its store: 1 for the first, one more for each that took its place.
    epoch: u32,
    /// Stores that took the place of earlier ones.
    replacements: Vec<EpochView>,
    /// When a copy of its present store was refused last: somebody copied it.
    clone_refused_at_ms: Option<i64>,
}

/// A store that took the place of an earlier one.
#[derive(Serialize, ToSchema)]
pub(super) struct EpochView {
    epoch: u32,
    /// Position at which it went on: what the earlier store holds from here on never reached the hub.
    next_seq: u64,
    /// Chain before it, hex.
    hash: String,
    replaced_at_ms: i64,
    reason: String,
}

impl From<EpochRow> for EpochView {
    fn from(row: EpochRow) -> Self {
        let EpochRow { epoch, next_seq, hash, replaced_at_ms, reason, .. } = row;
        EpochView { epoch, next_seq, hash: hash.to_string(), replaced_at_ms: replaced_at_ms.ms(), reason }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct NodesView {
    nodes: Vec<NodeView>,
    /// Nodes that were taken out of use, by number.
    retired: Vec<RetiredView>,
    /// Machines of the hub that serve nodes and did not tell of them: a node that is not shown as connected may be so to one of them.
    silent_machines: Vec<u16>,
    applied_index: u64,
}

/// All registered nodes. A machine of the hub that does not answer costs a second.
#[utoipa::path(get, path = "/v1/nodes", responses((status = 200, body = NodesView)))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<NodesView>, Problem> {
    let page = app.pool.read(reports::nodes).await??;
    let (links, now_ms) = (app.machines.links(&app.links).await?, app.sequencer.now_ms());
    let view = |line: reports::NodeLine| {
        let (machine, link) = match links.get(line.node) {
            Some(NodeLink { machine, view }) => (Some(*machine), view.clone()),
            None => (None, app.links.view(line.node, now_ms)),
        };
        NodeView {
            node: line.node.get(),
            name: line.name,
            up_next: line.up_next,
            down_head: line.down_head,
            down_acked: link.down_acked,
            connected: link.connected,
            machine,
            lag_ms: link.lag_ms,
            quarantined: line.quarantined,
            refused: link.refused,
            feed_stopped: link.feed_stopped,
            epoch: line.replacements.last().map_or(1, |row| row.epoch),
            replacements: line.replacements.into_iter().map(EpochView::from).collect(),
            clone_refused_at_ms: line.clone_refused_at_ms.map(TimeMs::ms),
        }
    };
    let nodes = page.rows.into_iter().map(view).collect();
    let retired = page.totals.into_iter().map(RetiredView::from).collect();
    Ok(Json(NodesView { nodes, retired, silent_machines: links.silent, applied_index: page.applied.get() }))
}

/// A node to register.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterBody {
    /// Its number, 1 to 4095.
    id: u16,
    /// Display name.
    name: String,
    /// Prefectures that it serves, such as 1301.
    prefectures: Vec<u16>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct RegisteredView {
    /// false when the node was registered just so before.
    changed: bool,
    applied_index: u64,
}

/// Registers a node, or changes its name and prefectures. Errors: 409 `prefecture_taken`, `exists_with_other`.
#[utoipa::path(post, path = "/v1/nodes", request_body = RegisterBody,
    responses((status = 200, body = RegisteredView), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn register(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<RegisterBody>,
) -> Result<Json<RegisteredView>, Problem> {
    let node = NodeId::new(body.id).map_err(|error| Problem::invalid("node", error.to_string()))?;
    let prefectures: Result<_, _> = body.prefectures.into_iter().map(PrefectureCode::new).collect();
    let prefectures = prefectures.map_err(|error| Problem::invalid("prefecture", error.to_string()))?;
    let definition = MasterEvent::NodeDefined { node, name: body.name, prefectures };
    let command = Command::DefineMaster(vec![definition]);
    let outcome = caller.propose(&app, command).await?;
    let changed = matches!(outcome, Outcome::Done { events: 1.., .. });
    Ok(Json(RegisteredView { changed, applied_index: app.sequencer.applied().get() }))
}
