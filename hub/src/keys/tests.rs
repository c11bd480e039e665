use jikai_schema::codec::decode_event;
use jikai_schema::command::{Command, NewStaff, Outcome, StaffCommand};
use jikai_schema::crypto::{KeyRing, KeyVersion, SecretKey};
use jikai_schema::event::{Actor, EventBody};
use jikai_schema::id::BatchNo;
use jikai_schema::staff::{Grant, Role};
use jikai_schema::time::TimeMs;
use rusqlite::Connection;

use super::{Counted, Resealed, reseal};
use crate::ingest::KeyVault;
use crate::province::{NOW_MS, Running, facts, set_up};
use crate::staff::{Factors, code_of};
use crate::store;

const NOW: TimeMs = TimeMs::from_ms(NOW_MS);
const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA";

fn ring() -> KeyRing {
    KeyRing::of(SecretKey::from_bytes([3; 32]))
}

fn rotated() -> KeyRing {
    let mut ring = ring();
    ring.add(SecretKey::from_bytes([4; 32])).unwrap();
    ring
}

fn version(number: u8) -> KeyVersion {
    KeyVersion::new(number).unwrap()
}

/// A hub with a batch key and a second factor, both under version 1; gives the secret of the factor.
async fn hub() -> (Running, String) {
    let hub = Running::empty().await;
    for command in set_up().into_iter().take(2) {
        hub.ask(command).await;
    }
    let batch = BatchNo::new(1).unwrap();
    let wrapped_key = KeyVault::new(ring()).make(batch).unwrap();
    let imported = hub.ask(Command::ImportBatch { facts: facts(), wrapped_key }).await;
    let wei = NewStaff { login: "wei".into(), name: "Wei".into(), password_hash: HASH.into() };
    let created = StaffCommand::CreateFirst(wei, Grant::everywhere(Role::SystemAdministrator));
    let created = hub.ask(Command::Staff(created)).await;
    let factors = Factors::new(&ring());
    let offer = factors.offer("wei", NOW).unwrap();
    let (sealed, step) = factors.accept("wei", &offer.offer, &code_of(&offer.secret, NOW), NOW).unwrap();
    let set = StaffCommand::SetSecondFactor { login: "wei".into(), sealed, step, recovery: Vec::new() };
    let set = hub.sequencer.propose(Actor::Staff("wei".into()), Command::Staff(set)).await.unwrap();
    for outcome in [imported, created, set] {
        assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    }
    (hub, offer.secret.to_string())
}

fn reader(hub: &Running) -> Connection {
    store::open_reader(hub.data.path()).unwrap()
}

async fn bring(hub: &Running, ring: &KeyRing, always: bool) -> Resealed {
    reseal(&hub.sequencer, &reader(hub), ring, &Actor::System, always).await.unwrap()
}

fn facts_in_the_trail(hub: &Running) -> usize {
    let state = reader(hub);
    let mut statement = state.prepare("SELECT bytes FROM hub_log ORDER BY seq").unwrap();
    let bytes = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let bodies = bytes.map(|bytes| decode_event(&bytes.unwrap()).unwrap().body);
    bodies.filter(|body| matches!(body, EventBody::Secrets(_))).count()
}

#[tokio::test]
async fn secrets_of_the_state_follow_a_rotation_and_stay_what_they_are() {
    let (hub, secret) = hub().await;
    let batch = BatchNo::new(1).unwrap();
    let before = KeyVault::new(ring()).read(&reader(&hub), batch).unwrap().unwrap();
    assert_eq!(bring(&hub, &ring(), false).await, Resealed::default());
    assert_eq!(bring(&hub, &rotated(), false).await, Resealed { batch_keys: 1, factors: 1, personal: 0 });
    let counted = Counted::of(&reader(&hub), &rotated()).unwrap();
    assert_eq!((counted.batch_keys[&version(2)], counted.factors[&version(2)]), (1, 1));
    assert_eq!(counted.in_use().into_iter().collect::<Vec<_>>(), [version(2)]);
    let mut only_new = rotated();
    only_new.retire(KeyVersion::FIRST);
    let after = KeyVault::new(only_new.clone()).read(&reader(&hub), batch).unwrap().unwrap();
    assert_eq!(after.as_bytes(), before.as_bytes());
    let sql = "SELECT factor_sealed FROM staff";
    let sealed: Vec<u8> = reader(&hub).query_row(sql, [], |row| row.get(0)).unwrap();
    assert!(Factors::new(&only_new).check("wei", &sealed, &code_of(&secret, NOW), NOW).is_some());
    let noted = facts_in_the_trail(&hub);
    assert_eq!(bring(&hub, &rotated(), false).await, Resealed::default(), "nothing is left to do");
    assert_eq!(facts_in_the_trail(&hub), noted);
    assert_eq!(bring(&hub, &rotated(), true).await, Resealed::default());
    assert_eq!(facts_in_the_trail(&hub), noted + 1, "a rotation is a fact, even of an empty hub");
}

#[tokio::test]
async fn a_state_rebuilt_from_its_log_has_its_secrets_under_the_newest_key() {
    let (hub, _) = hub().await;
    bring(&hub, &rotated(), false).await;
    let data = hub.stop().await;
    let digest = Running::digest(data.path());
    Running::lose_state(data.path());
    let again = Running::over(data).await;
    assert_eq!(Running::digest(again.data.path()), digest);
    let counted = Counted::of(&reader(&again), &rotated()).unwrap();
    assert_eq!((counted.batch_keys[&version(2)], counted.unreadable), (1, 0));
}

#[tokio::test]
async fn secrets_under_lost_keys_are_counted_left_alone_and_keep_their_version_in_use() {
    let (hub, _) = hub().await;
    let mut other = KeyRing::of(SecretKey::from_bytes([9; 32]));
    other.add(SecretKey::from_bytes([8; 32])).unwrap();
    let counted = Counted::of(&reader(&hub), &other).unwrap();
    assert_eq!(counted.unreadable, 2);
    assert!(counted.in_use().contains(&KeyVersion::FIRST));
    assert_eq!(bring(&hub, &other, false).await, Resealed::default());
    assert_eq!(Counted::of(&reader(&hub), &ring()).unwrap().unreadable, 0);
}
