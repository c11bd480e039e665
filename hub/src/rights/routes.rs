//! Every address of the hub's API with what it needs. An address that is missing here is refused to everybody.

use super::Permission;
use super::Resource::*;
use super::Verb::*;

const GET: &str = "GET";
const POST: &str = "POST";
const PUT: &str = "PUT";
const DELETE: &str = "DELETE";

/// What a request needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Nothing: anybody may ask.
    Nothing,
    /// An open session of a member of staff, even one who must still change the password or set up the second factor.
    Session,
    /// A permission.
    May(Permission),
}

/// How far an answer reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Only rows of the caller's area are read or written.
    Area,
    /// It cannot be divided: only who has the permission for the whole province may ask.
    Province,
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
    /// How far it reaches.
    pub reach: Reach,
    /// Whether asking is remembered in the trail, though nothing changes.
    pub sensitive: bool,
}

const fn open(method: &'static str, path: &'static str) -> Route {
    Route { method, path, needs: Needs::Nothing, reach: Reach::Province, sensitive: false }
}

const fn own(method: &'static str, path: &'static str) -> Route {
    Route { method, path, needs: Needs::Session, reach: Reach::Province, sensitive: false }
}

const fn within(method: &'static str, path: &'static str, permission: Permission) -> Route {
    Route { method, path, needs: Needs::May(permission), reach: Reach::Area, sensitive: false }
}

const fn whole(method: &'static str, path: &'static str, permission: Permission) -> Route {
    Route { method, path, needs: Needs::May(permission), reach: Reach::Province, sensitive: false }
}

const fn noted(route: Route) -> Route {
    Route { sensitive: true, ..route }
}

/// All addresses.
pub const ROUTES: &[Route] = &[
    open(GET, "/health/live"),
    open(GET, "/health/ready"),
    open(GET, "/openapi.json"),
    open(GET, "/docs"),
    open(GET, "/docs/"),
    open(GET, "/docs/{*rest}"),
    open(POST, "/v1/session"),
    own(GET, "/v1/session"),
    own(DELETE, "/v1/session"),
    own(GET, "/v1/own/sessions"),
    own(DELETE, "/v1/own/sessions/{session}"),
    own(PUT, "/v1/own/password"),
    own(POST, "/v1/own/second-factor/offer"),
    own(PUT, "/v1/own/second-factor"),
    own(PUT, "/v1/own/confirmation"),
    whole(GET, "/v1/staff", (See, StaffAccounts)),
    whole(POST, "/v1/staff", (Change, StaffAccounts)),
    whole(PUT, "/v1/staff/{login}", (Change, StaffAccounts)),
    whole(POST, "/v1/staff/{login}/password-reset", (Change, StaffAccounts)),
    whole(POST, "/v1/staff/{login}/first-security-administrator", (Change, StaffAccounts)),
    whole(GET, "/v1/staff/{login}/grants", (See, StaffRights)),
    whole(PUT, "/v1/staff/{login}/grants", (Change, StaffRights)),
    whole(DELETE, "/v1/staff/{login}/second-factor", (Change, StaffRights)),
    whole(POST, "/v1/staff/{login}/confirmation", (Change, Confirmations)),
    whole(GET, "/v1/staff/{login}/sessions", (See, StaffSessions)),
    whole(DELETE, "/v1/staff/{login}/sessions/{session}", (Revoke, StaffSessions)),
    whole(GET, "/v1/support", (See, Support)),
    whole(POST, "/v1/support", (Ask, Support)),
    whole(POST, "/v1/support/{number}/approval", (Approve, Support)),
    whole(DELETE, "/v1/support/{number}", (Revoke, Support)),
    within(GET, "/v1/reports/sales", (See, Sales)),
    within(GET, "/v1/reports/stock", (See, Stock)),
    within(GET, "/v1/reports/claims", (See, Claims)),
    within(GET, "/v1/reports/deposits", (See, Deposits)),
    within(GET, "/v1/reports/ledger", (See, Ledger)),
    noted(within(GET, "/v1/accounts", (See, Ledger))),
    noted(within(GET, "/v1/exceptions", (See, Ledger))),
    whole(GET, "/v1/quarantine", (See, Nodes)),
    noted(whole(GET, "/v1/events", (See, Trail))),
    noted(whole(GET, "/v1/nodes/{node}/events", (See, Trail))),
    whole(GET, "/v1/parameters", (See, Parameters)),
    within(GET, "/v1/changes", (See, Changes)),
    within(POST, "/v1/changes", (Ask, Changes)),
    within(DELETE, "/v1/changes/{number}", (Ask, Changes)),
    whole(POST, "/v1/changes/{number}/approval", (Approve, Changes)),
    whole(POST, "/v1/changes/{number}/refusal", (Approve, Changes)),
    within(GET, "/v1/terminals", (See, Terminals)),
    within(POST, "/v1/terminals/{terminal}/enrolment", (Change, Terminals)),
    within(POST, "/v1/terminals/{terminal}/revocation", (Revoke, Terminals)),
    within(PUT, "/v1/operators/{operator}", (Change, Operators)),
    within(DELETE, "/v1/operators/{operator}", (Revoke, Operators)),
    within(GET, "/v1/outlets/{outlet}/personal", (See, Personal)),
    within(PUT, "/v1/outlets/{outlet}/personal/{field}", (Change, Personal)),
    within(DELETE, "/v1/outlets/{outlet}/personal/{field}", (Change, Personal)),
    within(POST, "/v1/outlets/{outlet}/personal/reading", (Reveal, Personal)),
    whole(GET, "/v1/nodes", (See, Nodes)),
    whole(POST, "/v1/nodes", (Change, Nodes)),
    whole(POST, "/v1/nodes/{node}/addition", (Change, Nodes)),
    whole(POST, "/v1/nodes/{node}/replacement", (Revoke, Nodes)),
    whole(POST, "/v1/nodes/{node}/removal", (Revoke, Nodes)),
    whole(GET, "/v1/certificates", (See, Nodes)),
    whole(POST, "/v1/certificates", (Change, Nodes)),
    whole(POST, "/v1/certificates/{serial}/revocation", (Revoke, Nodes)),
    whole(POST, "/v1/nodes/{node}/certificates/revocation", (Revoke, Nodes)),
    whole(POST, "/v1/imports/lists/{kind}", (Import, Lists)),
    whole(POST, "/v1/imports/batches", (Import, Batches)),
    whole(GET, "/v1/handoffs", (See, Machines)),
    whole(POST, "/v1/handoffs", (Change, Machines)),
    whole(DELETE, "/v1/handoffs", (Change, Machines)),
    whole(GET, "/v1/handoffs/plan", (See, Machines)),
    whole(GET, "/v1/cluster", (See, Machines)),
    whole(POST, "/v1/cluster/invitations", (Reveal, Machines)),
    noted(whole(POST, "/v1/cluster/machines/{machine}", (Change, Machines))),
    whole(GET, "/v1/cluster/machines/{machine}/taking-in", (Change, Machines)),
    whole(DELETE, "/v1/cluster/machines/{machine}", (Change, Machines)),
    whole(GET, "/v1/cluster/machines/{machine}/taking-out", (Change, Machines)),
    noted(whole(POST, "/v1/cluster/machines/{machine}/promotion", (Change, Machines))),
    noted(whole(POST, "/v1/cluster/machines/{machine}/lead", (Change, Machines))),
    whole(PUT, "/v1/cluster/machines/{machine}/draining", (Change, Machines)),
    whole(DELETE, "/v1/cluster/machines/{machine}/draining", (Change, Machines)),
    whole(GET, "/v1/cluster/recovery", (See, Machines)),
    whole(POST, "/v1/cluster/recovery/end", (Change, Machines)),
    whole(GET, "/metrics", (See, Metrics)),
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
    fn no_address_is_declared_twice() {
        for (at, route) in ROUTES.iter().enumerate() {
            let again = ROUTES[at + 1..].iter().find(|other| (other.method, other.path) == (route.method, route.path));
            assert!(again.is_none(), "{} {}", route.method, route.path);
        }
    }

    #[test]
    fn what_is_not_declared_is_not_found_and_head_is_get() {
        assert!(route_of("GET", "/v1/nodes").is_some());
        assert!(route_of("HEAD", "/v1/nodes").is_some());
        assert!(route_of("DELETE", "/v1/nodes").is_none());
        assert!(route_of("GET", "/v1/nodes/").is_none());
        assert!(route_of("GET", "/v1/other").is_none());
    }
}
