//! Tokens, codes, signatures and certificates that prove nothing.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::identity::CertificateAuthority;
use jikai_sync::secrets::{MasterSource, Place, Secrets};
use serde_json::json;

use super::{Case, Expect, problem};
use crate::https::{Request, Server};
use crate::process::{Process, done, wait_until};
use crate::running::{Hub, Node, Running, read, text};

/// Half a day more than a year, twice: a certificate of then has ended.
const THREE_YEARS_MS: i64 = 3 * 365 * 86_400_000;
/// A clock that is a day wrong. Seconds.
const DAY_S: i64 = 86_400;

/// What looks like a token and is none; among them tokens that name their own algorithm.
fn forged(token: &str) -> Vec<String> {
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let claims = encoded(r#"{"sub":"admin","roles":["system_administrator"],"exp":9999999999}"#);
    let unsigned =
        |algorithm: &str| format!("{}.{claims}.", encoded(&format!(r#"{{"alg":"{algorithm}","typ":"JWT"}}"#)));
    let mut flipped = token.to_string();
    let last = if flipped.ends_with('A') { 'Q' } else { 'A' };
    flipped.replace_range(20..21, if &token[20..21] == "x" { "y" } else { "x" });
    vec![
        unsigned("none"),
        unsigned("None"),
        unsigned("HS256"),
        format!("{}{}", unsigned("HS256"), encoded("signature")),
        format!("v4.public.{claims}"),
        flipped,
        token[..token.len() - 1].to_string(),
        format!("{token}{last}"),
        format!("{token}="),
        token.to_uppercase(),
        token.chars().rev().collect(),
        "A".repeat(43),
        "A".repeat(8_000),
        "null".into(),
        "' OR 1=1 --".into(),
        String::new(),
    ]
}

/// Forged, cut, swapped and ended tokens.
pub fn tokens(running: &Running) -> Vec<Case> {
    let (hub, node) = (&running.hub.server, &running.node.server);
    let mut cases = Vec::new();
    let ended = running.terminal.token();
    assert_eq!(running.terminal.log_in().status, 200);
    let stock = |value: &str| Request::new("GET", "/v1/stock").header("authorization", value);
    let replayed = stock(&format!("Bearer {ended}"));
    cases.push(Case::of(node, "a token of the session before", &replayed, Expect::Code("session_expired")));
    for token in forged(&running.terminal.token()) {
        for scheme in ["Bearer ", "bearer ", "Basic ", ""] {
            cases.push(Case::of(node, &token, &stock(&format!("{scheme}{token}")), Expect::Refused));
        }
        let claim = Request::new("POST", "/v1/claims/pay").header("authorization", format!("Bearer {token}"));
        let claim = claim.header("idempotency-key", "hostile-proof-001").json(&json!({ "codes": ["x"] }));
        cases.push(Case::of(node, &token, &claim, Expect::Refused));
    }
    let (_, cookie) = running.auditor.cookie.split_once('=').expect("a cookie has a name and a value");
    for token in forged(cookie) {
        let request = Request::new("GET", "/v1/staff").header("cookie", format!("__Host-jikai={token}"));
        cases.push(Case::of(hub, &token, &request, Expect::Refused));
        let request = Request::new("GET", "/v1/nodes").header("authorization", format!("Bearer {token}"));
        cases.push(Case::of(hub, &token, &request, Expect::Code("token_invalid")));
    }
    for token in forged(&running.hub.token()) {
        let request = Request::new("GET", "/v1/nodes").header("authorization", format!("Bearer {token}"));
        let read_in_lower_case = token.eq_ignore_ascii_case(&running.hub.token());
        assert!(!read_in_lower_case || token != running.hub.token());
        cases.push(Case::of(hub, &token, &request, Expect::Code("token_invalid")));
    }
    let of_hub = stock(&format!("Bearer {}", running.hub.token()));
    cases.push(Case::of(node, "the hub's token at the node", &of_hub, Expect::Refused));
    let of_node =
        Request::new("GET", "/v1/nodes").header("authorization", format!("Bearer {}", running.terminal.token()));
    cases.push(Case::of(hub, "the node's token at the hub", &of_node, Expect::Code("token_invalid")));
    cases.extend(other_sites(running));
    cases
}

/// What a page of another site can make a browser send.
fn other_sites(running: &Running) -> Vec<Case> {
    let body = json!({ "login": "fresh.one", "name": "x" });
    let request = || Request::new("POST", "/v1/staff").header("cookie", &running.system.cookie);
    let refused =
        |request: Request, code| Case::of(&running.hub.server, code, &request.json(&body), Expect::Code(code));
    let other = &running.security.csrf;
    let own = &running.system.csrf;
    vec![
        refused(request(), "csrf_token_invalid"),
        refused(request().header("x-csrf-token", ""), "csrf_token_invalid"),
        refused(request().header("x-csrf-token", other), "csrf_token_invalid"),
        refused(request().header("x-csrf-token", own.to_uppercase()), "csrf_token_invalid"),
        refused(request().header("x-csrf-token", own).header("sec-fetch-site", "cross-site"), "other_site"),
        refused(request().header("x-csrf-token", own).header("sec-fetch-site", "same-site"), "other_site"),
        refused(
            Request::new("POST", "/v1/staff").header("cookie", "__Host-jikai=").header("x-csrf-token", own),
            "session_required",
        ),
        refused(request().header("x-csrf-token", own).header("authorization", "Bearer x"), "token_invalid"),
    ]
}

/// Logins with what was used, belongs to others, or is of another time.
pub fn logins(running: &Running) -> Vec<Case> {
    let (node, terminal) = (&running.node.server, &running.terminal);
    let login = |body: serde_json::Value| Request::new("POST", "/v1/login").json(&body);
    let used = terminal.challenge();
    assert_eq!(terminal.log_in_with(&used).status, 200);
    let mut cases =
        vec![Case::of(node, "a used challenge", &login(terminal.login_body(&used)), Expect::Code("login_failed"))];
    for challenge in ["", "x", &used.to_lowercase(), &"A".repeat(60_000)] {
        let request = login(terminal.login_body(challenge));
        cases.push(Case::of(node, "no challenge of ours", &request, Expect::Code("login_failed")));
    }
    // Each takes the challenge that was handed out with it; a right password does not help without the device.
    let other_device = URL_SAFE_NO_PAD.encode([0; 64]);
    for (field, value) in [
        ("operator_id", format!("{}91", &terminal.id[..8])),
        ("operator_id", "1302000101".to_string()),
        ("terminal_id", format!("{}91", &terminal.id[..8])),
        ("signature", format!("{other_device}==").replace('_', "/").replace('-', "+")),
    ] {
        let mut body = terminal.login_body(&terminal.challenge());
        body[field] = json!(value);
        cases.push(Case::of(node, field, &login(body), Expect::Code("login_failed")));
    }
    let enrolled = json!({ "terminal_id": terminal.id, "code": "aaaaa-aaaaa-aaaaa-aaaaa",
        "public_key": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "signature": format!("{}==", "A".repeat(86)) });
    let enrolment = Request::new("POST", "/v1/enrolment").json(&enrolled);
    cases.push(Case::of(node, "a key of small order", &enrolment, Expect::Code("enrolment_refused")));
    cases.extend(clocks(running));
    cases
}

/// Codes of an authenticator whose clock is a day or some minutes wrong, and one that was used; a terminal's own clock proves
/// nothing either way.
fn clocks(running: &Running) -> Vec<Case> {
    let (hub, node, auditor) = (&running.hub.server, &running.node.server, &running.auditor);
    let mut codes = vec![auditor.used_code.clone()];
    codes.extend([-DAY_S, DAY_S, -300, 300].map(|ahead_s| auditor.code(ahead_s)));
    let case = |code: &String| {
        Case::of(hub, "a code of another time", &auditor.login_request(Some(code)), Expect::Code("login_failed"))
    };
    // Five failures would make the person wait: the fifth is the last that is told as itself.
    let mut cases: Vec<Case> = codes.iter().map(case).collect();
    for date in ["Wed, 25 Nov 2026 00:00:00 GMT", "Fri, 27 Nov 2026 00:00:00 GMT", "Thu, 01 Jan 1970 00:00:00 GMT"] {
        let request = Request::new("GET", "/v1/stock").header("date", date).header("authorization", "Bearer x");
        cases.push(Case::of(node, date, &request, Expect::Refused));
    }
    cases
}

/// A key of an earlier request with another body, and keys that are none.
pub fn replays(running: &Running) -> Vec<Case> {
    let (node, terminal) = (&running.node.server, &running.terminal);
    let pay = |key: &str, code: &str| terminal.mutation("/v1/claims/pay", key).json(&json!({ "codes": [code] }));
    let mut cases = Vec::new();
    for key in ["", "short", "hostile proof 001!", "../../../../../etc", &"k".repeat(65), "ключключключключ"]
    {
        cases.push(Case::of(node, "a key", &pay(key, "x"), Expect::Code("idempotency_key_invalid")));
    }
    let without = terminal.request("POST", "/v1/claims/pay").json(&json!({ "codes": ["x"] }));
    cases.push(Case::of(node, "no key", &without, Expect::Code("idempotency_key_required")));
    for again in 0..3 {
        let request = pay("hostile-proof-002", &format!("x{again}"));
        cases.push(Case::of(node, "a refused request again", &request, Expect::Code("foreign_ticket")));
    }
    cases
}

/// Nodes whose certificate is another authority's, has ended, names another node, or was revoked. Gives how many were refused.
///
/// # Panics
/// When one of them is let in.
pub fn certificates(running: &Running, folder: &Path) -> u64 {
    let hub = &running.hub;
    let now_ms = TimeMs::now();
    let ours = || {
        let place = Place::new(&hub.data, "hub test".to_string(), MasterSource::default(), &[]);
        let key = Secrets::open(&place).and_then(|secrets| secrets.key("ca.key")).expect("the authority's key opens");
        CertificateAuthority::from_pem(read(&hub.data.join("ca/ca.pem")), key)
    };
    let foreign = CertificateAuthority::create("test", now_ms).expect("an authority can be made");
    let then_ms = TimeMs::from_ms(now_ms.ms() - THREE_YEARS_MS);
    let node = |number| NodeId::new(number).expect("a node's number");
    let signed = |authority: &CertificateAuthority, data: &Path, number, at_ms| {
        let request = read(&data.join("node.csr"));
        authority.sign_node(&request, node(number), &[], at_ms).expect("the request can be signed")
    };
    for (name, number, authority, at_ms, said) in [
        ("foreign", 1, foreign, now_ms, "a connection was not opened"),
        ("ended", 1, ours(), then_ms, "a connection was not opened"),
        ("unregistered", 77, ours(), now_ms, "a session ended"),
        ("second", 1, ours(), now_ms, "a session ended"),
    ] {
        let data = folder.join(name);
        Node::make(&data, hub, number);
        let certificate = signed(&authority, &data, number, at_ms);
        std::fs::write(data.join("node.pem"), certificate).expect("a certificate can be written");
        std::fs::copy(hub.data.join("ca/ca.pem"), data.join("ca.pem")).expect("a certificate can be copied");
        let before = hub.process.log().matches(said).count();
        let intruder = Process::run("jikai-node", &data);
        wait_until(&format!("the hub to refuse the {name} node"), || hub.process.log().matches(said).count() > before);
        let server =
            Server::new(intruder.address("http"), &format!("node-{number}.jikai"), authority.certificate_pem());
        let health = || server.ask(&Request::new("GET", "/health/ready")).json();
        match name {
            // Its own certificate has ended too: it cannot be asked.
            "ended" => {}
            "second" => wait_until("the copy to fence itself", || health()["code"] == "node_fenced"),
            _ => {
                let health = health();
                assert_eq!((&health["connected"], &health["up"]["acked_seq"]), (&json!(false), &json!(0)), "{name}");
            }
        }
    }
    check_revocation(hub, folder);
    5
}

/// A node whose certificate was revoked is refused at its next session.
fn check_revocation(hub: &Hub, folder: &Path) {
    let data = folder.join("revoked");
    hub.command(&["import"], &["node", "--id", "78", "--name", "x", "--prefectures", "1399"]);
    Node::make(&data, hub, 78);
    let certificate = data.join("signed.pem");
    let words = hub.command(
        &["ca", "sign"],
        &["--csr", text(&data.join("node.csr")), "--node", "78", "--out", text(&certificate)],
    );
    let serial = words.split("serial number ").nth(1).and_then(|rest| rest.split(',').next()).expect("a serial number");
    hub.command(&["ca", "revoke"], &["--serial", serial, "--reason", "stolen"]);
    let authority = hub.data.join("ca/ca.pem");
    done(
        "jikai-node",
        &["enrol", "--data", text(&data), "--certificate", text(&certificate), "--ca", text(&authority)],
    );
    let intruder = Process::run("jikai-node", &data);
    wait_until("the revoked node to be told", || intruder.log().contains("revoked"));
}

/// Whether a login that is refused says the same whatever was wrong. Gives how many were tried.
///
/// # Panics
/// When two refusals differ.
pub fn uniform_refusals(running: &Running) -> u64 {
    let ask = |login: &str, password: &str| {
        let body = json!({ "login": login, "password": password, "code": "000000" });
        let answer = running.hub.server.ask(&Request::new("POST", "/v1/session").json(&body));
        (problem(&answer).expect("a refusal"), answer.body)
    };
    let unknown = ask("nobody", "x");
    for (login, password) in [("security", "x"), ("no", "x"), ("王芳", "x"), ("maker", "violet-5-mountain-8")] {
        assert_eq!(ask(login, password), unknown, "{login}");
    }
    5
}
