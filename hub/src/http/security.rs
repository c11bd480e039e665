//! How an address wants its caller to prove who it is, in the document: by the table of rights, so that both say the same.

use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, SecurityRequirement};

use super::guard::{COOKIE, CSRF_HEADER};
use crate::rights::{CONSOLE, Needs, route_of};

const SESSION: &str = "session";
const CSRF: &str = "csrf";
const MACHINE: &str = "machine";

/// Adds the schemes, and to each address those that open it.
pub(super) fn declare(api: &mut OpenApi) {
    let components = api.components.get_or_insert_with(Components::new);
    let cookie = ApiKeyValue::with_description(COOKIE, "The cookie that POST /v1/session sets.");
    components.add_security_scheme(SESSION, SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    let header = "`csrf_token` of the session's answer; with everything that changes.";
    let header = ApiKeyValue::with_description(CSRF_HEADER, header);
    components.add_security_scheme(CSRF, SecurityScheme::ApiKey(ApiKey::Header(header)));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("The machine's token, admin.token, from the machine itself."));
    components.add_security_scheme(MACHINE, SecurityScheme::Http(bearer.build()));
    for (path, item) in &mut api.paths.paths {
        let operations =
            [("GET", &mut item.get), ("POST", &mut item.post), ("PUT", &mut item.put), ("DELETE", &mut item.delete)];
        for (method, operation) in operations {
            if let Some(operation) = operation {
                require(operation, method, path);
            }
        }
    }
}

fn require(operation: &mut Operation, method: &str, path: &str) {
    let none: [&str; 0] = [];
    let session = SecurityRequirement::new(SESSION, none);
    let session = if method == "GET" { session } else { session.add(CSRF, none) };
    let machine = SecurityRequirement::new(MACHINE, none);
    operation.security = match route_of(method, path).map(|route| &route.needs) {
        Some(Needs::May(permission)) if CONSOLE.contains(permission) => Some(vec![session, machine]),
        Some(Needs::May(_) | Needs::Session) => Some(vec![session]),
        Some(Needs::Nothing) | None => Some(Vec::new()),
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use utoipa::OpenApi as _;

    use super::super::{ApiDoc, changes, health, nodes, session};

    #[test]
    fn each_address_says_what_opens_it() {
        let (_, mut api) = utoipa_axum::router::OpenApiRouter::<crate::app::App>::with_openapi(ApiDoc::openapi())
            .routes(utoipa_axum::routes!(health::live))
            .routes(utoipa_axum::routes!(session::open, session::show))
            .routes(utoipa_axum::routes!(changes::list, changes::propose))
            .routes(utoipa_axum::routes!(nodes::list))
            .split_for_parts();
        super::declare(&mut api);
        let document = serde_json::to_value(&api).unwrap();
        let schemes = &document["components"]["securitySchemes"];
        assert_eq!((&schemes["session"]["in"], &schemes["csrf"]["in"]), (&json!("cookie"), &json!("header")));
        assert_eq!(schemes["machine"]["scheme"], "bearer");
        let of = |method: &str, path: &str| document["paths"][path][method]["security"].clone();
        assert_eq!(of("get", "/health/live"), json!([]));
        assert_eq!(of("post", "/v1/session"), json!([]));
        assert_eq!(of("get", "/v1/session"), json!([{ "session": [] }]));
        assert_eq!(of("post", "/v1/changes"), json!([{ "csrf": [], "session": [] }]));
        assert_eq!(of("get", "/v1/nodes"), json!([{ "session": [] }, { "machine": [] }]));
    }
}
