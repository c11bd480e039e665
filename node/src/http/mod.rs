//! The terminals' API under `/v1`: JSON over HTTPS, one file a resource. Handlers map and ask; rights
//! are asked by one guard, rules live in
//! [`crate::decide`].

mod account;
mod caller;
mod claims;
mod directory;
mod enrolment;
mod front;
mod guard;
mod health;
mod login;
mod packs;
mod problem;
mod sales;
mod security;
mod session;
mod stock;
mod tickets;
mod token;
mod wrong_node;

use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use tower::ServiceBuilder;
use tower_http::timeout::RequestBodyDeadlineLayer;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;

pub use jikai_sync::https::Allowances;
pub use problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(title = "Jikai node", description = "What an outlet's terminal may ask of its regional node."),
    components(schemas(Problem))
)]
struct ApiDoc;

/// Most rows of a page.
const PAGE_ROWS_MAX: u32 = 200;
/// A body that is longer than allowed is read, and forgotten, up to so many times its limit: its sender shall hear why it
/// is refused.
const TOO_LONG_TIMES: usize = 16;
/// Rows of a page when none are asked for.
const PAGE_ROWS_DEFAULT: u32 = 50;

/// All routes of the node.
pub fn router(app: App) -> Router {
    let (router, mut api) = OpenApiRouter::with_openapi(ApiDoc::openapi())
        .routes(routes!(login::challenge))
        .routes(routes!(login::login))
        .routes(routes!(session::show))
        .routes(routes!(login::logout))
        .routes(routes!(enrolment::enrol))
        .routes(routes!(directory::show))
        .routes(routes!(packs::list))
        .routes(routes!(packs::receive))
        .routes(routes!(packs::give_back))
        .routes(routes!(tickets::sell))
        .routes(routes!(claims::inquire))
        .routes(routes!(claims::pay))
        .routes(routes!(stock::stock))
        .routes(routes!(sales::sales))
        .routes(routes!(account::balance))
        .routes(routes!(account::entries))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::metrics))
        .split_for_parts();
    security::declare(&mut api);
    let docs = utoipa_swagger_ui::SwaggerUi::new("/docs").url("/openapi.json", api);
    guarded(router.with_state(app.clone()).merge(docs), app)
}

/// Puts before these routes what every request passes, the guard last. Tests put it before routes that nobody declared.
pub fn guarded(routes: Router, app: App) -> Router {
    let (body_bytes_max, patience) = (app.config.body_bytes_max, Duration::from_millis(app.config.patience_ms));
    let heard_out = front::HearingOut { bytes_max: body_bytes_max.saturating_mul(TOO_LONG_TIMES), patience };
    let board = app.directory.clone();
    routes
        // Behind the last route: nothing is answered past the guard.
        .route_layer(axum::middleware::from_fn_with_state(app, guard::guard))
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(axum::middleware::from_fn(problem::as_problem))
        // As one: each layer by itself would have all below it copied anew with every request.
        .layer(
            ServiceBuilder::new()
                .layer(axum::middleware::from_fn(health::count))
                .layer(axum::middleware::from_fn_with_state(heard_out, front::hear_out))
                .layer(axum::middleware::from_fn_with_state(board, directory::tell_version))
                .layer(axum::middleware::from_fn(front::protect))
                .layer(tower_http::catch_panic::CatchPanicLayer::custom(problem::panicked))
                .layer(RequestBodyDeadlineLayer::new(patience))
                .layer(DefaultBodyLimit::max(body_bytes_max)),
        )
}

/// A page size as asked, within its bounds.
fn page_rows(limit: Option<u32>) -> u32 {
    limit.unwrap_or(PAGE_ROWS_DEFAULT).clamp(1, PAGE_ROWS_MAX)
}
