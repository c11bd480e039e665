//! `/health` and `/metrics`.

use axum::Json;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::guard::check_open;
use super::problem::Problem;
use crate::app::App;
use crate::store::{DownCursor, OwnLog};

/// The process answers.
#[derive(Serialize, ToSchema)]
pub(super) struct LiveView {
    status: &'static str,
}

/// How the node stands. `status` is `ready` only when its store answered just now.
#[derive(Serialize, ToSchema)]
pub(super) struct ReadyView {
    status: &'static str,
    node: u16,
    /// Live terminal sessions.
    sessions: usize,
    up: UpView,
    down: DownView,
    /// Whether the hub is connected. A node serves its outlets without it.
    connected: bool,
    /// Why the hub refused this node, if it did.
    refused: Option<String>,
    /// Until the node's certificate ends. Seconds; negative once it has.
    certificate_expires_in_s: i64,
}

/// The node's own log against the hub's acknowledgement.
#[derive(Serialize, ToSchema)]
pub(super) struct UpView {
    head_seq: u64,
    acked_seq: u64,
    /// Age of the oldest event that the hub has not acknowledged; 0 when there is none.
    lag_ms: i64,
}

/// The hub's feed.
#[derive(Serialize, ToSchema)]
pub(super) struct DownView {
    next_seq: u64,
}

/// The process is alive.
#[utoipa::path(get, path = "/health/live", responses((status = 200, body = LiveView)))]
pub(super) async fn live() -> Json<LiveView> {
    Json(LiveView { status: "live" })
}

/// The node serves, and how far sync is. Errors: 503 when the store does not answer (unknown is never healthy), the thread that
/// writes has ended, or nobody is served: `node_fenced`, `offline_too_long`.
#[utoipa::path(get, path = "/health/ready", responses((status = 200, body = ReadyView), (status = 503, body = Problem)))]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<ReadyView>, Problem> {
    check_open(&app).map_err(|mut problem| {
        if let Some(refused) = &app.link.borrow().refused {
            problem.detail = format!("{} The hub says: {refused}.", problem.detail);
        }
        problem
    })?;
    let link = app.link.borrow().clone();
    let head = *app.writer.head().borrow();
    let oldest = link.acked_seq + 1;
    let read = app.pool.read(move |store| -> Result<_, rusqlite::Error> {
        let oldest = if oldest > head.seq { None } else { OwnLog(store).read(oldest, 1, usize::MAX)?.pop() };
        Ok((DownCursor::load(store)?, oldest))
    });
    let unknown = |detail: String| {
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unknown", detail, "Look at this node's log and disk.")
    };
    if !app.writer.is_running() {
        return Err(unknown("The thread that writes has ended.".to_string()));
    }
    let (down, oldest) =
        read.await.map_err(|error| unknown(error.to_string()))?.map_err(|error| unknown(error.to_string()))?;
    let oldest_at =
        oldest.and_then(|event| jikai_schema::codec::decode_event(&event.bytes).ok()).map(|event| event.at_ms);
    let lag_ms = oldest_at.map_or(0, |at_ms| (app.now_ms().ms() - at_ms.ms()).max(0));
    Ok(Json(ReadyView {
        status: "ready",
        node: app.node.get(),
        sessions: app.sessions.count(),
        up: UpView { head_seq: head.seq, acked_seq: link.acked_seq, lag_ms },
        down: DownView { next_seq: down.next_seq },
        connected: link.connected,
        refused: link.refused,
        certificate_expires_in_s: app.certificate.borrow().expires_in_s(app.now_ms()),
    }))
}

/// Metrics in the Prometheus text format; on the machine itself only. Errors: 403 `local_only`.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String), (status = 403, body = Problem)))]
pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    let link = app.link.borrow().clone();
    metrics::gauge!("jikai_sessions").set(app.sessions.count() as f64);
    metrics::gauge!("jikai_up_head_seq").set(app.writer.head().borrow().seq as f64);
    metrics::gauge!("jikai_up_acked_seq").set(link.acked_seq as f64);
    metrics::counter!("jikai_hub_forgot_total").absolute(link.hub_forgot);
    metrics::gauge!("jikai_hub_connected").set(if link.connected { 1.0 } else { 0.0 });
    let expires_in_s = app.certificate.borrow().expires_in_s(app.now_ms());
    metrics::gauge!("jikai_certificate_expires_in_s").set(expires_in_s as f64);
    app.metrics.render()
}

/// Counts requests by route and status, and their time.
pub(super) async fn count(request: Request<Body>, next: Next) -> Response {
    let started = std::time::Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("none".to_string(), |path| path.as_str().to_string());
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("jikai_requests_total", "route" => route.clone(), "status" => status).increment(1);
    metrics::histogram!("jikai_request_ms", "route" => route).record(started.elapsed().as_secs_f64() * 1e3);
    response
}
