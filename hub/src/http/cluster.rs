//! `/v1/cluster`: the machines of the hub.

use std::net::IpAddr;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jikai_schema::command::{ClusterCommand, Command, Outcome};
use jikai_schema::event::MachineState;
use jikai_schema::id::MachineNo;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::guard::Caller;
use super::hints::machines_hint;
use super::problem::Problem;
use crate::app::App;
use crate::identity::IdentityFiles;
use crate::machines::{Invitation, MachineView, Role};

#[derive(Serialize, ToSchema)]
pub(super) struct LinkView {
    /// The carrier's name.
    name: String,
    /// Where nodes connect (QUIC).
    address: String,
    /// Its share among the links.
    weight: u16,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MemberView {
    machine: u16,
    /// voter, learner, or outside: not a member (yet, or any more).
    role: &'static str,
    /// serving, draining, retired, or unknown while it has not told where it is reached.
    state: &'static str,
    /// It keeps all data and serves nobody.
    voter_only: bool,
    leads: bool,
    /// The leader has not heard it for a while.
    lost: bool,
    /// Where the other machines reach it (QUIC).
    peer_address: Option<String>,
    /// Where the centre's API listens.
    http: Option<String>,
    links: Vec<LinkView>,
    /// Whether it answered now.
    answers: bool,
    /// Why not.
    why: Option<String>,
    /// Newest entry in its log.
    last_index: Option<u64>,
    /// Newest entry in its state.
    applied_index: Option<u64>,
    /// Newest entry in its newest snapshot.
    snapshot_index: Option<u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct DigestView {
    /// Entry of the log at which they were compared.
    index: u64,
    /// Whether this machine has what the others have; null where too few of them told.
    agrees: Option<bool>,
    /// Tables that differ.
    tables: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MachinesView {
    /// Which machine answers.
    machine: u16,
    /// Whether a majority confirms what this machine shows; nothing is taken in without.
    has_majority: bool,
    /// Which machine leads, as far as this one knows.
    leader: Option<u64>,
    term: u64,
    /// How often a person had a machine take over without the others, from 1.
    generation: u32,
    /// Which machine does the jobs of the hub.
    jobs_at: Option<u16>,
    applied_index: u64,
    /// What comparing the tables of this machine with those of the others led to; null before the first comparison.
    digest: Option<DigestView>,
    machines: Vec<MemberView>,
}

/// The machines of the hub and how they stand. One that does not answer within a second is shown without its places.
#[utoipa::path(get, path = "/v1/cluster",
    responses((status = 200, body = MachinesView), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn show(State(app): State<App>) -> Result<Json<MachinesView>, Problem> {
    let view = app.machines.view().await?;
    let leader = view.leader;
    Ok(Json(MachinesView {
        machine: view.machine,
        has_majority: app.machines.is_current().await,
        leader,
        term: view.term,
        generation: view.generation,
        jobs_at: view.lease.map(|lease| lease.machine),
        applied_index: app.sequencer.applied().get(),
        digest: app.sequencer.agreement().map(|found| DigestView {
            index: found.index,
            agrees: found.agrees,
            tables: found.tables,
        }),
        machines: view.machines.into_iter().map(|machine| member(machine, leader)).collect(),
    }))
}

fn member(view: MachineView, leader: Option<u64>) -> MemberView {
    let status = view.status.as_ref().ok();
    MemberView {
        machine: view.machine,
        role: match view.role {
            Role::Voter => "voter",
            Role::Learner => "learner",
            Role::Outside => "outside",
        },
        state: view.state.map_or("unknown", MachineState::name),
        voter_only: view.voter_only,
        leads: leader == Some(u64::from(view.machine)),
        lost: view.lost,
        peer_address: view.peer_address.filter(|address| !address.is_empty()),
        http: view.http.map(|address| address.to_string()),
        links: view
            .links
            .into_iter()
            .map(|link| LinkView { name: link.name, address: link.address.to_string(), weight: link.weight })
            .collect(),
        answers: status.is_some(),
        last_index: status.and_then(|status| status.last_index),
        applied_index: status.and_then(|status| status.applied.map(|applied| applied.index)),
        snapshot_index: status.and_then(|status| status.snapshot.map(|snapshot| snapshot.index)),
        why: view.status.err(),
    }
}

/// A machine that is to join.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct InvitationBody {
    /// Whether it is to vote only: it keeps all data, serves nobody, and gets no keys of the hub.
    #[serde(default)]
    voter_only: bool,
    /// Names by which browsers will reach it.
    #[serde(default)]
    #[schema(max_items = 16)]
    hosts: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct InvitedView {
    machine: u16,
    /// The file for `jikai-hub join`.
    invitation: serde_json::Value,
    /// Opens the file; told only now.
    code: String,
}

/// Most names of a machine.
const HOSTS_MAX: usize = 16;

/// Whether a certificate can bear it.
fn is_host(text: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    (1..=253).contains(&text.len()) && (text.bytes().all(is_name) || text.parse::<IpAddr>().is_ok())
}

/// Gives a number to a machine that is about to join, and seals what it needs. Errors: 422 `invalid_hosts`.
#[utoipa::path(post, path = "/v1/cluster/invitations", request_body = InvitationBody,
    responses((status = 200, body = InvitedView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn invite(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<InvitationBody>,
) -> Result<Json<InvitedView>, Problem> {
    let InvitationBody { voter_only, hosts } = body;
    if hosts.len() > HOSTS_MAX || !hosts.iter().all(|host| is_host(host)) {
        let what = format!("At most {HOSTS_MAX} host names or addresses of 1 to 253 bytes can be given.");
        return Err(Problem::invalid("hosts", what));
    }
    if !app.config.has_peer_address() {
        let what = "The address at which other machines find this one changes with each start.";
        return Err(Problem::new(StatusCode::CONFLICT, "no_peer_address", what, machines_hint("no_peer_address")));
    }
    let machine = match caller.propose(&app, Command::Cluster(ClusterCommand::Invite { voter_only })).await? {
        Outcome::Invited { machine } => machine,
        other => return Err(Problem::internal(&format!("unexpected outcome {other:?}"))),
    };
    let (files, secrets, settings) = (IdentityFiles::new(&app.data), app.secrets.clone(), app.config.clone());
    let make = move || Invitation::make(&files, &secrets, &settings, machine, voter_only, &hosts);
    let made = tokio::task::spawn_blocking(make).await.map_err(|error| Problem::internal(&error))?;
    let made = made.map_err(|error| Problem::internal(&error))?;
    let invitation = serde_json::to_value(&made.invitation).map_err(|error| Problem::internal(&error))?;
    Ok(Json(InvitedView { machine: machine.get(), invitation, code: made.code.to_string() }))
}

/// Where a machine that was invited is reached.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AddBody {
    /// Its `peer_address`, HOST:PORT.
    peer_address: String,
}

/// How far a machine is that is being taken in.
#[derive(Serialize, ToSchema)]
pub(super) struct TakenInView {
    /// It has nearly all that the others have. False: it goes on; ask at `taking-in`.
    caught_up: bool,
}

/// Begins to take a machine in as one that follows, and waits some seconds for it. Asking again is harmless. Errors: 409
/// `machine_not_invited`, `machine_retired`, `no_peer_address`, `cluster_not_changed`, `taking_in_another`, `belongs_to_no_hub`; 503 `no_leader`.
#[utoipa::path(post, path = "/v1/cluster/machines/{machine}", params(("machine" = u16, Path)), request_body = AddBody,
    responses((status = 200, body = TakenInView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn add(
    State(app): State<App>,
    Path(machine): Path<u16>,
    Json(body): Json<AddBody>,
) -> Result<Json<TakenInView>, Problem> {
    let machine = number(machine)?;
    let shaped = body
        .peer_address
        .rsplit_once(':')
        .is_some_and(|(host, port)| (1..=253).contains(&host.len()) && port.parse::<u16>().is_ok_and(|port| port != 0));
    if !shaped {
        return Err(Problem::invalid("peer_address", "An address reads HOST:PORT."));
    }
    let caught_up = app.machines.begin_to_add(machine, &body.peer_address).await?;
    Ok(Json(TakenInView { caught_up }))
}

/// Waits some seconds on for a machine that is being taken in. Errors: 409 `not_taking_in`, and those of the beginning.
#[utoipa::path(get, path = "/v1/cluster/machines/{machine}/taking-in", params(("machine" = u16, Path)),
    responses((status = 200, body = TakenInView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn taking_in(State(app): State<App>, Path(machine): Path<u16>) -> Result<Json<TakenInView>, Problem> {
    let caught_up = app.machines.go_on_adding(number(machine)?).await?;
    Ok(Json(TakenInView { caught_up }))
}

/// Gives a machine that follows a vote. Errors: 409 `cluster_not_changed`, `belongs_to_no_hub`; 503 `no_leader`.
#[utoipa::path(post, path = "/v1/cluster/machines/{machine}/promotion", params(("machine" = u16, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn promote(State(app): State<App>, Path(machine): Path<u16>) -> Result<StatusCode, Problem> {
    app.machines.promote(number(machine)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hands a voter the lead; what comes in meanwhile waits for some round trips. Errors: 409 `cluster_not_changed`, `belongs_to_no_hub`; 503 `no_leader`.
#[utoipa::path(post, path = "/v1/cluster/machines/{machine}/lead", params(("machine" = u16, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 409, body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn transfer(State(app): State<App>, Path(machine): Path<u16>) -> Result<StatusCode, Problem> {
    app.machines.transfer(number(machine)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends the nodes of a machine, and who comes through the front door, to other machines. Errors: 404; 409
/// `machine_not_announced`, `machine_retired`, `last_machine`, `machine_silent`, `votes_only`, `belongs_to_no_hub`.
#[utoipa::path(put, path = "/v1/cluster/machines/{machine}/draining", params(("machine" = u16, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn drain(
    State(app): State<App>,
    caller: Caller,
    Path(machine): Path<u16>,
) -> Result<StatusCode, Problem> {
    app.machines.drain(caller.by(), number(machine)?, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Has a machine serve again. Errors: 404; 409 `machine_not_announced`, `machine_retired`.
#[utoipa::path(delete, path = "/v1/cluster/machines/{machine}/draining", params(("machine" = u16, Path)),
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn undrain(
    State(app): State<App>,
    caller: Caller,
    Path(machine): Path<u16>,
) -> Result<StatusCode, Problem> {
    app.machines.drain(caller.by(), number(machine)?, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How far a machine is that is being taken out.
#[derive(Serialize, ToSchema)]
pub(super) struct TakenOutView {
    /// It serves nobody, leads nothing and has no vote. False: it goes on; ask at `taking-out`.
    removed: bool,
}

/// Begins to remove a machine for ever, and waits some seconds for it: its nodes go elsewhere, it hands over what it leads, and has no
/// vote any more. Its number is not used again. Asking again is harmless. One that takes itself out answers for some seconds more. Errors:
/// 409 `last_machine`, `machine_silent`, `machine_not_invited`, `no_successor`, `no_majority_left`, `cluster_not_changed`,
/// `taking_out_another`, `belongs_to_no_hub`; 503 `no_leader`.
#[utoipa::path(delete, path = "/v1/cluster/machines/{machine}", params(("machine" = u16, Path)),
    responses((status = 200, body = TakenOutView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn remove(
    State(app): State<App>,
    caller: Caller,
    Path(machine): Path<u16>,
) -> Result<Json<TakenOutView>, Problem> {
    let removed = app.machines.begin_to_remove(caller.by(), number(machine)?).await?;
    Ok(Json(TakenOutView { removed }))
}

/// Waits some seconds on for a machine that is being taken out; one that is out is so at every machine. Errors: 409 `not_taking_out`, and
/// those of the beginning.
#[utoipa::path(get, path = "/v1/cluster/machines/{machine}/taking-out", params(("machine" = u16, Path)),
    responses((status = 200, body = TakenOutView), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) async fn taking_out(
    State(app): State<App>,
    Path(machine): Path<u16>,
) -> Result<Json<TakenOutView>, Problem> {
    let removed = app.machines.go_on_removing(number(machine)?).await?;
    Ok(Json(TakenOutView { removed }))
}

fn number(machine: u16) -> Result<MachineNo, Problem> {
    MachineNo::new(machine).map_err(|_| Problem::invalid("machine", "A machine has a number from 1 to 9999."))
}
