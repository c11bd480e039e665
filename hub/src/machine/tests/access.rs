use jikai_schema::command::{AccessCommand, Command, Outcome, Refusal};
use jikai_schema::event::TerminalKind;
use jikai_schema::id::{OperatorId, TerminalId};
use jikai_schema::time::TimeMs;

use crate::machine::CertificateRow;
use crate::province::*;

const HOUR_MS: i64 = 3_600_000;

fn terminal(number: u64) -> TerminalId {
    TerminalId::new(1_301_000_100 + number).unwrap()
}

fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(Refusal::Rule { code, .. }) => code,
        Outcome::Refused(other) => other.code(),
        other => panic!("{other:?} was not refused"),
    }
}

fn ask(hub: &mut Hub, at_ms: i64, command: AccessCommand) -> Outcome {
    hub.ask_at(at_ms, Command::Access(command))
}

fn offer(number: u64, code: u8, expires_at_ms: i64) -> AccessCommand {
    let (terminal, kind, expires_at_ms) = (terminal(number), TerminalKind::Phone, TimeMs::from_ms(expires_at_ms));
    AccessCommand::OfferEnrolment { terminal, kind, code_hash: [code; 32], expires_at_ms }
}

fn enrol(at_node: u16, number: u64, code: u8) -> AccessCommand {
    let (node, terminal) = (node(at_node), terminal(number));
    AccessCommand::Enrol { node, terminal, code_hash: [code; 32], public_key: [code; 32] }
}

fn wrong(number: u64) -> AccessCommand {
    AccessCommand::NoteEnrolmentFailure { node: node(1), terminal: terminal(number) }
}

const DONE: Outcome = Outcome::Done { events: 1, existing: 0 };
const NOTHING: Outcome = Outcome::Done { events: 0, existing: 1 };

fn keys(hub: &Hub, number: u64, key: u8) -> i64 {
    let key = hex::encode([key; 32]);
    hub.count(&format!("SELECT count(*) FROM terminal WHERE terminal = {} AND public_key = x'{key}'", terminal(number)))
}

#[test]
fn a_code_enrols_one_device_once_at_its_own_node_in_time() {
    let mut hub = Hub::set_up();
    assert_eq!(code(&ask(&mut hub, NOW_MS, enrol(1, 7, 5))), "enrolment_refused", "no code was issued");
    assert_eq!(ask(&mut hub, NOW_MS, offer(7, 5, NOW_MS + HOUR_MS)), DONE);
    for wrong in [enrol(1, 7, 6), enrol(2, 7, 5), enrol(1, 8, 5)] {
        assert_eq!(code(&ask(&mut hub, NOW_MS, wrong)), "enrolment_refused");
    }
    assert_eq!(code(&ask(&mut hub, NOW_MS + HOUR_MS, enrol(1, 7, 5))), "enrolment_refused", "too late");
    assert_eq!(ask(&mut hub, NOW_MS, enrol(1, 7, 5)), DONE);
    assert_eq!(keys(&hub, 7, 5), 1);
    assert_eq!(ask(&mut hub, NOW_MS, enrol(1, 7, 5)), NOTHING, "the same device asks again: its answer was lost");
    assert_eq!(code(&ask(&mut hub, NOW_MS, enrol(2, 7, 5))), "enrolment_refused", "the same device elsewhere");
    let (node, terminal, code_hash, public_key) = (node(1), terminal(7), [5; 32], [6; 32]);
    let another = AccessCommand::Enrol { node, terminal, code_hash, public_key };
    assert_eq!(code(&ask(&mut hub, NOW_MS, another)), "enrolment_refused", "used");
    assert_eq!(code(&ask(&mut hub, NOW_MS, offer(7, 6, NOW_MS + HOUR_MS))), "terminal_in_use");
}

#[test]
fn five_wrong_codes_make_a_code_void_and_a_new_one_starts_over() {
    let mut hub = Hub::set_up();
    assert_eq!(ask(&mut hub, NOW_MS, wrong(7)), NOTHING, "no code waits");
    assert_eq!(ask(&mut hub, NOW_MS, offer(7, 5, NOW_MS + HOUR_MS)), DONE);
    for _ in 0..5 {
        assert_eq!(ask(&mut hub, NOW_MS, wrong(7)), DONE);
    }
    assert_eq!(ask(&mut hub, NOW_MS, wrong(7)), NOTHING, "bounded");
    assert_eq!(code(&ask(&mut hub, NOW_MS, enrol(1, 7, 5))), "enrolment_refused");
    assert_eq!(ask(&mut hub, NOW_MS, offer(7, 6, NOW_MS + HOUR_MS)), DONE);
    assert_eq!(code(&ask(&mut hub, NOW_MS, enrol(1, 7, 5))), "enrolment_refused", "the earlier code");
    assert_eq!(ask(&mut hub, NOW_MS, enrol(1, 7, 6)), DONE);
}

#[test]
fn codes_are_for_known_outlets_and_end_within_a_week() {
    let mut hub = Hub::set_up();
    let elsewhere = AccessCommand::OfferEnrolment {
        terminal: TerminalId::new(1_399_000_101).unwrap(),
        kind: TerminalKind::Gun,
        code_hash: [1; 32],
        expires_at_ms: TimeMs::from_ms(NOW_MS + HOUR_MS),
    };
    assert_eq!(code(&ask(&mut hub, NOW_MS, elsewhere)), "unknown");
    for expires in [NOW_MS, NOW_MS - 1, NOW_MS + 7 * 24 * HOUR_MS + 1, i64::MAX] {
        assert_eq!(code(&ask(&mut hub, NOW_MS, offer(7, 5, expires))), "invalid_expiry");
    }
}

#[test]
fn a_revoked_terminal_is_told_to_its_node_and_comes_back_only_by_another_key() {
    let mut hub = Hub::set_up();
    let revoke =
        |number: u64, reason: &str| AccessCommand::RevokeTerminal { terminal: terminal(number), reason: reason.into() };
    assert_eq!(code(&ask(&mut hub, NOW_MS, revoke(9, "lost"))), "unknown");
    for bad in ["", "  ", "a\nb", &"x".repeat(201)] {
        assert_eq!(code(&ask(&mut hub, NOW_MS, revoke(1, bad))), "invalid_reason");
    }
    let fed = hub.count("SELECT count(*) FROM down_feed WHERE node = 1");
    assert_eq!(ask(&mut hub, NOW_MS, revoke(1, "lost")), DONE);
    assert_eq!(ask(&mut hub, NOW_MS, revoke(1, "lost again")), NOTHING);
    assert_eq!(hub.count("SELECT count(*) FROM down_feed WHERE node = 1"), fed + 1);
    assert_eq!(ask(&mut hub, NOW_MS, offer(1, 5, NOW_MS + HOUR_MS)), DONE, "its number may have a new device");
    assert_eq!(ask(&mut hub, NOW_MS, enrol(1, 1, 5)), DONE);
    assert_eq!(hub.count("SELECT count(*) FROM terminal_revoked"), 0);
}

#[test]
fn a_person_of_an_outlet_is_put_out_of_use_once() {
    let mut hub = Hub::set_up();
    let disable = |id| AccessCommand::DisableOperator { operator: OperatorId::new(id).unwrap() };
    assert_eq!(code(&ask(&mut hub, NOW_MS, disable(1_301_000_199))), "unknown");
    assert_eq!(ask(&mut hub, NOW_MS, disable(1_301_000_101)), DONE);
    assert_eq!(ask(&mut hub, NOW_MS, disable(1_301_000_101)), NOTHING);
}

#[test]
fn certificates_are_remembered_once_and_revoked_with_a_reason() {
    let mut hub = Hub::set_up();
    let record = |serial: &str, at_node: u16| {
        let (node, serial, not_after_ms) = (node(at_node), serial.to_string(), TimeMs::from_ms(NOW_MS));
        AccessCommand::RecordCertificate { node, serial, not_after_ms }
    };
    let revoke = |serial: &str| AccessCommand::RevokeCertificate { serial: serial.into(), reason: "stolen".into() };
    for bad in ["", "xyz", &"a".repeat(41)] {
        assert_eq!(code(&ask(&mut hub, NOW_MS, record(bad, 1))), "invalid_certificate");
    }
    assert_eq!(ask(&mut hub, NOW_MS, record("0a", 1)), DONE);
    assert_eq!(ask(&mut hub, NOW_MS, record("0a", 1)), NOTHING);
    assert_eq!(code(&ask(&mut hub, NOW_MS, record("0a", 2))), "exists_with_other");
    assert_eq!(code(&ask(&mut hub, NOW_MS, revoke("0b"))), "unknown");
    assert_eq!(ask(&mut hub, NOW_MS, revoke("0a")), DONE);
    assert_eq!(ask(&mut hub, NOW_MS, revoke("0a")), NOTHING);
    assert_eq!(CertificateRow::read(&hub.state, "0a").unwrap().unwrap().revoked.as_deref(), Some("stolen"));
}

#[test]
fn an_old_list_brings_neither_a_lost_device_nor_a_person_who_left_back() {
    let mut hub = Hub::set_up();
    let old = define_terminal(1_301_000_101);
    let revoke = AccessCommand::RevokeTerminal { terminal: terminal(1), reason: "lost".into() };
    assert_eq!(ask(&mut hub, NOW_MS, revoke), DONE);
    assert_eq!(ask(&mut hub, NOW_MS, offer(1, 5, NOW_MS + HOUR_MS)), DONE);
    assert_eq!(ask(&mut hub, NOW_MS, enrol(1, 1, 5)), DONE);
    assert_eq!(code(&hub.ask(Command::DefineMaster(vec![old]))), "exists_with_other");
    assert_eq!(keys(&hub, 1, 5), 1, "the new device stays");
    let operator = OperatorId::new(1_301_000_101).unwrap();
    let password_hash = "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$b3RoZXI".to_string();
    let (name, role) = ("张三".to_string(), jikai_schema::event::OperatorRole::Clerk);
    let anew = AccessCommand::DefineOperator { operator, name: name.clone(), role, password_hash };
    assert_eq!(ask(&mut hub, NOW_MS, anew), DONE);
    let old = || Command::DefineMaster(vec![define_operator(1_301_000_101)]);
    assert_eq!(code(&hub.ask(old())), "exists_with_other", "another password was set since");
    assert_eq!(ask(&mut hub, NOW_MS, AccessCommand::DisableOperator { operator }), DONE);
    assert_eq!(code(&hub.ask(old())), "exists_with_other");
    let bad = AccessCommand::DefineOperator { operator, name, role, password_hash: "plain".into() };
    assert_eq!(code(&ask(&mut hub, NOW_MS, bad)), "invalid_password_hash");
}
