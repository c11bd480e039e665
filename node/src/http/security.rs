//! How an address wants its caller to prove who it is, in the document: by the table of rights, so that both say the same.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Components, OpenApi, SecurityRequirement};

use crate::rights::{Needs, route_of};

const SESSION: &str = "session";

/// Adds the scheme, and to each address whether it wants it.
pub(super) fn declare(api: &mut OpenApi) {
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer);
    let bearer = bearer.description(Some("The token that POST /v1/login gives.")).build();
    let components = api.components.get_or_insert_with(Components::new);
    components.add_security_scheme(SESSION, SecurityScheme::Http(bearer));
    let none: [&str; 0] = [];
    for (path, item) in &mut api.paths.paths {
        for (method, operation) in [("GET", &mut item.get), ("POST", &mut item.post)] {
            let Some(operation) = operation else { continue };
            let needs = route_of(method, path).map(|route| &route.needs);
            let is_in_session = matches!(needs, Some(Needs::Session | Needs::May(_)));
            operation.security =
                Some(if is_in_session { vec![SecurityRequirement::new(SESSION, none)] } else { Vec::new() });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use utoipa::OpenApi as _;

    use super::super::{ApiDoc, claims, health, login};

    #[test]
    fn each_address_says_whether_it_wants_a_session() {
        let (_, mut api) = utoipa_axum::router::OpenApiRouter::<crate::app::App>::with_openapi(ApiDoc::openapi())
            .routes(utoipa_axum::routes!(health::live))
            .routes(utoipa_axum::routes!(login::challenge))
            .routes(utoipa_axum::routes!(claims::pay))
            .split_for_parts();
        super::declare(&mut api);
        let document = serde_json::to_value(&api).unwrap();
        assert_eq!(document["components"]["securitySchemes"]["session"]["scheme"], "bearer");
        let of = |method: &str, path: &str| document["paths"][path][method]["security"].clone();
        assert_eq!(of("get", "/health/live"), json!([]));
        assert_eq!(of("post", "/v1/login/challenge"), json!([]));
        assert_eq!(of("post", "/v1/claims/pay"), json!([{ "session": [] }]));
    }
}
