use jikai_schema::codec::decode_event;
use jikai_schema::command::{AccessCommand, Command, HandoffCommand, Outcome, OutletMove, Refusal};
use jikai_schema::event::{EventBody, HandoffEvent, MasterEvent, MovedRequest, OperatorRole};
use jikai_schema::id::OperatorId;
use jikai_schema::ledger::AccountId;
use jikai_schema::projection::Projection;

use crate::handoff::{Aim, Plan};
use crate::province::*;

const FIRST: u32 = 13_010_001;
const SECOND: u32 = 13_010_002;

fn moves(outlets: &[(u32, u16)], window: u16) -> Command {
    let moves = outlets.iter().map(|(id, to)| OutletMove { outlet: outlet(*id), to: node(*to) }).collect();
    Command::Handoff(HandoffCommand::Move { moves, window })
}

fn released(handoff: u64, id: u32, to: u16) -> EventBody {
    EventBody::Handoff(HandoffEvent::Released { handoff, outlet: outlet(id), to: node(to) })
}

fn node_of(hub: &Hub, id: u32) -> i64 {
    hub.count(&format!("SELECT node FROM outlet WHERE outlet = {id}"))
}

fn code_of(refusal: Refusal) -> String {
    match refusal {
        Refusal::Rule { code, .. } => code,
        Refusal::Unknown { kind, .. } => format!("unknown {kind}"),
        other => panic!("{other}"),
    }
}

#[test]
fn outlets_move_some_at_a_time_each_when_its_node_let_go_of_it() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    assert_eq!(hub.ask(moves(&[(FIRST, 2), (SECOND, 2)], 1)), Outcome::Done { events: 2, existing: 0 });
    assert_eq!(hub.count("SELECT outlet FROM handoff"), i64::from(FIRST));
    assert_eq!(hub.count("SELECT outlet FROM handoff_waiting"), i64::from(SECOND));
    let balance = |hub: &Hub, number| {
        Projection::new(&hub.state).account(AccountId::outlet(node(number), outlet(FIRST))).unwrap().balance
    };
    let (before, feed) = (balance(&hub, 1), "SELECT count(*) FROM down_feed WHERE node = 2");
    let fed = hub.count(feed);
    let requests = vec![MovedRequest { index: 7, origin: node(1), seq: 1 }];
    let listed = EventBody::Handoff(HandoffEvent::RequestsListed { handoff: 1, outlet: outlet(FIRST), requests });
    hub.ask(Command::IngestEvents(log.batch(vec![listed, released(1, FIRST, 2)])));
    assert_eq!((node_of(&hub, FIRST), node_of(&hub, SECOND)), (2, 1));
    assert_eq!((balance(&hub, 1), balance(&hub, 2)), (yuan("0.00"), before));
    assert_eq!(hub.count(feed), fed + 3, "rows, requests and the arrival are fed to the new node");
    assert_eq!(hub.count("SELECT outlet FROM handoff"), i64::from(SECOND), "the next one is on its way");
    assert_eq!(hub.count("SELECT count(*) FROM handoff_waiting"), 0);
    assert_eq!(hub.count("SELECT count(*) FROM handoff_request"), 0);
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
    hub.ask(Command::IngestEvents(log.batch(vec![released(2, SECOND, 2)])));
    assert_eq!(hub.count("SELECT count(*) FROM handoff"), 0);
    assert_eq!(hub.ask(moves(&[(FIRST, 2)], 1)), Outcome::Done { events: 0, existing: 1 });
}

#[test]
fn what_cannot_move_is_refused_and_nothing_moves() {
    let mut hub = Hub::set_up();
    for (command, code) in [
        (moves(&[(FIRST, 2)], 0), "invalid_window"),
        (moves(&[(FIRST, 2)], 501), "invalid_window"),
        (moves(&[], 1), "invalid_moves"),
        (moves(&[(FIRST, 2), (FIRST, 2)], 1), "outlet_twice"),
        (moves(&[(FIRST, 2), (13_019_999, 2)], 1), "unknown outlet"),
        (moves(&[(FIRST, 9)], 1), "unknown node"),
        (moves(&[(FIRST, 0)], 1), "unknown node"),
    ] {
        assert_eq!(code_of(hub.refuse(command.clone())), code, "{command:?}");
        assert_eq!(hub.count("SELECT (SELECT count(*) FROM handoff) + (SELECT count(*) FROM handoff_waiting)"), 0);
    }
    hub.ask(Command::DefineMaster(vec![define_node(3, &[])]));
    hub.ask(moves(&[(FIRST, 2)], 1));
    assert_eq!(code_of(hub.refuse(moves(&[(FIRST, 3)], 1))), "outlet_on_its_way");
}

#[test]
fn what_is_cancelled_stays_and_a_node_that_let_go_meanwhile_gets_it_back() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    hub.ask(moves(&[(FIRST, 2), (SECOND, 2)], 1));
    let cancel = Command::Handoff(HandoffCommand::Cancel { outlets: Vec::new() });
    assert_eq!(hub.ask(cancel), Outcome::Done { events: 2, existing: 0 });
    hub.ask(Command::IngestEvents(log.batch(vec![released(1, FIRST, 2)])));
    assert_eq!((node_of(&hub, FIRST), hub.count("SELECT count(*) FROM handoff")), (1, 0));
    // A word about a handoff that nobody ordered moves nothing either.
    hub.ask(Command::IngestEvents(log.batch(vec![released(77, SECOND, 2)])));
    assert_eq!((node_of(&hub, SECOND), hub.count("SELECT count(*) FROM handoff")), (1, 0));
    assert_eq!(hub.count("SELECT count(*) FROM quarantine"), 0);
}

#[test]
fn an_outlet_that_is_ordered_elsewhere_before_its_release_is_heard_goes_there_once_it_is_released_again() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    hub.ask(Command::DefineMaster(vec![define_node(3, &[])]));
    hub.ask(moves(&[(FIRST, 2)], 1));
    // The node lets go of it, its link is down.
    hub.ask(Command::Handoff(HandoffCommand::Cancel { outlets: Vec::new() }));
    hub.ask(moves(&[(FIRST, 3)], 1));
    let fed = "SELECT count(*) FROM down_feed WHERE node = 1";
    let before = hub.count(fed);
    hub.ask(Command::IngestEvents(log.batch(vec![released(1, FIRST, 2)])));
    assert_eq!(hub.count(fed), before + 1, "it is told that nobody took it");
    assert_eq!(node_of(&hub, FIRST), 1);
    assert_eq!(hub.count("SELECT handoff FROM handoff WHERE to_node = 3 AND released = 0"), 2, "the order stands");
    hub.ask(Command::IngestEvents(log.batch(vec![released(2, FIRST, 3)])));
    assert_eq!((node_of(&hub, FIRST), hub.count("SELECT count(*) FROM handoff")), (3, 0));
    assert_eq!(hub.count("SELECT count(*) FROM quarantine"), 0);
}

/// Who is defined anew between the rows for the second node and the arrival.
fn retold(hub: &Hub) -> Vec<MasterEvent> {
    let mut statement = hub.state.prepare("SELECT bytes FROM hub_log ORDER BY seq").unwrap();
    let bytes = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    let bodies = bytes.map(|bytes| decode_event(&bytes.unwrap()).unwrap().body);
    let is = |wanted: fn(&HandoffEvent) -> bool| move |body: &EventBody| matches!(body, EventBody::Handoff(event) if wanted(event));
    let (rows, arrival) = (
        is(|event| matches!(event, HandoffEvent::RowsMoved { .. })),
        is(|event| matches!(event, HandoffEvent::Arrived { .. })),
    );
    let since = bodies.skip_while(|body| !rows(body)).take_while(|body| !arrival(body));
    since
        .filter_map(|body| match body {
            EventBody::Master(definition) => Some(definition),
            _ => None,
        })
        .collect()
}

#[test]
fn a_device_or_person_defined_anew_on_the_way_is_told_to_the_new_node_too_and_one_out_of_use_is_not_taken_back() {
    let person = OperatorId::new(1_301_000_101).unwrap();
    let anew = || {
        let (name, password_hash) = ("another".to_owned(), "$argon2id$another".to_owned());
        let role = OperatorRole::Clerk;
        Command::Access(AccessCommand::DefineOperator { operator: person, name, role, password_hash })
    };
    for (before, disabled, expected) in [(false, false, 1), (false, true, 0), (true, false, 0)] {
        let mut hub = Hub::set_up();
        let mut log = NodeLog::new(1);
        if before {
            hub.ask(anew());
        }
        hub.ask(moves(&[(FIRST, 2)], 1));
        if !before {
            hub.ask(anew());
        }
        if disabled {
            hub.ask(Command::Access(AccessCommand::DisableOperator { operator: person }));
        }
        hub.ask(Command::IngestEvents(log.batch(vec![released(1, FIRST, 2)])));
        let told = retold(&hub);
        assert_eq!(told.len(), expected, "{told:?}");
        let to_the_new_one = |fact: &MasterEvent| {
            matches!(fact, MasterEvent::OperatorDefined { operator, node: to, password_hash, .. }
                if *operator == person && *to == node(2) && password_hash == "$argon2id$another")
        };
        assert!(told.iter().all(to_the_new_one), "{told:?}");
        let out = hub.count("SELECT count(*) FROM operator_disabled");
        assert_eq!((out, hub.count("SELECT count(*) FROM handoff_redefined")), (i64::from(disabled), 0));
    }
}

#[test]
fn who_is_defined_anew_before_an_order_is_taken_back_is_not_told_by_a_later_one() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    hub.ask(moves(&[(FIRST, 2)], 1));
    hub.ask(Command::DefineMaster(vec![define_terminal(1_301_000_103)]));
    assert_eq!(hub.count("SELECT count(*) FROM handoff_redefined WHERE kind = 1"), 1);
    hub.ask(Command::Handoff(HandoffCommand::Cancel { outlets: Vec::new() }));
    hub.ask(moves(&[(FIRST, 2)], 1));
    hub.ask(Command::IngestEvents(log.batch(vec![released(2, FIRST, 2)])));
    assert_eq!((node_of(&hub, FIRST), retold(&hub)), (2, Vec::new()));
}

#[test]
fn a_list_that_is_imported_again_moves_no_outlet_back() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    hub.ask(moves(&[(FIRST, 2)], 1));
    hub.ask(Command::IngestEvents(log.batch(vec![released(1, FIRST, 2)])));
    let before = digest_of(&hub.state, "applied");
    let outlets = master_data().into_iter().filter(|one| matches!(one, MasterEvent::OutletDefined { .. })).collect();
    hub.ask(Command::DefineMaster(outlets));
    assert_eq!(digest_of(&hub.state, "applied"), before);
}

#[test]
fn a_plan_counts_what_is_on_its_way_where_it_goes() {
    let mut hub = Hub::set_up();
    let plan = |hub: &Hub, aim| Plan::make(&hub.state, aim).unwrap();
    let all = hub.count("SELECT count(*) FROM outlet WHERE node = 1") as usize;
    let empty = plan(&hub, Aim::Empty(node(1))).unwrap();
    assert_eq!(empty.moves.len(), all);
    let moves = empty.moves.clone();
    hub.ask(Command::Handoff(HandoffCommand::Move { moves, window: 1 }));
    assert_eq!(plan(&hub, Aim::Empty(node(1))).unwrap().moves, []);
    assert_eq!(plan(&hub, Aim::Empty(node(9))), None);
}
