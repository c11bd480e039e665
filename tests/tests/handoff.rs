//! Real processes: an outlet moves to another node with its session, its money and the answers that it got.

use jikai_tests::https::{Answer, Request, Server};
use jikai_tests::process::{done, wait_until};
use jikai_tests::running::{Node, Running};
use serde_json::{Value, json};

const KEY: &str = "handoff-receive-0001";

fn second_node(running: &Running, folder: &std::path::Path) -> Node {
    running.hub.command(&["import"], &["node", "--id", "2", "--name", "节点2"]);
    let node = Node::start_as(&folder.join("node2"), &running.hub, 2, &[]);
    running.hub.await_node(2);
    node
}

fn receive(running: &Running, server: &Server) -> Answer {
    server.ask(&running.terminal.mutation("/v1/packs/receive", KEY).json(&json!({ "shipment_id": 1 })))
}

fn balance(running: &Running, server: &Server) -> Value {
    server.ask(&running.terminal.request("GET", "/v1/account")).json()["balance_yuan"].clone()
}

fn move_to(running: &Running, node: u16) {
    let (outlet, node) = (running.terminal.outlet(), node.to_string());
    let said = running.hub.command(&["handoff", "start"], &["--outlet", outlet, "--to", &node]);
    assert!(said.contains("Nothing moves any more."), "{said}");
}

fn assert_slices_agree(running: &Running, second: &Node) {
    for (number, data) in [("1", &running.node.data), ("2", &second.data)] {
        let data = data.to_str().expect("it works here");
        wait_until("equal slices", || {
            running.hub.command(&["digest"], &["--node", number]) == done("jikai-node", &["digest", "--data", data])
        });
    }
}

#[test]
fn an_outlet_moves_with_session_money_and_answers_and_its_old_node_sends_it_on() {
    let folder = tempfile::tempdir().unwrap();
    let running = Running::start();
    let second = second_node(&running, folder.path());
    let (old, new) = (&running.node.server, &second.server);
    wait_until("the consignment", || receive(&running, old).status == 200);
    let (answer, money) = (receive(&running, old), balance(&running, old));
    assert_eq!(answer.status, 200);

    move_to(&running, 2);
    let sent_on = receive(&running, old);
    let told = sent_on.json();
    assert_eq!((sent_on.status, &told["code"], &told["node"]), (421, &json!("outlet_moved"), &json!(2)));
    let challenge = Request::new("POST", "/v1/login/challenge").json(&json!({ "terminal_id": running.terminal.id }));
    assert_eq!(old.ask(&challenge).json()["code"], "outlet_moved");
    wait_until("the session at the new node", || balance(&running, new) == money);
    // The same key gets the same answer, which lies in the old node's log; another body is refused.
    let again = receive(&running, new);
    assert_eq!((again.status, again.json()), (200, answer.json()));
    let other = running.terminal.mutation("/v1/packs/receive", KEY).json(&json!({ "shipment_id": 2 }));
    assert_eq!(new.ask(&other).json()["code"], "idempotency_key_reused");
    assert_slices_agree(&running, &second);

    move_to(&running, 1);
    wait_until("the session back at its first node", || balance(&running, old) == money);
    assert_eq!(receive(&running, old).json(), answer.json());
    assert_eq!(receive(&running, new).json()["code"], "outlet_moved");
    assert_slices_agree(&running, &second);
}

#[test]
fn a_node_that_is_killed_between_order_and_release_lets_go_at_its_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::start();
    let second = second_node(&running, folder.path());
    let money = balance(&running, &running.node.server);
    let data = running.node.data.clone();
    running.node.process.kill();
    let outlet = running.terminal.outlet().to_string();
    running.hub.command(&["handoff", "start"], &["--outlet", &outlet, "--to", "2", "--no-wait"]);
    let under_way = running.hub.get("/v1/handoffs")["under_way"].clone();
    assert_eq!((&under_way[0]["outlet"], &under_way[0]["state"]), (&json!(outlet), &json!("ordered")));
    running.node.process = jikai_tests::process::Process::run("jikai-node", &data);
    wait_until("the outlet at its new node", || balance(&running, &second.server) == money);
    assert_eq!(running.hub.get("/v1/handoffs")["under_way"], json!([]));
    assert_slices_agree(&running, &second);
}
