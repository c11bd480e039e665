//! Real processes: terminals learn where all nodes are and are sent on; nothing of another environment starts.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use ed25519_dalek::VerifyingKey;
use jikai_schema::directory::{Directory, SignedDirectory};
use jikai_tests::https::{Answer, Request};
use jikai_tests::process::{done, wait_until};
use jikai_tests::province::binaries;
use jikai_tests::running::{Hub, Node};
use serde_json::json;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A hub with two nodes, and outlets of the second.
fn province(folder: &Path) -> (Hub, [Node; 2], Vec<String>) {
    let world = folder.join("world");
    let generate = ["generate", "--terminals", "40", "--nodes", "2", "--games", "G0201", "--out", text(&world)];
    let imports = done("jikai-sim", &generate);
    let hub = Hub::start(&folder.join("hub"), Some(&world.join("printer.pub")), &[]);
    let lines = imports.lines().filter_map(|line| line.strip_prefix("jikai-hub import --data HUB "));
    let lines = lines.map(|line| line.split(' ').collect::<Vec<&str>>());
    // Who and where; no stock is needed.
    let lines: Vec<_> = lines.filter(|line| ["node", "divisions", "townships", "outlets"].contains(&line[0])).collect();
    for line in &lines {
        hub.command(&["import"], line);
    }
    let nodes = [1, 2].map(|number| Node::start_as(&folder.join(format!("node{number}")), &hub, number, &[]));
    let of_second = lines.iter().find(|line| line.starts_with(&["node", "--id", "2"])).unwrap();
    let prefectures = of_second.iter().skip_while(|word| **word != "--prefectures").nth(1).unwrap();
    let outlets = std::fs::read_to_string(world.join("outlets.csv")).unwrap();
    let ids = outlets.lines().skip(1).filter_map(|line| line.split(',').next());
    let outlets = ids.filter(|id| prefectures.split(',').any(|code| id.starts_with(code))).map(str::to_string);
    (hub, nodes, outlets.collect())
}

fn challenge(node: &Node, outlet: &str) -> Answer {
    let body = json!({ "terminal_id": format!("{outlet}01") });
    node.server.ask(&Request::new("POST", "/v1/login/challenge").json(&body))
}

/// The first answer to a challenge that is not about how often this address asks.
fn answered(node: &Node, outlet: &str) -> Answer {
    let mut last = None;
    wait_until("the node to answer this address", || {
        last = Some(challenge(node, outlet)).filter(|answer| answer.status != 429);
        last.is_some()
    });
    last.unwrap()
}

#[test]
fn terminals_learn_of_all_nodes_and_one_at_the_wrong_node_is_sent_on() {
    let folder = tempfile::tempdir().unwrap();
    let (hub, nodes, outlets) = province(folder.path());
    let addresses = nodes.each_ref().map(|node| vec![node.process.address("http").to_string()]);
    let is_whole = |signed: &SignedDirectory| {
        let known = Directory::read(&signed.bytes).unwrap().nodes;
        known.iter().map(|node| &node.addresses).eq(addresses.iter())
    };
    wait_until("both nodes to know of both", || {
        nodes.iter().all(|node| node.directory().as_ref().is_some_and(is_whole))
    });
    let mut shown = [None, None];
    wait_until("both nodes to show the same", || {
        shown = nodes.each_ref().map(|node| node.directory());
        shown[0].is_some() && shown[0] == shown[1]
    });
    let shown = shown[0].take().unwrap();
    assert!(is_whole(&shown));
    let mut key = [0; 32];
    let public = std::fs::read_to_string(hub.data.join("ca/directory.pub")).unwrap();
    hex::decode_to_slice(public.trim(), &mut key).unwrap();
    shown.verify(&VerifyingKey::from_bytes(&key).unwrap(), "test").unwrap();
    let tag = format!("\"{}\"", shown.version);
    wait_until("the node to say that this directory is the newest", || {
        let again = nodes[0].server.ask(&Request::new("GET", "/v1/directory").header("if-none-match", tag.as_str()));
        assert!([304, 429].contains(&again.status), "{}", again.status);
        again.status == 304 && again.body.is_empty()
    });

    let sent_on = answered(&nodes[0], &outlets[0]);
    assert_eq!((sent_on.status, &sent_on.json()["code"]), (421, &json!("other_node")));
    assert_eq!((&sent_on.json()["node"], &sent_on.json()["addresses"]), (&json!(2), &json!(addresses[1])));
    wait_until("the outlet's own node to know it", || challenge(&nodes[1], &outlets[0]).status == 200);
    drop(hub);
    wait_until("the node to miss the hub", || {
        nodes[0].server.ask(&Request::new("GET", "/health/ready")).json()["connected"] == false
    });
    // Waiting may have used up what strangers from one address may ask.
    let unknown = answered(&nodes[0], &outlets[1]);
    assert_eq!((unknown.status, &unknown.json()["code"]), (503, &json!("node_unknown")));
}

/// What a command says that must fail.
fn refused(name: &str, words: &[&str]) -> String {
    let output = Command::new(binaries().join(name)).args(words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{name} {words:?} did not fail: {said}");
    said
}

fn set_environment(settings: &Path, environment: &str) {
    let text = std::fs::read_to_string(settings).unwrap();
    let changed = text.replace("environment = \"test\"", &format!("environment = \"{environment}\""));
    assert_ne!(changed, text);
    std::fs::write(settings, changed).unwrap();
}

#[test]
fn stores_and_authorities_of_one_environment_do_not_start_in_another() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let hub = Hub::start(&at("hub"), None, &[]);
    let node = at("node");
    Node::make(&node, &hub, 1);
    let (hub_data, authority) = (at("hub"), at("hub").join("ca/ca.pem"));
    drop(hub);
    set_environment(&hub_data.join("hub.toml"), "production");
    let said = refused("jikai-hub", &["run", "--data", text(&hub_data)]);
    assert!(said.contains("made for the environment `test`, the settings say `production`"), "{said}");
    set_environment(&node.join("node.toml"), "training");
    let said = refused("jikai-node", &["run", "--data", text(&node)]);
    assert!(said.contains("node 1 of test") && said.contains("of training"), "{said}");
    let training = at("training");
    let mine = ["init", "--data", text(&training), "--node", "1", "--hub", "127.0.0.1:1", "--environment", "training"];
    done("jikai-node", &mine);
    let enrol = ["enrol", "--data", text(&training), "--certificate", text(&authority), "--ca", text(&authority)];
    let said = refused("jikai-node", &enrol);
    assert!(said.contains("`Jikai test CA`") && said.contains("`training`"), "{said}");
}
