//! The centre's API under `/v1`: JSON over HTTPS, one file a resource. Handlers map and ask; rules live in the machine.

mod certificates;
mod changes;
mod cluster;
mod consistency;
mod events;
mod fleet;
mod front;
mod grants;
mod guard;
mod handoff;
mod health;
mod hints;
mod imports;
mod invited;
mod nodes;
mod own;
mod personal;
mod problem;
mod recovery;
mod replacement;
mod reports;
mod security;
mod session;
mod staff;
mod standing;
mod subjects;
mod support;
mod terminals;
#[cfg(test)]
mod tests;
mod worklist;

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use tower_http::timeout::RequestBodyDeadlineLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::log::LogPosition;

pub use jikai_sync::https::Allowances;
pub use problem::Problem;
pub use standing::Notes;

#[derive(OpenApi)]
#[openapi(
    info(title = "Jikai hub", description = "What the centre may ask of the hub. Amounts are decimal yuan."),
    components(schemas(Problem))
)]
struct ApiDoc;

/// Most rows of a page.
const PAGE_ROWS_MAX: usize = 1_000;
/// Rows of a page when none are asked for.
const PAGE_ROWS_DEFAULT: usize = 200;

/// All routes of the hub.
pub fn router(app: App) -> Router {
    let (body_bytes_max, import_bytes_max) = (app.config.body_bytes_max, app.config.import_bytes_max);
    let imports = OpenApiRouter::new().routes(routes!(imports::list)).layer(DefaultBodyLimit::max(import_bytes_max));
    let addressed = OpenApiRouter::new()
        .routes(routes!(reports::sales))
        .routes(routes!(reports::stock))
        .routes(routes!(reports::claims))
        .routes(routes!(reports::deposits))
        .routes(routes!(reports::ledger))
        .routes(routes!(reports::accounts))
        .routes(routes!(worklist::exceptions))
        .routes(routes!(worklist::quarantine))
        .routes(routes!(events::of_hub))
        .routes(routes!(events::of_node))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::register))
        .routes(routes!(replacement::replace))
        .routes(routes!(fleet::add))
        .routes(routes!(fleet::remove))
        .routes(routes!(imports::batch))
        .routes(routes!(health::metrics))
        .routes(routes!(certificates::list, certificates::sign))
        .routes(routes!(certificates::revoke))
        .routes(routes!(certificates::revoke_all_of))
        .merge(machines())
        .merge(decisions())
        .merge(people())
        .merge(outlets())
        .layer(DefaultBodyLimit::max(body_bytes_max))
        .merge(imports);
    let (router, mut api) = OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .merge(addressed)
        .split_for_parts();
    security::declare(&mut api);
    consistency::declare(&mut api);
    let docs = utoipa_swagger_ui::SwaggerUi::new("/docs").url("/openapi.json", api);
    guarded(router.with_state(app.clone()).merge(docs), app)
}

/// Puts before these routes what every request passes, the guard last.
fn guarded(routes: Router, app: App) -> Router {
    let patience = Duration::from_millis(app.config.patience_ms);
    let bytes_max = app.config.import_bytes_max.max(app.config.body_bytes_max);
    let heard_out = front::HearingOut { bytes_max, patience };
    routes
        .route_layer(axum::middleware::from_fn_with_state(app.clone(), consistency::place))
        // Behind the last route: nothing is answered past the guard.
        .route_layer(axum::middleware::from_fn_with_state(app, guard::guard))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(axum::middleware::from_fn(problem::as_problem))
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(problem::panicked))
        .layer(RequestBodyDeadlineLayer::new(patience))
        .layer(axum::middleware::from_fn(front::protect))
        .layer(axum::middleware::from_fn_with_state(heard_out, front::hear_out))
        .layer(axum::middleware::from_fn(health::count))
}

/// The machines of the hub.
fn machines() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(handoff::show, handoff::start, handoff::cancel))
        .routes(routes!(handoff::plan))
        .routes(routes!(cluster::show))
        .routes(routes!(cluster::invite))
        .routes(routes!(cluster::add, cluster::remove))
        .routes(routes!(cluster::taking_in))
        .routes(routes!(cluster::taking_out))
        .routes(routes!(cluster::promote))
        .routes(routes!(cluster::transfer))
        .routes(routes!(cluster::drain, cluster::undrain))
        .routes(routes!(recovery::show))
        .routes(routes!(recovery::finish))
}

/// Sessions, accounts and rights of staff.
fn people() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(session::open, session::show, session::close))
        .routes(routes!(own::sessions))
        .routes(routes!(own::end_session))
        .routes(routes!(own::password))
        .routes(routes!(own::offer_factor))
        .routes(routes!(own::set_factor))
        .routes(routes!(own::confirm))
        .routes(routes!(staff::list, staff::create))
        .routes(routes!(staff::change))
        .routes(routes!(staff::reset_password))
        .routes(routes!(staff::grant_first_security))
        .routes(routes!(staff::grants, staff::set_grants))
        .routes(routes!(staff::clear_factor))
        .routes(routes!(staff::offer_confirmation))
        .routes(routes!(staff::sessions))
        .routes(routes!(staff::end_session))
        .routes(routes!(support::list, support::ask))
        .routes(routes!(support::approve))
        .routes(routes!(support::end))
}

/// What one person proposes and another decides.
fn decisions() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(changes::list, changes::propose))
        .routes(routes!(changes::approve))
        .routes(routes!(changes::refuse))
        .routes(routes!(changes::withdraw))
        .routes(routes!(changes::parameters))
}

/// Devices and persons of outlets.
fn outlets() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(terminals::list))
        .routes(routes!(terminals::offer))
        .routes(routes!(terminals::revoke))
        .routes(routes!(terminals::define_operator, terminals::disable_operator))
        .routes(routes!(personal::show))
        .routes(routes!(personal::keep, personal::clear))
        .routes(routes!(personal::read))
}

/// A page size as asked, within its bounds.
fn page_rows(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE_ROWS_DEFAULT).clamp(1, PAGE_ROWS_MAX)
}

/// JSON lines with the place up to which the log was applied.
fn json_lines(lines: Vec<u8>, applied: LogPosition) -> Response {
    let kind = HeaderValue::from_static("application/x-ndjson");
    let headers =
        [(axum::http::header::CONTENT_TYPE, kind), (consistency::APPLIED_INDEX, HeaderValue::from(applied.get()))];
    (headers, lines).into_response()
}
