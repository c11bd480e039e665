//! `/v1/handoffs`: outlets that move from node to node.

use axum::Json;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use jikai_schema::command::{Command, HandoffCommand, MOVES_MAX, Outcome, OutletMove};
use jikai_schema::id::{NodeId, OutletId};
use jikai_schema::store::SCHEMA_VERSION;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::guard::Caller;
use super::problem::Problem;
use crate::app::App;
use crate::handoff::{Aim, Plan, never_came, outdated};

/// Outlets on their way at once, unless it is told.
const WINDOW: u16 = 50;
/// Most moves that a body names one by one.
const NAMED_MAX: usize = 1_000;

/// What a plan is for: `fill`, or `empty`, or `from`, `to` and `count`.
#[derive(Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AimParams {
    /// The node that gets its share.
    fill: Option<u16>,
    /// The node that gives all its outlets away.
    empty: Option<u16>,
    /// The node that gives some away.
    from: Option<u16>,
    /// The node that gets them.
    to: Option<u16>,
    /// How many, 1 to 20000.
    count: Option<u32>,
}

impl AimParams {
    fn aim(&self) -> Result<Aim, Problem> {
        let unclear = || Problem::invalid("aim", "Name the node to fill, or the one to empty, or from, to and count.");
        match (self.fill, self.empty, self.from, self.to, self.count) {
            (Some(node), None, None, None, None) => Ok(Aim::Fill(node_of(node)?)),
            (None, Some(node), None, None, None) => Ok(Aim::Empty(node_of(node)?)),
            (None, None, Some(from), Some(to), Some(count)) if (1..=MOVES_MAX as u32).contains(&count) => {
                Ok(Aim::Shift { from: node_of(from)?, to: node_of(to)?, count: count as usize })
            }
            _ => Err(unclear()),
        }
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct LoadView {
    node: u16,
    /// Outlets now; those on their way count where they go.
    outlets_now: usize,
    outlets_then: usize,
    /// Whether it is connected to a machine of the hub now, as far as they told; see `silent_machines`.
    connected: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct PlanView {
    /// Names this very plan.
    plan: String,
    /// Outlets that move.
    moves: usize,
    nodes: Vec<LoadView>,
    /// Machines of the hub that serve nodes and did not tell of them.
    silent_machines: Vec<u16>,
}

/// Shows what would move. Errors: 404 for a node that is not registered; 422 `invalid_aim`.
#[utoipa::path(get, path = "/v1/handoffs/plan", params(AimParams),
    responses((status = 200, body = PlanView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn plan(State(app): State<App>, Query(aim): Query<AimParams>) -> Result<Json<PlanView>, Problem> {
    let plan = make(&app, &aim).await?;
    let links = app.machines.links(&app.links).await?;
    let nodes = plan.loads.iter().map(|load| LoadView {
        node: load.node.get(),
        outlets_now: load.now,
        outlets_then: load.then,
        connected: links.is_connected(load.node),
    });
    let nodes = nodes.collect();
    Ok(Json(PlanView { plan: plan.id(), moves: plan.moves.len(), nodes, silent_machines: links.silent }))
}

async fn make(app: &App, aim: &AimParams) -> Result<Plan, Problem> {
    let aim = aim.aim()?;
    let plan = app.pool.read(move |state| Plan::make(state, aim)).await??;
    plan.ok_or_else(|| {
        let detail = "The node is not registered, or no other one is.";
        Problem::new(StatusCode::NOT_FOUND, "unknown_node", detail, "Look at the nodes: `GET /v1/nodes`.")
    })
}

/// One outlet that moves.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoveBody {
    /// 8 digits.
    outlet: String,
    /// The node that shall serve it.
    to: u16,
}

/// What to move: outlets by name, or a plan that was shown.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StartBody {
    #[serde(default)]
    #[schema(max_items = 1000)]
    moves: Vec<MoveBody>,
    /// The node of the plan that gets its share.
    fill: Option<u16>,
    /// The node of the plan that gives all away.
    empty: Option<u16>,
    /// The node of the plan that gives some away.
    from: Option<u16>,
    /// The node of the plan that gets them.
    to: Option<u16>,
    /// How many, 1 to 20000.
    count: Option<u32>,
    /// The plan that was shown; refused where it would be another one by now.
    plan: Option<String>,
    /// Most outlets on their way at once, 1 to 500; 50 unless it is told.
    window: Option<u16>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StartedView {
    /// Outlets that are to move from now on.
    moves: u64,
    /// Outlets that are there already, or on their way there.
    existing: u64,
}

/// Moves outlets, some at a time. Errors: 404; 409 `plan_changed`, `outlet_on_its_way`, `node_never_came`, `node_outdated`; 422 `invalid_aim`,
/// `invalid_moves`, `invalid_window`, `outlet_twice`.
#[utoipa::path(post, path = "/v1/handoffs", request_body = StartBody,
    responses((status = 200, body = StartedView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn start(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<StartBody>,
) -> Result<Json<StartedView>, Problem> {
    let StartBody { fill, empty, from, to, count, .. } = body;
    let moves = match body.moves.is_empty() {
        false if fill.or(empty).or(from).or(to).is_some() || count.is_some() => {
            return Err(Problem::invalid("aim", "Name outlets, or the nodes of a plan, not both."));
        }
        false => named(&body.moves)?,
        true => {
            let plan = make(&app, &AimParams { fill, empty, from, to, count }).await?;
            if body.plan.is_some_and(|shown| shown != plan.id()) {
                let detail = "Outlets have moved or come since the plan was shown.";
                return Err(Problem::new(StatusCode::CONFLICT, "plan_changed", detail, "Look at the plan again."));
            }
            plan.moves
        }
    };
    if moves.is_empty() {
        return Ok(Json(StartedView { moves: 0, existing: 0 }));
    }
    let named = moves.clone();
    if let Some(node) = app.pool.read(move |state| never_came(state, &named)).await?? {
        let hint = "Start it first: `jikai-node init --join`, then `jikai-node run`; GET /v1/nodes shows when it is connected.";
        let detail = format!("Node {node} has never come: outlets that moved there would be served by nobody.");
        return Err(Problem::new(StatusCode::CONFLICT, "node_never_came", detail, hint));
    }
    let links = app.machines.links(&app.links).await?;
    if let Some((node, version)) = outdated(&moves, |node| links.get(node)?.view.schema_version) {
        let hint = "Upgrade it first: `GET /v1/nodes` shows when it is connected again.";
        let detail = format!("Node {node} has tables of version {version}, the hub's are {SCHEMA_VERSION}.");
        return Err(Problem::new(StatusCode::CONFLICT, "node_outdated", detail, hint));
    }
    let command = HandoffCommand::Move { moves, window: body.window.unwrap_or(WINDOW) };
    match caller.propose(&app, Command::Handoff(command)).await? {
        Outcome::Done { events, existing } => Ok(Json(StartedView { moves: events, existing })),
        other => Err(Problem::internal(&format!("unexpected outcome {other:?}"))),
    }
}

fn named(moves: &[MoveBody]) -> Result<Vec<OutletMove>, Problem> {
    if moves.len() > NAMED_MAX {
        return Err(Problem::invalid("moves", format!("At most {NAMED_MAX} outlets are named in one request.")));
    }
    let one = |a_move: &MoveBody| {
        let outlet: Result<OutletId, _> = a_move.outlet.parse();
        let outlet = outlet.map_err(|error| Problem::invalid("outlet", error.to_string()))?;
        Ok(OutletMove { outlet, to: node_of(a_move.to)? })
    };
    moves.iter().map(one).collect()
}

/// Takes back what waits or was ordered; what a node let go of arrives all the same.
#[utoipa::path(delete, path = "/v1/handoffs",
    responses((status = 200, body = StartedView), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn cancel(State(app): State<App>, caller: Caller) -> Result<Json<StartedView>, Problem> {
    let command = HandoffCommand::Cancel { outlets: Vec::new() };
    match caller.propose(&app, Command::Handoff(command)).await? {
        Outcome::Done { events, existing } => Ok(Json(StartedView { moves: events, existing })),
        other => Err(Problem::internal(&format!("unexpected outcome {other:?}"))),
    }
}

#[derive(Serialize, ToSchema)]
pub(super) struct WayView {
    outlet: String,
    handoff: u64,
    from_node: u16,
    to_node: u16,
    /// ordered: the old node serves it still; released: nobody does until it has arrived.
    state: &'static str,
}

#[derive(Serialize, ToSchema)]
pub(super) struct HandoffsView {
    /// Outlets that wait for their turn.
    waiting: u64,
    /// Outlets on their way.
    under_way: Vec<WayView>,
}

/// The outlets that move now.
#[utoipa::path(get, path = "/v1/handoffs",
    responses((status = 200, body = HandoffsView), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn show(State(app): State<App>) -> Result<Json<HandoffsView>, Problem> {
    let view = app.pool.read(|state| -> Result<HandoffsView, rusqlite::Error> {
        let count = "SELECT count(*) FROM handoff_waiting";
        let waiting: i64 = state.prepare_cached(count)?.query_row([], |row| row.get(0))?;
        let sql = "SELECT outlet, handoff, node, to_node, released FROM handoff ORDER BY outlet LIMIT 1000";
        let mut statement = state.prepare_cached(sql)?;
        let ways = statement.query_map([], |row| {
            let state = if row.get::<_, bool>(4)? { "released" } else { "ordered" };
            let (outlet, handoff): (u32, i64) = (row.get(0)?, row.get(1)?);
            let (from_node, to_node) = (row.get(2)?, row.get(3)?);
            Ok(WayView { outlet: format!("{outlet:08}"), handoff: handoff as u64, from_node, to_node, state })
        })?;
        Ok(HandoffsView { waiting: waiting as u64, under_way: ways.collect::<Result<_, _>>()? })
    });
    Ok(Json(view.await??))
}

fn node_of(number: u16) -> Result<NodeId, Problem> {
    let node = NodeId::new(number).ok().filter(|node| !node.is_hub());
    node.ok_or_else(|| Problem::invalid("node", "A node has a number from 1 to 4095."))
}
