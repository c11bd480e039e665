use jikai_schema::command::{
    ChangeCommand, ChangeSubject, Command, Factor, NewStaff, Outcome, Proposal, Refusal, SessionTag, StaffCommand,
};
use jikai_schema::event::Actor;
use jikai_schema::staff::{Area, Grant, Role};
use jikai_schema::time::TimeMs;

use crate::machine::{StaffRow, SupportRow};
use crate::province::*;

const HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA";
const OTHER_HASH: &str = "$argon2id$v=19$m=8,t=1,p=1$c2FsdA$b3RoZXI";

fn new_staff(login: &str) -> NewStaff {
    NewStaff { login: login.into(), name: "李伟".into(), password_hash: HASH.into() }
}

/// A hub with `root` (system), `guard` (security), `wei` and `ming` without rights.
/// Where they log in, and fail to.
const DESK: [u8; 4] = [10, 0, 0, 1];

fn hub_with_staff() -> Hub {
    let mut hub = Hub::empty();
    let first = Grant::everywhere(Role::SystemAdministrator);
    done(as_system(&mut hub, StaffCommand::CreateFirst(new_staff("root"), first)));
    for login in ["guard", "wei", "ming"] {
        done(ask_as(&mut hub, "root", NOW_MS, StaffCommand::Create(new_staff(login))));
    }
    grant(&mut hub, "root", "guard", &[Grant::everywhere(Role::SecurityAdministrator)]);
    hub
}

fn done(outcome: Outcome) {
    assert!(matches!(outcome, Outcome::Done { events: 1.., .. } | Outcome::Change { .. }), "{outcome:?}");
}

fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(Refusal::Rule { code, .. }) => code,
        Outcome::Refused(other) => other.code(),
        other => panic!("{other:?} was not refused"),
    }
}

fn ask(hub: &mut Hub, actor: Actor, at_ms: i64, command: StaffCommand) -> Outcome {
    let before = digest_of(&hub.state, "applied");
    let proposal = Proposal { actor, ..proposal(at_ms, Command::Staff(command)) };
    let outcome = hub.propose(proposal.clone());
    if matches!(outcome, Outcome::Refused(_)) {
        assert_eq!(digest_of(&hub.state, "applied"), before, "a refused command changed something: {proposal:?}");
    }
    outcome
}

fn ask_as(hub: &mut Hub, login: &str, at_ms: i64, command: StaffCommand) -> Outcome {
    ask(hub, Actor::Staff(login.into()), at_ms, command)
}

fn as_system(hub: &mut Hub, command: StaffCommand) -> Outcome {
    ask(hub, Actor::System, NOW_MS, command)
}

fn grant(hub: &mut Hub, by: &str, login: &str, grants: &[Grant]) {
    done(ask_as(hub, by, NOW_MS, set_grants(hub, login, grants)));
}

fn set_grants(hub: &Hub, login: &str, grants: &[Grant]) -> StaffCommand {
    let seen = row(hub, login).grants;
    StaffCommand::SetGrants { login: login.into(), seen, grants: grants.to_vec() }
}

fn row(hub: &Hub, login: &str) -> StaffRow {
    StaffRow::read(&hub.state, login).unwrap().unwrap()
}

fn open(login: &str, tag: u8, factor: Factor) -> StaffCommand {
    open_from(DESK, login, tag, factor)
}

fn open_from(address: [u8; 4], login: &str, tag: u8, factor: Factor) -> StaffCommand {
    let (login, seen_hash, tag) = (login.to_string(), HASH.to_string(), SessionTag([tag; 32]));
    StaffCommand::OpenSession { login, seen_hash, tag, address: address.into(), factor }
}

fn sessions(hub: &Hub, login: &str) -> i64 {
    hub.count(&format!("SELECT count(*) FROM staff_session WHERE login = '{login}'"))
}

fn fail(hub: &mut Hub, given: &str, at_ms: i64) {
    let command = StaffCommand::NoteFailure { given: given.into(), address: DESK.into() };
    done(ask(hub, Actor::System, at_ms, command));
}

#[test]
fn only_a_hub_without_accounts_gets_a_first_one() {
    let mut hub = Hub::empty();
    let first = |login| StaffCommand::CreateFirst(new_staff(login), Grant::everywhere(Role::SystemAdministrator));
    done(as_system(&mut hub, first("root")));
    assert_eq!(code(&as_system(&mut hub, first("second"))), "staff_exists");
    assert!(row(&hub, "root").password_temporary);
}

#[test]
fn a_login_name_is_given_once_and_must_be_plain() {
    let mut hub = hub_with_staff();
    assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, StaffCommand::Create(new_staff("wei")))), "exists_with_other");
    for bad in ["", "Wei", "wei'; DROP TABLE staff;--", "../wei", "wеi"] {
        assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, StaffCommand::Create(new_staff(bad)))), "invalid_login");
    }
    let hidden = NewStaff { name: "李\u{202e}伟".into(), ..new_staff("zhang") };
    assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, StaffCommand::Create(hidden))), "invalid_name");
    let plain = NewStaff { password_hash: "secret".into(), ..new_staff("zhang") };
    assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, StaffCommand::Create(plain))), "invalid_password_hash");
}

const CODE: [u8; 32] = [7; 32];

fn offer(login: &str, valid_ms: i64) -> StaffCommand {
    let expires_at_ms = TimeMs::from_ms(NOW_MS + valid_ms);
    StaffCommand::OfferConfirmation { login: login.into(), code_hash: CODE, expires_at_ms }
}

fn confirm(login: &str, code_hash: [u8; 32]) -> StaffCommand {
    StaffCommand::Confirm { login: login.into(), code_hash }
}

fn set_factor(login: &str) -> StaffCommand {
    StaffCommand::SetSecondFactor { login: login.into(), sealed: vec![1], step: 1, recovery: Vec::new() }
}

#[test]
fn a_person_is_known_by_a_code_of_another_one_shown_once_in_time_behind_the_second_factor() {
    let mut hub = hub_with_staff();
    let hour = 3_600_000;
    assert_eq!(code(&ask_as(&mut hub, "wei", NOW_MS, offer("wei", hour))), "own_account");
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, offer("nobody", hour))), "unknown");
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, offer("wei", 8 * 24 * hour))), "invalid_expiry");
    done(ask_as(&mut hub, "guard", NOW_MS, offer("wei", hour)));
    assert_eq!(code(&ask_as(&mut hub, "wei", NOW_MS, confirm("wei", CODE))), "second_factor_missing");
    done(ask_as(&mut hub, "wei", NOW_MS, set_factor("wei")));
    assert_eq!(code(&ask_as(&mut hub, "wei", NOW_MS, confirm("wei", [8; 32]))), "confirmation_refused");
    assert_eq!(code(&ask_as(&mut hub, "wei", NOW_MS + hour, confirm("wei", CODE))), "confirmation_refused", "too late");
    assert_eq!(code(&ask_as(&mut hub, "ming", NOW_MS, confirm("wei", CODE))), "not_own_account");
    assert!(!row(&hub, "wei").confirmed);
    done(ask_as(&mut hub, "wei", NOW_MS, confirm("wei", CODE)));
    assert!(row(&hub, "wei").confirmed);
    assert_eq!(code(&ask_as(&mut hub, "wei", NOW_MS, confirm("wei", CODE))), "confirmation_refused", "once");
}

#[test]
fn who_makes_or_resets_an_account_does_not_become_the_person() {
    let mut hub = hub_with_staff();
    let reset = |login: &str| StaffCommand::ResetPassword { login: login.into(), password_hash: OTHER_HASH.into() };
    // Whatever order: made, reset, granted; whoever moves in first is not the person who is known.
    done(ask_as(&mut hub, "root", NOW_MS, reset("wei")));
    done(ask_as(&mut hub, "wei", NOW_MS, set_factor("wei")));
    grant(&mut hub, "guard", "wei", &[Grant::everywhere(Role::FinanceChecker)]);
    assert!(!row(&hub, "wei").confirmed);
    done(ask_as(&mut hub, "guard", NOW_MS, offer("wei", 1_000)));
    done(ask_as(&mut hub, "wei", NOW_MS, confirm("wei", CODE)));
    done(ask_as(&mut hub, "root", NOW_MS, reset("wei")));
    assert!(row(&hub, "wei").confirmed, "the second factor stands in the way of who knows the password");
    done(ask_as(&mut hub, "guard", NOW_MS, offer("wei", 1_000)));
    done(ask_as(&mut hub, "guard", NOW_MS, StaffCommand::ClearSecondFactor { login: "wei".into() }));
    assert!(!row(&hub, "wei").confirmed);
    done(ask_as(&mut hub, "wei", NOW_MS, set_factor("wei")));
    assert_eq!(
        code(&ask_as(&mut hub, "wei", NOW_MS, confirm("wei", CODE))),
        "confirmation_refused",
        "the code went along"
    );
}

#[test]
fn the_machine_knows_the_first_security_administrator_and_nobody_else() {
    let mut hub = hub_with_staff();
    done(ask_as(&mut hub, "@console", NOW_MS, offer("guard", 1_000)));
    done(ask_as(&mut hub, "guard", NOW_MS, set_factor("guard")));
    done(ask_as(&mut hub, "guard", NOW_MS, confirm("guard", CODE)));
    let refused = ask_as(&mut hub, "@console", NOW_MS, offer("wei", 1_000));
    assert_eq!(code(&refused), "security_administrator_exists");
}

#[test]
fn nobody_grants_to_the_own_account_or_resets_it_or_puts_it_out_of_use() {
    let mut hub = hub_with_staff();
    let own = |login: &str| login.to_string();
    for command in [
        set_grants(&hub, "guard", &[Grant::everywhere(Role::FinanceMaker)]),
        StaffCommand::Change { login: own("guard"), name: "李伟".into(), active: false },
        StaffCommand::ResetPassword { login: own("guard"), password_hash: OTHER_HASH.into() },
        StaffCommand::ClearSecondFactor { login: own("guard") },
    ] {
        assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, command)), "own_account");
    }
    let other =
        StaffCommand::ChangePassword { login: "wei".into(), seen_hash: HASH.into(), password_hash: OTHER_HASH.into() };
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, other)), "not_own_account");
}

#[test]
fn roles_that_exclude_each_other_are_never_one_persons() {
    let mut hub = hub_with_staff();
    let both = [Role::RedemptionMaker, Role::RedemptionChecker].map(Grant::everywhere);
    let command = set_grants(&hub, "wei", &both);
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, command)), "roles_conflict");
    grant(&mut hub, "guard", "wei", &both[..1]);
    let nowhere = Grant { area: Area::Outlets(Vec::new()), ..both[0].clone() };
    let command = set_grants(&hub, "wei", &[nowhere]);
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, command)), "invalid_grant");
    let many = vec![both[0].clone(); 17];
    let command = set_grants(&hub, "wei", &many);
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, command)), "too_many_grants");
}

#[test]
fn two_changes_of_rights_at_once_do_not_overwrite_each_other() {
    let mut hub = hub_with_staff();
    let late = set_grants(&hub, "wei", &[Grant::everywhere(Role::Supervisor)]);
    grant(&mut hub, "guard", "wei", &[Grant::everywhere(Role::MarketManager)]);
    assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, late)), "changed_meanwhile");
}

#[test]
fn changed_rights_a_reset_and_leaving_end_all_sessions_of_the_person_and_of_nobody_else() {
    for command in [
        |hub: &Hub| set_grants(hub, "wei", &[Grant::everywhere(Role::MarketManager)]),
        |_: &Hub| StaffCommand::ResetPassword { login: "wei".into(), password_hash: HASH.into() },
        |_: &Hub| StaffCommand::Change { login: "wei".into(), name: "李伟".into(), active: false },
    ] {
        let mut hub = hub_with_staff();
        for (login, tag) in [("wei", 1), ("wei", 2), ("ming", 3)] {
            done(as_system(&mut hub, open(login, tag, Factor::None)));
        }
        let command = command(&hub);
        done(ask_as(&mut hub, "guard", NOW_MS, command));
        assert_eq!((sessions(&hub, "wei"), sessions(&hub, "ming")), (0, 1));
    }
    let mut hub = hub_with_staff();
    done(ask_as(
        &mut hub,
        "root",
        NOW_MS,
        StaffCommand::Change { login: "wei".into(), name: "李".into(), active: false },
    ));
    assert_eq!(code(&as_system(&mut hub, open("wei", 1, Factor::None))), "login_refused");
}

#[test]
fn five_failures_lock_longer_each_time_and_a_good_login_starts_over() {
    let mut hub = hub_with_staff();
    (0..4).for_each(|_| fail(&mut hub, "wei", NOW_MS));
    done(ask(&mut hub, Actor::System, NOW_MS, open("wei", 1, Factor::None)));
    assert_eq!(row(&hub, "wei").failure_count, 0);
    (0..5).for_each(|_| fail(&mut hub, "wei", NOW_MS));
    assert_eq!(code(&ask(&mut hub, Actor::System, NOW_MS + 59_999, open("wei", 2, Factor::None))), "login_locked");
    fail(&mut hub, "wei", NOW_MS + 60_000);
    assert_eq!(code(&ask(&mut hub, Actor::System, NOW_MS + 179_999, open("wei", 2, Factor::None))), "login_locked");
    done(ask(&mut hub, Actor::System, NOW_MS + 180_000, open("wei", 2, Factor::None)));
    let mut at_ms = NOW_MS;
    for _ in 0..60 {
        fail(&mut hub, "wei", at_ms);
        at_ms = at_ms.max(row(&hub, "wei").locked_until_ms.ms());
    }
    fail(&mut hub, "wei", at_ms);
    assert_eq!(row(&hub, "wei").locked_until_ms.ms(), at_ms + 3_600_000, "an hour at most");
    fail(&mut hub, "nobody", NOW_MS);
    assert_eq!(hub.count("SELECT count(*) FROM staff"), 4, "a name without an account leaves only a trace in the log");
}

#[test]
fn a_stranger_who_guesses_locks_his_own_place_alone_and_not_for_longer_by_going_on() {
    let mut hub = hub_with_staff();
    (0..50).for_each(|_| fail(&mut hub, "wei", NOW_MS));
    assert_eq!(row(&hub, "wei").locked_until_ms.ms(), NOW_MS + 60_000, "what is tried while locked counts no more");
    assert_eq!(code(&as_system(&mut hub, open("wei", 1, Factor::None))), "login_locked");
    done(as_system(&mut hub, open_from([10, 0, 0, 2], "wei", 1, Factor::None)));
    assert_eq!(
        code(&as_system(&mut hub, open("wei", 2, Factor::None))),
        "login_locked",
        "the other place stays locked"
    );
}

#[test]
fn a_one_time_code_and_a_recovery_code_are_taken_once_and_the_password_alone_no_more() {
    let mut hub = hub_with_staff();
    let recovery = vec![[1; 32], [2; 32]];
    let set = |step| StaffCommand::SetSecondFactor {
        login: "wei".into(),
        sealed: vec![7; 60],
        step,
        recovery: recovery.clone(),
    };
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, set(100))), "not_own_account");
    done(ask_as(&mut hub, "wei", NOW_MS, set(100)));
    assert_eq!(code(&ask_as(&mut hub, "wei", NOW_MS, set(101))), "second_factor_exists");
    assert_eq!(code(&as_system(&mut hub, open("wei", 1, Factor::None))), "second_factor_needed");
    for step in [99, 100] {
        assert_eq!(code(&as_system(&mut hub, open("wei", 1, Factor::OneTimeCode { step }))), "code_used");
    }
    done(as_system(&mut hub, open("wei", 1, Factor::OneTimeCode { step: 101 })));
    assert_eq!(code(&as_system(&mut hub, open("wei", 2, Factor::OneTimeCode { step: 101 }))), "code_used");
    done(as_system(&mut hub, open("wei", 2, Factor::RecoveryCode { hash: [2; 32] })));
    for hash in [[2; 32], [3; 32]] {
        assert_eq!(code(&as_system(&mut hub, open("wei", 3, Factor::RecoveryCode { hash }))), "code_used");
    }
    done(ask_as(&mut hub, "guard", NOW_MS, StaffCommand::ClearSecondFactor { login: "wei".into() }));
    assert_eq!((sessions(&hub, "wei"), hub.count("SELECT count(*) FROM staff_recovery")), (0, 0));
    done(as_system(&mut hub, open("wei", 4, Factor::None)));
}

#[test]
fn a_sixth_session_ends_the_oldest_and_logging_out_ends_one() {
    let mut hub = hub_with_staff();
    for tag in 1..=6 {
        done(ask(&mut hub, Actor::System, NOW_MS + i64::from(tag), open("wei", tag, Factor::None)));
    }
    assert_eq!(sessions(&hub, "wei"), 5);
    assert_eq!(hub.count(&format!("SELECT count(*) FROM staff_session WHERE tag = x'{}'", "01".repeat(32))), 0);
    let tag = SessionTag([3; 32]);
    done(ask_as(&mut hub, "wei", NOW_MS, StaffCommand::EndSession { tag }));
    assert_eq!(sessions(&hub, "wei"), 4);
    let again = ask_as(&mut hub, "wei", NOW_MS, StaffCommand::EndSession { tag });
    assert_eq!(again, Outcome::Done { events: 0, existing: 1 });
}

#[test]
fn the_last_passwords_are_remembered_and_only_the_one_that_was_compared_is_replaced() {
    let mut hub = hub_with_staff();
    let change = |seen: &str, to: &str| StaffCommand::ChangePassword {
        login: "wei".into(),
        seen_hash: seen.into(),
        password_hash: to.into(),
    };
    assert_eq!(code(&ask_as(&mut hub, "wei", NOW_MS, change(OTHER_HASH, HASH))), "changed_meanwhile");
    for round in 0..8 {
        let (from, to) = if round % 2 == 0 { (HASH, OTHER_HASH) } else { (OTHER_HASH, HASH) };
        done(ask_as(&mut hub, "wei", NOW_MS + round, change(from, to)));
    }
    assert!(!row(&hub, "wei").password_temporary);
    assert_eq!(hub.count("SELECT count(*) FROM staff_password WHERE login = 'wei'"), 4);
}

#[test]
fn the_first_security_administrator_is_another_person_without_rights_and_there_is_one_first() {
    let mut hub = Hub::empty();
    let first = Grant::everywhere(Role::SystemAdministrator);
    done(as_system(&mut hub, StaffCommand::CreateFirst(new_staff("root"), first)));
    for login in ["wei", "ming"] {
        done(ask_as(&mut hub, "root", NOW_MS, StaffCommand::Create(new_staff(login))));
    }
    let first = |login: &str| StaffCommand::GrantFirstSecurity { login: login.into() };
    assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, first("root"))), "own_account");
    assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, first("nobody"))), "unknown");
    grant(&mut hub, "root", "ming", &[Grant::everywhere(Role::Supervisor)]);
    assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, first("ming"))), "not_without_rights");
    done(ask_as(&mut hub, "root", NOW_MS, first("wei")));
    assert_eq!(row(&hub, "wei").grants, [Grant::everywhere(Role::SecurityAdministrator)]);
    done(ask_as(&mut hub, "root", NOW_MS, StaffCommand::Create(new_staff("late"))));
    assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, first("late"))), "security_administrator_exists");
}

#[test]
fn the_vendors_access_is_opened_by_another_person_in_time_and_ends_by_itself() {
    let mut hub = hub_with_staff();
    grant(&mut hub, "guard", "wei", &[Grant::everywhere(Role::VendorSupport)]);
    let ask = |login: &str, reason: &str, minutes| StaffCommand::AskSupport {
        login: login.into(),
        reason: reason.into(),
        minutes,
    };
    let approve = |number| StaffCommand::ApproveSupport { number };
    let is_open = |hub: &Hub, at_ms| SupportRow::is_open_for(&hub.state, "wei", TimeMs::from_ms(at_ms)).unwrap();
    for (command, refusal) in [
        (ask("ming", "why", 60), "not_vendor"),
        (ask("nobody", "why", 60), "unknown"),
        (ask("wei", " ", 60), "invalid_reason"),
        (ask("wei", "a\nb", 60), "invalid_reason"),
        (ask("wei", "why", 0), "invalid_minutes"),
        (ask("wei", "why", 481), "invalid_minutes"),
    ] {
        assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, command)), refusal);
    }
    assert_eq!(code(&as_system(&mut hub, ask("wei", "why", 60))), "not_a_person");
    for _ in 0..3 {
        done(ask_as(&mut hub, "root", NOW_MS, ask("wei", "why", 60)));
    }
    for same in ["root", "wei"] {
        assert_eq!(code(&ask_as(&mut hub, same, NOW_MS, approve(1))), "same_person");
    }
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS + 24 * 3_600_000, approve(1))), "not_waiting");
    assert!(!is_open(&hub, NOW_MS));
    done(ask_as(&mut hub, "guard", NOW_MS, approve(1)));
    assert!(is_open(&hub, NOW_MS + 3_599_999) && !is_open(&hub, NOW_MS + 3_600_000));
    assert_eq!(code(&ask_as(&mut hub, "ming", NOW_MS, approve(1))), "not_waiting");
    done(ask_as(&mut hub, "guard", NOW_MS, StaffCommand::EndSupport { number: 2 }));
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, approve(2))), "not_waiting", "it was refused");
    done(as_system(&mut hub, open("wei", 1, Factor::None)));
    done(ask_as(&mut hub, "root", NOW_MS, StaffCommand::EndSupport { number: 1 }));
    assert!(!is_open(&hub, NOW_MS) && sessions(&hub, "wei") == 0);
    let again = ask_as(&mut hub, "root", NOW_MS, StaffCommand::EndSupport { number: 1 });
    assert_eq!(again, Outcome::Done { events: 0, existing: 1 });
}

#[test]
fn two_security_administrators_grant_rights_only_together_and_never_their_own() {
    let mut hub = hub_with_staff();
    let security = [Grant::everywhere(Role::SecurityAdministrator)];
    let clerk = [Grant::everywhere(Role::IssueClerk)];
    grant(&mut hub, "guard", "ming", &security);
    let alone = set_grants(&hub, "wei", &clerk);
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, alone)), "two_persons_required");
    let change =
        |hub: &mut Hub, who: &str, command| hub.ask_as(Actor::Staff(who.into()), NOW_MS, Command::Change(command));
    let propose = |login: &str, grants: &[Grant]| {
        let subject = ChangeSubject::Grants { login: login.into(), grants: grants.to_vec() };
        ChangeCommand::Propose { subject, reason: "new post".into() }
    };
    assert_eq!(code(&change(&mut hub, "guard", propose("guard", &clerk))), "own_account");
    done(change(&mut hub, "guard", propose("wei", &clerk)));
    assert_eq!(code(&change(&mut hub, "guard", ChangeCommand::Approve { number: 1 })), "same_person");
    assert_eq!(row(&hub, "wei").grants, []);
    done(change(&mut hub, "ming", ChangeCommand::Approve { number: 1 }));
    assert_eq!(row(&hub, "wei").grants, clerk);
    done(change(&mut hub, "guard", propose("ming", &clerk)));
    assert_eq!(code(&change(&mut hub, "ming", ChangeCommand::Approve { number: 2 })), "own_account");
    // Nor does one of the two take the other's rights alone, to be the only one then.
    let demoted = set_grants(&hub, "ming", &[]);
    assert_eq!(code(&ask_as(&mut hub, "guard", NOW_MS, demoted)), "two_persons_required");
    done(change(&mut hub, "root", ChangeCommand::Approve { number: 2 }));
    assert_eq!(row(&hub, "ming").grants, clerk);
    // With a third one the system administrator is not the second person.
    done(change(&mut hub, "guard", propose("ming", &security)));
    done(change(&mut hub, "root", ChangeCommand::Approve { number: 3 }));
    done(change(&mut hub, "guard", propose("wei", &security)));
    assert_eq!(
        code(&change(&mut hub, "root", ChangeCommand::Approve { number: 4 })),
        "security_administrator_decides",
        "ming is there"
    );
    done(change(&mut hub, "ming", ChangeCommand::Approve { number: 4 }));
    done(change(&mut hub, "guard", propose("ming", &[])));
    let by_root = change(&mut hub, "root", ChangeCommand::Approve { number: 5 });
    assert_eq!(code(&by_root), "security_administrator_decides", "wei is there");
    // Who puts the last one out of use does not make another first one.
    let out = StaffCommand::Change { login: "guard".into(), name: "x".into(), active: false };
    done(ask_as(&mut hub, "root", NOW_MS, out));
    done(ask_as(&mut hub, "root", NOW_MS, StaffCommand::Create(new_staff("friend"))));
    let first = StaffCommand::GrantFirstSecurity { login: "friend".into() };
    assert_eq!(code(&ask_as(&mut hub, "root", NOW_MS, first)), "security_administrator_exists");
}

#[test]
fn only_what_another_person_ends_is_revoked() {
    let mut hub = hub_with_staff();
    for (tag, by) in [(1, Actor::System), (2, Actor::Staff("wei".into())), (3, Actor::Staff("root".into()))] {
        done(ask(&mut hub, Actor::System, NOW_MS, open("wei", tag, Factor::None)));
        done(ask(&mut hub, by, NOW_MS, StaffCommand::EndSession { tag: SessionTag([tag; 32]) }));
    }
    let log = String::from_utf8(crate::reports::hub_events(&mut hub.state, 0, 1_000).unwrap()).unwrap();
    let ended = log.lines().filter(|line| line.contains("staff_session_ended"));
    let revoked: Vec<bool> = ended.map(|line| line.contains(r#""revoked":true"#)).collect();
    assert_eq!(revoked, [false, false, true], "it ran out, was left, was ended by a colleague");
}
