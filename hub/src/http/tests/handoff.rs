use axum::http::StatusCode;
use jikai_schema::codec::EVENT_VERSION;
use jikai_schema::command::Command;
use jikai_schema::store::SCHEMA_VERSION;
use jikai_sync::transport::HubStore;
use jikai_sync::wire::{Cursor, Hello};

use super::{problem, send, with_token};
use crate::ingest::NodeGate;
use crate::province::*;

#[tokio::test]
async fn outlets_move_to_a_node_of_an_older_build_once_it_is_upgraded() {
    let (hub, mut log) = (Running::set_up().await, NodeLog::new(2));
    hub.ask(Command::IngestEvents(log.batch(vec![check_in(3, 13_020_001)]))).await;
    let (sequencer, pool, vault) = (hub.sequencer.clone(), hub.pool.clone(), hub.vault.clone());
    let gate = NodeGate::new("test".into(), sequencer, pool, vault, hub.links.clone());
    let hello = |schema_version| Hello {
        environment: "test".into(),
        node: log.node,
        incarnation: log.incarnation,
        epoch: 1,
        schema_version,
        up_head: Cursor { next_seq: log.next_seq, hash: log.hash },
        down: Cursor::START,
        event_version: EVENT_VERSION,
    };
    let body = r#"{"moves":[{"outlet":"13010001","to":2}]}"#;
    let start = || with_token("POST", "/v1/handoffs", "application/json", body);
    gate.admit(hello(SCHEMA_VERSION - 1)).await.unwrap();
    assert_eq!(problem(&hub, start()).await, (409, "node_outdated".to_string()));
    gate.admit(hello(SCHEMA_VERSION)).await.unwrap();
    assert_eq!(send(&hub, start()).await.0, StatusCode::OK);
}
