//! `/v1/nodes/{node}/replacement`: another store in the place of one that is lost.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jikai_schema::command::{AccessCommand, Command, NodeCommand, Outcome, Refusal};
use jikai_schema::event::MachineState;
use jikai_schema::id::NodeId;
use jikai_sync::identity::{KeyAndRequest, certified_by_pem};
use jikai_sync::invitation::{SealedStore, StoreInvitation, StoreTerms};
use jikai_sync::wire::Cursor;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::guard::Caller;
use super::problem::Problem;
use crate::app::App;
use crate::identity::IdentityFiles;
use crate::machine::MachineRow;
use crate::reports::is_registered;
use crate::staff::InvitationCode;

/// Most further names of a node.
const HOSTS_MAX: usize = 16;
/// Most addresses of the hub.
const ADDRESSES_MAX: usize = 16;

/// Why, and how.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplacementBody {
    /// 1 to 200 bytes on one line.
    reason: String,
    /// Said by a person who knows that the node is connected: its store works, and will be shut out.
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
/// `invalid_reason`; 422 `invalid_node`, `invalid_hosts`, `invalid_hub`.
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
    if body.hosts.len() > HOSTS_MAX || body.hosts.iter().any(|host| !(1..=253).contains(&host.len())) {
        return Err(Problem::invalid("hosts", format!("At most {HOSTS_MAX} names of 1 to 253 bytes can be given.")));
    }
    if !app.pool.read(move |store| is_registered(store, node)).await?? {
        return Err(Refusal::Unknown { kind: "node".to_string(), id: node.to_string() }.into());
    }
    if app.links.view(node, app.sequencer.now_ms()).connected && !body.although_connected {
        let hint =
            "If it is to be replaced all the same, say although_connected (--although-connected): it ends at once.";
        let detail = format!("Node {node} is connected: its store works.");
        return Err(Problem::new(StatusCode::CONFLICT, "node_connected", detail, hint));
    }
    let hub = addresses(&app, body.hub).await?;
    let (certificate, key) = certificate(&app, node, body.hosts).await?;
    let incarnation = *uuid::Uuid::new_v4().as_bytes();
    let code = InvitationCode::draw().ok_or_else(|| Problem::internal(&"the system gives no random numbers"))?;
    // Whatever can fail here has been done: from the command on the old store is shut out.
    let replace = NodeCommand::Replace { node, incarnation, reason: body.reason };
    let (epoch, up) = match caller.propose(&app, Command::Node(replace)).await? {
        Outcome::Replaced { epoch, next_seq, hash } => (epoch, Cursor { next_seq, hash }),
        other => return Err(Problem::internal(&format!("unexpected outcome {other:?}"))),
    };
    let certified = certified_by_pem(&certificate).map_err(|error| Problem::internal(&error))?;
    let (serial, not_after_ms) = (certified.serial, certified.not_after_ms);
    caller.ask(&app, Command::Access(AccessCommand::RecordCertificate { node, serial, not_after_ms })).await?;
    let authority = IdentityFiles::new(&app.data).authority_pem().map_err(|error| Problem::internal(&error))?;
    let environment = app.config.environment.clone();
    let terms = StoreTerms { node, epoch, environment, hub, authority, up };
    let sealed = SealedStore::new(certificate, &key, incarnation);
    let made = StoreInvitation::make(terms, &sealed, &code, app.sequencer.now_ms());
    let invitation = made.map_err(|error| Problem::internal(&error))?;
    let invitation = serde_json::to_value(&invitation).map_err(|error| Problem::internal(&error))?;
    tracing::warn!(%node, epoch, next_seq = up.next_seq, "a node's store was shut out; another takes its place");
    let (node, next_seq) = (node.get(), up.next_seq);
    Ok(Json(ReplacementView { node, epoch, next_seq, invitation, code: code.to_string() }))
}

/// A new key of the node, and its certificate.
async fn certificate(
    app: &App,
    node: NodeId,
    hosts: Vec<String>,
) -> Result<(String, jikai_sync::identity::Key), Problem> {
    let made = KeyAndRequest::for_node(node).map_err(|error| Problem::internal(&error))?;
    let (files, secrets) = (IdentityFiles::new(&app.data), app.secrets.clone());
    let terms = app.config.signing_terms(app.sequencer.now_ms());
    let sign = move || {
        files.sign_node(&secrets, &made.request_pem, node, &hosts, terms).map(|certificate| (certificate, made.key))
    };
    let signed = tokio::task::spawn_blocking(sign).await.map_err(|error| Problem::internal(&error))?;
    signed.map_err(|error| Problem::invalid("hosts", jikai_sync::causes::with_causes(error.as_ref())))
}

/// Where the new store finds the hub.
async fn addresses(app: &App, given: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, Problem> {
    let mut hub = given;
    if hub.is_empty() {
        let machines = app.pool.read(|store| MachineRow::list(store)).await??;
        let serving = machines.into_iter().filter(|row| row.state == Some(MachineState::Serving) && !row.voter_only);
        hub.extend(serving.flat_map(|row| row.links).map(|link| link.address));
        hub.truncate(ADDRESSES_MAX);
    }
    match (1..=ADDRESSES_MAX).contains(&hub.len()) {
        true => Ok(hub),
        false => {
            Err(Problem::invalid("hub", format!("Name 1 to {ADDRESSES_MAX} addresses at which nodes reach the hub.")))
        }
    }
}
