use jikai_schema::command::{Command, Outcome, Proposal, Refusal};
use jikai_schema::event::{Actor, MasterEvent};
use jikai_schema::id::NodeId;

use crate::log::LogPosition;
use crate::machine;
use crate::province::*;

fn define(definitions: Vec<MasterEvent>) -> Command {
    Command::DefineMaster(definitions)
}

fn done(events: u64, existing: u64) -> Outcome {
    Outcome::Done { events, existing }
}

/// The code with which a definition is refused beside a whole province.
fn refused(definition: MasterEvent) -> String {
    Hub::set_up().refuse(define(vec![definition])).code().to_string()
}

#[test]
fn equal_definitions_are_skipped_and_changed_ones_replace() {
    let mut hub = Hub::empty();
    let all = master_data();
    let count = all.len() as u64;
    assert_eq!(hub.ask(define(all.clone())), done(count, 0));
    assert_eq!(hub.ask(define(all)), done(0, count));
    let mut renamed = define_outlet(13_010_001, 130_102_001);
    if let MasterEvent::OutletDefined { name, .. } = &mut renamed {
        *name = "new name".into();
    }
    assert_eq!(hub.ask(define(vec![renamed.clone(), renamed])), done(1, 1));
    assert_eq!(hub.count("SELECT count(*) FROM outlet WHERE name = 'new name' AND node = 1"), 1);
}

#[test]
fn a_list_with_one_bad_line_defines_nothing() {
    let mut hub = Hub::set_up();
    let good = define_outlet(13_010_077, 130_102_001);
    assert_eq!(
        hub.refuse(define(vec![good.clone(), define_outlet(13_030_001, 130_102_001)])).code(),
        "outlet_outside_prefecture"
    );
    assert_eq!(hub.ask(define(vec![good])), done(1, 0));
}

#[test]
fn one_subject_with_two_definitions_in_one_list_is_refused() {
    let mut other = define_division(1303, 0);
    if let MasterEvent::DivisionDefined { name, .. } = &mut other {
        *name = "other".into();
    }
    let refusal = Hub::set_up().refuse(define(vec![define_division(1303, 0), other]));
    assert_eq!(refusal, Refusal::ExistsWithOther { kind: "division".into(), id: "1303".into() });
}

#[test]
fn divisions_need_their_digits_their_parent_and_a_name() {
    let mut hub = Hub::set_up();
    assert_eq!(hub.ask(define(vec![define_division(1303, 0), define_division(130_302, 1303)])), done(2, 0));
    assert_eq!(refused(define_division(13, 0)), "invalid_division");
    assert_eq!(refused(define_division(130_302, 1301)), "invalid_division");
    assert_eq!(refused(define_division(130_402, 1304)), "unknown");
    let nameless = MasterEvent::DivisionDefined { code: 1304, name: " ".into(), parent: 0 };
    assert_eq!(refused(nameless), "invalid_name");
}

#[test]
fn a_node_needs_free_prefectures_and_keeps_those_with_outlets() {
    let mut hub = Hub::set_up();
    assert_eq!(hub.ask(define(vec![define_node(3, &[1303])])), done(1, 0));
    assert_eq!(hub.ask(define(vec![define_node(3, &[1304, 1303])])), done(1, 0), "more prefectures");
    assert_eq!(hub.ask(define(vec![define_node(3, &[1303, 1304])])), done(0, 1), "their order does not matter");
    assert_eq!(hub.ask(define(vec![define_node(3, &[1304])])), done(1, 0), "one without outlets may go");
    assert_eq!(refused(define_node(3, &[1301])), "prefecture_taken");
    assert_eq!(refused(define_node(1, &[1305])), "exists_with_other");
    assert_eq!(hub.ask(define(vec![define_node(4, &[])])), done(1, 0), "one that gets its outlets by handoff");
    assert_eq!(hub.ask(define(vec![define_node(4, &[])])), done(0, 1), "and is read again");
    assert_eq!(hub.ask(define(vec![define_node(5, &[1306])])), done(1, 0), "beside it");
    assert_eq!(refused(define_node(3, &[1303, 1303])), "invalid_prefectures");
    assert_eq!(refused(define_node(0, &[1303])), "invalid_node");
}

#[test]
fn an_outlet_gets_the_node_that_serves_its_prefecture() {
    let mut hub = Hub::set_up();
    let mut claimed_for_another = define_outlet(13_020_009, 130_202_001);
    if let MasterEvent::OutletDefined { node, .. } = &mut claimed_for_another {
        *node = NodeId::new(1).unwrap();
    }
    assert_eq!(hub.ask(define(vec![claimed_for_another])), done(1, 0));
    assert_eq!(hub.count("SELECT node FROM outlet WHERE outlet = 13020009"), 2);
    assert_eq!(refused(define_outlet(13_010_009, 130_102_999)), "unknown");
    assert_eq!(refused(define_outlet(13_010_009, 130_102)), "invalid_township");
    let mut hub = Hub::set_up();
    hub.ask(define(vec![
        define_division(1303, 0),
        define_division(130_302, 1303),
        define_division(130_302_001, 130_302),
    ]));
    assert_eq!(hub.refuse(define(vec![define_outlet(13_030_001, 130_302_001)])).code(), "prefecture_unserved");
}

#[test]
fn terminals_and_operators_need_their_outlet() {
    let mut hub = Hub::set_up();
    assert_eq!(hub.ask(define(vec![define_terminal(1_302_000_101), define_operator(1_302_000_101)])), done(2, 0));
    assert_eq!(hub.count("SELECT node FROM terminal WHERE terminal = 1302000101"), 2);
    assert_eq!(refused(define_terminal(1_301_999_901)), "unknown");
    assert_eq!(refused(define_operator(1_301_999_901)), "unknown");
    let mut plain = define_operator(1_301_000_102);
    if let MasterEvent::OperatorDefined { password_hash, .. } = &mut plain {
        *password_hash = "secret".into();
    }
    assert_eq!(refused(plain), "invalid_password_hash");
}

#[test]
fn a_games_money_cannot_change_once_it_has_batches_and_its_name_can() {
    let changed = |new_price: &str, new_name: &str, new_limit: &str| {
        let mut game = define_game();
        if let MasterEvent::GameDefined { name, price, outlet_limit, .. } = &mut game {
            (*name, *price, *outlet_limit) = (new_name.into(), yuan(new_price), yuan(new_limit));
        }
        game
    };
    assert_eq!(Hub::set_up().ask(define(vec![changed("2.00", "renamed", "3000.00")])), done(1, 0));
    assert_eq!(refused(changed("5.00", "燕赵红", "10000.00")), "exists_with_other");
    assert_eq!(refused(changed("0.00", "燕赵红", "10000.00")), "invalid_price");
    assert_eq!(refused(changed("2.00", "燕赵红", "60000.00")), "invalid_limits");
}

#[test]
fn facts_about_batches_are_no_master_data() {
    assert_eq!(refused(MasterEvent::BatchDefined(facts())), "not_master_data");
}

#[test]
fn a_staff_name_has_its_length() {
    let mut hub = Hub::empty();
    let tx = hub.state.transaction().unwrap();
    for name in [String::new(), "x".repeat(65)] {
        let proposal = Proposal { actor: Actor::Staff(name), ..proposal(1, define(Vec::new())) };
        let outcome = machine::apply(&tx, LogPosition::new(1), &proposal).unwrap();
        assert!(matches!(outcome, Outcome::Refused(refusal) if refusal.code() == "invalid_actor"));
    }
}

#[test]
fn a_new_node_is_fed_everything_that_was_for_everybody_in_order() {
    let mut hub = Hub::set_up();
    hub.ask(define(vec![define_node(3, &[1303])]));
    let feed = |node: u16| -> Vec<i64> {
        let mut statement = hub.state.prepare("SELECT hub_seq FROM down_feed WHERE node = ?1 ORDER BY seq").unwrap();
        statement.query_map([node], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let for_all = "SELECT count(*) FROM hub_log WHERE audience = -1";
    assert_eq!(feed(3).len() as i64, hub.count(for_all));
    assert!(feed(3).is_sorted() && feed(1).is_sorted());
    let own = hub.count("SELECT count(*) FROM hub_log WHERE audience = 1");
    assert_eq!(feed(1).len() as i64, hub.count(for_all) + own);
    assert!(own > 0);
}
