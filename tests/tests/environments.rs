//! Real processes: a terminal of the training system reaches no live node, whatever it is told of one.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer, SigningKey};
use jikai_tests::https::{Answer, Request, Server};
use jikai_tests::process::{Process, done, wait_until};
use jikai_tests::running::{GENEROUS, Hub, Node, Running, change_settings};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn authority(hub: &Hub) -> String {
    std::fs::read_to_string(hub.data.join("ca/ca.pem")).unwrap()
}

/// A live hub with node 1, and the very outlets of the training system: numbers alone tell nobody apart.
fn live(folder: &Path) -> (Hub, Node) {
    let world = folder.join("world");
    let generate = ["generate", "--terminals", "4", "--nodes", "1", "--games", "G0201", "--out", text(&world)];
    let imports = done("jikai-sim", &generate);
    let hub = Hub::start_in("production", &folder.join("hub"), Some(&world.join("printer.pub")), &[GENEROUS]);
    let lines = imports.lines().filter_map(|line| line.strip_prefix("jikai-hub import --data HUB "));
    let lines = lines.map(|line| line.split(' ').collect::<Vec<_>>());
    for line in lines.filter(|line| ["node", "divisions", "townships", "outlets"].contains(&line[0])) {
        hub.command(&["import"], &line);
    }
    let node = Node::start(&folder.join("node"), &hub, &[GENEROUS]);
    wait_until("the live node to be connected", || hub.get("/v1/nodes")["nodes"][0]["connected"] == true);
    (hub, node)
}

fn digest(node: &Node) -> String {
    done("jikai-node", &["digest", "--data", text(&node.data)])
}

/// Its tables but the directory, which follows the nodes by a job.
fn pictured(node: &Node) -> String {
    digest(node).lines().filter(|line| !line.starts_with("directory ")).flat_map(|line| [line, "\n"]).collect()
}

fn code(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json()["code"].clone())
}

#[test]
fn a_training_terminal_reaches_no_live_node_though_it_is_led_there() {
    let (training, folder) = (Running::start_with("training", &[]), tempfile::tempdir().unwrap());
    let (hub, node) = live(folder.path());
    let terminal = &training.terminal;
    wait_until("the live node to have told where it is reached", || pictured(&node).contains("node_address 1 "));
    wait_until("equal slices", || hub.command(&["digest"], &["--node", "1"]) == digest(&node));
    let before = pictured(&node);

    // With what it was given at its set-up it does not even get through the handshake: the live node's authority is another one.
    let as_set_up = Server::new(node.process.address("http"), "node-1.jikai", &authority(&training.hub));
    let handshake = as_set_up.dial("http/1.1").map(drop).unwrap_err();
    assert!(handshake.to_string().contains("certificate"), "{handshake}");

    // Somebody makes it trust the live authority: session, login, and a code of the training hub are refused.
    let asked = node.server.ask(&terminal.request("GET", "/v1/account"));
    assert_eq!(code(&asked), (403, json!("wrong_environment")));
    assert!(terminal.token().starts_with("training."), "{}", terminal.token());
    let sold =
        node.server.ask(&terminal.mutation("/v1/packs/receive", "led-astray-0001").json(&json!({ "shipment_id": 1 })));
    assert_eq!(code(&sold), (403, json!("wrong_environment")));
    let challenge =
        node.server.ask(&Request::new("POST", "/v1/login/challenge").json(&json!({ "terminal_id": terminal.id })));
    let challenge = challenge.json()["challenge"].as_str().unwrap_or("none").to_string();
    let login = node.server.ask(&Request::new("POST", "/v1/login").json(&terminal.login_body(&challenge)));
    assert!((400..500).contains(&login.status) && login.json()["token"].is_null(), "{}", login.json());
    let enrolled = node.server.ask(&enrolment(&training));
    assert!((400..500).contains(&enrolled.status), "{}", enrolled.json());

    // The live node knows nothing of it, and the terminal works on where it belongs.
    assert_eq!(pictured(&node), before);
    assert_eq!(terminal.ask("GET", "/v1/account").status, 200);
    assert_eq!(hub.get("/v1/nodes")["nodes"][0]["quarantined"], 0);
}

/// A device with a good code of the training hub.
fn enrolment(training: &Running) -> Request {
    let id = format!("{}91", training.terminal.outlet());
    let words = training.hub.command(&["terminal", "enrol"], &["--terminal", &id, "--kind", "dedicated"]);
    let mut lines = words.lines().skip_while(|line| !line.ends_with("shown only now:"));
    let code = lines.nth(1).unwrap().trim();
    let key = SigningKey::from_bytes(&[9; 32]);
    let public = key.verifying_key().to_bytes();
    let signed = format!("jikai-enrol-v1\n{id}\n{code}\n{}", hex::encode(public));
    let signature = STANDARD.encode(key.sign(signed.as_bytes()).to_bytes());
    let body =
        json!({ "terminal_id": id, "code": code, "public_key": STANDARD.encode(public), "signature": signature });
    Request::new("POST", "/v1/enrolment").json(&body)
}

#[test]
fn a_training_node_that_is_pointed_at_the_live_hub_opens_no_session_there() {
    let (mut training, folder) = (Running::start_with("training", &[]), tempfile::tempdir().unwrap());
    let (hub, live) = live(folder.path());
    training.settle();
    training.node.process.kill();
    let settings = training.node.data.join("node.toml");
    change_settings(&settings, &[("hub", &format!("[\"{}\"]", hub.process.address("sync")))]);
    training.hub.process.kill();
    training.node.process = Process::run("jikai-node", &training.node.data);
    let server = Server::new(training.node.process.address("http"), "node-1.jikai", &authority(&training.hub));
    wait_until("the handshake to fail", || training.node.process.log().contains("certificate"));
    let health = server.ask(&Request::new("GET", "/health/ready")).json();
    assert_eq!(health["connected"], false, "{health}");
    let line = &hub.get("/v1/nodes")["nodes"][0];
    assert_eq!((&line["connected"], &line["refused"]), (&json!(true), &Value::Null), "the live node goes on: {line}");
    assert!(digest(&live).contains("outlet"));
}
