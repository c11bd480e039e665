//! Real processes: a node's directory is destroyed, another store takes its place; the old one and copies are refused.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use jikai_tests::https::{Answer, Request, Server};
use jikai_tests::process::{Process, done, wait_until};
use jikai_tests::running::{Node, Running, change_settings};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        let kind = std::fs::symlink_metadata(&path).unwrap().file_type();
        if kind.is_dir() {
            copy_directory(&path, &target);
        } else if kind.is_file() {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_string())
}

/// The line of node 1 at the hub.
fn at_hub(running: &Running) -> Value {
    running.hub.get("/v1/nodes")["nodes"][0].clone()
}

fn server(running: &Running, process: &Process) -> Server {
    server_of(running, 1, process)
}

fn server_of(running: &Running, node: u16, process: &Process) -> Server {
    let authority = std::fs::read_to_string(running.hub.data.join("ca/ca.pem")).unwrap();
    Server::new(process.address("http"), &format!("node-{node}.jikai"), &authority)
}

/// Checks in a pack of the terminal's outlet.
fn receive(running: &Running, server: &Server, pack: usize, key: &str) -> Answer {
    let packs = server.ask(&running.terminal.request("GET", "/v1/packs")).json();
    let name = packs["packs"][pack]["pack"].as_str().unwrap_or_else(|| panic!("{packs}")).to_owned();
    server.ask(&running.terminal.mutation("/v1/packs/receive", key).json(&json!({ "packs": [name] })))
}

fn audit_kinds(running: &Running) -> String {
    let (mut all, mut after) = (String::new(), 0);
    loop {
        let request = running.auditor.request("GET", &format!("/v1/events?limit=1000&after={after}"));
        let page = String::from_utf8(running.hub.server.ask(&request).body).unwrap();
        let Some(last) = page.lines().last() else { return all };
        after = serde_json::from_str::<Value>(last).unwrap()["seq"].as_u64().unwrap();
        // The bytes are not what is looked for.
        all.extend(page.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].to_string()));
    }
}

/// What `jikai-hub node replace` wrote, as a directory of a store that waits for its slice.
fn replaced(running: &Running, folder: &Path, name: &str) -> PathBuf {
    replaced_node(running, 1, folder, name)
}

fn replaced_node(running: &Running, node: u16, folder: &Path, name: &str) -> PathBuf {
    let node = node.to_string();
    let (file, code, data) =
        (folder.join(format!("{name}.json")), folder.join(format!("{name}.code")), folder.join(name));
    let why = ["--reason", "the disk is gone", "--although-connected"];
    let replace = [&["--node", &node, "--out", text(&file), "--code-file", text(&code)], why.as_slice()].concat();
    running.hub.command(&["node", "replace"], &replace);
    done("jikai-node", &["init", "--data", text(&data), "--join", text(&file), "--code-file", text(&code)]);
    change_settings(&data.join("node.toml"), &[("strangers_per_second", "1000000")]);
    data
}

#[test]
fn a_destroyed_node_is_replaced_from_the_hub_and_its_old_disk_tells_what_it_held_alone() {
    let mut running = Running::start();
    let folder = tempfile::tempdir().unwrap();
    let first = receive(&running, &running.node.server, 0, "the-first-pack-0001");
    assert_eq!(first.status, 200, "{}", first.json());
    running.settle();
    let held = at_hub(&running)["up_next"].as_u64().unwrap() - 1;

    // The hub is away while a second pack comes: that fact lies on the node's disk alone.
    let hub_data = running.hub.data.clone();
    running.hub.process.kill();
    assert_eq!(receive(&running, &running.node.server, 1, "the-second-pack-001").status, 200);
    running.node.process.kill();
    let old = folder.path().join("old");
    copy_directory(&running.node.data, &old);
    std::fs::remove_dir_all(&running.node.data).unwrap();
    let address = |name| format!("\"{}\"", running.hub.process.address(name));
    let addresses = [("listen", &*address("http")), ("sync_listen", &*address("sync"))];
    change_settings(&hub_data.join("hub.toml"), &addresses);
    running.hub.process = Process::run("jikai-hub", &hub_data);

    let data = replaced(&running, folder.path(), "new");
    let started = std::time::Instant::now();
    let new = Process::run("jikai-node", &data);
    let took = started.elapsed();
    assert!(new.log().contains("every table equals the hub's"), "{}", new.log());
    let at_new = server(&running, &new);
    wait_until("the new store to be connected", || at_hub(&running)["connected"] == true);
    assert_eq!(
        (at_hub(&running)["epoch"].as_u64(), held + 1),
        (Some(2), at_hub(&running)["replacements"][0]["next_seq"].as_u64().unwrap())
    );

    // The session of before, a repeated key, the same key with another body, new work.
    let asked = at_new.ask(&running.terminal.request("GET", "/v1/account"));
    assert_eq!(asked.status, 200, "{}", asked.json());
    let again = receive(&running, &at_new, 0, "the-first-pack-0001");
    assert_eq!(again.json(), first.json(), "after {took:?}");
    assert_eq!(code(&receive(&running, &at_new, 2, "the-first-pack-0001")).0, 422, "another body");
    assert_eq!(receive(&running, &at_new, 1, "the-third-pack-0001").status, 200, "it never came to the hub");
    wait_until("equal tables", || {
        let slice = running.hub.command(&["digest"], &["--node", "1"]);
        slice == done("jikai-node", &["digest", "--data", text(&data)])
    });

    salvage_names_what_the_old_disk_holds_alone(&running, folder.path(), &old, held);

    // The old store, should somebody start it: refused with the reason, and no terminal is served.
    let returned = Process::run("jikai-node", &old);
    returned.wait_for_log("this store is fenced");
    assert!(returned.log().contains("node 1 was replaced: epoch 1, now 2"), "{}", returned.log());
    let refused = server(&running, &returned).ask(&running.terminal.request("GET", "/v1/account"));
    assert_eq!(code(&refused), (503, "node_fenced".to_string()));
    let health = server(&running, &returned).ask(&Request::new("GET", "/health/ready")).json();
    assert!(health.to_string().contains("was replaced"), "{health}");
    assert_eq!(at_new.ask(&running.terminal.request("GET", "/v1/account")).status, 200, "the new one works on");
    let audit = audit_kinds(&running);
    assert!(audit.contains("node_replaced") && audit.contains("the disk is gone"), "{audit}");
}

fn salvage_names_what_the_old_disk_holds_alone(running: &Running, folder: &Path, old: &Path, held: u64) {
    let report = folder.join("report.json");
    std::fs::write(&report, running.hub.command(&["node", "show"], &["--node", "1", "--json"])).unwrap();
    let before: Vec<_> = listing(old);
    let salvage = |more: &[&str]| {
        done("jikai-node", &[&["salvage", "--data", text(old), "--report", text(&report)], more].concat())
    };
    let found: Value = serde_json::from_str(&salvage(&["--json"])).unwrap();
    assert_eq!((&found["hub_seq"], &found["damaged_at_seq"]), (&json!(held), &Value::Null), "{found}");
    let lost = found["lost"].as_array().unwrap();
    let kinds: Vec<&str> = lost.iter().filter_map(|event| event["kind"].as_str()).collect();
    assert_eq!(kinds, ["pack_checked_in"], "{found}");
    assert_eq!((&lost[0]["seq"], &lost[0]["outlet"]), (&json!(held + 1), &json!(running.terminal.outlet())));
    assert!(found["by_kind"]["pack_checked_in"]["amount_fen"].as_i64() > Some(0), "{found}");
    let words = salvage(&[]);
    assert!(words.contains("未到达中心:1 条 / Never reached the hub: 1 events"), "{words}");
    assert_eq!(listing(old), before, "the old disk is not written to");
}

/// Names and times of what lies in a directory.
fn listing(folder: &Path) -> Vec<(PathBuf, std::time::SystemTime)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let mut found: Vec<_> =
        entries.map(|entry| (entry.path(), entry.metadata().unwrap().modified().unwrap())).collect();
    found.sort();
    found
}

#[test]
fn a_connected_node_is_replaced_only_by_a_second_word_and_serves_nobody_from_then_on() {
    let mut running = Running::start();
    let folder = tempfile::tempdir().unwrap();
    running.settle();
    let (file, code_file) = (folder.path().join("new.json"), folder.path().join("new.code"));
    let replace = |more: &[&str]| {
        std::process::Command::new(jikai_tests::province::binaries().join("jikai-hub"))
            .args(["node", "replace", "--node", "1", "--reason", "machine is moved", "--data"])
            .arg(&running.hub.data)
            .args(["--out", text(&file), "--code-file", text(&code_file)])
            .args(more)
            .output()
            .unwrap()
    };
    let refused = replace(&[]);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("node_connected"), "{refused:?}");
    assert!(!file.exists() && running.terminal.ask("GET", "/v1/account").status == 200);
    let replaced = replace(&["--although-connected"]);
    assert!(replaced.status.success(), "{replaced:?}");
    wait_until("the old store to serve nobody", || running.terminal.ask("GET", "/v1/account").status == 503);
    assert_eq!(code(&running.terminal.ask("GET", "/v1/account")), (503, "node_fenced".to_string()));
    wait_until("the end of its session", || at_hub(&running)["connected"] == false);
    let certificates = running.hub.command(&["ca", "list"], &[]);
    let of_node: Vec<&str> = certificates.lines().filter(|line| line.starts_with("node 1 ")).collect();
    let told = |what| of_node.iter().filter(|line| line.ends_with(what)).count();
    assert_eq!((told("of a store that was replaced"), told("good")), (1, 1), "{certificates}");

    // Started again it greets nobody: a hub that was put back from a copy of before would take it for the node's.
    let contact = running.node.data.join("hub-contact");
    wait_until("the word on its disk", || {
        std::fs::read_to_string(&contact).is_ok_and(|text| text.ends_with("replaced"))
    });
    running.node.process.kill();
    running.node.restart();
    let health = running.node.server.ask(&Request::new("GET", "/health/ready"));
    let told = health.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(
        health.status == 503 && told.contains("another store has taken the place of this one"),
        "{}",
        health.json()
    );
    running.node.process.wait_for_log("greets no hub any more");
}

#[test]
fn a_copy_of_a_running_nodes_directory_is_refused_and_told_of_while_the_original_goes_on() {
    let mut running = Running::start();
    let folder = tempfile::tempdir().unwrap();
    running.settle();
    let copy = folder.path().join("copy");
    copy_directory(&running.node.data, &copy);
    // One that is started later lacks what the original has sent since.
    let late = folder.path().join("late");
    copy_directory(&running.node.data, &late);
    let clone = Process::run("jikai-node", &copy);
    clone.wait_for_log("this store is fenced");
    assert!(clone.log().contains("the store of node 1 is a copy"), "{}", clone.log());
    let refused = server(&running, &clone).ask(&running.terminal.request("GET", "/v1/account"));
    assert_eq!(code(&refused), (503, "node_fenced".to_string()));
    assert_eq!(receive(&running, &running.node.server, 0, "the-first-pack-0001").status, 200);
    running.settle();
    assert!(!running.node.process.log().contains("fenced"), "{}", running.node.process.log());
    assert!(at_hub(&running)["clone_refused_at_ms"].is_i64());
    assert!(audit_kinds(&running).contains("node_clone_refused"));
    let refused_at_ms = at_hub(&running)["clone_refused_at_ms"].as_i64();
    let mut late = Process::run("jikai-node", &late);
    wait_until("the word about the second copy", || at_hub(&running)["clone_refused_at_ms"].as_i64() > refused_at_ms);
    late.wait_for_log("this store is fenced");
    late.kill();

    // Killed and started again, the original is the original; the copy stays out while it is away, too.
    running.node.process.kill();
    assert!(clone.log().contains("fenced"));
    running.node.process = Process::run("jikai-node", &running.node.data);
    running.node.server = server(&running, &running.node.process);
    wait_until("the original to be connected", || at_hub(&running)["connected"] == true);
    assert_eq!(receive(&running, &running.node.server, 1, "the-second-pack-001").status, 200);
    running.settle();
    assert!(!running.node.process.log().contains("fenced"), "{}", running.node.process.log());
}

#[test]
fn a_replaced_node_answers_repeated_keys_of_an_outlet_that_had_moved_to_it_as_they_were_answered_before() {
    let running = Running::start();
    let folder = tempfile::tempdir().unwrap();
    running.hub.command(&["import"], &["node", "--id", "2", "--name", "节点2"]);
    let mut second = Node::start_as(&folder.path().join("second"), &running.hub, 2, &[]);
    running.hub.await_node(2);
    let before = receive(&running, &running.node.server, 0, "the-first-pack-0001");
    assert_eq!(before.status, 200, "{}", before.json());
    running.hub.command(&["handoff", "start"], &["--outlet", running.terminal.outlet(), "--to", "2"]);
    let account = |server: &Server| server.ask(&running.terminal.request("GET", "/v1/account"));
    wait_until("the session at its new node", || account(&second.server).status == 200);
    let behind = receive(&running, &second.server, 1, "the-second-pack-001");
    assert_eq!(behind.status, 200, "{}", behind.json());
    let money = account(&second.server).json()["balance_yuan"].clone();
    let slice = || running.hub.command(&["digest"], &["--node", "2"]);
    let agree = |data: &Path| slice() == done("jikai-node", &["digest", "--data", text(data)]);
    wait_until("equal tables", || agree(&second.data));

    second.process.kill();
    std::fs::remove_dir_all(&second.data).unwrap();
    let data = replaced_node(&running, 2, folder.path(), "new");
    let new = Process::run("jikai-node", &data);
    let at_new = server_of(&running, 2, &new);
    assert_eq!(account(&at_new).json()["balance_yuan"], money, "with its session and its money");
    // The first was answered by the node that the outlet came from, the second by the store that is gone.
    wait_until("the word of the node before", || {
        receive(&running, &at_new, 0, "the-first-pack-0001").json() == before.json()
    });
    assert_eq!(receive(&running, &at_new, 1, "the-second-pack-001").json(), behind.json());
    assert_eq!(code(&receive(&running, &at_new, 2, "the-first-pack-0001")).0, 422, "another body");
    wait_until("equal tables", || agree(&data));
}

/// Runs a node of whose files none may grow beyond so many bytes: the system kills it in the middle of a write. Gives the signal.
fn killed_in_a_write(data: &Path, file_bytes_max: u64) -> Option<i32> {
    let node = jikai_tests::province::binaries().join("jikai-node");
    // In blocks of 512 bytes.
    let words = format!("ulimit -f {}; exec \"$0\" run --data \"$1\"", file_bytes_max / 512);
    let mut child = std::process::Command::new("sh").args(["-c", &words]).arg(node).arg(data).spawn().unwrap();
    let mut ended = None;
    wait_until("its end", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    ended.and_then(|status| status.signal())
}

#[test]
fn a_node_that_is_killed_while_it_writes_its_slice_receives_it_whole_at_its_next_start() {
    let mut running = Running::start();
    let folder = tempfile::tempdir().unwrap();
    let first = receive(&running, &running.node.server, 0, "the-first-pack-0001");
    running.settle();
    let held = at_hub(&running)["up_next"].as_u64().unwrap() - 1;
    running.node.process.kill();
    let data = replaced(&running, folder.path(), "new");
    let wal_bytes = || std::fs::metadata(data.join("node.db-wal")).map_or(0, |file| file.len());
    const FILE_SIZE_EXCEEDED: i32 = 25;
    // The slice is one transaction of some hundred KiB.
    for bytes_max in [64 * 1024, 256 * 1024] {
        assert_eq!(killed_in_a_write(&data, bytes_max), Some(FILE_SIZE_EXCEEDED), "beyond {bytes_max} bytes");
        assert!(wal_bytes() > 0, "it was writing");
        // It was never connected as a node that serves: the log that comes with the slice is remembered as the hub's from the beginning.
        let acked = std::fs::read_to_string(data.join("hub-acked")).unwrap();
        assert_eq!(acked.split(' ').nth(1), Some(held.to_string().as_str()), "{acked}");
    }
    let new = Process::run("jikai-node", &data);
    assert!(new.log().contains("every table equals the hub's"), "{}", new.log());
    let at_new = server(&running, &new);
    assert_eq!(receive(&running, &at_new, 0, "the-first-pack-0001").json(), first.json());
    wait_until("equal tables", || {
        running.hub.command(&["digest"], &["--node", "1"]) == done("jikai-node", &["digest", "--data", text(&data)])
    });
}
