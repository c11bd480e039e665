//! Real processes: machines of a hub join, fail, take over and are removed.

use jikai_tests::https::{Request, Server};
use jikai_tests::machines::{Machines, free_peer_address};
use jikai_tests::process::wait_until;
use jikai_tests::running::{Hub, Node};
use serde_json::{Value, json};
use std::process::Command;

/// What a machine says of one of them.
fn of(view: &Value, number: u16) -> Value {
    let machines = view["machines"].as_array().cloned().unwrap_or_default();
    machines.into_iter().find(|machine| machine["machine"] == number).unwrap_or_default()
}

/// Imports a division by way of a machine, and waits for it at every other.
fn import_everywhere(machines: &Machines, by: u16, code: u32, at: &[u16]) {
    let file = machines.machine(by).data.with_extension(format!("{code}.csv"));
    let line = format!("{code}01,county,{code},prefecture,1");
    std::fs::write(&file, format!("code,name,prefecture_code,prefecture_name,townships\n{line}\n"))
        .expect("it works here");
    machines.command(by, &["import", "divisions", file.to_str().expect("it works here")]);
    let digest = |number| machines.command(number, &["digest", "--all"]);
    for number in at {
        wait_until("equal states", || digest(*number) == digest(by));
    }
}

#[test]
fn two_machines_and_a_voter_survive_the_loss_of_the_leader_and_take_the_lost_one_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut machines = Machines::start(folder.path(), &[]);
    for voter_only in [false, true] {
        let number = machines.join(voter_only);
        machines.add(number);
    }
    let view = machines.view(2);
    assert_eq!(view["leader"], 1);
    for number in 1..=3 {
        assert_eq!(of(&view, number)["role"], "voter", "{view}");
    }
    import_everywhere(&machines, 2, 1301, &[1, 3]);

    machines.kill(1);
    // The voter stands only where nobody else can.
    assert_eq!(machines.wait_for_leader(2, |leader| leader != 1), 2);
    import_everywhere(&machines, 2, 1302, &[3]);
    wait_until("the loss to be noted", || of(&machines.view(2), 1)["lost"] == true);

    machines.restart(1);
    wait_until("the lost one to be back", || of(&machines.view(2), 1)["lost"] == false);
    import_everywhere(&machines, 1, 1303, &[2, 3]);
    machines.command(1, &["cluster", "transfer-leadership", "--machine", "1"]);
    assert_eq!(machines.view(2)["leader"], 1);
}

#[test]
fn a_removed_machine_serves_nobody_and_its_number_is_not_used_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut machines = Machines::start(folder.path(), &[]);
    for _ in 0..2 {
        let number = machines.join(false);
        machines.add(number);
    }
    // The first one leads: it hands over before it goes, and stays until who asked it has heard the end.
    machines.command(1, &["cluster", "remove", "--machine", "1"]);
    let view = machines.view(2);
    assert_eq!((of(&view, 1)["role"].clone(), of(&view, 1)["state"].clone()), ("outside".into(), "retired".into()));
    assert_ne!(view["leader"], 1);
    let first = machines.all[0].process.as_mut().unwrap();
    wait_until("the removed machine to stop", || !first.is_alive());
    assert!(first.log().contains("was removed from the hub"), "{}", first.log());
    assert!(first.ended().unwrap().success(), "what starts failed programs again leaves it alone: {}", first.log());
    let hub = || Command::new(jikai_tests::province::binaries().join("jikai-hub"));
    let again = hub().args(["run", "--data"]).arg(folder.path().join("hub-1")).output().unwrap();
    assert!(again.status.success() && again.stdout.is_empty(), "it is never ready again: {again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains("was removed from the hub"), "{again:?}");
    import_everywhere(&machines, 3, 1301, &[2]);
    let again = hub()
        .args(["cluster", "add", "--machine", "1", "--address", "127.0.0.1:7402", "--data"])
        .arg(&machines.machine(2).data)
        .output()
        .unwrap();
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("machine_retired"), "{again:?}");
}

#[test]
fn a_copy_takes_over_alone_by_a_persons_word_only_and_raises_the_generation() {
    let folder = tempfile::tempdir().unwrap();
    let mut machines = Machines::start(folder.path(), &[]);
    let second = machines.join(false);
    machines.add_as(second, &["--learner"]);
    import_everywhere(&machines, 1, 1301, &[2]);
    machines.kill(1);
    machines.kill(2);
    let take_over = |more: &[&str]| {
        Command::new(jikai_tests::province::binaries().join("jikai-hub"))
            .args(["cluster", "take-over", "--data"])
            .arg(folder.path().join("hub-2"))
            .args(more)
            .output()
            .unwrap()
    };
    let refused = take_over(&[]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--the-others-are-gone"), "{refused:?}");
    let done = take_over(&["--the-others-are-gone"]);
    assert!(done.status.success(), "{done:?}");
    machines.restart(2);
    wait_until("the second machine to lead", || machines.view(2)["leader"] == 2);
    let view = machines.view(2);
    assert_eq!(view["generation"], 2);
    assert_eq!(of(&view, 1)["state"], "retired");
    import_everywhere(&machines, 2, 1302, &[]);
}

#[test]
fn each_machine_tells_of_the_nodes_of_all_and_which_of_them_does_not_tell() {
    let folder = tempfile::tempdir().unwrap();
    let peer_listen = format!("\"{}\"", free_peer_address());
    let hub = Hub::start(&folder.path().join("hub-1"), None, &[("peer_listen", &peer_listen)]);
    hub.command(&["import"], &["node", "--id", "1", "--name", "节点1", "--prefectures", "1301"]);
    let mut machines = Machines::beside(&hub);
    let second = machines.join(false);
    machines.add(second);
    let nodes_at = |machines: &Machines, number: u16| match number {
        1 => hub.get("/v1/nodes"),
        _ => machines.server(number).ask(&machines.request(number, "GET", "/v1/nodes")).json(),
    };
    let mut node = Node::start(&folder.path().join("node"), &hub, &[]);
    wait_until("the second machine to tell where it is", || machines.view(second)["machines"][1]["http"].is_string());
    // Nodes leave a machine that drains: from here on it stays where it is.
    machines.command(1, &["cluster", "drain", "--machine", "2"]);
    wait_until("both machines to name the one to which the node is connected", || {
        let told = [1, 2].map(|number| nodes_at(&machines, number)["nodes"][0].clone());
        told.iter().all(|node| node["connected"] == true && node["machine"] == 1)
    });
    let why = json!({ "reason": "the disk is gone" });
    let replace = |server: &Server, request: Request| {
        let answer = server.ask(&request.json(&why));
        (answer.status, answer.json()["code"].clone())
    };
    let path = "/v1/nodes/1/replacement";
    let refused = replace(&machines.server(2), machines.request(2, "POST", path));
    assert_eq!(refused, (409, json!("node_connected")), "by the word of the other machine");

    node.process.kill();
    wait_until("the node to be gone", || {
        let told = nodes_at(&machines, 1);
        told["nodes"][0]["connected"] == false && told["silent_machines"] == json!([])
    });
    machines.command(1, &["cluster", "drain", "--machine", "2", "--undo"]);
    machines.kill(second);
    assert_eq!(nodes_at(&machines, 1)["silent_machines"], json!([second]));
    let drained = hub.server.ask(&hub.as_machine("PUT", "/v1/cluster/machines/1/draining"));
    assert_eq!((drained.status, drained.json()["code"].clone()), (409, json!("machine_silent")));
    assert_eq!(replace(&hub.server, hub.as_machine("POST", path)), (409, json!("machine_silent")));
    let listed = hub.command(&["node", "list"], &[]);
    assert!(listed.contains("Machine 2 of the hub does not answer"), "{listed}");
}
