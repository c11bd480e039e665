mod certificates;
mod consistency;
mod decisions;
mod guard;
mod handoff;
mod imports;
mod people;
mod personal;
mod questions;
mod rights;
mod trail;
mod walk;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::connect_info::MockConnectInfo;
use axum::http::{Request, StatusCode, header};
use jikai_schema::command::Command;
use jikai_schema::crypto::{KeyRing, SecretKey};
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::identity::Certified;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt;

use crate::app::{App, INBOX};
use crate::config::Config;
use crate::identity::{Expiry, TokenHash};
use crate::machines::{Machines, OwnState};
use crate::personal::PersonalVault;
use crate::province::{NOW_MS, NodeLog, Running, check_in, claim, secrets_in};
use crate::staff::{Factors, Passwords};

const TOKEN: &str = "0123456789abcdef";

fn app(hub: &Running) -> App {
    let any = "127.0.0.1:0".parse().unwrap();
    let config =
        Config { body_bytes_max: 1_000, import_bytes_max: 2_000, ..Config::new("test".into(), any, any, Vec::new()) };
    let config = Config { peer_address: Some("hub1.test:7402".into()), ..config };
    std::fs::create_dir_all(hub.data.path().join(INBOX)).unwrap();
    App {
        data: hub.data.path().to_owned(),
        secrets: Arc::new(secrets_in(hub.data.path())),
        config: Arc::new(config),
        sequencer: hub.sequencer.clone(),
        pool: hub.pool.clone(),
        vault: hub.vault.clone(),
        strangers: Arc::new(super::Allowances::new(std::num::NonZeroU32::MAX)),
        accounts: Arc::new(super::Allowances::new(std::num::NonZeroU32::MAX)),
        printers: Arc::default(),
        machines: Machines::new(1, &hub.member.cluster, hub.sequencer.clone(), hub.pool.clone()),
        own_state: watch::channel(OwnState::Serving).1,
        links: hub.links.clone(),
        token: TokenHash::of(TOKEN),
        passwords: Passwords::cheap(),
        factors: Arc::new(Factors::new(&KeyRing::of(SecretKey::from_bytes([3; 32])))),
        personal: Arc::new(PersonalVault::new(&KeyRing::of(SecretKey::from_bytes([3; 32])))),
        notes: Arc::default(),
        importing: Arc::new(Semaphore::new(1)),
        expiry: expiry(),
        metrics: PrometheusBuilder::new().build_recorder().handle(),
    }
}

/// A hub's certificate that ends in thirty days, of an authority that ends in a hundred.
fn expiry() -> watch::Receiver<Expiry> {
    let in_days = |days: i64| TimeMs::from_ms(NOW_MS + days * 86_400_000);
    let (node, serial) = (NodeId::HUB, "0c".to_string());
    let certificate =
        Certified { node, serial, not_before_ms: in_days(-1), not_after_ms: in_days(30), hosts: Vec::new() };
    watch::channel(Expiry { certificate, authority_ends_ms: in_days(100) }).1
}

/// All routes, as asked from the machine itself.
fn router(app: App) -> axum::Router {
    super::router(app).layer(MockConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000))))
}

async fn send(hub: &Running, request: Request<Body>) -> (StatusCode, String, Vec<u8>) {
    let response = router(app(hub)).oneshot(request).await.unwrap();
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap().to_string());
    let body = to_bytes(response.into_body(), 16 << 20).await.unwrap();
    (status, kind.unwrap_or_default(), body.to_vec())
}

fn with_token(method: &str, path: &str, kind: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path).header(header::AUTHORIZATION, format!("Bearer {TOKEN}"));
    request.header(header::CONTENT_TYPE, kind).body(body.into()).unwrap()
}

async fn get(hub: &Running, path: &str) -> Value {
    let (status, _, body) = send(hub, with_token("GET", path, "", Body::empty())).await;
    assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

/// A refusal is a problem document with a code and a hint.
async fn problem(hub: &Running, request: Request<Body>) -> (u16, String) {
    let path = request.uri().to_string();
    let (status, kind, body) = send(hub, request).await;
    assert_eq!(kind, "application/problem+json", "{path}: {status} {}", String::from_utf8_lossy(&body));
    let problem: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["status"], status.as_u16());
    assert!(problem["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    (status.as_u16(), problem["code"].as_str().unwrap().to_string())
}

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_string())
}

async fn worked() -> Running {
    let hub = Running::set_up().await;
    let mut log = NodeLog::new(1);
    let batch = log.batch(vec![check_in(1, 13_010_001), claim(1, 0, 13_010_001, "10.00")]);
    hub.ask(Command::IngestEvents(batch)).await;
    hub
}

#[tokio::test]
async fn every_address_but_health_and_docs_needs_a_session_or_the_machines_token() {
    let hub = Running::set_up().await;
    let paths = [
        "/v1/reports/sales",
        "/v1/reports/ledger",
        "/v1/accounts",
        "/v1/events",
        "/v1/nodes",
        "/v1/nodes/1/events",
        "/metrics",
    ];
    for path in paths {
        let without = Request::get(path).body(Body::empty()).unwrap();
        assert_eq!(problem(&hub, without).await, code(401, "session_required"), "{path}");
        for value in ["Bearer wrong", "Bearer 0123456789abcdee", "Bearer "] {
            let wrong = Request::get(path).header(header::AUTHORIZATION, value).body(Body::empty()).unwrap();
            assert_eq!(problem(&hub, wrong).await, code(401, "token_invalid"), "{path} {value}");
        }
        let (status, ..) = send(&hub, with_token("GET", path, "", Body::empty())).await;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
    for path in ["/v1/nodes", "/v1/imports/batches", "/v1/imports/lists/outlets"] {
        let without = Request::post(path).body(Body::empty()).unwrap();
        assert_eq!(problem(&hub, without).await, code(401, "session_required"), "{path}");
    }
    let away = super::router(app(&hub)).layer(MockConnectInfo(SocketAddr::from(([10, 0, 0, 1], 40_000))));
    let response = away.oneshot(with_token("GET", "/v1/nodes", "", Body::empty())).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "the token is good on the machine only");
    for path in ["/health/live", "/health/ready", "/openapi.json", "/docs/"] {
        let (status, ..) = send(&hub, Request::get(path).body(Body::empty()).unwrap()).await;
        assert_eq!(status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn reports_have_the_shape_that_other_programs_read() {
    let hub = worked().await;
    let sales = get(&hub, "/v1/reports/sales?by=prefecture").await;
    assert_eq!(sales["by"], "prefecture");
    assert_eq!(
        sales["rows"],
        json!([{ "key": "1301", "name": "division 1301", "packs_checked_in": 1, "packs_returned": 0, "tickets_sold": 0,
            "charge_yuan": "20.00", "commission_yuan": "1.60", "return_yuan": "0.00", "net_sales_yuan": "20.00" }])
    );
    assert_eq!(sales["totals"]["charge_yuan"], "20.00");
    assert_eq!((sales["applied_index"].as_u64(), &sales["next"]), (Some(11), &Value::Null));
    let claims = get(&hub, "/v1/reports/claims?by=game&from=2026-11-23&to=2026-11-23").await;
    assert_eq!(claims["rows"], json!([{ "key": "G0201", "name": "燕赵红", "claims": 1, "prize_yuan": "10.00" }]));
    let stock = get(&hub, "/v1/reports/stock?by=outlet&limit=1").await;
    assert_eq!(
        (&stock["rows"][0]["active"], &stock["rows"][0]["in_transit"], &stock["next"]),
        (&json!(1), &json!(1), &json!("13010001"))
    );
    let deposits = get(&hub, "/v1/reports/deposits?by=county&after=130102").await;
    assert_eq!(deposits["rows"][0]["deposit_yuan"], "500.00");
    let ledger = get(&hub, "/v1/reports/ledger").await;
    assert_eq!((&ledger["by"], &ledger["totals"]["balance_yuan"]), (&json!("kind"), &json!("0.00")));
    let county = get(&hub, "/v1/reports/ledger?by=county").await;
    let row = &county["rows"][0];
    let figures = ["charge_yuan", "commission_yuan", "prize_yuan", "deposit_yuan"].map(|name| row[name].clone());
    assert_eq!(figures, ["20.00", "1.60", "10.00", "1000.00"].map(|yuan| json!(yuan)), "{row}");
    assert_eq!((&row["change_yuan"], &row["balance_yuan"]), (&json!("991.60"), &json!("991.60")));
    let wrong = with_token("GET", "/v1/reports/ledger?by=weather", "", Body::empty());
    assert_eq!(problem(&hub, wrong).await, code(422, "invalid_by"));
    let accounts = get(&hub, "/v1/accounts?limit=1").await;
    assert_eq!(accounts["accounts"][0]["account"], "outlet/1/13010001");
    let next = accounts["next"].as_str().unwrap();
    assert_eq!(get(&hub, &format!("/v1/accounts?limit=1&after={next}")).await["accounts"][0]["kind"], "outlet");
    let nodes = get(&hub, "/v1/nodes").await;
    assert_eq!((&nodes["nodes"][0]["up_next"], &nodes["nodes"][0]["connected"]), (&json!(3), &json!(false)));
}

#[tokio::test]
async fn events_come_as_json_lines() {
    let hub = worked().await;
    for (path, kind) in
        [("/v1/nodes/1/events?after=1&limit=5", "ticket_claimed"), ("/v1/events?limit=1", "division_defined")]
    {
        let (status, media, body) = send(&hub, with_token("GET", path, "", Body::empty())).await;
        assert_eq!((status, media.as_str()), (StatusCode::OK, "application/x-ndjson"));
        let line: Value = serde_json::from_slice(body.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!(line["event"]["kind"], kind);
    }
}

#[tokio::test]
async fn questions_that_cannot_be_read_are_refused() {
    let hub = Running::set_up().await;
    let check = async |path: &str, status: u16, expected: &str| {
        assert_eq!(problem(&hub, with_token("GET", path, "", Body::empty())).await, code(status, expected), "{path}");
    };
    check("/v1/reports/sales?by=planet", 422, "invalid_by").await;
    check("/v1/reports/sales?from=2026-13-01", 422, "invalid_day").await;
    check("/v1/reports/sales?from=2026-11-02&to=2026-11-01", 422, "invalid_day").await;
    check("/v1/reports/sales?after=x", 422, "invalid_after").await;
    check("/v1/reports/sales?limit=many", 400, "malformed_request").await;
    check("/v1/reports/sales?form=2026-11-23", 400, "malformed_request").await;
    check("/v1/accounts?limit=1&page=2", 400, "malformed_request").await;
    check("/v1/events?limit=1&node=2", 400, "malformed_request").await;
    check("/v1/reports/sales?surprise=1", 400, "malformed_request").await;
    check("/v1/reports/stock?by=day", 422, "invalid_by").await;
    check("/v1/reports/deposits?by=game", 422, "invalid_by").await;
    check("/v1/accounts?after=x", 422, "invalid_after").await;
    check("/v1/nodes/9999/events", 422, "invalid_node").await;
    check("/v1/nodes/x/events", 400, "malformed_request").await;
    check("/v1/nowhere", 404, "no_such_route").await;
    check("/v1/imports/batches", 405, "no_such_method").await;
}

#[tokio::test]
async fn a_node_is_registered_and_a_second_one_with_its_prefecture_is_not() {
    let hub = Running::set_up().await;
    let post = |body: &str| with_token("POST", "/v1/nodes", "application/json", body.to_string());
    let good = r#"{"id":3,"name":"秦皇岛","prefectures":[1303]}"#;
    for changed in [true, false] {
        let (status, _, body) = send(&hub, post(good)).await;
        let view: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &view["changed"]), (StatusCode::OK, &json!(changed)));
    }
    let check = async |body: &str, status: u16, expected: &str| {
        assert_eq!(problem(&hub, post(body)).await, code(status, expected), "{body}");
    };
    check(r#"{"id":4,"name":"x","prefectures":[1303]}"#, 409, "prefecture_taken").await;
    check(r#"{"id":5000,"name":"x","prefectures":[1304]}"#, 422, "invalid_node").await;
    check(r#"{"id":4,"name":"x","prefectures":[13]}"#, 422, "invalid_prefecture").await;
    check(r#"{"id":4,"name":"","prefectures":[1304]}"#, 409, "invalid_name").await;
    check(r#"{"id":4,"name":"x"}"#, 422, "malformed_request").await;
    check(r#"{"id":4,"name":"x","prefectures":[1304],"x":1}"#, 422, "malformed_request").await;
    check("{", 400, "malformed_request").await;
    check(&format!(r#"{{"name":"{}"}}"#, "x".repeat(2_000)), 413, "body_too_large").await;
    let plain = with_token("POST", "/v1/nodes", "text/plain", good);
    assert_eq!(problem(&hub, plain).await, code(415, "unsupported_media_type"));
}

#[tokio::test]
async fn lists_are_imported_and_bad_lines_named() {
    let hub = Running::set_up().await;
    let post = |kind: &str, body: String| with_token("POST", &format!("/v1/imports/lists/{kind}"), "text/csv", body);
    let header = "deposit_id,outlet_id,amount_yuan\n";
    let (status, _, body) = send(&hub, post("deposits", format!("{header}9,13010001,5.00\n"))).await;
    let view: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &view["events"], &view["lines"]), (StatusCode::OK, &json!(1), &json!(1)));
    let check = async |kind: &str, body: String, status: u16, expected: &str| {
        assert_eq!(problem(&hub, post(kind, body)).await, code(status, expected));
    };
    check("deposits", format!("{header}9,13010001,five\n"), 422, "invalid_line").await;
    check("deposits", format!("{header}9,13010001,6.00\n"), 409, "exists_with_other").await;
    check("deposits", format!("{header}10,13019999,6.00\n"), 404, "unknown").await;
    check("gifts", header.to_string(), 422, "invalid_kind").await;
    check("deposits", header.repeat(100), 413, "body_too_large").await;
}

#[tokio::test]
async fn only_directories_inside_the_inbox_are_imported_and_none_of_them_stays() {
    let hub = Running::set_up().await;
    let inbox = hub.data.path().join(INBOX);
    std::fs::create_dir_all(inbox.join("bad")).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), inbox.join("link")).unwrap();
    let post = |directory: &std::path::Path| {
        let body = json!({ "directory": directory }).to_string();
        with_token("POST", "/v1/imports/batches", "application/json", body)
    };
    for outside in [
        elsewhere.path(),
        &inbox,
        &inbox.join("link"),
        &inbox.join("missing"),
        &inbox.join("../inbox"),
        "/etc".as_ref(),
    ] {
        assert_eq!(problem(&hub, post(outside)).await, code(422, "invalid_directory"), "{}", outside.display());
    }
    assert!(elsewhere.path().exists() && inbox.exists());
    assert_eq!(problem(&hub, post(&inbox.join("bad"))).await, code(422, "invalid_printer_files"));
    assert!(!inbox.join("bad").exists());
}

#[tokio::test]
async fn a_hub_whose_state_failed_is_not_ready() {
    let hub = Running::set_up().await;
    let meddler = rusqlite::Connection::open(hub.data.path().join(crate::store::STATE_FILE)).unwrap();
    meddler.execute("UPDATE applied SET position = 0", []).unwrap();
    let body = r#"{"id":3,"name":"x","prefectures":[1303]}"#;
    let request = with_token("POST", "/v1/nodes", "application/json", body);
    assert_eq!(problem(&hub, request).await, code(503, "stopping"));
    let ready = Request::get("/health/ready").body(Body::empty()).unwrap();
    assert_eq!(problem(&hub, ready).await, code(503, "state_unknown"));
}
