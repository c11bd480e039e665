use jikai_schema::command::{Command, Outcome, Proposal};
use jikai_schema::event::{RequestId, RequestKey};

use crate::province::*;

const DAY_MS: i64 = 86_400_000;

/// Proposes a deposit of ten yuan under a request.
fn credit(hub: &mut Hub, request: u8, at_ms: i64, number: u64) -> Outcome {
    let command = Command::CreditDeposits(vec![deposit(number, 13_010_001, "10.00")]);
    ask(hub, request, at_ms, command)
}

fn ask(hub: &mut Hub, request: u8, at_ms: i64, command: Command) -> Outcome {
    let key = RequestKey::of_command(RequestId([request; 16]), format!("{command:?}").as_bytes());
    hub.propose(Proposal { request: Some(key), ..proposal(at_ms, command) })
}

#[test]
fn a_command_that_is_sent_again_is_answered_again_and_applied_once() {
    let mut hub = Hub::set_up();
    let define = |name: &str| Command::ReserveBatch { game: "G0202".parse().unwrap(), code: name.parse().unwrap() };
    let first = ask(&mut hub, 1, NOW_MS, define("26009"));
    let before = digest_of(&hub.state, "applied");
    assert_eq!(ask(&mut hub, 1, NOW_MS + 5_000, define("26009")), first);
    assert_eq!(digest_of(&hub.state, "applied"), before, "the repeat changed something");
    let done = credit(&mut hub, 2, NOW_MS, 900);
    let before = digest_of(&hub.state, "applied");
    assert_eq!(done, Outcome::Done { events: 1, existing: 0 });
    assert_eq!(credit(&mut hub, 2, NOW_MS, 900), done, "not `existing: 1`: it is the answer to the first");
    assert_eq!(digest_of(&hub.state, "applied"), before, "the repeat changed something");
    assert_eq!(credit(&mut hub, 3, NOW_MS, 900), Outcome::Done { events: 0, existing: 1 }, "another request");
}

#[test]
fn another_command_of_one_request_is_not_taken_for_a_repeat() {
    let mut hub = Hub::set_up();
    assert_eq!(credit(&mut hub, 1, NOW_MS, 900), Outcome::Done { events: 1, existing: 0 });
    assert_eq!(credit(&mut hub, 1, NOW_MS, 901), Outcome::Done { events: 1, existing: 0 });
}

#[test]
fn what_was_refused_may_be_tried_again_and_answers_go_after_a_day() {
    let mut hub = Hub::set_up();
    let unknown = Command::CreditDeposits(vec![deposit(900, 13_099_999, "10.00")]);
    assert!(matches!(ask(&mut hub, 1, NOW_MS, unknown), Outcome::Refused(_)));
    assert_eq!(hub.count("SELECT count(*) FROM answered"), 0);
    credit(&mut hub, 1, NOW_MS, 900);
    credit(&mut hub, 2, NOW_MS + DAY_MS - 1_000, 901);
    assert_eq!(hub.count("SELECT count(*) FROM answered"), 2);
    credit(&mut hub, 3, NOW_MS + DAY_MS + 1_000, 902);
    assert_eq!(hub.count("SELECT count(*) FROM answered"), 2, "the first is a day old");
}
