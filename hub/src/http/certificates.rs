//! `/v1/certificates`: certificates of nodes.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use jikai_schema::command::{AccessCommand, Command, Refusal};
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::causes::with_causes;
use jikai_sync::identity::certified_by_pem;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::guard::Caller;
use super::problem::Problem;
use crate::app::App;
use crate::identity::IdentityFiles;
use crate::machine::CertificateRow;
use crate::reports::is_registered;

/// A request to be signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignBody {
    /// Whose certificate it will be; what the request says of itself is not taken.
    node: u16,
    /// PEM.
    request: String,
    /// Further names and addresses by which terminals reach the node; kept when it renews the certificate.
    #[serde(default)]
    #[schema(max_items = 16)]
    hosts: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SignedView {
    /// PEM.
    certificate: String,
    /// Hex; names it when it is revoked.
    serial: String,
    not_after_ms: i64,
}

/// Most further names of a node.
const HOSTS_MAX: usize = 16;

/// Signs a node's request and remembers the certificate. Errors: 404 of a node that is not registered; 422 `invalid_node`, `invalid_hosts`, `invalid_request`.
#[utoipa::path(post, path = "/v1/certificates", request_body = SignBody,
    responses((status = 200, body = SignedView), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn sign(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<SignBody>,
) -> Result<Json<SignedView>, Problem> {
    let node = NodeId::new(body.node).ok().filter(|node| !node.is_hub());
    let node = node.ok_or_else(|| Problem::invalid("node", "A node has a number from 1 to 4095."))?;
    if body.hosts.len() > HOSTS_MAX || body.hosts.iter().any(|host| !(1..=253).contains(&host.len())) {
        return Err(Problem::invalid("hosts", format!("At most {HOSTS_MAX} names of 1 to 253 bytes can be given.")));
    }
    if !app.pool.read(move |store| is_registered(store, node)).await?? {
        return Err(Refusal::Unknown { kind: "node".to_string(), id: node.to_string() }.into());
    }
    let (files, secrets) = (IdentityFiles::new(&app.data), app.secrets.clone());
    let terms = app.config.signing_terms(app.sequencer.now_ms());
    let sign = move || files.sign_node(&secrets, &body.request, node, &body.hosts, terms);
    let signed = tokio::task::spawn_blocking(sign).await;
    let signed = signed.map_err(|error| Problem::internal(&error))?;
    let certificate = signed.map_err(|error| Problem::invalid("request", with_causes(error.as_ref())))?;
    let certified = certified_by_pem(&certificate).map_err(|error| Problem::internal(&error))?;
    let (serial, not_after_ms) = (certified.serial, certified.not_after_ms);
    caller
        .ask(&app, Command::Access(AccessCommand::RecordCertificate { node, serial: serial.clone(), not_after_ms }))
        .await?;
    Ok(Json(SignedView { certificate, serial, not_after_ms: not_after_ms.ms() }))
}

#[derive(Serialize, ToSchema)]
pub(super) struct CertificateView {
    serial: String,
    node: u16,
    not_after_ms: i64,
    /// Seconds until it ends; negative once it has.
    expires_in_s: i64,
    /// When it was recorded; not known of old ones.
    issued_at_ms: Option<i64>,
    /// Serial number of the one that the node showed for it.
    renews: Option<String>,
    /// Serial number of the one that took its place: it opens no session any more.
    superseded_by: Option<String>,
    /// Whether it is of a store that another one took the place of: without that store it opens nothing.
    of_earlier_store: bool,
    /// Why it opens no session any more.
    revoked: Option<String>,
}

/// The hub's own certificate, and the authority that signed all of them.
#[derive(Serialize, ToSchema)]
pub(super) struct HubCertificateView {
    serial: String,
    not_after_ms: i64,
    /// Seconds until it ends; negative once it has.
    expires_in_s: i64,
    authority_not_after_ms: i64,
    /// Seconds until the authority ends, which no certificate outlives.
    authority_expires_in_s: i64,
}

#[derive(Serialize, ToSchema)]
pub(super) struct CertificatesView {
    hub: HubCertificateView,
    certificates: Vec<CertificateView>,
}

/// All certificates, by node and expiry.
#[utoipa::path(get, path = "/v1/certificates",
    responses((status = 200, body = CertificatesView), (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(State(app): State<App>) -> Result<Json<CertificatesView>, Problem> {
    let rows = app.pool.read(|store| CertificateRow::all(store)).await??;
    let (expiry, now_ms) = (app.expiry.borrow().clone(), app.sequencer.now_ms());
    let view = |row: CertificateRow| CertificateView {
        serial: row.serial,
        node: row.node,
        not_after_ms: row.not_after_ms.ms(),
        expires_in_s: (row.not_after_ms.ms() - now_ms.ms()).div_euclid(1_000),
        issued_at_ms: row.issued_at_ms.map(TimeMs::ms),
        renews: row.renews,
        superseded_by: row.superseded_by,
        of_earlier_store: row.of_earlier_store,
        revoked: row.revoked,
    };
    let hub = HubCertificateView {
        not_after_ms: expiry.certificate.not_after_ms.ms(),
        expires_in_s: expiry.certificate.expires_in_s(now_ms),
        authority_not_after_ms: expiry.authority_ends_ms.ms(),
        authority_expires_in_s: expiry.authority_expires_in_s(now_ms),
        serial: expiry.certificate.serial,
    };
    Ok(Json(CertificatesView { hub, certificates: rows.into_iter().map(view).collect() }))
}

/// Why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RevocationBody {
    /// 1 to 200 bytes on one line.
    reason: String,
}

/// Lets a certificate open no session any more; the one that it holds ends at once. Errors: 404; 409 `invalid_reason`.
#[utoipa::path(post, path = "/v1/certificates/{serial}/revocation", params(("serial" = String, Path, description = "hex")),
    request_body = RevocationBody,
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Path(serial): Path<String>,
    Json(body): Json<RevocationBody>,
) -> Result<StatusCode, Problem> {
    let serial = serial.to_ascii_lowercase();
    caller.ask(&app, Command::Access(AccessCommand::RevokeCertificate { serial, reason: body.reason })).await
}

/// Lets no certificate of a node open a session any more, also those that nobody has recorded; its session ends at once. A newly
/// signed one is good again. Errors: 404; 409 `invalid_reason`.
#[utoipa::path(post, path = "/v1/nodes/{node}/certificates/revocation", params(("node" = u16, Path)),
    request_body = RevocationBody,
    responses((status = 204), (status = 401, body = Problem), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn revoke_all_of(
    State(app): State<App>,
    caller: Caller,
    Path(node): Path<u16>,
    Json(body): Json<RevocationBody>,
) -> Result<StatusCode, Problem> {
    let node = NodeId::new(node).ok().filter(|node| !node.is_hub());
    let node = node.ok_or_else(|| Problem::invalid("node", "A node has a number from 1 to 4095."))?;
    caller.ask(&app, Command::Access(AccessCommand::RevokeCertificatesOf { node, reason: body.reason })).await
}
