//! What is asked at each address: its path filled in, and a body that the address takes. All of it is about prefecture 1301.

use axum::body::Body;
use axum::http::{Request, header};
use jikai_sync::identity::KeyAndRequest;
use serde_json::{Value, json};

use super::TOKEN;
use super::rights::cookie;
use crate::province::node;
use crate::rights::{ROUTES, Route};
use crate::staff::SessionToken;

/// Kinds of changes, in the order of the numbers under which the walk's open changes stand.
pub(super) const KINDS: [&str; 9] =
    ["parameter", "outlet_class", "game", "sale", "redemption_end", "hold", "deposit", "grants", "prize_data"];

/// Who asks.
pub(super) enum Who {
    /// Without session and token.
    Nobody,
    /// With the machine's token.
    Console,
    /// In a session.
    Staff(SessionToken),
}

/// One question.
pub(super) struct Question {
    /// Where it goes.
    pub(super) route: &'static Route,
    /// What tells it from the others at this address; empty where there is one.
    pub(super) about: &'static str,
}

/// All that is asked. Logging out comes last, or nobody could ask any more.
pub(super) fn questions() -> Vec<Question> {
    let of = |route: &'static Route| abouts(route).into_iter().map(move |about| Question { route, about });
    let mut questions: Vec<Question> = ROUTES.iter().flat_map(of).collect();
    questions.sort_by_key(|Question { route, .. }| (route.method, route.path) == ("DELETE", "/v1/session"));
    questions
}

fn abouts(route: &Route) -> Vec<&'static str> {
    match (route.method, route.path) {
        ("GET", "/v1/reports/ledger") => vec!["kind", "prefecture"],
        ("POST", "/v1/changes") => [KINDS.as_slice(), &["hold in 1302"]].concat(),
        ("POST", "/v1/changes/{number}/approval" | "/v1/changes/{number}/refusal") => KINDS.to_vec(),
        _ => vec![""],
    }
}

impl Question {
    /// As the snapshot names it.
    pub(super) fn name(&self) -> String {
        let about = if self.about.is_empty() { String::new() } else { format!(" ({})", self.about) };
        format!("{} {}{about}", self.route.method, self.route.path)
    }

    /// As it is sent. `serial` makes what is to be new differ from what others made.
    pub(super) fn request(&self, who: &Who, serial: u32) -> Request<Body> {
        let is_list = self.route.path == "/v1/imports/lists/{kind}";
        let kind = if is_list { "text/csv" } else { "application/json" };
        let request = Request::builder().method(self.route.method).uri(self.path()).header(header::CONTENT_TYPE, kind);
        let request = match who {
            Who::Nobody => request,
            Who::Console => request.header(header::AUTHORIZATION, format!("Bearer {TOKEN}")),
            Who::Staff(token) => request.header(header::COOKIE, cookie(token)).header("x-csrf-token", token.csrf()),
        };
        let list = "outlet_id,name,township_code\n13010001,outlet 13010001,130102001\n";
        let body = if is_list { list.to_string() } else { self.body(serial).to_string() };
        request.body(Body::from(body)).unwrap()
    }

    fn path(&self) -> String {
        let path = self.route.path.replace("{login}", "somebody").replace("{session}", "0123456789abcdef");
        let path = path
            .replace("{terminal}", "1301000101")
            .replace("{operator}", "1301000101")
            .replace("{number}", &self.number().to_string())
            .replace("{serial}", "0a")
            .replace("{node}", if self.comes_and_goes() { "7" } else { "1" })
            .replace("{machine}", "1")
            .replace("{kind}", "outlets")
            .replace("{outlet}", "13010001")
            .replace("{field}", "phone");
        let path = path.replace("{*rest}", "index.css");
        assert!(!path.contains('{'), "{path}: say what stands for the parameter");
        match (self.route.method, self.route.path) {
            ("GET", "/v1/handoffs/plan") => format!("{path}?fill=1"),
            ("GET", "/v1/terminals") => format!("{path}?outlet=13010001"),
            ("GET", "/v1/reports/ledger") => format!("{path}?by={}", self.about),
            _ => path,
        }
    }

    /// About a node that the first who may adds, and takes out of use.
    fn comes_and_goes(&self) -> bool {
        self.route.path.ends_with("/addition") || self.route.path.ends_with("/removal")
    }

    /// Of the open change, or of the support that was asked for.
    fn number(&self) -> usize {
        let place = KINDS.iter().position(|kind| *kind == self.about).unwrap_or(1);
        if self.route.path.ends_with("/refusal") { KINDS.len() + place + 1 } else { place + 1 }
    }

    fn body(&self, serial: u32) -> Value {
        match (self.route.method, self.route.path) {
            ("POST", "/v1/session") => json!({ "login": format!("nobody-{serial}"), "password": "not-the-password" }),
            ("PUT", "/v1/own/password") => {
                json!({ "old_password": "not-the-password", "new_password": "violet-mountain-7" })
            }
            ("PUT", "/v1/own/second-factor") => json!({ "offer": "made-up", "code": "000000" }),
            ("PUT", "/v1/own/confirmation") => json!({ "code": "made-up" }),
            ("POST", "/v1/staff") => json!({ "login": format!("made-{serial}"), "name": "王芳" }),
            ("PUT", "/v1/staff/{login}") => json!({ "name": format!("王芳 {serial}"), "active": true }),
            ("PUT", "/v1/staff/{login}/grants") => json!({ "seen": [], "grants": [] }),
            ("POST", "/v1/support") => json!({ "login": "vendor", "reason": "case 7", "minutes": 30 }),
            ("POST", "/v1/changes") => json!({ "subject": subject(self.about), "reason": "order 7" }),
            ("POST", "/v1/terminals/{terminal}/enrolment") => json!({ "kind": "gun" }),
            ("PUT", "/v1/operators/{operator}") => json!({ "name": "李伟", "role": "clerk" }),
            ("PUT", "/v1/outlets/{outlet}/personal/{field}") => json!({ "value": "13800138000" }),
            ("POST", "/v1/outlets/{outlet}/personal/reading") => json!({ "fields": ["phone"], "reason": "refund 7" }),
            ("POST", "/v1/cluster/machines/{machine}") => json!({ "peer_address": "127.0.0.1:7402" }),
            ("POST", "/v1/handoffs") => json!({ "fill": 1 }),
            ("POST", "/v1/nodes") => json!({ "id": 3, "name": "node 3", "prefectures": [1303] }),
            ("POST", "/v1/nodes/{node}/addition") => json!({ "name": "node 7", "hub": ["127.0.0.1:7400"] }),
            ("POST", "/v1/nodes/{node}/removal") => json!({ "reason": "lease 7" }),
            ("POST", "/v1/nodes/{node}/replacement") => json!({ "reason": "disk 7", "hub": ["127.0.0.1:7400"] }),
            ("POST", "/v1/certificates") => {
                json!({ "node": 1, "request": KeyAndRequest::for_node(node(1)).unwrap().request_pem, "hosts": [] })
            }
            ("POST", "/v1/imports/batches") => json!({ "directory": "/" }),
            ("POST", path) if path.ends_with("/revocation") || path.ends_with("/refusal") => {
                json!({ "reason": "order 7" })
            }
            // Whoever adds an address that takes a body is told so by its first answer.
            _ => json!({}),
        }
    }

    /// What the first one gets who may: 200 stands for all that is done, the rest for what cannot be done here.
    pub(super) fn first_answer(&self) -> u16 {
        match (self.route.method, self.route.path) {
            ("POST", "/v1/session") => 401,
            ("PUT", "/v1/own/password") => 403,
            ("PUT", "/v1/own/second-factor") | ("POST", "/v1/imports/batches") => 422,
            ("DELETE", "/v1/own/sessions/{session}" | "/v1/staff/{login}/sessions/{session}") => 404,
            ("POST", "/v1/certificates/{serial}/revocation") => 404,
            // There is a security administrator, who confirms accounts and decides about rights.
            ("POST", "/v1/staff/{login}/first-security-administrator" | "/v1/staff/{login}/confirmation") => 409,
            ("POST", "/v1/changes/{number}/approval") if self.about == "grants" => 409,
            // No code waits for the first one; the change is another person's; the terminal has a device.
            ("PUT", "/v1/own/confirmation") | ("DELETE", "/v1/changes/{number}") => 409,
            ("POST", "/v1/terminals/{terminal}/enrolment") => 409,
            // The only machine of this hub has not told where it is reached, and nobody could find it.
            ("POST" | "DELETE", "/v1/cluster/machines/{machine}") => 409,
            ("PUT" | "DELETE", "/v1/cluster/machines/{machine}/draining") => 409,
            // None is being taken in or out.
            ("GET", "/v1/cluster/machines/{machine}/taking-in" | "/v1/cluster/machines/{machine}/taking-out") => 409,
            // Nothing was put back from a copy.
            ("POST", "/v1/cluster/recovery/end") => 409,
            _ => 200,
        }
    }
}

/// What is to be changed, by kind.
pub(super) fn subject(kind: &str) -> Value {
    match kind {
        "parameter" => {
            let from = "2026-11-23T00:00:00+08:00";
            json!({ "kind": kind, "key": "staff_session_idle", "value": 14, "effective_from": from })
        }
        "outlet_class" => json!({ "kind": kind, "outlet_id": "13010001", "class": 2 }),
        "game" => json!({
            "kind": kind, "game": "G0201", "name": "燕赵红", "price_yuan": "2.00", "prize_fund_ppm": 650_000,
            "welfare_fund_ppm": 200_000, "commission_ppm": 80_000, "outlet_limit_yuan": "1.00", "city_limit_yuan": "2.00",
        }),
        "sale" => json!({ "kind": kind, "batch": 1, "state": "paused" }),
        "redemption_end" => json!({ "kind": kind, "batch": 1, "ends_at": "2027-11-23T00:00:00+08:00" }),
        "hold" => json!({ "kind": kind, "pack": "G0201-26001-0000002", "hold": "stolen" }),
        "hold in 1302" => json!({ "kind": "hold", "pack": "G0201-26001-0000003", "hold": "stolen" }),
        "deposit" => json!({ "kind": kind, "deposit_id": 9, "outlet_id": "13010001", "amount_yuan": "5.00" }),
        "grants" => {
            let grant = json!({ "role": "supervisor", "area": { "kind": "province" } });
            json!({ "kind": kind, "login": "changed", "grants": [grant] })
        }
        "prize_data" => {
            json!({ "kind": kind, "game": "G0201", "batch_code": "26002", "package_sha256": "ab".repeat(32) })
        }
        _ => panic!("{kind}: say what is to be changed"),
    }
}
