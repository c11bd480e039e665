use jikai_schema::command::{ChangeCommand, ChangeSubject, Command, Deposit, NewStaff, Outcome, Refusal, StaffCommand};
use jikai_schema::event::{Actor, MasterEvent, PackHold, SaleState};
use jikai_schema::id::OutletClass;
use jikai_schema::parameter::{Parameter, ParameterScope, Place};
use jikai_schema::staff::{Grant, Role};
use jikai_schema::time::TimeMs;

use crate::machine::{ChangeRow, ChangeState};
use crate::province::*;

const DAY_MS: i64 = 86_400_000;

fn ask(hub: &mut Hub, who: &str, at_ms: i64, command: ChangeCommand) -> Outcome {
    hub.ask_as(Actor::Staff(who.into()), at_ms, Command::Change(command))
}

fn code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(Refusal::Rule { code, .. }) => code,
        Outcome::Refused(other) => other.code(),
        other => panic!("{other:?} was not refused"),
    }
}

fn propose(subject: ChangeSubject) -> ChangeCommand {
    ChangeCommand::Propose { subject, reason: "by order 7".into() }
}

fn approve(number: u32) -> ChangeCommand {
    ChangeCommand::Approve { number }
}

fn parameter(key: &str, value: i64, from_ms: i64) -> ChangeSubject {
    let (scope, effective_from_ms) = (ParameterScope::Province, TimeMs::from_ms(from_ms));
    ChangeSubject::Parameter { key: key.into(), scope, value, effective_from_ms }
}

fn hold(number: u32, hold: PackHold) -> ChangeSubject {
    ChangeSubject::Hold { pack: pack(number), hold }
}

fn game(price: &str, limit: &str) -> ChangeSubject {
    let MasterEvent::GameDefined { game, name, shares, city_limit, .. } = define_game() else { panic!("no game") };
    let (price, outlet_limit) = (yuan(price), yuan(limit));
    ChangeSubject::Game(MasterEvent::GameDefined { game, name, price, shares, outlet_limit, city_limit })
}

fn deposit_by_hand(number: u64, amount: &str) -> ChangeSubject {
    ChangeSubject::Deposit(deposit(number, 13_010_001, amount))
}

fn done(outcome: Outcome) {
    assert!(matches!(outcome, Outcome::Done { events: 1.., .. } | Outcome::Change { .. }), "{outcome:?}");
}

fn row(hub: &Hub, number: u32) -> ChangeRow {
    ChangeRow::read(&hub.state, number).unwrap().unwrap()
}

fn session_hours(hub: &Hub, at_ms: i64) -> i64 {
    Parameter::StaffSession.read(&hub.state, &Place::PROVINCE, TimeMs::from_ms(at_ms)).unwrap()
}

#[test]
fn a_change_is_done_by_another_person_once_and_names_both() {
    let mut hub = Hub::set_up();
    let proposed = ask(&mut hub, "wei", NOW_MS, propose(parameter("staff_session", 8, NOW_MS + DAY_MS)));
    assert_eq!(proposed, Outcome::Change { number: 1 });
    assert_eq!(session_hours(&hub, NOW_MS + DAY_MS), 10, "nothing was changed yet");
    assert_eq!(code(&ask(&mut hub, "wei", NOW_MS, approve(1))), "same_person");
    assert_eq!(code(&hub.ask_as(Actor::System, NOW_MS, Command::Change(approve(1)))), "not_a_person");
    assert_eq!(code(&ask(&mut hub, "@console", NOW_MS, approve(1))), "not_a_person");
    done(ask(&mut hub, "ming", NOW_MS, approve(1)));
    assert_eq!((session_hours(&hub, NOW_MS), session_hours(&hub, NOW_MS + DAY_MS)), (10, 8));
    assert_eq!(code(&ask(&mut hub, "fang", NOW_MS, approve(1))), "change_closed", "once");
    let approved = row(&hub, 1);
    assert_eq!((approved.maker.as_str(), approved.checker.as_deref()), ("wei", Some("ming")));
    assert_eq!(hub.count("SELECT count(*) FROM parameter WHERE maker = 'wei' AND checker = 'ming'"), 1);
}

#[test]
fn nothing_holds_before_it_was_approved() {
    let mut hub = Hub::set_up();
    done(ask(&mut hub, "wei", NOW_MS, propose(parameter("staff_session", 8, 0))));
    done(ask(&mut hub, "ming", NOW_MS + DAY_MS, approve(1)));
    assert_eq!((session_hours(&hub, NOW_MS), session_hours(&hub, NOW_MS + DAY_MS)), (10, 8));
}

#[test]
fn a_change_that_nobody_could_mean_is_not_proposed() {
    let mut hub = Hub::set_up();
    for (subject, refusal) in [
        (parameter("prize_fund", 8, NOW_MS), "unknown"),
        (parameter("staff_session", 0, NOW_MS), "invalid_value"),
        (parameter("staff_session", i64::MAX, NOW_MS), "invalid_value"),
        (hold(1, PackHold::None), "nothing_changes"),
        (hold(99, PackHold::Stolen), "unknown"),
        (ChangeSubject::Game(define_division(1301, 0)), "not_a_game"),
        (game("-2.00", "100.00"), "invalid_price"),
        (game("0.00", "100.00"), "invalid_price"),
        (game("2.00", "-1.00"), "invalid_limits"),
        (deposit_by_hand(7, "-5.00"), "invalid_amount"),
        (deposit_by_hand(7, "0.00"), "invalid_amount"),
        (deposit_by_hand(7, "10000000.01"), "invalid_amount"),
        (deposit_by_hand(0, "5.00"), "invalid_deposit"),
    ] {
        assert_eq!(code(&ask(&mut hub, "wei", NOW_MS, propose(subject.clone()))), refusal, "{subject:?}");
    }
    for reason in ["", " ", "a\nb", "a\u{202e}b", &"x".repeat(501)] {
        let command = ChangeCommand::Propose { subject: hold(1, PackHold::Stolen), reason: reason.into() };
        assert_eq!(code(&ask(&mut hub, "wei", NOW_MS, command)), "invalid_reason");
    }
    for _ in 0..100 {
        done(ask(&mut hub, "wei", NOW_MS, propose(hold(1, PackHold::Stolen))));
    }
    assert_eq!(code(&ask(&mut hub, "wei", NOW_MS, propose(hold(1, PackHold::Stolen)))), "too_many_changes");
    done(ask(&mut hub, "ming", NOW_MS, propose(hold(1, PackHold::Stolen))));
}

#[test]
fn a_change_whose_subject_was_changed_meanwhile_is_not_applied() {
    let mut hub = Hub::set_up();
    for kind in [PackHold::Stolen, PackHold::Lost] {
        done(ask(&mut hub, "wei", NOW_MS, propose(hold(1, kind))));
    }
    done(ask(&mut hub, "ming", NOW_MS, approve(1)));
    assert_eq!(code(&ask(&mut hub, "ming", NOW_MS, approve(2))), "changed_meanwhile");
    let refuse = ChangeCommand::Refuse { number: 2, reason: "it is stolen".into() };
    assert_eq!(code(&ask(&mut hub, "wei", NOW_MS, refuse.clone())), "same_person");
    done(ask(&mut hub, "ming", NOW_MS, refuse));
    assert_eq!((row(&hub, 2).state, row(&hub, 2).answer.as_deref()), (ChangeState::Refused, Some("it is stolen")));
    assert_eq!(hub.count("SELECT hold FROM pack ORDER BY pack LIMIT 1"), PackHold::Stolen as i64);
}

#[test]
fn a_change_expires_and_its_maker_may_take_it_back_but_nobody_else() {
    let mut hub = Hub::set_up();
    for _ in 0..2 {
        done(ask(&mut hub, "wei", NOW_MS, propose(hold(1, PackHold::Frozen))));
    }
    assert_eq!(code(&ask(&mut hub, "ming", NOW_MS + 7 * DAY_MS, approve(1))), "change_closed");
    let withdraw = ChangeCommand::Withdraw { number: 2 };
    assert_eq!(code(&ask(&mut hub, "ming", NOW_MS, withdraw.clone())), "not_own_change");
    done(ask(&mut hub, "wei", NOW_MS, withdraw.clone()));
    assert_eq!(code(&ask(&mut hub, "wei", NOW_MS, withdraw)), "change_closed");
    assert_eq!(code(&ask(&mut hub, "ming", NOW_MS, approve(2))), "change_closed");
    assert_eq!(code(&ask(&mut hub, "ming", NOW_MS, approve(3))), "unknown");
}

#[test]
fn what_the_rules_refuse_at_the_approval_changes_nothing_and_stays_open() {
    let mut hub = Hub::set_up();
    let stop = ChangeSubject::Sale { batch: batch(), state: SaleState::Imported, approval: None };
    done(ask(&mut hub, "wei", NOW_MS, propose(stop)));
    let before = digest_of(&hub.state, "applied");
    assert_eq!(code(&ask(&mut hub, "ming", NOW_MS, approve(1))), "sale_transition");
    assert_eq!(digest_of(&hub.state, "applied"), before);
    assert_eq!(row(&hub, 1).state, ChangeState::Open);
}

#[test]
fn sales_deposits_games_and_ends_of_redemption_are_done_as_they_would_be_directly() {
    let mut hub = Hub::set_up();
    let deposit = Deposit { deposit: 777, outlet: outlet(13_010_001), amount: yuan("5.00") };
    let ends_at_ms = TimeMs::from_ms(NOW_MS + 100 * DAY_MS);
    let mut game = define_game();
    if let MasterEvent::GameDefined { outlet_limit, .. } = &mut game {
        *outlet_limit = yuan("1.00");
    }
    for (number, subject) in [
        (1, ChangeSubject::Deposit(deposit)),
        (2, ChangeSubject::RedemptionEnd { batch: batch(), ends_at_ms }),
        (3, ChangeSubject::Game(game)),
        (4, ChangeSubject::Sale { batch: batch(), state: SaleState::Paused, approval: None }),
    ] {
        done(ask(&mut hub, "wei", NOW_MS, propose(subject)));
        done(ask(&mut hub, "ming", NOW_MS, approve(number)));
    }
    assert_eq!(hub.count("SELECT amount_fen FROM deposit WHERE deposit = 777"), 500);
    assert_eq!(hub.count("SELECT redemption_ends_at_ms FROM batch"), ends_at_ms.ms());
    assert_eq!(hub.count("SELECT outlet_limit_fen FROM game"), 100);
    assert_eq!(hub.count("SELECT sale_state FROM batch"), SaleState::Paused as i64);
    done(ask(&mut hub, "wei", NOW_MS, propose(ChangeSubject::Deposit(Deposit { deposit: 778, ..deposit }))));
    assert_eq!(code(&ask(&mut hub, "wei", NOW_MS, propose(ChangeSubject::Deposit(deposit)))), "nothing_changes");
}

#[test]
fn a_package_is_imported_only_after_two_persons_released_it_once_there_are_two_for_prize_data() {
    let mut hub = Hub::empty();
    hub.ask(Command::DefineMaster(master_data()));
    hub.ask(Command::ReserveBatch { game: crate::province::game(), code: crate::province::code() });
    let import = || Command::ImportBatch { facts: facts(), wrapped_key: vec![9; 60] };
    for (login, role) in [("key.a", Role::PrizeDataA), ("key.b", Role::PrizeDataB)] {
        let staff = NewStaff { login: login.into(), name: "x".into(), password_hash: "$argon2id$x".into() };
        done(hub.ask(Command::Staff(StaffCommand::Create(staff))));
        let grants = vec![Grant::everywhere(role)];
        done(hub.ask(Command::Staff(StaffCommand::SetGrants { login: login.into(), seen: vec![], grants })));
    }
    assert_eq!(hub.refuse(import()).code(), "prize_data_not_released");
    let release = |package_hash| ChangeSubject::PrizeData {
        game: crate::province::game(),
        code: crate::province::code(),
        package_hash,
    };
    done(ask(&mut hub, "key.a", NOW_MS, propose(release([1; 32]))));
    done(ask(&mut hub, "key.b", NOW_MS, approve(1)));
    assert_eq!(hub.refuse(import()).code(), "prize_data_not_released", "another package");
    done(ask(&mut hub, "key.a", NOW_MS, propose(release(facts().package_hash))));
    assert_eq!(hub.refuse(import()).code(), "prize_data_not_released", "proposed only");
    assert_eq!(code(&ask(&mut hub, "key.a", NOW_MS, approve(2))), "same_person");
    done(ask(&mut hub, "key.b", NOW_MS, approve(2)));
    done(hub.ask(import()));
    let again = propose(release(facts().package_hash));
    assert_eq!(code(&ask(&mut hub, "key.a", NOW_MS, again)), "nothing_changes");
}

#[test]
fn an_outlets_class_and_limits_by_class_and_game_are_set_by_two_persons() {
    let mut hub = Hub::set_up();
    let class = |class| OutletClass::new(class).unwrap();
    let subject = ChangeSubject::OutletClass { outlet: outlet(13_010_001), class: class(2) };
    done(ask(&mut hub, "wei", NOW_MS, propose(subject.clone())));
    done(ask(&mut hub, "ming", NOW_MS, approve(1)));
    assert_eq!(hub.count("SELECT class FROM outlet_class WHERE outlet = 13010001"), 2);
    assert_eq!(code(&ask(&mut hub, "wei", NOW_MS, propose(subject))), "nothing_changes");
    let limit = |scope, value| {
        let (key, effective_from_ms) = ("outlet_claim_limit".to_string(), TimeMs::from_ms(NOW_MS));
        ChangeSubject::Parameter { key, scope, value, effective_from_ms }
    };
    let (of_class, of_game) = (ParameterScope::OutletClass(class(2)), ParameterScope::Game(crate::province::game()));
    for (number, subject) in [(2, limit(of_class, 5_000)), (3, limit(of_game, 900))] {
        done(ask(&mut hub, "wei", NOW_MS, propose(subject)));
        done(ask(&mut hub, "ming", NOW_MS, approve(number)));
    }
    let read = |place: Place| Parameter::OutletClaimLimit.read(&hub.state, &place, TimeMs::from_ms(NOW_MS)).unwrap();
    let here = Place::outlet(outlet(13_010_001), class(2));
    assert_eq!(
        (read(Place::PROVINCE), read(here), read(here.with_game(crate::province::game()))),
        (1_000_000, 5_000, 900)
    );
    let too_high = limit(of_class, 1_000_001);
    assert_eq!(code(&ask(&mut hub, "wei", NOW_MS, propose(too_high))), "invalid_value");
}
