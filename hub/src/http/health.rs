//! `/health` and `/metrics`.

use axum::Json;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use jikai_schema::id::NodeId;
use serde::Serialize;
use utoipa::ToSchema;

use super::consistency::check_state;
use super::problem::Problem;
use crate::app::App;
use crate::machine::{CertificateRow, RecoveryRow, RetiredRow, applied_position};
use crate::machines::OwnState;
use crate::raft::digests::Agreement;

/// The process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct LiveView {
    status: &'static str,
}

/// How the hub stands, where its state answered just now.
#[derive(Serialize, ToSchema)]
pub(super) struct ReadyView {
    /// ready; recovering: put back from a copy, it shows what the copy has and changes nothing until its nodes have returned the rest.
    status: &'static str,
    applied_index: u64,
    /// Until the hub's own certificate ends. Seconds; negative once it has.
    certificate_expires_in_s: i64,
    /// Until its authority ends, which no certificate outlives. Seconds.
    authority_expires_in_s: i64,
    /// What a person must look after, in words.
    warnings: Vec<String>,
}

/// The process is alive.
#[utoipa::path(get, path = "/health/live", responses((status = 200, body = LiveView)))]
pub(super) async fn live() -> Json<LiveView> {
    Json(LiveView { status: "live" })
}

/// The state answers and follows the log. Errors: 503 where that cannot be said: unknown is never healthy.
#[utoipa::path(get, path = "/health/ready", responses((status = 200, body = ReadyView), (status = 503, body = Problem)))]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<ReadyView>, Problem> {
    let unknown = |detail: String| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "state_unknown", detail, "Look at the hub's log and disk.")
    };
    if let Some(failure) = app.sequencer.failed().borrow().clone() {
        return Err(unknown(failure));
    }
    if *app.own_state.borrow() != OwnState::Serving {
        let hint = "Use another machine of the hub; `jikai-hub cluster status` shows them.";
        let detail = "This machine is being taken out of use.";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "draining", detail, hint));
    }
    if !app.machines.is_current().await {
        let hint = "Use another machine of the hub; it becomes ready by itself once a majority of them answers.";
        let detail = "No majority of the machines confirms what this one shows: it may be old.";
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_leader", detail, hint));
    }
    check_state(&app)?;
    let read =
        app.pool.read(|store| Ok::<_, rusqlite::Error>((applied_position(store)?, RecoveryRow::is_on(store)?))).await;
    let (applied, is_recovering) =
        read.map_err(|error| unknown(error.to_string()))?.map_err(|error| unknown(error.to_string()))?;
    let (expiry, now_ms) = (app.expiry.borrow().clone(), app.sequencer.now_ms());
    Ok(Json(ReadyView {
        status: if is_recovering { "recovering" } else { "ready" },
        applied_index: applied.get(),
        certificate_expires_in_s: expiry.certificate.expires_in_s(now_ms),
        authority_expires_in_s: expiry.authority_expires_in_s(now_ms),
        warnings: warnings(&app, is_recovering, expiry.warnings(now_ms)).await?,
    }))
}

/// What a person must look after: also nodes that cannot read what their feed goes on with.
async fn warnings(app: &App, is_recovering: bool, mut warnings: Vec<String>) -> Result<Vec<String>, Problem> {
    if is_recovering {
        let told = "the hub awaits what its nodes had received: `jikai-hub restore --status` shows which, `--finish --without` goes on";
        warnings.push(told.to_owned());
    }
    warnings.extend(app.sequencer.agreement().and_then(doubt));
    let stopped = app.links.stopped();
    if !stopped.is_empty() {
        let gone = app.pool.read(|store| RetiredRow::all(store)).await??;
        let is_there = |node: &NodeId| gone.iter().all(|row| row.node != *node);
        let stopped = stopped.into_iter().filter(|(node, _)| is_there(node));
        warnings.extend(stopped.map(|(node, why)| format!("upgrade node {node}, whose feed is stopped: {why}")));
    }
    Ok(warnings)
}

/// That another machine has another state, where this one is not the one to give way.
fn doubt(agreement: Agreement) -> Option<String> {
    let Agreement { index, agrees, tables, .. } = agreement;
    let tables = tables.join(", ");
    (agrees == Some(false)).then(|| format!("another machine of the hub has another state at entry {index}: {tables}"))
}

/// Metrics in the Prometheus text format.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String)))]
pub(super) async fn metrics(State(app): State<App>) -> Result<String, Problem> {
    let page = app.pool.read(crate::reports::nodes).await??;
    let now_ms = app.sequencer.now_ms();
    metrics::gauge!("jikai_applied_index").set(page.applied.get() as f64);
    let expiry = app.expiry.borrow().clone();
    metrics::gauge!("jikai_certificate_expires_in_s").set(expiry.certificate.expires_in_s(now_ms) as f64);
    metrics::gauge!("jikai_authority_expires_in_s").set(expiry.authority_expires_in_s(now_ms) as f64);
    let ends = app.pool.read(|store| CertificateRow::newest_ends(store)).await??;
    for (node, not_after_ms) in ends {
        let left_s = (not_after_ms.ms() - now_ms.ms()).div_euclid(1_000);
        metrics::gauge!("jikai_node_certificate_expires_in_s", "node" => node.to_string()).set(left_s as f64);
    }
    let gone: Vec<String> = page.totals.iter().map(|row| format!("node=\"{}\"", row.node)).collect();
    for line in page.rows {
        let (link, node) = (app.links.view(line.node, now_ms), line.node.to_string());
        metrics::gauge!("jikai_node_up_next", "node" => node.clone()).set(line.up_next as f64);
        metrics::gauge!("jikai_node_down_head", "node" => node.clone()).set(line.down_head as f64);
        metrics::gauge!("jikai_node_down_acked", "node" => node.clone()).set(link.down_acked as f64);
        metrics::gauge!("jikai_node_quarantined", "node" => node.clone()).set(line.quarantined as f64);
        metrics::gauge!("jikai_node_lag_ms", "node" => node.clone()).set(link.lag_ms as f64);
        let is_stopped = if link.feed_stopped.is_some() { 1.0 } else { 0.0 };
        metrics::gauge!("jikai_node_feed_stopped", "node" => node.clone()).set(is_stopped);
        metrics::gauge!("jikai_node_connected", "node" => node).set(if link.connected { 1.0 } else { 0.0 });
    }
    let text = app.metrics.render();
    // What was measured of a node that is none any more would stand still for ever, and look like one that was lost.
    let is_kept = |line: &&str| !gone.iter().any(|label| line.contains(label.as_str()));
    Ok(if gone.is_empty() { text } else { text.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect() })
}

/// Counts requests by route and status, and their time.
pub(super) async fn count(request: Request<Body>, next: Next) -> Response {
    let started = std::time::Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none".to_string(), |path| path.as_str().to_string());
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("jikai_requests_total", "route" => route.clone(), "status" => status).increment(1);
    metrics::histogram!("jikai_request_ms", "route" => route).record(started.elapsed().as_secs_f64() * 1e3);
    response.into_response()
}
