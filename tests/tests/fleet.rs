//! Real processes: a twelfth node comes, gets its share of outlets, and goes again, while the outlets are served.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};
use std::process::Command;

use jikai_tests::https::{Answer, Request, Server};
use jikai_tests::process::{Process, done, wait_until};
use jikai_tests::province::binaries;
use jikai_tests::running::{Running, change_settings};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// What a command of the hub says that must fail.
fn refused(running: &Running, words: &[&str], more: &[&str]) -> String {
    let data = ["--data", text(&running.hub.data)];
    let output = Command::new(binaries().join("jikai-hub")).args([words, &data, more].concat()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{words:?} {more:?} did not fail: {said}");
    said
}

struct Invitation {
    file: PathBuf,
    code: PathBuf,
}

impl Invitation {
    fn within(folder: &Path, name: &str) -> Self {
        Invitation { file: folder.join(format!("{name}.json")), code: folder.join(format!("{name}.code")) }
    }

    fn files(&self) -> [&str; 4] {
        ["--out", text(&self.file), "--code-file", text(&self.code)]
    }

    /// The running node of this number that was made from it.
    fn join(&self, running: &Running, data: &Path, number: u16) -> (Process, Server) {
        let (file, code) = (text(&self.file), text(&self.code));
        done("jikai-node", &["init", "--data", text(data), "--join", file, "--code-file", code]);
        change_settings(&data.join("node.toml"), &[("strangers_per_second", "1000000")]);
        let process = Process::run("jikai-node", data);
        let authority = std::fs::read_to_string(running.hub.data.join("ca/ca.pem")).unwrap();
        let server = Server::new(process.address("http"), &format!("node-{number}.jikai"), &authority);
        (process, server)
    }
}

/// The line of a node at the hub.
fn at_hub(running: &Running, number: u16) -> Option<Value> {
    let view = running.hub.get("/v1/nodes");
    view["nodes"].as_array().unwrap().iter().find(|line| line["node"] == number).cloned()
}

fn account(running: &Running, server: &Server) -> Answer {
    server.ask(&running.terminal.request("GET", "/v1/account"))
}

fn assert_slices_agree(running: &Running, nodes: &[(&str, &Path)]) {
    for (number, data) in nodes {
        wait_until("equal slices", || {
            running.hub.command(&["digest"], &["--node", number])
                == done("jikai-node", &["digest", "--data", text(data)])
        });
    }
}

/// Outlets of nodes 1 and 12 by the plan.
fn planned(running: &Running) -> (String, Value) {
    let text = running.hub.command(&["handoff", "plan"], &["--fill", "12", "--json"]);
    let plan: Value = serde_json::from_str(&text).unwrap();
    (plan["plan"].as_str().unwrap().to_string(), plan)
}

#[test]
fn a_node_comes_gets_its_share_by_the_plan_that_was_shown_and_goes_while_outlets_are_served() {
    let (running, folder) = (Running::start(), tempfile::tempdir().unwrap());
    let invitation = Invitation::within(folder.path(), "node-12");
    let twelve = ["--id", "12", "--name", "节点12"];
    let said = running.hub.command(&["node", "add"], &[&twelve[..], &invitation.files()].concat());
    assert!(said.contains("outlets would move") && said.contains("init --data DIR --join"), "{said}");
    let again = Invitation::within(folder.path(), "again");
    let told = refused(&running, &["node", "add"], &[&twelve[..], &again.files()].concat());
    assert!(told.contains("node_exists") && !again.file.exists() && !again.code.exists(), "{told}");
    let told = refused(&running, &["handoff", "start"], &["--fill", "12"]);
    assert!(told.contains("node_never_came"), "{told}");

    let data = folder.path().join("node12");
    let (process, new) = invitation.join(&running, &data, 12);
    assert!(process.log().contains("every table equals the hub's"), "{}", process.log());
    running.hub.await_node(12);
    assert_eq!(at_hub(&running, 12).unwrap()["epoch"], 1);
    let (name, plan) = planned(&running);
    running.hub.command(&["handoff", "start"], &["--fill", "12", "--plan", &name]);
    let (_, after) = planned(&running);
    assert_eq!((&after["moves"], &after["nodes"][1]["outlets_now"]), (&json!(0), &plan["nodes"][1]["outlets_then"]));
    assert!(after["nodes"][1]["outlets_now"].as_u64() > Some(0), "{after}");

    // The terminal's outlet goes there too, if it did not.
    running.hub.command(&["handoff", "start"], &["--outlet", running.terminal.outlet(), "--to", "12"]);
    wait_until("the session at the new node", || account(&running, &new).status == 200);
    let sent_on = account(&running, &running.node.server);
    assert_eq!((sent_on.status, &sent_on.json()["node"]), (421, &json!(12)));
    assert_slices_agree(&running, &[("1", &running.node.data), ("12", &data)]);
    let directory = || String::from_utf8(running.node.server.ask(&Request::new("GET", "/v1/directory")).body).unwrap();
    wait_until("the directory to tell of it", || known(&directory(), 12));

    let told = refused(&running, &["node", "remove"], &["--id", "12", "--reason", "lease ends"]);
    assert!(told.contains("node_serves_outlets") && told.contains("--empty"), "{told}");
    let drain = ["--id", "12", "--reason", "lease ends", "--drain"];
    let told = refused(&running, &["node", "remove"], &drain);
    assert!(told.contains("nothing was done"), "nobody says yes: {told}");
    assert_eq!(account(&running, &new).status, 200);
    let said = running.hub.command(&["node", "remove"], &[&drain[..], &["--yes"]].concat());
    assert!(said.contains("outlets would move") && said.contains("is out of use"), "{said}");
    wait_until("the session back at its first node", || account(&running, &running.node.server).status == 200);
    wait_until("the directory without it", || !known(&directory(), 12));
    assert_slices_agree(&running, &[("1", &running.node.data)]);
    it_is_none_any_more(&running, &process, &new, &data);
}

/// Whether the directory lists a node.
fn known(view: &str, number: u16) -> bool {
    use base64::Engine;
    let view: Value = serde_json::from_str(view).unwrap_or_default();
    let document = view["document"].as_str().unwrap_or_default();
    let document = base64::engine::general_purpose::STANDARD.decode(document).unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap_or_default();
    document["nodes"].as_array().is_some_and(|nodes| nodes.iter().any(|node| node["node"] == number))
}

fn it_is_none_any_more(running: &Running, process: &Process, server: &Server, data: &Path) {
    process.wait_for_log("this store is fenced");
    assert!(process.log().contains("node 12 was taken out of use"), "{}", process.log());
    wait_until("the terminals to be refused there", || account(running, server).json()["code"] == "node_fenced");
    let view = running.hub.get("/v1/nodes");
    assert_eq!((at_hub(running, 12), &view["retired"][0]["node"]), (None, &json!(12)));
    assert_eq!(view["retired"][0]["reason"], "lease ends");
    let metrics = running.hub.server.ask(&running.hub.as_machine("GET", "/metrics"));
    let metrics = String::from_utf8(metrics.body).unwrap();
    assert!(metrics.contains("node=\"1\"") && !metrics.contains("node=\"12\""), "{metrics}");

    // Its number is not given again, and what it did can be read and proven.
    let invitation = Invitation::within(data.parent().unwrap(), "another");
    let another = ["--id", "12", "--name", "another"];
    let told = refused(running, &["node", "add"], &[&another[..], &invitation.files()].concat());
    assert!(told.contains("node_retired"), "{told}");
    let told = refused(running, &["import"], &["node", "--id", "12", "--name", "another"]);
    assert!(told.contains("node_retired"), "{told}");
    let found = running.hub.command(&["audit", "search"], &["--log", "12"]);
    assert!(found.contains("outlet_released"), "{found}");
    // Fails where a chain is broken.
    running.hub.command(&["audit", "verify"], &[]);
}
