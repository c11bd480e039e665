//! Every address of the node's API with what it needs. An address that is missing here is refused to everybody.

use super::Permission;
use super::Resource::*;
use super::Verb::*;

const GET: &str = "GET";
const POST: &str = "POST";

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: anybody may ask, as often as liked. It costs the node next to nothing.
    Nothing,
    /// Nothing, within the allowance of the caller's address.
    Allowance,
    /// To come from the machine itself.
    Machine,
    /// An open session, whatever its person may do.
    Session,
    /// A permission of the person in an open session.
    May(Permission),
}

/// One address.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// The method.
    pub method: &'static str,
    /// The path with its parameters, as in the OpenAPI document.
    pub path: &'static str,
    /// What it needs.
    pub needs: Needs,
}

const fn route(method: &'static str, path: &'static str, needs: Needs) -> Route {
    Route { method, path, needs }
}

const fn may(method: &'static str, path: &'static str, permission: Permission) -> Route {
    Route { method, path, needs: Needs::May(permission) }
}

/// All addresses.
pub const ROUTES: &[Route] = &[
    // What terminals ask most stands first.
    may(POST, "/v1/tickets/sell", (Sell, Tickets)),
    may(POST, "/v1/claims/inquire", (Inquire, Claims)),
    may(POST, "/v1/claims/pay", (Pay, Claims)),
    may(GET, "/v1/stock", (See, Stock)),
    may(GET, "/v1/packs", (See, Packs)),
    may(POST, "/v1/packs/receive", (Receive, Packs)),
    may(POST, "/v1/packs/return", (Return, Packs)),
    may(GET, "/v1/sales", (See, Sales)),
    may(GET, "/v1/account", (See, Account)),
    may(GET, "/v1/account/entries", (See, Statement)),
    route(GET, "/v1/session", Needs::Session),
    route(POST, "/v1/logout", Needs::Session),
    route(POST, "/v1/login/challenge", Needs::Allowance),
    route(POST, "/v1/login", Needs::Allowance),
    route(POST, "/v1/enrolment", Needs::Allowance),
    route(GET, "/v1/directory", Needs::Allowance),
    route(GET, "/health/ready", Needs::Allowance),
    route(GET, "/health/live", Needs::Nothing),
    route(GET, "/metrics", Needs::Machine),
    route(GET, "/openapi.json", Needs::Nothing),
    route(GET, "/docs", Needs::Nothing),
    route(GET, "/docs/", Needs::Nothing),
    route(GET, "/docs/{*rest}", Needs::Nothing),
];

/// The address that a request is for; a `HEAD` is answered like its `GET`.
pub fn route_of(method: &str, path: &str) -> Option<&'static Route> {
    let method = if method == "HEAD" { GET } else { method };
    ROUTES.iter().find(|route| route.method == method && route.path == path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_is_declared_twice_and_what_is_not_declared_is_not_found() {
        for (at, route) in ROUTES.iter().enumerate() {
            let again = ROUTES[at + 1..].iter().find(|other| (other.method, other.path) == (route.method, route.path));
            assert!(again.is_none(), "{} {}", route.method, route.path);
        }
        assert!(route_of("GET", "/v1/stock").is_some() && route_of("HEAD", "/v1/stock").is_some());
        assert!(route_of("POST", "/v1/stock").is_none() && route_of("GET", "/v1/stock/").is_none());
    }
}
