//! `/v1/nodes/{node}/addition` and `/removal`: nodes that come and go.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{Path, State};
use jikai_schema::command::{Command, NodeCommand, Outcome, Refusal};
use jikai_schema::id::{NodeId, PrefectureCode};
use jikai_sync::wire::Cursor;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::guard::Caller;
use super::invited::Invited;
use super::problem::Problem;
use crate::app::App;
use crate::machine::RetiredRow;
use crate::reports::is_registered;

/// A node that is to come.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AdditionBody {
    /// Display name.
    name: String,
    /// Prefectures whose new outlets it serves, such as 1301; none: it gets outlets by handoff.
    #[serde(default)]
    #[schema(max_items = 64)]
    prefectures: Vec<u16>,
    /// Further names and addresses by which terminals reach the node; kept when it renews the certificate.
    #[serde(default)]
    #[schema(max_items = 16)]
    hosts: Vec<String>,
    /// Where its store reaches the hub first, IP:PORT; none: the links of the machines that serve.
    #[serde(default)]
    #[schema(max_items = 16, value_type = Vec<String>)]
    hub: Vec<SocketAddr>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct AdditionView {
    node: u16,
    /// The file for `jikai-node init --join`.
    invitation: serde_json::Value,
    /// Opens the file; told only now.
    code: String,
}

/// Registers a new node, and seals what its store needs. Errors: 409 `node_exists`, `node_retired`, `prefecture_taken`,
/// `invalid_name`; 422 `invalid_node`, `invalid_prefecture`, `invalid_hosts`, `invalid_hub`.
#[utoipa::path(post, path = "/v1/nodes/{node}/addition", params(("node" = u16, Path)), request_body = AdditionBody,
    responses((status = 200, body = AdditionView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn add(
    State(app): State<App>,
    caller: Caller,
    Path(node): Path<u16>,
    Json(body): Json<AdditionBody>,
) -> Result<Json<AdditionView>, Problem> {
    let node = node_of(node)?;
    let prefectures: Result<_, _> = body.prefectures.into_iter().map(PrefectureCode::new).collect();
    let prefectures = prefectures.map_err(|error| Problem::invalid("prefecture", error.to_string()))?;
    // The machine asks again; a certificate that nobody will use is not signed.
    if app.pool.read(move |store| is_registered(store, node)).await?? {
        let text = format!("there is a node {node}");
        return Err(Refusal::Rule { code: "node_exists".to_string(), rule: text }.into());
    }
    let invited = Invited::draw(&app, node, body.hosts, body.hub).await?;
    let (name, incarnation) = (body.name, invited.incarnation);
    let add = Command::Node(NodeCommand::Add { node, name, prefectures, incarnation });
    let (epoch, up) = match caller.propose(&app, add).await? {
        Outcome::Replaced { epoch, next_seq, hash } => (epoch, Cursor { next_seq, hash }),
        other => return Err(Problem::internal(&format!("unexpected outcome {other:?}"))),
    };
    let (invitation, code) = invited.seal(&app, &caller, epoch, up).await?;
    tracing::info!(%node, "a node was added; its store may join");
    Ok(Json(AdditionView { node: node.get(), invitation, code }))
}

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RemovalBody {
    /// 1 to 200 bytes on one line.
    reason: String,
}

/// A node that was taken out of use.
#[derive(Serialize, ToSchema)]
pub(super) struct RetiredView {
    /// Its number, which no other node gets.
    node: u16,
    name: String,
    /// Prefectures whose new outlets it served at last.
    prefectures: Vec<String>,
    /// What its store holds from this position on never reached the hub.
    next_seq: u64,
    retired_at_ms: i64,
    reason: String,
}

impl From<RetiredRow> for RetiredView {
    fn from(row: RetiredRow) -> Self {
        let RetiredRow { node, name, prefectures, next_seq, retired_at_ms, reason } = row;
        RetiredView { node: node.get(), name, prefectures, next_seq, retired_at_ms: retired_at_ms.ms(), reason }
    }
}

/// Takes a node out of use for ever. Errors: 404; 409 `node_serves_outlets`, `node_in_handoff`, `invalid_reason`; 422 `invalid_node`.
#[utoipa::path(post, path = "/v1/nodes/{node}/removal", params(("node" = u16, Path)), request_body = RemovalBody,
    responses((status = 200, body = RetiredView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(node): Path<u16>,
    Json(body): Json<RemovalBody>,
) -> Result<Json<RetiredView>, Problem> {
    let node = node_of(node)?;
    caller.propose(&app, Command::Node(NodeCommand::Retire { node, reason: body.reason })).await?;
    let retired = app.pool.read(|store| RetiredRow::all(store)).await??;
    let retired = retired.into_iter().find(|row| row.node == node);
    let retired = retired.ok_or_else(|| Problem::internal(&"the node that was taken out of use is not there"))?;
    tracing::warn!(%node, "a node was taken out of use");
    Ok(Json(retired.into()))
}

fn node_of(number: u16) -> Result<NodeId, Problem> {
    let node = NodeId::new(number).ok().filter(|node| !node.is_hub());
    node.ok_or_else(|| Problem::invalid("node", "A node has a number from 1 to 4095."))
}
