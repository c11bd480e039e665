use ed25519_dalek::{Signer, SigningKey};
use jikai_schema::command::{ClusterCommand, Command, DirectoryCommand, Outcome};
use jikai_schema::directory::{Directory, DirectoryNode, SignedDirectory, addresses_of, nodes_of};
use jikai_schema::id::MachineNo;
use jikai_schema::time::TimeMs;

use crate::province::*;

const DONE: Outcome = Outcome::Done { events: 1, existing: 0 };
const EXISTING: Outcome = Outcome::Done { events: 0, existing: 1 };

fn reach(number: u16, addresses: &[&str]) -> Command {
    let addresses = addresses.iter().map(ToString::to_string).collect();
    Command::Directory(DirectoryCommand::Reach { node: node(number), addresses })
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn document(environment: &str, version: u64, nodes: Vec<DirectoryNode>) -> Vec<u8> {
    let key = hex::encode(key(1).verifying_key().as_bytes());
    let directory =
        Directory { environment: environment.into(), version, issued_at_ms: TimeMs::from_ms(NOW_MS), key, nodes };
    serde_json::to_vec(&directory).unwrap()
}

fn publish(fence: u64, bytes: Vec<u8>, signer: &SigningKey) -> Command {
    let signature = signer.sign(&Directory::signed_text(&bytes)).to_bytes().to_vec();
    Command::Directory(DirectoryCommand::Publish { fence, bytes, signature })
}

/// A hub whose first lease is taken.
fn hub() -> Hub {
    let mut hub = Hub::set_up();
    let machine = MachineNo::new(1).unwrap();
    let lease = ClusterCommand::TakeLease { machine, run: [1; 16], after: 0 };
    assert_eq!(hub.ask(Command::Cluster(lease)), Outcome::Leased { fence: 1 });
    hub
}

#[test]
fn where_a_node_is_reached_is_told_to_all_nodes_once_and_replaced_as_a_whole() {
    let mut hub = Hub::set_up();
    let fed = |hub: &Hub| hub.count("SELECT count(*) FROM down_feed WHERE node = 2");
    let before = fed(&hub);
    assert_eq!(hub.ask(reach(1, &["node1.example:443", "10.0.0.1:8443"])), DONE);
    assert_eq!(hub.ask(reach(1, &["node1.example:443", "10.0.0.1:8443"])), EXISTING);
    assert_eq!(hub.ask(reach(1, &["10.0.0.1:8443", "node1.example:443"])), DONE, "their order is the order of trying");
    assert_eq!(hub.ask(reach(1, &["10.0.0.9:8443"])), DONE);
    assert_eq!(addresses_of(&hub.state, node(1)).unwrap(), ["10.0.0.9:8443"]);
    assert_eq!(fed(&hub), before + 3);
    assert_eq!(hub.ask(reach(1, &[])), DONE, "it may be reached nowhere");
    let nodes = nodes_of(&hub.state).unwrap();
    assert_eq!(nodes.iter().map(|known| known.addresses.len()).collect::<Vec<_>>(), [0, 0]);
    assert_eq!(nodes[0].prefectures, ["1301"]);
}

#[test]
fn addresses_that_nobody_can_use_and_nodes_that_nobody_knows_are_refused() {
    let mut hub = Hub::set_up();
    for bad in ["0.0.0.0:1", "host", "host:0", "a b:1"] {
        assert_eq!(hub.refuse(reach(1, &[bad])).code(), "invalid_address", "{bad}");
    }
    assert_eq!(hub.refuse(reach(1, &["a:1"; 2])).code(), "invalid_address");
    let nine: Vec<String> = (0..9).map(|number| format!("host{number}:1")).collect();
    let nine: Vec<&str> = nine.iter().map(String::as_str).collect();
    assert_eq!(hub.refuse(reach(1, &nine)).code(), "invalid_address");
    assert_eq!(hub.refuse(reach(9, &["a:1"])).code(), "unknown");
}

#[test]
fn a_directory_is_published_by_who_has_the_lease_and_never_goes_back() {
    let mut hub = hub();
    let of = |version| document("test", version, Vec::new());
    assert_eq!(hub.refuse(publish(2, of(1), &key(1))).code(), "lease_lost");
    assert_eq!(hub.ask(publish(1, of(3), &key(1))), DONE);
    assert_eq!(hub.ask(publish(1, of(3), &key(1))), EXISTING, "the same again");
    assert_eq!(hub.refuse(publish(1, of(2), &key(1))).code(), "directory_older");
    assert_eq!(hub.refuse(publish(1, of(0), &key(1))).code(), "directory_older");
    assert_eq!(hub.ask(publish(1, of(4), &key(1))), DONE);
    assert_eq!(SignedDirectory::load(&hub.state).unwrap().unwrap().version, 4);
    assert_eq!(hub.count("SELECT count(*) FROM directory"), 1);
}

#[test]
fn a_directory_of_another_environment_or_with_another_signature_is_refused() {
    let mut hub = hub();
    assert_eq!(hub.refuse(publish(1, document("test", 1, Vec::new()), &key(2))).code(), "invalid_directory");
    assert_eq!(hub.refuse(publish(1, b"{}".to_vec(), &key(1))).code(), "invalid_directory");
    assert_eq!(hub.ask(publish(1, document("test", 1, Vec::new()), &key(1))), DONE);
    let other = publish(1, document("production", 2, Vec::new()), &key(1));
    assert_eq!(hub.refuse(other).code(), "wrong_environment");
}
