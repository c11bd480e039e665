//! How new an answer is: every read tells up to where the log was applied, and may be asked for behind everything that any machine
//! has answered before. Here and not in handlers, so that no read goes without.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Content, OpenApi, Ref, RefOr, ResponseBuilder};

use super::problem::Problem;
use crate::app::App;
use crate::raft::digests::Agreement;
use crate::sequencer::ProposeError;

/// Parameter by which a read waits for the leader's place in the log.
const PARAMETER: &str = "consistent";
/// Header with the place up to which the log was applied when a read began; what it shows may be newer.
pub(super) const APPLIED_INDEX: HeaderName = HeaderName::from_static("x-applied-index");

/// Whether a request needs the state, if only to know who asks: all of the API but health, documents and metrics, which are about this
/// machine.
fn needs_state(path: &str) -> bool {
    path.starts_with("/v1/")
}

/// Whether it reads it.
fn reads(method: &Method, path: &str) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && needs_state(path)
}

/// Has reads wait where they ask for it, and tells of each how new it is. Behind the guard: strangers make no machine ask another.
/// Errors: 422 `invalid_consistent`; 503 `no_leader`, `stopping`, `state_differs`.
pub(super) async fn place(State(app): State<App>, request: Request<Body>, next: Next) -> Result<Response, Problem> {
    if needs_state(request.uri().path()) {
        check_state(&app)?;
    }
    if !reads(request.method(), request.uri().path()) {
        return Ok(next.run(request).await);
    }
    let (mut parts, body) = request.into_parts();
    let (uri, waits) = without_parameter(&parts.uri)?;
    parts.uri = uri;
    if waits {
        app.sequencer.catch_up().await?;
    }
    let applied = app.sequencer.applied();
    let mut response = next.run(Request::from_parts(parts, body)).await.into_response();
    response.headers_mut().entry(APPLIED_INDEX).or_insert_with(|| HeaderValue::from(applied.get()));
    Ok(response)
}

/// Refuses where the state of this machine must not be shown any more. Errors: 503 `stopping`, `state_differs`.
pub(super) fn check_state(app: &App) -> Result<(), Problem> {
    if app.sequencer.failed().borrow().is_some() {
        return Err(ProposeError::Stopped.into());
    }
    let Some(Agreement { index, tables, .. }) = app.sequencer.yielding() else { return Ok(()) };
    let detail = format!("The state differs from the leader's at entry {index}: {}.", tables.join(", "));
    let hint = "Ask another machine. Remove this one from the cluster and let it join anew.";
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "state_differs", detail, hint))
}

/// Takes the parameter out of an address, whose handler does not know it; whether the read waits.
fn without_parameter(uri: &Uri) -> Result<(Uri, bool), Problem> {
    let mut waits = false;
    let mut rest: Vec<&str> = Vec::new();
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=').unwrap_or((pair, "")) {
            (PARAMETER, "true") => waits = true,
            (PARAMETER, "false") => {}
            (PARAMETER, other) => {
                return Err(Problem::invalid(PARAMETER, format!("`{other}` is neither true nor false")));
            }
            _ => rest.push(pair),
        }
    }
    let query = rest.join("&");
    let text = if query.is_empty() { uri.path().to_owned() } else { format!("{}?{query}", uri.path()) };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(text).map_err(|error| Problem::internal(&error))?);
    Ok((Uri::from_parts(parts).map_err(|error| Problem::internal(&error))?, waits))
}

/// Adds parameter, header and refusal to the document of every read.
pub(super) fn declare(api: &mut OpenApi) {
    for (path, item) in &mut api.paths.paths {
        if let Some(operation) = item.get.as_mut().filter(|_| reads(&Method::GET, path)) {
            declare_read(operation);
        }
    }
}

fn declare_read(operation: &mut Operation) {
    let parameter = ParameterBuilder::new()
        .name(PARAMETER)
        .parameter_in(ParameterIn::Query)
        .description(Some(
            "Whether to wait for everything that any machine of the hub has answered before. Default: false.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::Boolean)));
    operation.parameters.get_or_insert_default().push(RefOr::T(parameter.build()));
    let number = ObjectBuilder::new().schema_type(Type::Integer);
    let header = HeaderBuilder::new()
        .schema(Some(number))
        .description(Some("Place up to which the command log was applied when the read began."))
        .build();
    let responses = &mut operation.responses.responses;
    if let Some(RefOr::T(done)) = responses.get_mut("200") {
        done.headers.insert(APPLIED_INDEX.to_string(), RefOr::T(header));
    }
    for (status, description) in [
        ("422", "a value that cannot be read"),
        ("503", "no leader confirms the read, or this machine must not show its state"),
    ] {
        responses.entry(status.to_owned()).or_insert_with(|| {
            let problem = Content::new(Some(Ref::from_schema_name("Problem")));
            let response = ResponseBuilder::new().description(description);
            RefOr::T(response.content("application/problem+json", problem).build())
        });
    }
}

#[cfg(test)]
mod tests {
    use utoipa::OpenApi as _;

    use super::super::{ApiDoc, health, nodes, session};
    use super::*;

    fn check(asked: &str, left: &str, waits: bool) {
        let (uri, found) = without_parameter(&asked.parse().unwrap()).unwrap();
        assert_eq!((uri.to_string().as_str(), found), (left, waits), "{asked}");
    }

    #[test]
    fn the_parameter_is_taken_out_and_the_rest_stays_as_it_was() {
        check("/v1/nodes", "/v1/nodes", false);
        check("/v1/nodes?consistent=true", "/v1/nodes", true);
        check("/v1/nodes?consistent=false", "/v1/nodes", false);
        check("/v1/events?after=1&consistent=true&limit=%20", "/v1/events?after=1&limit=%20", true);
        check("/v1/events?inconsistent=true", "/v1/events?inconsistent=true", false);
        for bad in ["/v1/nodes?consistent", "/v1/nodes?consistent=yes", "/v1/nodes?consistent=true&consistent=1"] {
            assert_eq!(without_parameter(&bad.parse().unwrap()).unwrap_err().code, "invalid_consistent", "{bad}");
        }
    }

    #[test]
    fn every_read_says_in_the_document_that_it_can_wait_and_nothing_else_does() {
        let (_, mut api) = utoipa_axum::router::OpenApiRouter::<App>::with_openapi(ApiDoc::openapi())
            .routes(utoipa_axum::routes!(health::ready))
            .routes(utoipa_axum::routes!(session::open, session::show))
            .routes(utoipa_axum::routes!(nodes::list))
            .split_for_parts();
        declare(&mut api);
        let document = serde_json::to_value(&api).unwrap();
        let parameter = |method: &str, path: &str| document["paths"][path][method]["parameters"][0]["name"].clone();
        for path in ["/v1/session", "/v1/nodes"] {
            assert_eq!(parameter("get", path), PARAMETER, "{path}");
            let responses = &document["paths"][path]["get"]["responses"];
            assert_eq!(responses["200"]["headers"]["x-applied-index"]["schema"]["type"], "integer", "{path}");
            assert!(responses["503"]["content"]["application/problem+json"].is_object(), "{path}");
        }
        assert!(parameter("post", "/v1/session").is_null() && parameter("get", "/health/ready").is_null());
    }
}
