//! `/v1/nodes/{node}/replacement`: another store in the place of one that is lost.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jikai_schema::command::{Command, NodeCommand, Outcome, Refusal};
use jikai_schema::id::NodeId;
use jikai_sync::wire::Cursor;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::guard::Caller;
use super::invited::{Invited, check_hosts};
use super::problem::Problem;
use crate::app::App;
use crate::reports::is_registered;

/// Why, and how.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplacementBody {
    /// 1 to 200 bytes on one line.
    reason: String,
    /// Said by a person who knows that the node is connected, or may be: its store works, and will be shut out.
    #[serde(default)]
    although_connected: bool,
    /// Further names and addresses by which terminals reach the node; kept when it renews the certificate.
    #[serde(default)]
    #[schema(max_items = 16)]
    hosts: Vec<String>,
    /// Where the new store reaches the hub first, IP:PORT; none: the links of the machines that serve.
    #[serde(default)]
    #[schema(max_items = 16, value_type = Vec<String>)]
    hub: Vec<SocketAddr>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ReplacementView {
    node: u16,
    /// Epoch of the new store.
    epoch: u32,
    /// Position at which the new store goes on: what the old one holds from here on never reached the hub.
    next_seq: u64,
    /// The file for `jikai-node init --join`.
    invitation: serde_json::Value,
    /// Opens the file; told only now.
    code: String,
}

/// Shuts a node's store out for ever, and seals what another one needs to take its place. Errors: 404; 409 `node_connected`,
/// `machine_silent`, `invalid_reason`; 422 `invalid_node`, `invalid_hosts`, `invalid_hub`.
#[utoipa::path(post, path = "/v1/nodes/{node}/replacement", params(("node" = u16, Path)), request_body = ReplacementBody,
    responses((status = 200, body = ReplacementView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn replace(
    State(app): State<App>,
    caller: Caller,
    Path(node): Path<u16>,
    Json(body): Json<ReplacementBody>,
) -> Result<Json<ReplacementView>, Problem> {
    let node = NodeId::new(node).ok().filter(|node| !node.is_hub());
    let node = node.ok_or_else(|| Problem::invalid("node", "A node has a number from 1 to 4095."))?;
    check_hosts(&body.hosts)?;
    if !app.pool.read(move |store| is_registered(store, node)).await?? {
        return Err(Refusal::Unknown { kind: "node".to_string(), id: node.to_string() }.into());
    }
    if !body.although_connected {
        check_not_connected(&app, node).await?;
    }
    let invited = Invited::draw(&app, node, body.hosts, body.hub).await?;
    // Whatever can fail here has been done: from the command on the old store is shut out.
    let replace = NodeCommand::Replace { node, incarnation: invited.incarnation, reason: body.reason };
    let (epoch, up) = match caller.propose(&app, Command::Node(replace)).await? {
        Outcome::Replaced { epoch, next_seq, hash } => (epoch, Cursor { next_seq, hash }),
        other => return Err(Problem::internal(&format!("unexpected outcome {other:?}"))),
    };
    let (invitation, code) = invited.seal(&app, &caller, epoch, up).await?;
    tracing::warn!(%node, epoch, next_seq = up.next_seq, "a node's store was shut out; another takes its place");
    let (node, next_seq) = (node.get(), up.next_seq);
    Ok(Json(ReplacementView { node, epoch, next_seq, invitation, code }))
}

/// Refuses where the node is connected to a machine of the hub, or may be, for one does not tell.
async fn check_not_connected(app: &App, node: NodeId) -> Result<(), Problem> {
    let links = app.machines.links(&app.links).await?;
    if let Some(link) = links.get(node).filter(|link| link.view.connected) {
        let hint = "One that has just died is noticed within some ten seconds: ask again then. If it is to be replaced although it works, say \
                    although_connected (--although-connected): it ends at once.";
        let detail = format!("Node {node} is connected to machine {}.", link.machine);
        return Err(Problem::new(StatusCode::CONFLICT, "node_connected", detail, hint));
    }
    if links.silent.is_empty() {
        return Ok(());
    }
    let silent: Vec<String> = links.silent.iter().map(u16::to_string).collect();
    let hint = "Start what does not answer; if the node is to be replaced all the same, say although_connected (--although-connected).";
    let detail = format!(
        "Node {node} is connected to no machine of the hub that answers, but machine {} does not.",
        silent.join(", ")
    );
    Err(Problem::new(StatusCode::CONFLICT, "machine_silent", detail, hint))
}
