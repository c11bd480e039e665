use jikai_schema::command::{Command, NewStaff, Outcome, Refusal, Reseal, ResealedFactor, ResealedKey, StaffCommand};
use jikai_schema::event::Actor;
use jikai_schema::id::BatchNo;
use jikai_schema::staff::{Grant, Role};

use crate::province::*;

const FIRST: u8 = 7;
const SECOND: u8 = 8;

fn wrapped(byte: u8) -> Vec<u8> {
    vec![byte; 60]
}

/// A province with one batch and one person with a second factor.
fn hub() -> Hub {
    let mut hub = Hub::empty();
    set_up().into_iter().take(2).for_each(|command| drop(hub.ask(command)));
    assert!(!matches!(
        hub.ask(Command::ImportBatch { facts: facts(), wrapped_key: wrapped(FIRST) }),
        Outcome::Refused(_)
    ));
    let password_hash = "$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA".to_string();
    let wei = NewStaff { login: "wei".into(), name: "Wei".into(), password_hash };
    let first = StaffCommand::CreateFirst(wei, Grant::everywhere(Role::SystemAdministrator));
    let factor =
        StaffCommand::SetSecondFactor { login: "wei".into(), sealed: wrapped(FIRST), step: 1, recovery: Vec::new() };
    for (actor, command) in [(Actor::System, first), (Actor::Staff("wei".into()), factor)] {
        let outcome = hub.ask_as(actor, NOW_MS, Command::Staff(command));
        assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
    }
    hub
}

fn key(batch: BatchNo, before: u8, after: u8) -> ResealedKey {
    ResealedKey { batch, before: wrapped(before), after: wrapped(after) }
}

fn factor(login: &str, before: u8, after: u8) -> ResealedFactor {
    ResealedFactor { login: login.into(), before: wrapped(before), after: wrapped(after) }
}

fn reseal(batch_keys: Vec<ResealedKey>, factors: Vec<ResealedFactor>) -> Command {
    Command::Reseal(Reseal { key_version: 2, batch_keys, factors })
}

fn stored(hub: &Hub) -> (Vec<u8>, Vec<u8>) {
    let sql = "SELECT wrapped, factor_sealed FROM batch_key, staff";
    hub.state.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

#[test]
fn secrets_are_taken_in_place_of_what_was_read_and_once() {
    let mut hub = hub();
    let command = reseal(vec![key(batch(), FIRST, SECOND)], vec![factor("wei", FIRST, SECOND)]);
    assert_eq!(hub.ask(command.clone()), Outcome::Done { events: 1, existing: 0 });
    assert_eq!(stored(&hub), (wrapped(SECOND), wrapped(SECOND)));
    assert_eq!(hub.ask(command), Outcome::Done { events: 1, existing: 2 }, "asked again");
    assert_eq!(hub.ask(reseal(Vec::new(), Vec::new())), Outcome::Done { events: 1, existing: 0 });
}

#[test]
fn one_secret_that_does_not_fit_refuses_all_of_them() {
    let mut hub = hub();
    let other = BatchNo::new(9).unwrap();
    let mut check = |batch_keys, factors, code: &str| {
        assert_eq!(hub.refuse(reseal(batch_keys, factors)).code(), code);
        assert_eq!(stored(&hub), (wrapped(FIRST), wrapped(FIRST)), "{code}");
    };
    let good = || key(batch(), FIRST, SECOND);
    check(vec![good(), key(other, FIRST, SECOND)], vec![], "unknown");
    check(vec![good()], vec![factor("li", FIRST, SECOND)], "unknown");
    check(vec![key(batch(), 1, SECOND)], vec![], "changed_meanwhile");
    check(vec![good()], vec![factor("wei", 1, SECOND)], "changed_meanwhile");
    check(vec![good(), good()], vec![], "not_ascending");
    check(vec![key(other, FIRST, SECOND), good()], vec![], "not_ascending");
    check(vec![good()], vec![factor("wei", FIRST, 2), factor("wei", FIRST, 3)], "not_ascending");
    check(vec![ResealedKey { after: vec![1; 59], ..good() }], vec![], "invalid_batch_key");
    check(vec![good()], vec![ResealedFactor { after: vec![1], ..factor("wei", FIRST, SECOND) }], "invalid_factor");
    for key_version in [0, 64] {
        let command = Command::Reseal(Reseal { key_version, batch_keys: vec![], factors: vec![] });
        assert_eq!(hub.refuse(command).code(), "invalid_key_version");
    }
    let unknown = reseal(vec![key(other, FIRST, SECOND)], vec![]);
    assert_eq!(hub.refuse(unknown), Refusal::Unknown { kind: "batch".into(), id: other.to_string() });
}
