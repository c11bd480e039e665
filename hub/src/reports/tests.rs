use jikai_schema::command::Command;
use jikai_schema::money::Money;
use serde_json::Value;

use super::*;
use crate::province::{Hub, NodeLog, check_in, claim, locking_code, node, sell, set_up, ship, yuan};
use crate::rights::Scope;

/// A province with a day's work: two packs checked in, three tickets sold, two claims, all at 13010001 and 13020001.
fn worked() -> Hub {
    let mut hub = Hub::set_up();
    let (mut first, mut second) = (NodeLog::new(1), NodeLog::new(2));
    let one = first.batch(vec![
        check_in(1, 13_010_001),
        check_in(2, 13_010_001),
        sell(1, 0, 13_010_001),
        sell(1, 1, 13_010_001),
        claim(1, 0, 13_010_001, "10.00"),
    ]);
    let two = second.batch(vec![check_in(3, 13_020_001), sell(3, 0, 13_020_001), claim(3, 0, 13_020_001, "10.00")]);
    hub.ask(Command::IngestEvents(one));
    hub.ask(Command::IngestEvents(two));
    hub
}

fn keys(page: &Page<RollupLine, jikai_schema::projection::OutletDay>) -> Vec<(&str, i64)> {
    page.rows.iter().map(|line| (line.key.as_str(), line.sums.charge_fen)).collect()
}

#[test]
fn sales_add_up_whatever_they_are_divided_by() {
    let mut hub = worked();
    let mut sales = |by| rollup(&mut hub.state, Sums::OfGames, &Query::all(by, 100)).unwrap();
    let by_prefecture = sales(Axis::Prefecture);
    assert_eq!(keys(&by_prefecture), [("1301", 4_000), ("1302", 2_000)]);
    assert_eq!(by_prefecture.rows[0].name, "division 1301");
    assert_eq!(keys(&sales(Axis::County)), [("130102", 4_000), ("130202", 2_000)]);
    assert_eq!(keys(&sales(Axis::Outlet)), [("13010001", 4_000), ("13020001", 2_000)]);
    assert_eq!(keys(&sales(Axis::Game)), [("G0201", 6_000)]);
    let by_day = sales(Axis::Day);
    assert_eq!(keys(&by_day), [("2026-11-23", 6_000)]);
    for page in [by_prefecture, by_day] {
        assert_eq!((page.totals.charge_fen, page.totals.packs_checked_in, page.totals.tickets_sold), (6_000, 3, 3));
        assert_eq!((page.totals.claims, page.totals.prize_fen), (2, 2_000));
        assert_eq!(page.applied.get(), hub_position(&page));
    }
}

fn hub_position<Row, Totals>(page: &Page<Row, Totals>) -> u64 {
    let expected = set_up().len() as u64 + 2;
    assert_eq!(page.applied.get(), expected);
    expected
}

#[test]
fn days_bound_a_report_and_pages_end_with_a_key_to_go_on_behind() {
    let mut hub = worked();
    let all = Query::all(Axis::Outlet, 1);
    let first = rollup(&mut hub.state, Sums::OfGames, &all).unwrap();
    assert_eq!((keys(&first), first.next.as_deref()), (vec![("13010001", 4_000)], Some("13010001")));
    assert_eq!(first.totals.charge_fen, 6_000, "totals are of the whole report");
    let rest = rollup(&mut hub.state, Sums::OfGames, &Query { after: first.next, ..all.clone() }).unwrap();
    assert_eq!((keys(&rest), rest.next.as_deref()), (vec![("13020001", 2_000)], None));
    let day: BusinessDay = "2026-11-23".parse().unwrap();
    for (from, to, rows) in
        [(day, day, 1), (day.plus_days(1), day.plus_days(9), 0), (day.plus_days(-9), day.plus_days(-1), 0)]
    {
        let page = rollup(&mut hub.state, Sums::OfGames, &Query { from, to, ..Query::all(Axis::Day, 9) }).unwrap();
        assert_eq!((page.rows.len(), page.totals.charge_fen), (rows, rows as i64 * 6_000));
    }
}

#[test]
fn deposits_have_no_game_and_stock_no_day() {
    let mut hub = worked();
    let page = rollup(&mut hub.state, Sums::OfMoney, &Query::all(Axis::Prefecture, 9)).unwrap();
    let deposits: Vec<_> =
        page.rows.iter().map(|line| (line.key.as_str(), line.sums.deposits, line.sums.deposit_fen)).collect();
    assert_eq!(deposits, [("1301", 1, 100_000), ("1302", 1, 50_000)]);
    assert!(matches!(
        rollup(&mut hub.state, Sums::OfMoney, &Query::all(Axis::Game, 9)),
        Err(ReportError::BadAxis("game"))
    ));
    assert!(matches!(stock(&mut hub.state, &Query::all(Axis::Day, 9)), Err(ReportError::BadAxis("day"))));
    let bad = Query { after: Some("x".into()), ..Query::all(Axis::Game, 9) };
    assert!(matches!(rollup(&mut hub.state, Sums::OfGames, &bad), Err(ReportError::BadCursor(_))));
}

#[test]
fn stock_counts_packs_by_state_and_place() {
    let mut hub = worked();
    hub.ask(ship(9, 13_010_002, 4..=6));
    let page = stock(&mut hub.state, &Query::all(Axis::Outlet, 9)).unwrap();
    let counts: Vec<_> = page
        .rows
        .iter()
        .map(|line| (line.key.as_str(), line.count.in_transit, line.count.active, line.count.face_fen))
        .collect();
    assert_eq!(counts, [("13010001", 0, 2, 4_000), ("13010002", 3, 0, 6_000), ("13020001", 0, 1, 2_000)]);
    assert_eq!((page.totals.in_transit, page.totals.active, page.totals.face_fen), (3, 3, 12_000));
    let by_game = stock(&mut hub.state, &Query::all(Axis::Game, 9)).unwrap();
    assert_eq!(
        (by_game.rows.len(), by_game.rows[0].key.as_str(), by_game.rows[0].name.as_str()),
        (1, "G0201", "燕赵红")
    );
    let empty = stock(&mut Hub::empty().state, &Query::all(Axis::County, 9)).unwrap();
    assert_eq!((empty.rows.len(), empty.totals), (0, StockCount::default()));
}

#[test]
fn the_ledger_sums_to_zero_and_accounts_are_paged() {
    let mut hub = worked();
    let page = ledger(&mut hub.state).unwrap();
    assert_eq!(page.totals, Money::ZERO);
    assert!(page.rows.iter().any(|line| line.kind.name() == "bank_clearing" && line.balance == yuan("-1500.00")));
    let (mut after, mut seen) = (None, Vec::new());
    loop {
        let page = accounts(&mut hub.state, after.as_deref(), 2, &Scope::Everywhere).unwrap();
        seen.extend(page.rows.iter().map(|line| line.account.key()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen.len() as i64, hub.count("SELECT count(*) FROM account"));
    assert!(seen.is_sorted());
    assert!(matches!(accounts(&mut hub.state, Some("x"), 2, &Scope::Everywhere), Err(ReportError::BadCursor(_))));
}

#[test]
fn what_moved_the_outlets_money_adds_up_to_their_balances_on_every_axis() {
    let mut hub = worked();
    let prepaid = yuan_of(hub.count("SELECT sum(balance_fen) FROM account WHERE account >> 44 = 1"));
    for axis in [Axis::Prefecture, Axis::County, Axis::Outlet] {
        let page = movements(&mut hub.state, &Query::all(axis, 99)).unwrap();
        assert_eq!((page.totals.change, page.totals.balance), (prepaid, Some(prepaid)), "{axis:?}");
        assert!(page.rows.len() > 1);
        for line in &page.rows {
            assert_eq!(Some(line.movements.change), line.movements.balance, "{axis:?} {}", line.key);
        }
    }
    let by_day = movements(&mut hub.state, &Query::all(Axis::Day, 99)).unwrap();
    assert_eq!((by_day.totals.change, by_day.totals.balance), (prepaid, None));
    let by_game = movements(&mut hub.state, &Query::all(Axis::Game, 99)).unwrap();
    let deposited = yuan_of(by_day.totals.sums.deposit_fen);
    assert_eq!(by_game.totals.change.checked_add(deposited), Ok(prepaid), "deposits belong to no game");
    assert!(matches!(
        movements(&mut hub.state, &Query { after: Some("x".into()), ..Query::all(Axis::Outlet, 9) }),
        Err(ReportError::BadCursor(_))
    ));
}

fn yuan_of(fen: i64) -> Money {
    Money::from_fen(fen)
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    bytes
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// Every line follows from the one before.
fn check_chain(lines: &[Value]) {
    let mut prev = "0".repeat(64);
    for line in lines {
        assert_eq!(line["prev"], prev.as_str());
        prev = line["hash"].as_str().unwrap().to_string();
    }
}

#[test]
fn logs_are_exported_with_their_chains_page_by_page() {
    let mut hub = worked();
    let whole = lines(&hub_events(&mut hub.state, 0, 1_000).unwrap());
    assert_eq!(whole.len() as i64, hub.count("SELECT count(*) FROM hub_log"));
    check_chain(&whole);
    assert_eq!(lines(&hub_events(&mut hub.state, 3, 2).unwrap()), whole[3..5]);
    assert_eq!(hub_events(&mut hub.state, 9_999, 2).unwrap(), b"");
    let own = lines(&node_events(&mut hub.state, node(1), 0, 1_000).unwrap());
    check_chain(&own);
    assert_eq!(
        own.iter().map(|line| line["event"]["kind"].as_str().unwrap()).collect::<Vec<_>>(),
        ["pack_checked_in", "pack_checked_in", "ticket_sold", "ticket_sold", "ticket_claimed"]
    );
    assert_eq!(own[0]["event"]["pack"], "G0201-26001-0000001");
    assert_eq!(lines(&node_events(&mut hub.state, node(1), 3, 1).unwrap()), own[3..4]);
    assert_eq!(node_events(&mut hub.state, node(7), 0, 9).unwrap(), b"");
}

#[test]
fn a_hash_that_was_changed_in_the_store_is_shown_as_it_stands_there() {
    let mut hub = worked();
    let honest = lines(&hub_events(&mut hub.state, 0, 1_000).unwrap());
    hub.meddle().execute("UPDATE hub_log SET hash = zeroblob(32) WHERE seq = 3", []).unwrap();
    let told = lines(&hub_events(&mut hub.state, 0, 1_000).unwrap());
    let zero = "0".repeat(64);
    assert_eq!((told[2]["hash"].as_str(), told[3]["prev"].as_str()), (Some(zero.as_str()), Some(zero.as_str())));
    assert_eq!((&told[1], &told[4]), (&honest[1], &honest[4]), "only what hangs on it differs");
    assert_eq!(lines(&hub_events(&mut hub.state, 3, 1).unwrap()), told[3..4], "a page begins with the stored hash");
    hub.state.execute("UPDATE hub_log SET hash = (SELECT hash FROM hub_log WHERE seq = 2) WHERE seq = 3", []).unwrap();
    assert_ne!(lines(&hub_events(&mut hub.state, 2, 1).unwrap())[0]["hash"], honest[2]["hash"]);
}

#[test]
fn an_event_that_cannot_be_read_is_exported_too_so_that_the_chain_goes_through() {
    let mut hub = Hub::set_up();
    let mut log = NodeLog::new(1);
    hub.ask(Command::IngestEvents(log.raw_batch(vec![vec![1, 99, 99]])));
    hub.ask(Command::IngestEvents(log.batch(vec![check_in(1, 13_010_001)])));
    let own = lines(&node_events(&mut hub.state, node(1), 0, 9).unwrap());
    check_chain(&own);
    assert_eq!(own[0]["event"]["kind"], "unreadable");
    let nodes = nodes(&mut hub.state).unwrap().rows;
    assert_eq!((nodes[0].up_next, nodes[0].quarantined, nodes[1].up_next), (3, 1, 1));
}

/// `worked`, and at both nodes a ticket that was paid a second time; at the first one also an unlisted prize.
fn disputed() -> Hub {
    let mut hub = Hub::set_up();
    let (mut first, mut second) = (NodeLog::new(1), NodeLog::new(2));
    let paid = |ticket| claim(1, ticket, 13_010_001, "10.00");
    let unlisted = claim(1, 1, 13_010_001, "7.77");
    let presented = [check_in(1, 13_010_001), paid(0), paid(0), unlisted, locking_code(1, 2, 13_010_001)];
    hub.ask(Command::IngestEvents(first.batch(presented.to_vec())));
    let paid = || claim(3, 0, 13_020_001, "10.00");
    hub.ask(Command::IngestEvents(second.batch(vec![check_in(3, 13_020_001), paid(), paid()])));
    hub
}

#[test]
fn what_moved_the_outlets_money_adds_up_also_where_facts_broke_rules() {
    let mut hub = disputed();
    let page = movements(&mut hub.state, &Query::all(Axis::Outlet, 99)).unwrap();
    assert_eq!(page.totals.sums.suspense_fen, 1_000 + 777 + 1_000);
    for line in &page.rows {
        assert_eq!(Some(line.movements.change), line.movements.balance, "{}", line.key);
    }
}

#[test]
fn exceptions_are_listed_with_what_they_are_about_page_by_page_and_only_within_the_area() {
    let mut hub = disputed();
    let all = exceptions(&mut hub.state, None, 9, &Scope::Everywhere).unwrap();
    let lines = |page: &Page<ExceptionLine, ()>| -> Vec<(u16, u64, String, String)> {
        let line = |line: &ExceptionLine| {
            (line.event.origin.get(), line.event.seq, line.kind.clone(), format!("{} {}", line.subject, line.amount))
        };
        page.rows.iter().map(line).collect()
    };
    let expected = [
        (1, 3, "paid_twice".to_string(), "G0201-26001-0000001-000 10.00".to_string()),
        (1, 4, "unlisted_prize".to_string(), "G0201-26001-0000001-001 7.77".to_string()),
        (1, 5, "ticket_locked".to_string(), "G0201-26001-0000001-002 0.00".to_string()),
        (2, 3, "paid_twice".to_string(), "G0201-26001-0000003-000 10.00".to_string()),
    ];
    assert_eq!((lines(&all), all.next.as_deref()), (expected.to_vec(), None));
    assert!(all.rows.iter().all(|line| line.outlet.is_some()));
    let first = exceptions(&mut hub.state, None, 2, &Scope::Everywhere).unwrap();
    assert_eq!((lines(&first), first.next.as_deref()), (expected[..2].to_vec(), Some("1:4")));
    let rest = exceptions(&mut hub.state, Some("1:4"), 2, &Scope::Everywhere).unwrap();
    assert_eq!((lines(&rest), rest.next.as_deref()), (expected[2..].to_vec(), None));
    let area = jikai_schema::staff::Area::Prefecture("1302".parse().unwrap());
    let part = exceptions(&mut hub.state, None, 9, &Scope::of([area].iter()).unwrap()).unwrap();
    assert_eq!(lines(&part), expected[3..]);
    for bad in ["x", "1", "1:x", "x:1"] {
        let refused = exceptions(&mut hub.state, Some(bad), 9, &Scope::Everywhere);
        assert!(matches!(refused, Err(ReportError::BadCursor(_))), "{bad}");
    }
}

#[test]
fn events_in_quarantine_are_listed_with_the_reason() {
    let mut hub = Hub::set_up();
    assert_eq!(quarantine(&mut hub.state, None, 9).unwrap().rows, []);
    let mut log = NodeLog::new(1);
    hub.ask(Command::IngestEvents(log.raw_batch(vec![vec![1, 99, 99], vec![1, 99]])));
    let first = quarantine(&mut hub.state, None, 1).unwrap();
    let lines = |page: &Page<QuarantineLine, ()>| -> Vec<(u16, u64, u64)> {
        page.rows.iter().map(|line| (line.event.origin.get(), line.event.seq, line.event_bytes)).collect()
    };
    assert_eq!((lines(&first), first.next.as_deref()), (vec![(1, 1, 3)], Some("1:1")));
    assert!(!first.rows[0].reason.is_empty());
    let rest = quarantine(&mut hub.state, Some("1:1"), 9).unwrap();
    assert_eq!((lines(&rest), rest.next.as_deref()), (vec![(1, 2, 2)], None));
    assert!(matches!(quarantine(&mut hub.state, Some("1"), 9), Err(ReportError::BadCursor(_))));
}
