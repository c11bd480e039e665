//! The commands that change keys, on the data of a node that has batch keys and claims.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "each test binary uses its part of the outlet")]
mod outlet;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use jikai_node::config::Config;
use jikai_node::decide::{PackSelection, Verb};
use jikai_node::keyring::Keyring;
use jikai_node::secrets::{NODE_KEY, secrets_place};
use jikai_node::store;
use jikai_node::writer::Writer;
use jikai_schema::barcode::parse_pack;
use jikai_schema::crypto::KeyVersion;
use jikai_schema::id::BatchNo;
use jikai_schema::seal::BatchKey;
use jikai_sync::identity::write_private_file;
use jikai_sync::secrets::Secrets;
use outlet::*;
use tempfile::TempDir;

const VARIABLE: &str = "JIKAI_TEST_MASTER_KEY";
/// The batch key of the outlet's world.
const BATCH_KEY: [u8; 32] = [7; 32];

/// Runs the node's command line.
fn command(data: &Path, line: &str, master: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jikai-node"));
    command.args(line.split(' ')).arg("--data").arg(data).env_remove(VARIABLE).env_remove("CREDENTIALS_DIRECTORY");
    if let Some(digits) = master {
        command.env(VARIABLE, digits);
    }
    command.output().unwrap()
}

fn succeed(data: &Path, line: &str, master: Option<&str>) -> String {
    let output = command(data, line, master);
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refuse(data: &Path, line: &str) -> String {
    let output = command(data, line, None);
    assert!(!output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn new_node() -> TempDir {
    let data = tempfile::tempdir().unwrap();
    succeed(data.path(), "init --node 1 --hub 127.0.0.1:1 --environment test", None);
    data
}

fn take(data: &Path) -> Secrets {
    Secrets::take(&secrets_place(data, &Config::load(data).unwrap())).unwrap()
}

/// A node in mid-work, without its network.
struct Running {
    writer: Writer,
    thread: std::thread::JoinHandle<()>,
    keys: Arc<Keyring>,
    _secrets: Secrets,
}

impl Running {
    fn start(data: &Path) -> Self {
        let secrets = take(data);
        let connection = store::open(data).unwrap();
        let keys = Arc::new(Keyring::load(&connection, secrets.ring().clone()).unwrap());
        let (writer, thread) = Writer::start(connection, keys.clone(), clock()).unwrap();
        Running { writer, thread, keys, _secrets: secrets }
    }

    async fn receive(&self, packs: std::ops::RangeInclusive<u32>) -> String {
        let packs = packs.map(|number| parse_pack(&format!("J1001-26001-{number:07}")).unwrap());
        let verb = Verb::ReceivePacks(PackSelection::Packs(packs.collect()));
        outcome(&self.writer.ask(request(owner(1), "receive", verb)).await)
    }

    /// Pays the prize of the pack's third ticket.
    async fn pay(&self, pack: u32) -> String {
        let verb = Verb::PayClaims(vec![barcode(pack, 2)]);
        outcome(&self.writer.ask(request(clerk(1), &format!("pay {pack}"), verb)).await)
    }

    async fn stop(self) {
        drop((self.writer, self.keys));
        tokio::task::spawn_blocking(move || self.thread.join().unwrap()).await.unwrap();
    }
}

fn version(number: u8) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

/// No file holds a private key or one of these bytes, as they are or in hex; but for the file of the master key.
fn check_nothing_in_the_clear(data: &Path, known: &[&[u8]]) {
    let mut needles = vec![b"PRIVATE KEY".to_vec()];
    known.iter().for_each(|bytes| needles.extend([bytes.to_vec(), hex::encode(bytes).into_bytes()]));
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let master = path == data.join("secrets/master.key");
            for needle in needles.iter().filter(|_| !master) {
                assert!(!bytes.windows(needle.len()).any(|found| found == needle.as_slice()), "{}", path.display());
            }
        }
    }
}

#[tokio::test]
async fn claims_stay_open_over_a_rotation_another_master_key_and_restarts() {
    let data = new_node();
    let data = data.path();
    let running = Running::start(data);
    running.writer.keep_key(BatchNo::new(1).unwrap(), BatchKey::from_bytes(BATCH_KEY)).await.unwrap();
    Feed::new().send(&running.writer, world()).await;
    assert_eq!(running.receive(1..=4).await, "done");
    assert_eq!(running.pay(1).await, "done");
    // A running node has its secrets for itself; looking at them is free.
    for line in ["keys rotate", "keys rewrap --new-master file:secrets/second.key"] {
        assert!(refuse(data, line).contains("stop it first"), "{line}");
    }
    assert!(succeed(data, "keys list", None).contains("      1      1           1  encrypts"));
    running.stop().await;
    let rotated = succeed(data, "keys rotate", None);
    assert!(rotated.contains("Version 2 encrypts: 1 files and 1 batch keys"), "{rotated}");
    let running = Running::start(data);
    assert_eq!(running.pay(2).await, "done");
    running.stop().await;
    succeed(data, "keys rotate", None);
    let made = succeed(data, "keys rewrap --new-master file:secrets/second.key", None);
    assert!(made.contains("Made a new key: file:secrets/second.key"), "{made}");
    std::fs::remove_file(data.join("secrets/master.key")).unwrap();
    let running = Running::start(data);
    assert_eq!(running.pay(3).await, "done");
    running.stop().await;
    let listed = succeed(data, "keys list", None);
    assert!(listed.contains("master key: file:secrets/second.key") && !listed.contains("\n      1 "), "{listed}");
    let ring = take(data).ring().clone();
    let keys = [version(2), version(3)].map(|version| *ring.get(version).unwrap().as_bytes());
    check_nothing_in_the_clear(data, &[&BATCH_KEY, &keys[0], &keys[1]]);
}

#[test]
fn the_master_key_may_come_from_the_environment_alone() {
    let data = new_node();
    let data = data.path();
    let digits = "5a".repeat(32);
    assert!(refuse(data, "keys rewrap --new-master env:JIKAI_TEST_MASTER_KEY").contains("is not set"));
    succeed(data, "keys list", None);
    succeed(data, "keys rewrap --new-master env:JIKAI_TEST_MASTER_KEY", Some(&digits));
    std::fs::remove_file(data.join("secrets/master.key")).unwrap();
    assert!(refuse(data, "keys list").contains("JIKAI_TEST_MASTER_KEY is not set"));
    let other = command(data, "keys list", Some(&"5b".repeat(32)));
    let words = String::from_utf8(other.stderr).unwrap();
    assert!(!other.status.success() && words.contains("does not open") && !words.contains("5b5b"), "{words}");
    succeed(data, "keys rotate", Some(&digits));
    succeed(data, "keys list", Some(&digits));
    check_nothing_in_the_clear(data, &[&[0x5a; 32]]);
    let fresh = tempfile::tempdir().unwrap();
    let line = "init --node 1 --hub 127.0.0.1:1 --environment test --master-key env:JIKAI_TEST_MASTER_KEY";
    succeed(fresh.path(), line, Some(&digits));
    assert!(!fresh.path().join("secrets/master.key").exists());
    succeed(fresh.path(), "keys list", Some(&digits));
    let credential = format!("{} --master-key credential:node", line.split(" --master").next().unwrap());
    let nowhere = tempfile::tempdir().unwrap();
    assert!(refuse(nowhere.path(), &credential).contains("$CREDENTIALS_DIRECTORY"));
}

#[tokio::test]
async fn a_node_of_an_earlier_build_is_sealed_at_its_next_start_and_its_claims_stay_open() {
    let data = new_node();
    let data = data.path();
    let running = Running::start(data);
    running.writer.keep_key(BatchNo::new(1).unwrap(), BatchKey::from_bytes(BATCH_KEY)).await.unwrap();
    Feed::new().send(&running.writer, world()).await;
    running.stop().await;
    // As that build would have left it: one key for the rows, in a file; the private key beside it.
    let secrets = take(data);
    let first = *secrets.ring().get(KeyVersion::FIRST).unwrap().as_bytes();
    let pem = secrets.key(NODE_KEY).unwrap();
    drop(secrets);
    let folder = data.join("secrets");
    for name in ["keys.sealed", "node.key.sealed", "lock"] {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
    write_private_file(&folder.join("master.key"), hex::encode(first).as_bytes()).unwrap();
    write_private_file(&folder.join("node.key.pem"), pem.pem().as_bytes()).unwrap();
    let settings = std::fs::read_to_string(data.join("node.toml")).unwrap();
    let old = settings.lines().filter(|line| !line.starts_with("master_key")).collect::<Vec<_>>().join("\n");
    std::fs::write(data.join("node.toml"), old).unwrap();
    let listed = succeed(data, "keys list", None);
    assert!(listed.contains("      1      0           1") && listed.contains("follow at the next start"), "{listed}");
    check_nothing_in_the_clear(data, &[&first, &BATCH_KEY]);
    let running = Running::start(data);
    assert_eq!(running.receive(1..=1).await, "done");
    assert_eq!(running.pay(1).await, "done");
    running.stop().await;
    assert_eq!(take(data).key(NODE_KEY).unwrap().pem(), pem.pem());
}
