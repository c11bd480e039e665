//! Stamps of the hub's log: held against the clock however many facts are decided at once.

use jikai_schema::codec;
use jikai_schema::command::{Command, HandoffCommand, MOVES_MAX, OutletMove, WINDOW_MAX};
use jikai_schema::event::{EventBody, HandoffEvent, MasterEvent};
use jikai_schema::time::TimeMs;
use rusqlite::Connection;

use crate::province::*;

/// Outlets of a township, and of a prefecture's number range.
const OUTLETS_OF_PREFECTURE: u32 = 10_000;

/// By how much the newest stamp is ahead of the clock. Milliseconds.
fn ahead_ms(state: &Connection, now_ms: i64) -> i64 {
    let newest: i64 = state.query_row("SELECT at_ms FROM applied", [], |row| row.get(0)).unwrap();
    newest - now_ms
}

fn stamps(state: &Connection) -> Vec<TimeMs> {
    let mut statement = state.prepare("SELECT bytes FROM hub_log ORDER BY seq").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).unwrap();
    rows.map(|bytes| codec::decode_event(&bytes.unwrap()).unwrap().at_ms).collect()
}

fn many_outlets(hub: &mut Hub, count: u32) -> Vec<u32> {
    let mut outlets = Vec::new();
    for (prefecture, township) in [(1301_u32, 130_102_001), (1302, 130_202_001)] {
        let numbers = (prefecture * OUTLETS_OF_PREFECTURE..).take((count / 2) as usize);
        let fresh: Vec<u32> = numbers.collect();
        let definitions: Vec<MasterEvent> = fresh.iter().map(|id| define_outlet(*id, township)).collect();
        hub.ask(Command::DefineMaster(definitions));
        outlets.extend(fresh);
    }
    outlets
}

/// The clock stands still meanwhile: nothing hides what is added to it.
#[test]
fn moving_all_outlets_of_a_province_keeps_the_stamps_at_the_clock() {
    let mut hub = Hub::empty();
    hub.ask(Command::DefineMaster(master_data().into_iter().take(8).collect()));
    hub.ask(Command::DefineMaster(vec![define_node(12, &[])]));
    let outlets = many_outlets(&mut hub, MOVES_MAX as u32);
    let moves = outlets.iter().map(|id| OutletMove { outlet: outlet(*id), to: node(12) }).collect();
    hub.ask(Command::Handoff(HandoffCommand::Move { moves, window: WINDOW_MAX }));
    let mut logs = [NodeLog::new(1), NodeLog::new(2)];
    while hub.count("SELECT count(*) FROM handoff") > 0 {
        for log in &mut logs {
            let released = ordered(&hub.state, log.node.get());
            hub.ask(Command::IngestEvents(log.batch(released)));
        }
    }
    assert_eq!(hub.count("SELECT count(*) FROM outlet WHERE node = 12"), outlets.len() as i64);
    assert_eq!(ahead_ms(&hub.state, NOW_MS), 0, "{} events", hub.count("SELECT count(*) FROM hub_log"));
}

/// What a node answers to the orders that it has.
fn ordered(state: &Connection, node_no: u16) -> Vec<EventBody> {
    let mut statement = state.prepare("SELECT handoff, outlet FROM handoff WHERE node = ?1 ORDER BY handoff").unwrap();
    let rows = statement.query_map([node_no], |row| Ok((row.get::<_, i64>(0)? as u64, row.get(1)?))).unwrap();
    let released = |(handoff, id): (u64, u32)| {
        EventBody::Handoff(HandoffEvent::Released { handoff, outlet: outlet(id), to: node(12) })
    };
    rows.map(|row| released(row.unwrap())).collect()
}

#[test]
fn stamps_never_go_back_with_the_clock_and_follow_it_again() {
    let mut hub = Hub::empty();
    for (clock_ms, number) in [(NOW_MS, 1), (NOW_MS - 5_000, 2), (NOW_MS + 7, 3), (NOW_MS + 8, 4)] {
        hub.ask_at(clock_ms, Command::DefineMaster(vec![define_node(number, &[])]));
    }
    let behind: Vec<i64> = stamps(&hub.state).into_iter().map(|at| at.ms() - NOW_MS).collect();
    assert_eq!(behind, [0, 0, 7, 8]);
}
