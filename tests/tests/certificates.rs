//! Real processes: a node renews its certificate, is revoked, and comes back, and the hub tells all of it.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jikai_tests::province::binaries;

/// A process that ends with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A hub and a node in a folder.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(binaries().join(format!("jikai-{name}")));
        command.env(format!("JIKAI_{}_DATA", name.to_uppercase()), self.path(name));
        command
    }

    /// Whether it succeeded, and what it said.
    fn tell(&self, name: &str, words: &[&str]) -> (bool, String) {
        let output = self.command(name).args(words).current_dir(self.folder.path()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    fn ask(&self, name: &str, words: &[&str]) -> String {
        let (succeeded, said) = self.tell(name, words);
        assert!(succeeded, "{name} {words:?}: {said}");
        said
    }

    /// Starts it, and waits until it is ready; its address for nodes, at the hub.
    fn run(&self, name: &str) -> (Running, String) {
        let mut child = self.command(name).arg("run").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let running = Running(child);
        for line in lines {
            let line = line.unwrap();
            if let Some(addresses) = line.strip_prefix("ready ") {
                let sync = addresses.split_whitespace().find_map(|word| word.strip_prefix("sync="));
                let sync = sync.unwrap_or_default().to_string();
                return (running, sync);
            }
        }
        panic!("{name} did not become ready");
    }

    /// Has the node's request signed, and installs the certificate. A certificate that is there is not overwritten.
    fn enrol(&self) {
        let request = self.path("node/node.csr");
        let sign = ["ca", "sign", "--node", "1", "--host", "node1.example", "--out", "node.pem", "--csr"];
        let sign = [sign.as_slice(), &[request.to_str().unwrap()]].concat();
        if self.path("node.pem").exists() {
            assert!(self.tell("hub", &sign).1.contains("a name that is not taken"));
            std::fs::remove_file(self.path("node.pem")).unwrap();
        }
        self.ask("hub", &sign);
        let authority = self.path("hub/ca/ca.pem");
        self.ask("node", &["enrol", "--certificate", "node.pem", "--ca", authority.to_str().unwrap()]);
    }

    /// Asks until it is as wanted. Each question is a process of its own that answers when it can.
    fn until(&self, name: &str, words: &[&str], wanted: impl Fn(bool, &str) -> bool) -> String {
        let started = std::time::Instant::now();
        loop {
            let (succeeded, said) = self.tell(name, words);
            if wanted(succeeded, &said) {
                return said;
            }
            assert!(started.elapsed().as_secs() < 60, "{name} {words:?}: {said}");
        }
    }
}

fn modified(path: &Path) -> std::time::SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn a_node_renews_without_a_restart_is_revoked_and_comes_back_with_another_key() {
    let world = World { folder: tempfile::tempdir().unwrap() };
    world.ask("hub", &["init"]);
    let (_hub, sync) = world.run("hub");
    world.ask("hub", &["import", "node", "--id", "1", "--name", "one", "--prefectures", "1301"]);
    world.ask("node", &["init", "--node", "1", "--environment", "test", "--hub", &sync]);
    assert!(!world.tell("node", &["run"]).0, "it is not enrolled");
    world.enrol();
    assert!(world.tell("node", &["renew"]).1.contains("is the node running"), "it is not running");
    let (node, _) = world.run("node");

    let said = world.until("node", &["renew"], |succeeded, _| succeeded);
    let serial = said.split_whitespace().find(|word| word.len() >= 32).unwrap().trim_end_matches(',');
    let by = format!("renewed by {serial}");
    let list = world.until("hub", &["ca", "list"], |_, said| said.contains(&by));
    let newer = list.lines().find(|line| line.starts_with("node 1") && !line.contains(&by)).unwrap();
    assert!(newer.contains(serial) && newer.ends_with("good"), "{list}");
    assert!(list.starts_with("authority") && list.contains("(729 days)"), "{list}");
    assert!(!world.path("node/secrets/node.renewal.sealed").exists());

    // The next start goes on with what was installed.
    drop(node);
    let installed = modified(&world.path("node/secrets/node.identity.sealed"));
    let (node, _) = world.run("node");
    world.until("node", &["renew"], |succeeded, _| succeeded);
    assert!(modified(&world.path("node/secrets/node.identity.sealed")) > installed);

    world.ask("hub", &["ca", "revoke", "--node", "1", "--reason", "disk lost"]);
    let refused = world.until("node", &["renew"], |succeeded, said| !succeeded && said.contains("not connected"));
    assert!(refused.contains("the hub is not connected"), "{refused}");
    let list = world.ask("hub", &["ca", "list"]);
    assert_eq!(list.matches("revoked: disk lost").count(), list.matches("node 1").count(), "{list}");
    world.ask("node", &["request"]);
    let early = ["enrol", "--certificate", "node.pem", "--ca", "node/ca.pem"];
    assert!(world.tell("node", &early).1.contains("stop it first"), "a running node has its secrets");
    drop(node);
    world.enrol();
    let (_node, _) = world.run("node");
    world.until("node", &["renew"], |succeeded, _| succeeded);
}
