//! Headers, methods, bodies and numbers that are none.

use serde_json::{Value, json};

use super::{Case, Expect};
use crate::https::{Request, Server};
use crate::running::Running;

/// A body of the node and one of the hub that would be read, were it not for what a case changes about them.
fn both(running: &Running) -> [(&Server, Request); 2] {
    [
        (&running.node.server, running.terminal.mutation("/v1/packs/receive", "hostile-form-0001")),
        (&running.hub.server, running.system.request("POST", "/v1/staff")),
    ]
}

/// Requests whose head is broken, doubled, folded or too long.
pub fn headers(running: &Running) -> Vec<Case> {
    let mut cases = Vec::new();
    for (server, request) in [
        (&running.node.server, running.terminal.request("GET", "/v1/stock")),
        (&running.hub.server, running.auditor.request("GET", "/v1/staff")),
    ] {
        let mut add = |why: &str, head: String, expect| cases.push(Case::raw(server, why, head, expect));
        let with = |line: &str| {
            let bytes = String::from_utf8(request.bytes()).expect("these headers are text");
            bytes.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1)
        };
        add("two hosts", with("host: evil.example"), Expect::Code("duplicate_header"));
        add("two proofs", with("authorization: Bearer x\r\nauthorization: Bearer y"), Expect::Code("duplicate_header"));
        add("two kinds", with("content-type: text/plain\r\ncontent-type: text/html"), Expect::Code("duplicate_header"));
        add("two keys", with("idempotency-key: a\r\nidempotency-key: b"), Expect::Code("duplicate_header"));
        add("a bare line feed", with("x: a\nx-injected: 1\r\ncontent-length: x"), Expect::Unread);
        add("a bare carriage return", with("x: a\rx-injected: 1"), Expect::Unread);
        add("a null", with("x: a\0b"), Expect::Unread);
        add("a space before the colon", with("x : a"), Expect::Unread);
        add("a folded line", with("x: a\r\n x-injected: 1"), Expect::Unread);
        add("no name", with(": a"), Expect::Unread);
        add("no colon", with("x-injected"), Expect::Unread);
        add("a letter that is none", with("x\u{e9}: a"), Expect::Unread);
        add("a long value", with(&format!("x: {}", "a".repeat(40_000))), Expect::Unread);
        add(
            "many headers",
            with(&(0..200).map(|at| format!("x-{at}: a")).collect::<Vec<_>>().join("\r\n")),
            Expect::Unread,
        );
        add("a length that is none", with("content-length: -1"), Expect::Unread);
        add("a length beyond all", with("content-length: 99999999999999999999999"), Expect::Unread);
        add("two lengths", with("content-length: 3\r\ncontent-length: 4"), Expect::Unread);
        add("a coding that is none", with("transfer-encoding: evil"), Expect::Unread);
        add("a version that is none", request_line(&request.path, "HTTP/9.9"), Expect::Unread);
        add("no version", request_line(&request.path, ""), Expect::Unread);
        add("a long line", request_line(&format!("/{}", "a".repeat(70_000)), "HTTP/1.1"), Expect::Unread);
        add("no request at all", "\u{16}\u{3}\u{1}\r\n\r\n".to_string(), Expect::Unread);
        for injected in ["%0d%0ax-injected:%201", "%0ax-injected:%201", "%E5%98%8A%E5%98%8Dx-injected:1"] {
            for path in ["/docs/", "/v1/reports/sales?by=", "/v1/sales?by="] {
                let request = request.clone().at(&format!("{path}{injected}"));
                cases.push(Case::of(server, "a line in a path", &request, Expect::Refused));
            }
        }
    }
    cases
}

fn request_line(path: &str, version: &str) -> String {
    format!("GET {path} {version}\r\nhost: jikai\r\nconnection: close\r\n\r\n")
}

/// Methods that an address does not have, or that nothing has.
pub fn methods(running: &Running) -> Vec<Case> {
    let mut cases = Vec::new();
    let words = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "EVIL"];
    let of_node = [("/v1/login", "POST"), ("/v1/stock", "GET"), ("/v1/claims/pay", "POST"), ("/health/live", "GET")];
    let of_hub = [("/v1/session", ""), ("/v1/changes", "GET POST"), ("/v1/accounts", "GET"), ("/metrics", "GET")];
    for (server, addresses) in [(&running.node.server, of_node), (&running.hub.server, of_hub)] {
        for (path, known) in addresses {
            for word in words.iter().filter(|word| !known.split(' ').any(|method| method == **word)) {
                let request = Request::new(word, path)
                    .header("x-http-method-override", "POST")
                    .header("x-method-override", "DELETE");
                let expect = if *word == "CONNECT" { Expect::RefusedOrClosed } else { Expect::Refused };
                cases.push(Case::of(server, "a method", &request, expect));
            }
        }
    }
    cases
}

/// JSON that is deep, doubled, broken or of another shape, and bodies that are no JSON.
pub fn bodies(running: &Running) -> Vec<Case> {
    let deep = |open: &str, close: &str, depth: usize| format!("{}{}", open.repeat(depth), close.repeat(depth));
    let mut texts: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("a word", b"null".to_vec()),
        ("a number", b"1".to_vec()),
        ("a text", b"\"x\"".to_vec()),
        ("a list", b"[]".to_vec()),
        ("an empty object", b"{}".to_vec()),
        ("an end too many", b"{}}".to_vec()),
        ("half an object", b"{\"login\":\"adm".to_vec()),
        ("a comma too many", b"{\"packs\":[\"x\",],}".to_vec()),
        ("a comment", b"{/* */\"packs\":[]}".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{}".to_vec()),
        ("UTF-16", b"{\0\"\0a\0\"\0".to_vec()),
        ("no UTF-8", b"{\"login\":\"\xff\xfe\",\"name\":\"\xc0\xaf\",\"packs\":[\"\xed\xa0\x80\"]}".to_vec()),
        ("half a surrogate", br#"{"login":"\ud800","name":"\udc00","packs":["\ud800"]}"#.to_vec()),
        ("a field twice", br#"{"login":"fresh.one","login":"fresh.two","name":"x","packs":[],"packs":["x"]}"#.to_vec()),
        ("an unknown field", br#"{"login":"fresh.one","name":"x","packs":["x"],"is_admin":true}"#.to_vec()),
        ("a prototype", br#"{"__proto__":{"roles":["system_administrator"]},"login":"fresh.one","packs":[]}"#.to_vec()),
        ("an infinite number", br#"{"login":1e999,"name":-1e999,"packs":1e999}"#.to_vec()),
        ("not a number", br#"{"login":NaN,"packs":[Infinity]}"#.to_vec()),
        ("a null in a text", br#"{"login":"admin\u0000","name":"x","packs":["\u0000"]}"#.to_vec()),
    ];
    texts.push(("digits without end", format!("{{\"login\":{0},\"packs\":{0}}}", "9".repeat(50_000)).into_bytes()));
    texts.push(("deep lists", deep("[", "]", 30_000).into_bytes()));
    texts.push(("deep objects", deep("{\"a\":", "}", 9_000).into_bytes()));
    texts.push(("a deep field", format!("{{\"login\":{0},\"packs\":{0}}}", deep("[", "]", 10_000)).into_bytes()));
    texts.push(("a long list", format!("{{\"login\":[0{0}],\"packs\":[0{0}]}}", ",0".repeat(15_000)).into_bytes()));
    texts.push(("many packs", json!({ "packs": vec!["x"; 10_000] }).to_string().into_bytes()));
    texts.push(("many fields", many_fields()));
    let mut cases = Vec::new();
    for (server, request) in both(running) {
        for (why, text) in &texts {
            let request = request.clone().body("application/json", text.clone());
            cases.push(Case::of(server, why, &request, Expect::Refused));
        }
        let long = format!("{{\"login\":\"{}\"}}", "a".repeat(70_000));
        let long = request.clone().body("application/json", long);
        cases.push(Case::of(server, "a long body", &long, Expect::RefusedOrClosed));
        let announced = request.clone().header("content-type", "application/json").header("content-length", "99999999");
        cases.push(Case::of(server, "a long body that does not come", &announced, Expect::Refused));
        cases.push(chunked(server, &request));
    }
    cases.extend(kinds(running));
    cases
}

fn many_fields() -> Vec<u8> {
    let fields: serde_json::Map<String, Value> = (0..4_000).map(|at| (format!("f{at}"), json!(at))).collect();
    Value::Object(fields).to_string().into_bytes()
}

/// A body whose length is never announced and that goes on beyond the limit.
fn chunked(server: &Server, request: &Request) -> Case {
    let request = request.clone().header("content-type", "application/json").header("transfer-encoding", "chunked");
    let mut bytes = request.bytes();
    for _ in 0..40 {
        bytes.extend_from_slice(format!("1000\r\n{}\r\n", "[".repeat(4_096)).as_bytes());
    }
    Case::raw(server, "chunks without end", bytes, Expect::RefusedOrClosed)
}

/// Bodies under the name of another kind; the hub reads JSON only where it is called so.
fn kinds(running: &Running) -> Vec<Case> {
    let body = json!({ "login": "fresh.one", "name": "x" }).to_string();
    let kinds = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/html",
        "application/xml",
        "",
        "application/jsonp",
    ];
    let request = || running.system.request("POST", "/v1/staff");
    let of_kind = |kind: &&str| {
        let request = request().body(kind, body.clone());
        Case::of(&running.hub.server, kind, &request, Expect::Code("unsupported_media_type"))
    };
    let mut cases: Vec<Case> = kinds.iter().map(of_kind).collect();
    let broken = request().body("application/json\u{b}", body.clone());
    cases.push(Case::of(&running.hub.server, "a sign that is none", &broken, Expect::Unread));
    let packed = request()
        .body("application/json", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0")
        .header("content-encoding", "gzip");
    cases.push(Case::of(&running.hub.server, "packed", &packed, Expect::Refused));
    let form = running.terminal.mutation("/v1/packs/receive", "hostile-form-0002");
    let form = form.body("application/x-www-form-urlencoded", "packs=x");
    cases.push(Case::of(&running.node.server, "a form", &form, Expect::Refused));
    cases
}

/// Numbers and amounts that are too large, too small, or none.
pub fn numbers(running: &Running) -> Vec<Case> {
    let (hub, node) = (&running.hub.server, &running.node.server);
    let mut cases = Vec::new();
    for number in
        ["-1", "1.5", "18446744073709551616", "99999999999999999999999999", "1e3", "0x10", "%2B1e9", "١", "NaN", ""]
    {
        for path in ["/v1/packs?limit=", "/v1/account/entries?limit="] {
            let request = running.terminal.request("GET", &format!("{path}{number}"));
            cases.push(Case::of(node, "a number", &request, Expect::Refused));
        }
        for path in ["/v1/events?after=", "/v1/staff?limit=", "/v1/changes?before=", "/v1/nodes/1/events?limit="] {
            let request = running.auditor.request("GET", &format!("{path}{number}"));
            cases.push(Case::of(hub, "a number", &request, Expect::Refused));
        }
    }
    for number in ["0", "9223372036854775807", "9223372036854775808", "18446744073709551615"] {
        for path in ["/v1/events?after=", "/v1/nodes/1/events?after=", "/v1/staff?limit="] {
            let request = running.auditor.request("GET", &format!("{path}{number}"));
            cases.push(Case::of(hub, "a place beyond the end", &request, Expect::Text));
        }
    }
    let integers = [
        "-1",
        "0",
        "1.5",
        "-0",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e400",
        "\"1\"",
        "true",
        "null",
        "[1]",
    ];
    for number in integers {
        let body = |template: &str| template.replace('#', number);
        let receive = running.terminal.mutation("/v1/packs/receive", "hostile-form-0003");
        let receive = receive.body("application/json", body(r#"{"shipment_id":#}"#));
        cases.push(Case::of(node, number, &receive, Expect::Refused));
        for template in [r#"{"id":#,"name":"x","prefectures":[1301]}"#, r#"{"id":2,"name":"x","prefectures":[#]}"#] {
            let request = running.hub.as_machine("POST", "/v1/nodes").body("application/json", body(template));
            cases.push(Case::of(hub, number, &request, Expect::Refused));
        }
        let support = r#"{"login":"auditor","reason":"x","minutes":#}"#;
        let request = running.system.request("POST", "/v1/support").body("application/json", body(support));
        cases.push(Case::of(hub, number, &request, Expect::Refused));
        let value = r#"{"reason":"x","subject":{"kind":"parameter","key":"staff_session","value":#,"effective_from":"2027-01-01T00:00:00+08:00"}}"#;
        let request = running.maker.request("POST", "/v1/changes").body("application/json", body(value));
        cases.push(Case::of(hub, number, &request, Expect::Refused));
    }
    cases.extend(amounts(running));
    cases
}

/// Amounts of money; what an outlet would get, it would get for nothing.
fn amounts(running: &Running) -> Vec<Case> {
    let outlet = &running.terminal.id[..8];
    let mut cases = Vec::new();
    for amount in [
        "-5.00",
        "-0.01",
        "0.00",
        "0",
        "-0",
        "5.001",
        "1e9",
        "NaN",
        "inf",
        "99999999999999999999.99",
        "92233720368547758.08",
        "10000000.01",
        "１２.00",
        "5,00",
        " 5.00",
        "5.00 ",
        "+5.00",
        "0x5",
        "",
        ".",
    ] {
        let deposit = json!({ "kind": "deposit", "deposit_id": 901, "outlet_id": outlet, "amount_yuan": amount });
        let game = json!({ "kind": "game", "game": "G0201", "name": "x", "price_yuan": amount, "prize_fund_ppm": 650_000,
            "welfare_fund_ppm": 200_000, "commission_ppm": 80_000, "outlet_limit_yuan": "100.00",
            "city_limit_yuan": "200.00" });
        for subject in [deposit, game] {
            let request =
                running.maker.request("POST", "/v1/changes").json(&json!({ "subject": subject, "reason": "x" }));
            cases.push(Case::of(&running.hub.server, amount, &request, Expect::Refused));
        }
        // Spaces around a cell are not part of it.
        let list = format!("deposit_id,outlet_id,amount_yuan\n902,{outlet},\"{}\"\n", amount.replace(' ', "_"));
        let request = running.hub.as_machine("POST", "/v1/imports/lists/deposits").body("text/csv", list);
        cases.push(Case::of(&running.hub.server, amount, &request, Expect::Refused));
    }
    cases
}
