//! The terminals' API over its router, with a hub whose facts arrive when the test says so.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::extract::connect_info::MockConnectInfo;
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::Signer;
use http_body_util::BodyExt;
use jikai_node::app::{App, Parts};
use jikai_node::config::{Acknowledge, Config};
use jikai_node::decide::Caller;
use jikai_node::directory::DirectoryBoard;
use jikai_node::handoff::Moved;
use jikai_node::http::{Allowances, router};
use jikai_node::session::{Challenges, Hashing, Sessions, signed_text};
use jikai_node::store::{ReadPool, StoreIdentity};
use jikai_node::uplink::{LinkState, UplinkStore};
use jikai_node::writer::{DownBatch, Writer};
use jikai_schema::event::EventBody;
use jikai_schema::id::{OperatorId, TerminalId};
use jikai_schema::time::TimeMs;
use jikai_sync::identity::Certified;
use jikai_sync::session::VerifiedBatch;
use jikai_sync::transport::{LogError, NodeStore};
use jikai_sync::wire::Cursor;
use metrics_exporter_prometheus::PrometheusBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Notify, watch};
use tower::ServiceExt;

use crate::outlet::*;

pub struct Api {
    pub app: App,
    pub router: axum::Router,
    /// How far the clock has been put forward.
    pub forward_ms: Arc<AtomicI64>,
    pub session_ms_max: i64,
    pub offline_ms_max: i64,
    /// How the link to the hub stands.
    pub link: watch::Sender<LinkState>,
    pub uplink: UplinkStore,
    /// Told when the hub orders an outlet away.
    pub ordered: Arc<Notify>,
    feed: Feed,
    pub data: TempDir,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub kind: String,
    pub body: Value,
}

/// A certificate that ends in ten days.
fn certificate() -> watch::Receiver<Certified> {
    let (not_before_ms, not_after_ms) = (TimeMs::from_ms(NOW_MS), TimeMs::from_ms(NOW_MS + 10 * 86_400_000));
    let (serial, hosts) = ("0a".to_string(), Vec::new());
    watch::channel(Certified { node: node(), serial, not_before_ms, not_after_ms, hosts }).1
}

/// Requests come from the machine itself.
pub fn from_the_machine() -> MockConnectInfo<SocketAddr> {
    MockConnectInfo(SocketAddr::from(([127, 0, 0, 1], 40_000)))
}

impl Api {
    pub async fn open(burst: u32) -> Api {
        Api::open_with(burst, Acknowledge::Local).await
    }

    pub async fn open_with(burst: u32, ack: Acknowledge) -> Api {
        let data = tempfile::tempdir().unwrap();
        init(data.path());
        let (writer, keys) = start(data.path());
        let mut feed = Feed::new();
        feed.send(&writer, world()).await;
        let pool = ReadPool::open(data.path(), 2).unwrap();
        let address = "127.0.0.1:0".parse().unwrap();
        let (forward_ms, clock) = (Arc::new(AtomicI64::new(0)), clock());
        let ahead_ms = forward_ms.clone();
        let config = Config::new(1, "test".into(), vec![address], address, ack);
        let (session_ms_max, offline_ms_max) = (12 * 3_600_000, config.offline_ms_max);
        let left_at_ms = TimeMs::from_ms(NOW_MS);
        let (link, link_state) = watch::channel(LinkState { left_at_ms, ..LinkState::default() });
        let sessions = Arc::new(Sessions::new(NonZeroU32::MIN, NonZeroU32::new(burst).unwrap()));
        let names = writer.names();
        let directory = DirectoryBoard::new("test");
        let (moved, ordered) = (Arc::new(Moved::default()), Arc::new(Notify::new()));
        let uplink = uplink(&writer, &pool, link.clone(), sessions.clone())
            .with_directory(directory.clone())
            .with_handoff(moved.clone(), ordered.clone());
        let app = App::from(Parts {
            node: node(),
            config: Arc::new(config),
            writer,
            pool,
            keys,
            sessions,
            challenges: Arc::new(Challenges::default()),
            strangers: Arc::new(Allowances::new(NonZeroU32::new(100).unwrap())),
            moved,
            guesses: Arc::default(),
            hashing: Arc::new(Hashing::new(1, 8)),
            names,
            directory: directory.clone(),
            link: link_state,
            hub: None,
            whereabouts: Arc::default(),
            certificate: certificate(),
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            clock: Arc::new(move || TimeMs::from_ms(clock().ms() + ahead_ms.load(Ordering::SeqCst))),
        });
        let router = router(app.clone()).layer(from_the_machine());
        Api { app, router, forward_ms, session_ms_max, offline_ms_max, link, uplink, ordered, feed, data }
    }

    /// Facts of the hub arrive.
    pub async fn hub(&mut self, bodies: Vec<EventBody>) {
        self.try_hub(bodies).await.unwrap();
    }

    /// Facts of the hub arrive, and what memory needs of them may not be readable.
    pub async fn try_hub(&mut self, bodies: Vec<EventBody>) -> Result<Cursor, LogError> {
        let DownBatch { first_seq, prev_hash, last_hash, events } = self.feed.batch(bodies);
        let head_seq = first_seq + events.len() as u64 - 1;
        let batch = VerifiedBatch { first_seq, prev_hash, last_hash, head_seq, events };
        self.uplink.apply_down(batch).await
    }

    /// The link to the hub opens, or has been down since the start.
    pub fn connect(&self, connected: bool) {
        self.link.send_modify(|state| state.connected = connected);
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, kind) = (response.status(), response.headers().get("content-type").cloned());
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let kind = kind.map_or(String::new(), |kind| kind.to_str().unwrap().to_string());
        Answer { status, kind, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) }
    }

    pub async fn post(&self, token: Option<&str>, key: Option<&str>, path: &str, body: impl Into<Body>) -> Answer {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.send(request.body(body.into()).unwrap()).await
    }

    pub async fn get(&self, token: &str, path: &str) -> Answer {
        let request = Request::get(path).header("authorization", format!("Bearer {token}"));
        self.send(request.body(Body::empty()).unwrap()).await
    }

    pub async fn challenge(&self, terminal: TerminalId) -> String {
        let body = json!({ "terminal_id": terminal.to_string() }).to_string();
        let answer = self.post(None, None, "/v1/login/challenge", body).await;
        answer.body["challenge"].as_str().unwrap().to_string()
    }

    pub async fn login(&self, operator: OperatorId, password: &str, challenge: &str) -> Answer {
        self.login_at(terminal(1), operator, password, challenge).await
    }

    async fn login_at(&self, terminal: TerminalId, operator: OperatorId, password: &str, challenge: &str) -> Answer {
        let signature = device_key().sign(signed_text(terminal, operator, challenge).as_bytes());
        let body = json!({
            "terminal_id": terminal.to_string(), "operator_id": operator.to_string(), "password": password,
            "challenge": challenge, "signature": STANDARD.encode(signature.to_bytes()),
        });
        self.post(None, None, "/v1/login", body.to_string()).await
    }

    pub async fn token(&self, operator: OperatorId) -> String {
        let challenge = self.challenge(terminal(1)).await;
        token_in(&self.login(operator, PASSWORD, &challenge).await)
    }

    /// A session of this person at the terminal of the own outlet.
    pub async fn token_of(&self, caller: Caller) -> String {
        let challenge = self.challenge(caller.terminal).await;
        token_in(&self.login_at(caller.terminal, caller.operator, PASSWORD, &challenge).await)
    }
}

fn token_in(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
    answer.body["token"].as_str().unwrap().to_string()
}

fn uplink(writer: &Writer, pool: &ReadPool, link: watch::Sender<LinkState>, sessions: Arc<Sessions>) -> UplinkStore {
    let identity = StoreIdentity { environment: "test".into(), node: node(), incarnation: [1; 16], epoch: 1 };
    UplinkStore::new(identity, writer.clone(), pool.clone(), link, sessions, clock())
}

/// The code of a refusal, which must have the form that every refusal has.
pub fn problem(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    assert_eq!(answer.kind, "application/problem+json");
    for field in ["type", "title", "detail", "hint"] {
        assert!(answer.body[field].as_str().is_some_and(|text| !text.is_empty()), "{field} in {}", answer.body);
    }
    answer.body["code"].as_str().unwrap().to_string()
}
