//! Real processes: a hub whose directory was put back from an older copy gets back from its nodes what they had received of it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use jikai_tests::https::Server;
use jikai_tests::process::{done, wait_until};
use jikai_tests::running::{Pair, Terminal};
use serde_json::{Value, json};

fn restore(pair: &Pair, more: &[&str]) -> String {
    done("jikai-hub", &[&["restore", "--data", pair.hub_data().to_str().unwrap()], more].concat())
}

fn recovery(pair: &Pair) -> Value {
    pair.hub().get("/v1/cluster/recovery")
}

fn wait_until_over(pair: &Pair) -> Value {
    wait_until("the recovery to be over", || recovery(pair)["state"] == "over");
    recovery(pair)
}

/// Takes over the packs on their way to the terminal's outlet, one at most.
fn receive_one(terminal: &Terminal, server: &Server, key: &str) {
    let packs = server.ask(&terminal.request("GET", "/v1/packs")).json();
    let sent = packs["packs"].as_array().unwrap().iter().find(|pack| pack["state"] == "in_transit");
    let pack = sent.unwrap_or_else(|| panic!("no pack is on its way: {packs}"))["pack"].clone();
    let answer = server.ask(&terminal.mutation("/v1/packs/receive", key).json(&json!({ "packs": [pack] })));
    assert_eq!(answer.status, 200, "{}", answer.json());
}

/// The sums that a person would compare: they do not hang on how often a lease was taken.
fn sums(pair: &Pair) -> Vec<String> {
    ["/v1/reports/ledger", "/v1/reports/deposits", "/v1/reports/stock", "/v1/reports/sales"]
        .iter()
        .map(|path| {
            let mut answer = pair.hub().get(path);
            answer.as_object_mut().unwrap().retain(|key, _| key != "applied_index" && key != "as_of_ms");
            answer.to_string()
        })
        .collect()
}

#[test]
fn a_hub_put_back_from_an_older_copy_gets_back_what_its_nodes_had_received() {
    let mut pair = Pair::start();
    pair.settle();
    pair.kill_hub();
    pair.copy_hub();
    pair.start_hub();
    pair.import_later();
    pair.settle();
    for terminal in &pair.terminals {
        receive_one(terminal, terminal.server(), "restore-receive-01");
    }
    // An outlet moves meanwhile, and goes on at its new node.
    let moved = &pair.terminals[0];
    let said = pair.hub().command(&["handoff", "start"], &["--outlet", moved.outlet(), "--to", "2"]);
    assert!(said.contains("Nothing moves any more."), "{said}");
    receive_one(moved, &pair.nodes[1].server, "restore-receive-02");
    let (tables, before) = (pair.digest(), sums(&pair));
    pair.kill_hub();
    pair.put_back();
    let told = restore(&pair, &[]);
    assert!(told.contains("awaits what its nodes had received"), "{told}");
    pair.start_hub();
    let over = wait_until_over(&pair);
    let kinds = &over["kinds"];
    assert_eq!((&kinds["outlet_arrived"], &kinds["outlet_left"]), (&json!(1), &json!(1)), "{over}");
    assert!(kinds["batch_defined"] == 1 && kinds["deposit_credited"].as_u64() > Some(1), "{over}");
    assert!(kinds["pack_shipped"].as_u64() > Some(1) && over["conflicts"] == 0 && over["quarantined"] == 0, "{over}");
    assert_eq!(over["batches_without_key"], json!([]), "the nodes had its key");
    assert_eq!(over["batches_without_approval"], json!([1]));
    assert_eq!(over["generation"], 2);
    assert_eq!(pair.digest(), tables, "the tables are not as they were");
    assert_eq!(sums(&pair), before);
    let status = restore(&pair, &["--status"]);
    assert!(status.contains("node    1  returned") && status.contains("batches without an approval"), "{status}");
    // Who enters everything again changes nothing but what was lost: the packs that were never shipped.
    pair.import_later();
    assert_eq!(pair.digest(), tables);
    assert_eq!(sums(&pair), before);
    receive_one(&pair.terminals[1], &pair.nodes[1].server, "restore-receive-03");
    pair.settle();
    pair.kill_hub();
    done("jikai-hub", &["audit", "verify", "--data", pair.hub_data().to_str().unwrap()]);
    nothing_lost(&mut pair);
}

#[test]
fn a_node_that_was_added_after_the_copy_returns_what_it_alone_had_received() {
    let mut pair = Pair::start();
    pair.import_later();
    pair.settle();
    pair.kill_hub();
    pair.copy_hub();
    pair.start_hub();
    pair.add_node();
    let moved = &pair.terminals[0];
    pair.hub().command(&["handoff", "start"], &["--outlet", moved.outlet(), "--to", "3"]);
    receive_one(moved, &pair.nodes[2].server, "restore-added-01");
    let (tables, before) = (pair.digest(), sums(&pair));
    pair.kill_hub();
    pair.put_back();
    restore(&pair, &[]);
    pair.start_hub();
    let over = wait_until_over(&pair);
    let third = over["nodes"].as_array().unwrap().iter().find(|line| line["node"] == 3).unwrap();
    assert_eq!((&third["state"], &over["conflicts"], &over["quarantined"]), (&json!("returned"), &json!(0), &json!(0)));
    assert!(third["events"].as_u64() > Some(0), "{over}");
    assert_eq!(pair.digest(), tables, "the tables are not as they were");
    assert_eq!(sums(&pair), before);
    receive_one(&pair.terminals[0], &pair.nodes[2].server, "restore-added-02");
    pair.settle();
}

#[test]
fn a_store_that_took_its_nodes_place_after_the_copy_returns_by_itself_and_has_the_whole_log() {
    let mut pair = Pair::start();
    pair.settle();
    pair.kill_hub();
    pair.copy_hub();
    pair.start_hub();
    pair.import_later();
    pair.settle();
    // Of what the first store took over, the copy knows nothing.
    receive_one(&pair.terminals[0], &pair.nodes[0].server, "restore-replaced-01");
    pair.settle();
    pair.replace_node(1);
    receive_one(&pair.terminals[0], &pair.nodes[0].server, "restore-replaced-02");
    let (tables, before) = (pair.digest(), sums(&pair));
    pair.kill_hub();
    pair.put_back();
    restore(&pair, &[]);
    pair.start_hub();
    let over = wait_until_over(&pair);
    let first = over["nodes"].as_array().unwrap().iter().find(|line| line["node"] == 1).unwrap();
    assert_eq!((&first["state"], &first["met_epoch"]), (&json!("returned"), &json!(2)), "{over}");
    assert_eq!((&over["conflicts"], &over["quarantined"]), (&json!(0), &json!(0)), "{over}");
    assert_eq!(pair.digest(), tables, "the tables are not as they were");
    assert_eq!(sums(&pair), before);
    assert!(restore(&pair, &["--status"]).contains("by its store of epoch 2, which the copy did not know"));
    let node = &pair.hub().get("/v1/nodes")["nodes"][0];
    assert_eq!((&node["epoch"], &node["connected"]), (&json!(2), &json!(true)), "{node}");
    let account = pair.nodes[0].server.ask(&pair.terminals[0].request("GET", "/v1/account"));
    assert_eq!(account.status, 200, "{}", account.json());
    pair.settle();
    pair.kill_hub();
    done("jikai-hub", &["audit", "verify", "--data", pair.hub_data().to_str().unwrap()]);
}

/// A hub that lacks nothing ends once its nodes are there, and says until then that it waits for them.
fn nothing_lost(pair: &mut Pair) {
    pair.nodes[1].process.kill();
    restore(pair, &[]);
    pair.start_hub();
    let hub = pair.hub();
    let ready = hub.get("/health/ready");
    assert_eq!(ready["status"], "recovering", "{ready}");
    assert!(ready["warnings"][0].as_str().is_some_and(|told| told.contains("restore --status")), "{ready}");
    let moves = json!({ "moves": [{ "outlet": pair.terminals[0].outlet(), "to": 2 }] });
    let refused = hub.server.ask(&hub.as_machine("POST", "/v1/handoffs").json(&moves));
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("recovering")), "{}", refused.json());
    assert!(refused.json()["hint"].as_str().is_some_and(|hint| hint.contains("restore --status")));
    let nodes = hub.command(&["node", "list"], &[]);
    assert!(nodes.lines().any(|line| line.trim_start().starts_with("2  NO")), "{nodes}");
    pair.nodes[1].restart();
    let over = wait_until_over(pair);
    assert_eq!((&over["recovered"], &over["lost"], &over["generation"]), (&json!(0), &json!(0), &json!(3)), "{over}");
    assert_eq!(pair.hub().get("/health/ready")["status"], "ready");
    pair.digest();
}
