//! The directory as terminals get it, and terminals that come to the wrong node or from another environment.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[path = "outlet/api.rs"]
#[expect(dead_code, reason = "each test binary uses its part of the outlet")]
mod api;
#[expect(dead_code, reason = "the rest is for the tests of the counter")]
mod outlet;

use std::sync::Arc;

use api::{Api, problem};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use http_body_util::BodyExt;
use jikai_node::app::{App, Parts};
use jikai_node::http::router;
use jikai_node::renewal::AskHub;
use jikai_schema::chain::ChainHash;
use jikai_schema::directory::{Directory, SignedDirectory, nodes_of};
use jikai_schema::event::{DirectoryEvent, EventBody, HandoffEvent, MasterEvent, NodeEvent};
use jikai_schema::id::NodeId;
use jikai_schema::peer::{HubReply, NodeRequest};
use jikai_schema::time::TimeMs;
use jikai_sync::transport::{Future, RequestError};
use outlet::*;
use serde_json::{Value, json};
use tower::ServiceExt;

fn hub_key() -> SigningKey {
    SigningKey::from_bytes(&[8; 32])
}

fn verifying() -> VerifyingKey {
    hub_key().verifying_key()
}

fn published(environment: &str, version: u64) -> EventBody {
    let key = hex::encode(verifying().as_bytes());
    let (issued_at_ms, nodes) = (TimeMs::from_ms(NOW_MS), Vec::new());
    let bytes =
        serde_json::to_vec(&Directory { environment: environment.into(), version, issued_at_ms, key, nodes }).unwrap();
    let signature = hub_key().sign(&Directory::signed_text(&bytes)).to_bytes().to_vec();
    EventBody::Directory(DirectoryEvent::DirectoryPublished { version, bytes, signature })
}

fn node_defined(number: u16, prefecture: &str) -> EventBody {
    let (node, prefectures) = (NodeId::new(number).unwrap(), vec![prefecture.parse().unwrap()]);
    master(MasterEvent::NodeDefined { node, name: format!("node {number}"), prefectures })
}

fn reached(number: u16) -> EventBody {
    let addresses = vec![format!("node{number}.example:8443")];
    EventBody::Directory(DirectoryEvent::NodeReached { node: NodeId::new(number).unwrap(), addresses })
}

fn shut(number: u16) -> EventBody {
    let (node, hash) = (NodeId::new(number).unwrap(), ChainHash::from_bytes([4; 32]));
    EventBody::Node(NodeEvent::Retired { node, next_seq: 1, hash, reason: "shut".into() })
}

fn signed_of(view: &Value) -> SignedDirectory {
    let bytes = |name: &str| STANDARD.decode(view[name].as_str().unwrap()).unwrap();
    let version = view["version"].as_u64().unwrap();
    SignedDirectory { version, bytes: bytes("document"), signature: bytes("signature") }
}

/// Asks without a session; gives status, the two headers, and the body.
async fn ask(api: &Api, if_none_match: Option<&str>) -> (StatusCode, Option<String>, Option<String>, Value) {
    let mut request = Request::get("/v1/directory");
    if let Some(tag) = if_none_match {
        request = request.header("if-none-match", tag);
    }
    let response = api.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_string());
    let (status, tag, version) = (response.status(), header("etag"), header("jikai-directory"));
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, tag, version, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test]
async fn the_directory_comes_without_a_session_and_with_every_login_and_session() {
    let mut api = Api::open(100).await;
    let (status, _, version, body) = ask(&api, None).await;
    assert_eq!((status, version, body["code"].as_str()), (StatusCode::NOT_FOUND, None, Some("no_directory")));
    let token = api.token(owner(1).operator).await;
    assert_eq!(api.get(&token, "/v1/session").await.body["directory"], Value::Null);
    api.hub(vec![published("test", 3)]).await;
    let (status, tag, version, body) = ask(&api, None).await;
    assert_eq!((status, tag.as_deref(), version.as_deref()), (StatusCode::OK, Some("\"3\""), Some("3")));
    assert_eq!(signed_of(&body).verify(&verifying(), "test").unwrap().version, 3);
    assert_eq!(api.get(&token, "/v1/session").await.body["directory"], body);
    let challenge = api.challenge(terminal(1)).await;
    let login = api.login(owner(1).operator, PASSWORD, &challenge).await;
    assert_eq!(login.body["directory"], body);
}

#[tokio::test]
async fn a_terminal_that_has_the_newest_is_told_so_and_every_answer_tells_of_a_newer_one() {
    let mut api = Api::open(100).await;
    api.hub(vec![published("test", 3)]).await;
    for known in ["\"3\"", "\"2\", \"3\"", "*"] {
        let (status, tag, _, body) = ask(&api, Some(known)).await;
        assert_eq!((status, tag.as_deref(), body), (StatusCode::NOT_MODIFIED, Some("\"3\""), Value::Null), "{known}");
    }
    api.hub(vec![published("test", 4)]).await;
    let (status, _, version, _) = ask(&api, Some("\"3\"")).await;
    assert_eq!((status, version.as_deref()), (StatusCode::OK, Some("4")));
    let refused = Request::get("/v1/stock").body(Body::empty()).unwrap();
    let refused = api.router.clone().oneshot(refused).await.unwrap();
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(refused.headers()["jikai-directory"], "4", "refusals tell it too");
}

#[tokio::test]
async fn an_older_directory_and_one_of_another_environment_are_not_shown() {
    let mut api = Api::open(100).await;
    api.hub(vec![published("production", 1)]).await;
    assert_eq!(ask(&api, None).await.0, StatusCode::NOT_FOUND);
    api.hub(vec![published("test", 5), published("test", 4)]).await;
    assert_eq!(ask(&api, None).await.2.as_deref(), Some("5"));
    let kept = api.app.pool.read(|store| SignedDirectory::load(store)).await.unwrap().unwrap();
    assert_eq!(kept.unwrap().version, 5);
}

/// Knows where one outlet is.
struct Hub(Result<Option<u16>, ()>);

impl AskHub for Hub {
    fn ask(&self, request: Vec<u8>) -> Future<'_, Result<Vec<u8>, RequestError>> {
        assert!(matches!(NodeRequest::decode(&request), Ok(NodeRequest::WhereIs { .. })));
        Box::pin(async {
            let node = self.0.map_err(|()| RequestError::NotConnected)?;
            Ok(HubReply::OutletAt(node.map(|node| NodeId::new(node).unwrap())).encode().unwrap())
        })
    }
}

/// A challenge for an outlet that is not in the slice, at a node whose hub says this.
async fn stranger(outlet_id: u32, hub: Result<Option<u16>, ()>) -> api::Answer {
    let body = json!({ "terminal_id": format!("{outlet_id}01") }).to_string();
    api_of(hub).await.post(None, None, "/v1/login/challenge", body).await
}

/// What is answered at such a node to a token that it never gave out, of a terminal of this outlet.
async fn guest(outlet_id: u32, hub: Result<Option<u16>, ()>) -> api::Answer {
    let token = format!("test.{outlet_id}01.{}", "A".repeat(43));
    api_of(hub).await.get(&token, "/v1/stock").await
}

async fn api_of(hub: Result<Option<u16>, ()>) -> Api {
    let mut api = Api::open(100).await;
    api.hub(vec![node_defined(1, "1301"), node_defined(2, "1302"), reached(2)]).await;
    assert_eq!(api.app.pool.read(|store| nodes_of(store)).await.unwrap().unwrap().len(), 2);
    api.app = App::from(Parts { hub: Some(Arc::new(Hub(hub))), ..Parts::clone(&api.app) });
    api.router = router(api.app.clone()).layer(api::from_the_machine());
    api
}

#[tokio::test]
async fn a_terminal_that_came_to_the_wrong_node_is_sent_on() {
    let answer = stranger(13_020_001, Ok(Some(2))).await;
    assert_eq!(problem(&answer, 421), "other_node");
    assert_eq!(answer.body["node"], 2);
    assert_eq!(answer.body["addresses"], json!(["node2.example:8443"]));
    let moved = stranger(13_010_777, Ok(Some(2))).await;
    assert_eq!(problem(&moved, 421), "other_node", "an outlet of this prefecture that moved away");
}

#[tokio::test]
async fn whether_an_outlet_exists_is_not_told_beyond_what_the_directory_tells() {
    let there_is = stranger(13_020_001, Ok(Some(2))).await;
    let there_is_not = stranger(13_020_002, Ok(None)).await;
    assert_eq!((there_is.status, there_is.body), (there_is_not.status, there_is_not.body));
    let here = stranger(13_010_777, Ok(None)).await;
    assert_eq!(here.status, StatusCode::OK, "as for an outlet of this node");
}

#[tokio::test]
async fn while_nobody_knows_the_node_the_terminal_is_asked_to_come_again() {
    assert_eq!(problem(&stranger(13_020_001, Err(())).await, 503), "node_unknown");
    assert_eq!(problem(&stranger(13_010_777, Ok(Some(1))).await, 503), "outlet_arriving");
    let here = stranger(13_010_777, Err(())).await;
    assert_eq!(here.status, StatusCode::OK, "as for an outlet of this node");
}

#[tokio::test]
async fn a_token_that_nobody_knows_is_refused_only_where_its_outlet_is() {
    for outlet_id in [13_010_777, 13_020_001] {
        assert_eq!(problem(&guest(outlet_id, Ok(Some(1))).await, 503), "outlet_arriving", "it comes here");
        assert_eq!(problem(&guest(outlet_id, Err(())).await, 503), "outlet_arriving", "nobody can tell");
        let elsewhere = guest(outlet_id, Ok(Some(2))).await;
        assert_eq!(problem(&elsewhere, 421), "other_node");
        assert_eq!(elsewhere.body["addresses"], json!(["node2.example:8443"]));
    }
    assert_eq!(problem(&guest(13_010_001, Ok(Some(2))).await, 401), "session_expired", "by the node's own word");
    assert_eq!(problem(&guest(13_010_777, Ok(None)).await, 401), "session_expired", "as for one that is here");
    assert_eq!(problem(&guest(13_020_777, Ok(None)).await, 421), "other_node", "as for one that is there");
}

/// What a terminal is answered whose outlet left for node 2, which was taken out of use since, at a node whose hub says this.
async fn left_behind(hub: Result<Option<u16>, ()>) -> api::Answer {
    let mut api = api_of(hub).await;
    let token = api.token(owner(1).operator).await;
    let [here, there] = [1, 2].map(|number| NodeId::new(number).unwrap());
    let way = HandoffEvent::Ordered { handoff: 1, outlet: outlet(1), from: here, to: there };
    api.hub(vec![EventBody::Handoff(way)]).await;
    api.app.writer.release(vec![outlet(1)]).await.unwrap();
    let balance = "1000.00".parse().unwrap();
    let left = HandoffEvent::Left { handoff: 1, outlet: outlet(1), from: here, to: there, balance };
    api.hub(vec![EventBody::Handoff(left)]).await;
    assert_eq!(problem(&api.get(&token, "/v1/stock").await, 421), "outlet_moved");
    api.hub(vec![node_defined(3, "1303"), reached(3), shut(2)]).await;
    api.get(&token, "/v1/stock").await
}

#[tokio::test]
async fn nobody_is_sent_to_a_node_that_is_out_of_use_but_on_to_where_the_outlet_went_or_told_to_wait() {
    let went_on = left_behind(Ok(Some(3))).await;
    assert_eq!(problem(&went_on, 421), "outlet_moved");
    assert_eq!((&went_on.body["node"], &went_on.body["addresses"]), (&json!(3), &json!(["node3.example:8443"])));
    for hub in [Ok(Some(2)), Ok(Some(1)), Ok(None)] {
        let waits = left_behind(hub).await;
        assert_eq!(problem(&waits, 503), "outlet_arriving", "{hub:?}");
        assert_eq!(waits.body["retry_after_ms"], 100);
    }
    assert_eq!(problem(&left_behind(Err(())).await, 503), "node_unknown", "another node may be able to tell");
    let newer = left_behind(Ok(Some(9))).await;
    assert_eq!(problem(&newer, 421), "outlet_moved", "the terminal may know a node that this one has not heard of");
    assert_eq!((&newer.body["node"], &newer.body["addresses"]), (&json!(9), &json!([])));
}

#[tokio::test]
async fn a_stranger_is_not_sent_to_a_node_that_is_out_of_use_by_a_word_that_is_older() {
    let mut api = api_of(Ok(Some(2))).await;
    let body = || json!({ "terminal_id": "1302000101" }).to_string();
    assert_eq!(problem(&api.post(None, None, "/v1/login/challenge", body()).await, 421), "other_node");
    api.hub(vec![shut(2)]).await;
    assert_eq!(problem(&api.post(None, None, "/v1/login/challenge", body()).await, 503), "outlet_arriving");
}

#[tokio::test]
async fn a_token_that_names_another_terminal_than_its_sessions_is_of_no_session() {
    let api = Api::open(100).await;
    let token = api.token(owner(1).operator).await;
    let (front, secret) = token.rsplit_once('.').unwrap();
    assert_eq!(front, format!("test.{}", terminal(1)));
    assert_eq!(api.get(&token, "/v1/stock").await.status, StatusCode::OK);
    let forged = api.get(&format!("test.{}.{secret}", terminal(2)), "/v1/stock").await;
    assert_eq!(problem(&forged, 401), "session_expired");
}

#[tokio::test]
async fn a_token_of_another_environment_opens_nothing_and_is_told_so() {
    let api = Api::open(100).await;
    let token = api.token(owner(1).operator).await;
    let (environment, secret) = token.split_once('.').unwrap();
    assert_eq!(environment, "test");
    assert_eq!(api.get(&token, "/v1/stock").await.status, StatusCode::OK);
    for other in ["production", "training", ""] {
        let answer = api.get(&format!("{other}.{secret}"), "/v1/stock").await;
        assert_eq!(problem(&answer, 403), "wrong_environment", "{other}");
    }
    let (_, secret) = secret.split_once('.').unwrap();
    for earlier in [secret.to_owned(), format!("test.{secret}")] {
        let answer = api.get(&earlier, "/v1/stock").await;
        assert_eq!(answer.status, StatusCode::OK, "a session that an earlier build opened goes on");
    }
}
