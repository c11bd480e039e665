//! SQL, paths and look-alikes where a text is expected.

use serde_json::{Value, json};

use super::{Case, Expect, texts, with};
use crate::https::Request;
use crate::running::Running;

/// SQL that does something wherever a text is pasted into a statement.
const SQL: [&str; 6] = [
    "' OR '1'='1",
    "'; DROP TABLE outlet; --",
    "\" UNION SELECT login, password_hash FROM staff --",
    "1); DELETE FROM transfer; --",
    "%' ESCAPE '\\' OR 1=1 --",
    "x\u{0}'; ATTACH 'evil' AS evil; --",
];

/// Files that nobody may see, by paths that leave where they start.
const PATHS: [&str; 8] = [
    "../../../../etc/passwd",
    "..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/secrets/master.key",
    "..\\..\\secrets\\master.key",
    "....//....//etc/passwd",
    "%c0%ae%c0%ae/etc/passwd",
    "hub.toml%00.html",
    "/etc/passwd",
];

/// Bodies of the hub that are refused for one reason or another, with every text field of the API.
fn hub_bodies(running: &Running) -> Vec<(Request, Value)> {
    let Running { system, security, maker, .. } = running;
    let change = |subject: Value| (maker.request("POST", "/v1/changes"), json!({ "subject": subject, "reason": "x" }));
    let grants = json!({ "seen": [], "grants": [
        { "role": "supervisor", "area": { "kind": "outlets", "outlets": ["13010001"] }, "hours": "08:00-18:00",
          "addresses": ["10.0.0.0/8"] },
    ] });
    vec![
        (Request::new("POST", "/v1/session"), json!({ "login": "nobody", "password": "x", "code": "123456" })),
        (system.request("POST", "/v1/staff"), json!({ "login": "admin", "name": "x" })),
        (system.request("PUT", "/v1/staff/admin"), json!({ "name": "x", "active": false })),
        (system.request("POST", "/v1/support"), json!({ "login": "auditor", "reason": "x", "minutes": 5 })),
        (system.request("PUT", "/v1/own/password"), json!({ "old_password": "x", "new_password": "short" })),
        (system.request("PUT", "/v1/own/second-factor"), json!({ "offer": "x", "code": "123456" })),
        (security.request("PUT", "/v1/staff/guard/grants"), grants),
        (maker.request("POST", "/v1/changes/999/refusal"), json!({ "reason": "x" })),
        (maker.request("POST", "/v1/terminals/1301999990/enrolment"), json!({ "kind": "gun", "hours": 1 })),
        (maker.request("POST", "/v1/terminals/1301999990/revocation"), json!({ "reason": "x" })),
        (maker.request("PUT", "/v1/operators/1301999990"), json!({ "name": "x", "role": "owner" })),
        (running.hub.as_machine("POST", "/v1/nodes"), json!({ "id": 2, "name": "x", "prefectures": [1301] })),
        (running.hub.as_machine("POST", "/v1/certificates"), json!({ "node": 2, "request": "x" })),
        (running.hub.as_machine("POST", "/v1/certificates/abc/revocation"), json!({ "reason": "x" })),
        (running.hub.as_machine("POST", "/v1/imports/batches"), json!({ "directory": "/etc" })),
        change(json!({ "kind": "parameter", "key": "staff_session", "value": -1,
            "effective_from": "2027-01-01T00:00:00+08:00" })),
        change(json!({ "kind": "game", "game": "G0201", "name": "x", "price_yuan": "-2.00", "prize_fund_ppm": 650_000,
            "welfare_fund_ppm": 200_000, "commission_ppm": 80_000, "outlet_limit_yuan": "1.00", "city_limit_yuan": "2.00" })),
        change(
            json!({ "kind": "sale", "batch": 999, "state": "open", "approval_number": "x", "notice_day": "2026-01-01" }),
        ),
        change(json!({ "kind": "redemption_end", "batch": 999, "ends_at": "2027-01-01T00:00:00+08:00" })),
        change(json!({ "kind": "hold", "pack": "G0201-26001-9999999", "hold": "frozen" })),
        change(json!({ "kind": "deposit", "deposit_id": 900, "outlet_id": "13019999", "amount_yuan": "5.00" })),
    ]
}

/// The same of the node. Inquiries are questions: a code that is none is answered as foreign.
fn node_bodies(running: &Running) -> Vec<(Request, Value, Expect)> {
    let terminal = &running.terminal;
    let mutation = |path: &str| terminal.mutation(path, "hostile-text-0001");
    vec![
        (Request::new("POST", "/v1/login/challenge"), json!({ "terminal_id": "x" }), Expect::Refused),
        (Request::new("POST", "/v1/login"), terminal.login_body("x"), Expect::Refused),
        (
            Request::new("POST", "/v1/enrolment"),
            json!({ "terminal_id": terminal.id, "code": "x", "public_key": "x", "signature": "x" }),
            Expect::Refused,
        ),
        (mutation("/v1/packs/receive"), json!({ "packs": ["x"] }), Expect::Refused),
        (mutation("/v1/packs/return"), json!({ "packs": ["x"] }), Expect::Refused),
        (mutation("/v1/tickets/sell"), json!({ "tickets": ["x"] }), Expect::Refused),
        (mutation("/v1/claims/pay"), json!({ "codes": ["x"] }), Expect::Refused),
        (terminal.request("POST", "/v1/claims/inquire"), json!({ "codes": ["x"] }), Expect::Text),
    ]
}

/// Questions with a text in them. A mark that is a text of the store's own is compared as one.
fn questions(running: &Running, text: &str) -> Vec<Case> {
    let (hub, node) = (&running.hub.server, &running.node.server);
    let text = percent(text);
    let of_hub = |path: &str, expect| {
        Case::of(hub, "in a question", &running.auditor.request("GET", &format!("{path}{text}")), expect)
    };
    let of_node = |path: &str, expect| {
        Case::of(node, "in a question", &running.terminal.request("GET", &format!("{path}{text}")), expect)
    };
    let mut cases = vec![of_hub("/v1/staff?after=", Expect::Text)];
    for path in [
        "/v1/reports/sales?by=",
        "/v1/reports/sales?from=",
        "/v1/reports/sales?to=",
        "/v1/reports/sales?after=",
        "/v1/reports/stock?by=",
        "/v1/reports/claims?after=",
        "/v1/reports/deposits?after=",
        "/v1/reports/ledger?by=",
        "/v1/accounts?after=",
        "/v1/terminals?outlet=",
        "/v1/changes?before=",
        "/v1/events?after=",
        "/v1/nodes/1/events?after=",
        "/v1/nodes/",
        "/v1/staff/",
        "/v1/staff/admin/sessions/",
    ] {
        cases.push(of_hub(path, Expect::Refused));
    }
    for path in [
        "/v1/packs?state=",
        "/v1/packs?after=",
        "/v1/packs?limit=",
        "/v1/sales?from=",
        "/v1/sales?by=",
        "/v1/account/entries?before=",
        "/v1/account/entries?limit=",
        "/v1/",
    ] {
        cases.push(of_node(path, Expect::Refused));
    }
    cases
}

/// SQL in every text field, question and path.
pub fn sql(running: &Running) -> Vec<Case> {
    let mut cases = Vec::new();
    for sql in SQL {
        let value = json!(sql);
        for (request, body) in hub_bodies(running) {
            // A new password may be any text; the old one is asked for then, and guessing at it ends the session.
            for place in texts(&body).into_iter().filter(|place| place != "/new_password") {
                let request = request.clone().json(&with(&body, &place, &value));
                cases.push(Case::of(&running.hub.server, &format!("{sql} in {place}"), &request, Expect::Refused));
            }
        }
        for (request, body, expect) in node_bodies(running) {
            for place in texts(&body) {
                let request = request.clone().json(&with(&body, &place, &value));
                cases.push(Case::of(&running.node.server, &format!("{sql} in {place}"), &request, expect));
            }
        }
        cases.extend(questions(running, sql));
        let list = format!("deposit_id,outlet_id,amount_yuan\n{},13010001,1.00\n", sql.replace('"', "\"\""));
        let request = running.hub.as_machine("POST", "/v1/imports/lists/deposits").body("text/csv", list);
        cases.push(Case::of(&running.hub.server, sql, &request, Expect::Refused));
    }
    cases
}

/// Paths that lead out of where they belong.
pub fn paths(running: &Running) -> Vec<Case> {
    let (hub, node) = (&running.hub.server, &running.node.server);
    let mut cases = Vec::new();
    for path in PATHS {
        for start in ["/docs/", "/", "/v1/", "/openapi.json/"] {
            for server in [hub, node] {
                let request = Request::new("GET", &format!("{start}{path}"));
                cases.push(Case::of(server, "a path", &request, Expect::Refused));
            }
        }
        let list =
            running.hub.as_machine("POST", &format!("/v1/imports/lists/{}", percent(path))).body("text/csv", "x\n");
        cases.push(Case::of(hub, "a kind of list", &list, Expect::Refused));
    }
    let data = running.hub.data.display().to_string();
    for directory in [
        "/",
        "/etc",
        ".",
        "",
        "../secrets",
        "\u{0}",
        &data,
        &format!("{data}/secrets"),
        &format!("{data}/inbox/../secrets"),
        &format!("{data}/inbox"),
        &format!("{data}/inbox/."),
    ] {
        let request = running.hub.as_machine("POST", "/v1/imports/batches").json(&json!({ "directory": directory }));
        cases.push(Case::of(hub, directory, &request, Expect::Code("invalid_directory")));
    }
    cases
}

/// Names that look like another one, or like none.
pub fn names(running: &Running) -> Vec<Case> {
    let (hub, system, maker) = (&running.hub.server, &running.system, &running.maker);
    let long = "a".repeat(60_000);
    let logins = [
        "\u{430}dmin",
        "admin\u{200b}",
        "ad\u{ad}min",
        "\u{202e}nimda",
        "\u{feff}admin",
        "ａｄｍｉｎ",
        "ADMIN",
        "Admin",
        "admin ",
        " admin",
        "admin\n",
        "admin\u{0}",
        "caf\u{e9}",
        "cafe\u{301}",
        "a\u{336}dmin",
        "admın",
        "",
        "@console",
        "王芳",
        "🎟🎟🎟",
        &long,
    ];
    let mut cases = Vec::new();
    for login in logins {
        let body = json!({ "login": login, "password": system.password, "code": system.code(0) });
        let request = Request::new("POST", "/v1/session").json(&body);
        cases.push(Case::of(hub, login, &request, Expect::Code("login_failed")));
        let request = system.request("POST", "/v1/staff").json(&json!({ "login": login, "name": "x" }));
        cases.push(Case::of(hub, login, &request, Expect::Code("invalid_login")));
    }
    let shown = [
        "",
        " ",
        "王\u{202e}芳",
        "王\u{200b}芳",
        "\u{2066}王芳\u{2069}",
        "王\u{feff}芳",
        "王\r\n芳",
        "王\u{7f}芳",
        "王\u{ad}芳",
        "王\u{61c}芳",
        "王\u{e0041}芳",
        "\u{3164}",
        &"名".repeat(400),
    ];
    for name in shown {
        let request = system.request("POST", "/v1/staff").json(&json!({ "login": "fresh.one", "name": name }));
        cases.push(Case::of(hub, &name.escape_unicode().to_string(), &request, Expect::Code("invalid_name")));
        let path = format!("/v1/operators/{}", running.terminal.operator);
        let request = maker.request("PUT", &path).json(&json!({ "name": name, "role": "owner" }));
        cases.push(Case::of(hub, &name.escape_unicode().to_string(), &request, Expect::Code("invalid_name")));
    }
    cases
}

/// A text as it stands in a path or question.
fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let letter = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(letter).collect()
}
