//! Certificates of nodes: signed with the names of their machines, listed with their ends, revoked one by one or all at once.

use axum::http::StatusCode;
use jikai_sync::identity::{KeyAndRequest, certified_by_pem};
use serde_json::{Value, json};

use super::{code, get, problem, send, with_token};
use crate::identity::IdentityFiles;
use crate::province::{Running, node, secrets_in};

fn sign(number: u16, hosts: Value) -> axum::http::Request<axum::body::Body> {
    let request = KeyAndRequest::for_node(node(1)).unwrap().request_pem;
    let body = json!({ "node": number, "request": request, "hosts": hosts }).to_string();
    with_token("POST", "/v1/certificates", "application/json", body)
}

#[tokio::test]
async fn a_certificate_carries_the_names_that_were_given_and_none_that_means_somebody_else() {
    let hub = Running::set_up().await;
    IdentityFiles::new(hub.data.path()).create(&secrets_in(hub.data.path()), "test", &[]).unwrap();
    let (status, _, body) = send(&hub, sign(1, json!(["node1.example", "10.0.0.1"]))).await;
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    let signed: Value = serde_json::from_slice(&body).unwrap();
    let certified = certified_by_pem(signed["certificate"].as_str().unwrap()).unwrap();
    assert_eq!((certified.node, certified.hosts.len()), (node(1), 2));
    assert_eq!(problem(&hub, sign(1, json!(["node-2.jikai"]))).await, code(422, "invalid_request"));
    assert_eq!(problem(&hub, sign(1, json!([""]))).await, code(422, "invalid_hosts"));
    assert_eq!(problem(&hub, sign(1, json!(vec!["a.example"; 17]))).await, code(422, "invalid_hosts"));
    assert_eq!(problem(&hub, sign(0, json!([]))).await, code(422, "invalid_node"));
    assert_eq!(problem(&hub, sign(4095, json!([]))).await, code(404, "unknown"), "it is not registered");

    let page = get(&hub, "/v1/certificates").await;
    let row = &page["certificates"][0];
    assert_eq!((&row["serial"], &row["node"]), (&json!(certified.serial), &json!(1)));
    let days = row["expires_in_s"].as_i64().unwrap() / 86_400;
    assert!((728..=730).contains(&days), "{days}");
    assert_eq!((&row["revoked"], &row["superseded_by"], &row["renews"]), (&Value::Null, &Value::Null, &Value::Null));
    assert_eq!(page["hub"]["expires_in_s"].as_i64().unwrap() / 86_400, 29);
    assert_eq!(page["hub"]["authority_expires_in_s"].as_i64().unwrap() / 86_400, 99);
}

#[tokio::test]
async fn all_certificates_of_a_node_are_revoked_at_once_with_a_reason() {
    let hub = Running::set_up().await;
    IdentityFiles::new(hub.data.path()).create(&secrets_in(hub.data.path()), "test", &[]).unwrap();
    for _ in 0..2 {
        assert_eq!(send(&hub, sign(1, json!([]))).await.0, StatusCode::OK);
    }
    let revoke = |number: u16, reason: &str| {
        let path = format!("/v1/nodes/{number}/certificates/revocation");
        with_token("POST", &path, "application/json", json!({ "reason": reason }).to_string())
    };
    assert_eq!(problem(&hub, revoke(1, " ")).await, code(409, "invalid_reason"));
    assert_eq!(problem(&hub, revoke(9, "stolen")).await, code(404, "unknown"));
    assert_eq!(problem(&hub, revoke(0, "stolen")).await, code(422, "invalid_node"));
    assert_eq!(send(&hub, revoke(1, "stolen")).await.0, StatusCode::NO_CONTENT);
    let page = get(&hub, "/v1/certificates").await;
    let reasons: Vec<&Value> = page["certificates"].as_array().unwrap().iter().map(|row| &row["revoked"]).collect();
    assert_eq!(reasons, [&json!("stolen"), &json!("stolen")]);
}

#[tokio::test]
async fn the_ends_of_certificates_show_in_health_and_metrics() {
    let hub = Running::set_up().await;
    IdentityFiles::new(hub.data.path()).create(&secrets_in(hub.data.path()), "test", &[]).unwrap();
    assert_eq!(send(&hub, sign(1, json!([]))).await.0, StatusCode::OK);
    let ready = get(&hub, "/health/ready").await;
    assert_eq!(ready["certificate_expires_in_s"].as_i64().unwrap() / 86_400, 29);
    assert_eq!(ready["authority_expires_in_s"].as_i64().unwrap() / 86_400, 99);
    assert!(ready["warnings"][0].as_str().unwrap().contains("authority ends"), "{ready}");
}
