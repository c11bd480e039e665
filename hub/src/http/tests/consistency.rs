//! Reads at a machine that is behind.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use jikai_schema::command::Command;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::super::consistency::APPLIED_INDEX;
use super::people::Browser;
use super::*;
use crate::province::{LONG, Machines, define_node};
use crate::raft::digests::Agreement;
use crate::raft::settings::Settings;
use crate::store::STATE_FILE;

/// Status, place and body of a read with the machine's token.
async fn read(hub: &Running, path: &str) -> (StatusCode, Option<u64>, Value) {
    let request = with_token("GET", path, "", Body::empty());
    let response = router(app(hub)).oneshot(request).await.unwrap();
    let place = response.headers().get(APPLIED_INDEX).map(|place| place.to_str().unwrap().parse().unwrap());
    let status = response.status();
    let body = to_bytes(response.into_body(), 16 << 20).await.unwrap();
    (status, place, serde_json::from_slice(&body).unwrap_or_default())
}

/// Holds the state of a machine, so that it cannot apply, until it is dropped.
struct Held(Connection);

impl Held {
    fn of(hub: &Running) -> Self {
        let state = Connection::open(hub.data.path().join(STATE_FILE)).unwrap();
        state.busy_timeout(LONG).unwrap();
        state.execute_batch("BEGIN IMMEDIATE").unwrap();
        Held(state)
    }

    fn release(self) {
        self.0.execute_batch("ROLLBACK").unwrap();
    }
}

#[tokio::test]
async fn every_read_tells_its_place_and_waits_only_where_it_is_asked_to() {
    let hub = worked().await;
    let position = Some(hub.sequencer.applied().get());
    for path in
        ["/v1/reports/sales?by=game", "/v1/accounts?limit=1", "/v1/events", "/v1/quarantine", "/v1/certificates"]
    {
        let joint = if path.contains('?') { '&' } else { '?' };
        for asked in [path.to_owned(), format!("{path}{joint}consistent=true")] {
            let (status, place, body) = read(&hub, &asked).await;
            assert_eq!(status, StatusCode::OK, "{asked}: {body}");
            assert!(place >= position, "{asked}: {place:?}");
        }
    }
    let (status, _, body) = read(&hub, "/v1/nodes?consistent=perhaps").await;
    assert_eq!((status, &body["code"]), (StatusCode::UNPROCESSABLE_ENTITY, &json!("invalid_consistent")));
    let (status, place, _) = read(&hub, "/health/live?consistent=perhaps").await;
    assert_eq!((status, place), (StatusCode::OK, None), "health is about this machine");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consistent_read_at_a_machine_that_is_behind_shows_what_was_answered_elsewhere() {
    let machines = Machines::set_up(3, &Settings::default()).await;
    machines.applied(3, machines[1].sequencer.applied()).await;
    let held = Held::of(&machines[3]);
    machines.ask(1, Command::DefineMaster(vec![define_node(3, &[1303])])).await;
    let newest = machines[1].sequencer.applied().get();
    let (status, place, old) = read(&machines[3], "/v1/nodes").await;
    assert_eq!((status, old["nodes"].as_array().unwrap().len()), (StatusCode::OK, 2));
    assert!(place.unwrap() < newest);
    let ((status, place, new), ()) =
        tokio::join!(read(&machines[3], "/v1/nodes?consistent=true"), async { held.release() });
    assert_eq!((status, new["nodes"].as_array().unwrap().len()), (StatusCode::OK, 3), "{new}");
    assert!(place.unwrap() >= newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nobody_confirms_it_a_consistent_read_is_refused_and_another_is_answered() {
    let machines = Machines::set_up(3, &Settings { propose_wait: LONG / 15, ..Settings::default() }).await;
    machines.applied(3, machines[1].sequencer.applied()).await;
    machines.isolate(3);
    let (status, place, body) = read(&machines[3], "/v1/nodes?consistent=true").await;
    assert_eq!((status, &body["code"], place), (StatusCode::SERVICE_UNAVAILABLE, &json!("no_leader"), None), "{body}");
    assert!(body["hint"].as_str().is_some_and(|hint| !hint.is_empty()));
    assert_eq!(read(&machines[3], "/v1/nodes").await.0, StatusCode::OK);
    machines.heal();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_opened_at_one_machine_is_good_at_one_that_has_not_applied_it_yet() {
    let machines = Machines::set_up(3, &Settings::default()).await;
    // Through a follower: its own answer is readable there at once.
    let mut person = people::first(&machines[2]).await;
    assert_eq!(person.log_in("root", people::ROOT_PASSWORD, None).await.0, 200);
    assert_eq!(person.get("/v1/session").await.0, 200);
    machines.applied(3, machines[1].sequencer.applied()).await;
    let held = Held::of(&machines[3]);
    let mut again = Browser::new(app(&machines[1]));
    assert_eq!(again.log_in("root", people::ROOT_PASSWORD, None).await.0, 200);
    let mut there = again.at(app(&machines[3]));
    let (answer, ()) = tokio::join!(there.get("/v1/session"), async { held.release() });
    assert_eq!(answer.0, 200, "{}", answer.1);
    let unknown = Request::get("/v1/session").header(header::COOKIE, format!("__Host-jikai={}", "A".repeat(43)));
    let refused = problem(&machines[3], unknown.body(Body::empty()).unwrap()).await;
    assert_eq!(refused, code(401, "session_expired"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_whose_state_differs_refuses_reads_and_changes_and_says_why() {
    let machines = Machines::set_up(3, &Settings::default()).await;
    // Not the leader, to which others give way.
    let hub = &machines[2];
    let doubt = |yields| Agreement { index: 9, agrees: Some(false), tables: vec!["outlet".into()], yields };
    hub.member.cluster.digests().conclude(doubt(false));
    assert_eq!(read(hub, "/v1/nodes").await.0, StatusCode::OK, "the others give way");
    hub.member.cluster.digests().conclude(doubt(true));
    for (method, path) in [("GET", "/v1/nodes"), ("POST", "/v1/session")] {
        let request = with_token(method, path, "application/json", Body::from("{}"));
        let response = router(app(hub)).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE, "{method} {path}");
        let body = to_bytes(response.into_body(), 16 << 20).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["code"], "state_differs", "{method} {path}: {body}");
        assert!(body["detail"].as_str().unwrap().contains("outlet"), "{body}");
    }
    assert_eq!(read(hub, "/health/live").await.0, StatusCode::OK);
    assert_eq!(read(hub, "/health/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_machine_that_gave_way_to_a_leader_serves_again_once_it_leads_itself() {
    let hub = worked().await;
    let agreement = Agreement { index: 9, agrees: Some(false), tables: vec!["outlet".into()], yields: true };
    hub.member.cluster.digests().conclude(agreement);
    let mut told = hub.sequencer.told();
    let serves = told.wait_for(|told| told.agreement.as_ref().is_some_and(|agreement| !agreement.yields));
    tokio::time::timeout(LONG, serves).await.expect("nobody else leads").unwrap();
    assert_eq!(read(&hub, "/v1/nodes").await.0, StatusCode::OK);
}
