//! A small clean history, and one test for every way to break it.

mod salvages;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::*;
use crate::journal::{Item, Verb, request_hex};
use crate::printer::{Position, tiny_game};
use crate::seed::Seed;

const OUTLET: &str = "13010001";
const TERMINAL: &str = "1301000101";

/// Two outlets at one node: the first receives two packs, sells, pays and sends one back.
struct Story {
    pools: Pools,
    hub: Vec<Value>,
    node: Vec<Value>,
    hub_copy: Vec<Value>,
    journal: Vec<Entry>,
    packs: Vec<(u32, &'static str, &'static str)>,
    balances: Vec<(String, i64)>,
    digests: (String, String),
    winner: Position,
    /// As the hub answers: report, axis, page.
    reports: Vec<(&'static str, Axis, Value)>,
    /// Of old stores.
    salvages: Vec<KeptSalvage>,
}

/// The answers of the hub about the story, worked out by hand: two packs of face value charged, one taken back, one still
/// travelling to the other outlet.
fn reports(pool: &crate::printer::Pool, winner: Position) -> Vec<(&'static str, Axis, Value)> {
    let yuan = crate::amount::format_yuan;
    let game = &pool.game;
    let sales = json!({ "packs_checked_in": 2, "packs_returned": 1, "tickets_sold": 1,
        "charge_yuan": yuan(2 * game.face_fen()), "commission_yuan": yuan(game.commission_fen()),
        "return_yuan": yuan(game.face_fen()), "net_sales_yuan": yuan(game.face_fen()) });
    let claims = json!({ "claims": 1, "prize_yuan": yuan(pool.prize_fen(winner)) });
    let stock = |in_transit: i64, active: i64, returned: i64| {
        json!({ "in_transit": in_transit, "active": active, "sold_out": 0, "returned": returned,
                "face_yuan": yuan((in_transit + active) * game.face_fen()) })
    };
    let page = |rows: &[(&str, &Value)], totals: &Value| {
        let row = |(key, figures): &(&str, &Value)| {
            let mut row = (*figures).clone();
            row["key"] = json!(key);
            row
        };
        json!({ "rows": rows.iter().map(row).collect::<Vec<_>>(), "totals": totals, "next": null })
    };
    let (here, there, all) = (stock(0, 1, 1), stock(1, 0, 0), stock(1, 1, 1));
    let mut pages = Vec::new();
    for (axis, key) in [(Axis::Prefecture, "1301"), (Axis::Outlet, OUTLET), (Axis::Game, "G9901")] {
        pages.push(("sales", axis, page(&[(key, &sales)], &sales)));
        pages.push(("claims", axis, page(&[(key, &claims)], &claims)));
        pages.push(("stock", axis, page(&[(key, &all)], &all)));
    }
    pages[5].2 = page(&[(OUTLET, &here), ("13010002", &there)], &all);
    pages
}

/// Chains events as a log would.
fn chained(origin: u16, events: &[(Value, Option<String>)]) -> Vec<Value> {
    let mut head = [0u8; 32];
    let line = |((event, request), seq): (&(Value, Option<String>), u64)| {
        let bytes = event.to_string().into_bytes();
        let prev = hex::encode(head);
        head = Sha256::new().chain_update(head).chain_update(&bytes).finalize().into();
        json!({ "origin": origin, "seq": seq, "at_ms": 1_000 + seq, "actor": "system", "request": request, "prev": prev,
                "hash": hex::encode(head), "bytes": STANDARD.encode(bytes), "event": event })
    };
    events.iter().zip(1..).map(line).collect()
}

fn moved(kind: &str, pool: &crate::printer::Pool, pack: u32) -> Value {
    let game = &pool.game;
    json!({ "kind": kind, "pack": pool.pack_id(pack), "outlet": OUTLET, "face_fen": game.face_fen(),
            "prize_fund_fen": game.prize_fund_fen(), "welfare_fund_fen": game.welfare_fund_fen(),
            "issue_fee_fen": game.issue_fee_fen(), "commission_fen": game.commission_fen() })
}

fn entry(verb: Verb, key: &str, items: Vec<(String, i64)>) -> Entry {
    Entry {
        at_ms: 0,
        node: 1,
        perhaps_done_at: vec![],
        terminal: TERMINAL.to_owned(),
        outlet: OUTLET.to_owned(),
        verb,
        key: key.to_owned(),
        request: request_hex(TERMINAL, key),
        status: 200,
        items: items.into_iter().map(|(subject, amount_fen)| Item { subject, amount_fen }).collect(),
    }
}

/// The node's events of the story, each with its request.
fn node_events(pools: &Pools, winner: Position) -> Vec<(Value, Option<String>)> {
    let pool = &pools.0[0];
    let request = |key| Some(request_hex(TERMINAL, key));
    let ticket = pool.ticket_id(winner);
    vec![
        (json!({ "kind": "session_opened", "terminal": TERMINAL }), None),
        (moved("pack_checked_in", pool, 1), request("receive")),
        (moved("pack_checked_in", pool, 2), request("receive")),
        (json!({ "kind": "ticket_sold", "ticket": ticket, "outlet": OUTLET, "price_fen": 1_000 }), request("sell")),
        (
            json!({ "kind": "ticket_claimed", "ticket": ticket, "outlet": OUTLET, "level": pool.level(winner),
                    "prize_fen": pool.prize_fen(winner) }),
            request("pay"),
        ),
        (moved("pack_returned", pool, 2), request("return")),
    ]
}

fn story() -> Story {
    let pools = Pools::print(Seed(1), &[tiny_game()]).unwrap();
    let pool = &pools.0[0];
    let winner = pool.positions().find(|&at| at.pack == 1 && pool.level(at) > 0).unwrap();
    let shipped = |pack: u32, outlet: &str| {
        (
            json!({ "kind": "pack_shipped", "pack": pool.pack_id(pack), "outlet": outlet, "node": 1, "shipment": 1 }),
            None,
        )
    };
    let deposit =
        json!({ "kind": "deposit_credited", "deposit": 1, "outlet": OUTLET, "node": 1, "amount_fen": 100_000 });
    let hub = chained(0, &[shipped(1, OUTLET), shipped(2, OUTLET), shipped(3, "13010002"), (deposit, None)]);
    let node = chained(1, &node_events(&pools, winner));
    let (face, game) = (pool.game.face_fen(), &pool.game);
    let moved_items = |packs: &[u32]| packs.iter().map(|&pack| (pool.pack_id(pack), face)).collect::<Vec<_>>();
    let prize = pool.prize_fen(winner);
    let journal = vec![
        entry(Verb::Receive, "receive", moved_items(&[1, 2])),
        entry(Verb::Sell, "sell", vec![(pool.ticket_id(winner), 1_000)]),
        entry(Verb::Pay, "pay", vec![(pool.ticket_id(winner), prize)]),
        entry(Verb::Return, "return", moved_items(&[2])),
    ];
    let balances = vec![
        ("bank_clearing/1/0".to_owned(), -100_000),
        (format!("outlet/1/{OUTLET}"), 100_000 - face + game.commission_fen() + prize),
        ("prize_fund/1/G9901".to_owned(), game.prize_fund_fen() - prize),
        ("welfare_fund/1/G9901".to_owned(), game.welfare_fund_fen()),
        ("issue_fee/1/G9901".to_owned(), game.issue_fee_fen() - game.commission_fen()),
        ("sales_clearing/1/G9901".to_owned(), 0),
    ];
    let packs = vec![(1, OUTLET, "active"), (2, OUTLET, "returned"), (3, "13010002", "in_transit")];
    let digest = "account 6 abc\npack 3 def\n".to_owned();
    Story {
        hub,
        hub_copy: node.clone(),
        node,
        journal,
        packs,
        balances,
        digests: (digest.clone(), digest),
        winner,
        reports: reports(&pools.0[0], winner),
        salvages: Vec::new(),
        pools,
    }
}

impl Story {
    fn judge(&self) -> Findings {
        let mut findings = Findings::default();
        let mut read = |origin, source: &str, lines: &[Value]| {
            let mut reader = LogReader::new(&self.pools, origin, source.to_owned());
            lines.iter().for_each(|line| reader.read(line.to_string().as_bytes(), &mut findings).unwrap());
            reader.finish()
        };
        let hub_log = read(0, "hub", &self.hub);
        let logs = [("nodes", read(1, "node 1", &self.node)), ("hub", read(1, "hub", &self.hub_copy))];
        let [nodes, hub] = logs.map(|(side, log)| History {
            side: side.to_owned(),
            logs: [(1, log)].into(),
            balances: self.balances.iter().cloned().collect(),
        });
        let pack = |&(number, outlet, state): &(u32, &str, &str)| ExportedPack {
            pack: record::Pack { game: 0, number },
            outlet: outlet.parse().unwrap(),
            state: state.to_owned(),
        };
        let packs = [(1, self.packs.iter().map(pack).collect())].into();
        let digests = (history::read_digests(&self.digests.0), history::read_digests(&self.digests.1));
        let mut reports = HubReports::default();
        self.reports.iter().for_each(|(name, axis, page)| assert_eq!(reports.take(name, *axis, page).unwrap(), None));
        let salvages = self.salvages.iter().map(|kept| Salvage::read(kept, &self.pools).unwrap()).collect();
        let evidence = Evidence { hub_log, nodes, hub, packs, digests: [(1, digests)].into(), reports, salvages };
        super::judge(&self.journal, &evidence, &self.pools, &mut findings);
        findings
    }

    /// Both sides tell the changed story, with whole chains.
    fn retell(&mut self, change: impl FnOnce(&mut Vec<(Value, Option<String>)>)) {
        let mut events = node_events(&self.pools, self.winner);
        change(&mut events);
        self.node = chained(1, &events);
        self.hub_copy = self.node.clone();
    }

    /// The hub reports this figure, on every axis.
    fn report(&mut self, report: &str, field: &str, figure: Value) {
        for (_, _, page) in self.reports.iter_mut().filter(|(name, ..)| *name == report) {
            page["rows"][0][field] = figure.clone();
            page["totals"][field] = figure.clone();
        }
    }

    /// Exactly the given properties are violated.
    #[track_caller]
    fn breaks(&self, properties: &[Property]) {
        let findings = self.judge();
        let named: Vec<&str> =
            findings.invariants.named().iter().filter(|(_, n)| *n > 0).map(|(name, _)| *name).collect();
        let mut expected: Vec<&str> = properties.iter().map(|property| property.name()).collect();
        let order = Invariants::default().named().map(|(name, _)| name);
        expected.sort_by_key(|name| order.iter().position(|other| other == name));
        assert_eq!(named, expected, "{:#?}", findings.violations);
    }
}

#[test]
fn a_clean_history_passes() {
    story().breaks(&[]);
    assert!(story().judge().invariants.hold());
}

#[test]
fn a_tampered_event_breaks_the_chain() {
    let mut story = story();
    story.hub_copy[3]["bytes"] = json!(STANDARD.encode("another"));
    story.breaks(&[Property::ChainBreaks]);
}

#[test]
fn a_readable_field_that_differs_between_the_sides_is_found() {
    let mut story = story();
    story.hub_copy[0]["at_ms"] = json!(77);
    story.breaks(&[Property::ChainBreaks]);
}

#[test]
fn an_event_dropped_from_the_end_is_lost_on_that_side() {
    let mut story = story();
    story.hub_copy.pop();
    story.breaks(&[Property::ChainBreaks, Property::AckedLost, Property::LedgerSum, Property::PacksMisplaced]);
}

#[test]
fn an_event_dropped_from_the_middle_breaks_the_chain_too() {
    let mut story = story();
    story.node.remove(3);
    // The hub has the sale and reports it, so that its report differs from what the node tells.
    story.breaks(&[Property::ChainBreaks, Property::AckedLost, Property::SlicesDiffer]);
}

#[test]
fn a_sale_that_both_sides_forgot_is_still_acked_lost() {
    let mut story = story();
    story.retell(|events| drop(events.remove(3)));
    story.report("sales", "tickets_sold", json!(0));
    story.breaks(&[Property::AckedLost]);
    assert_eq!(story.judge().invariants.acked_lost, 2);
}

#[test]
fn an_acknowledged_amount_that_differs_from_the_event_is_acked_lost() {
    let mut story = story();
    story.journal[1].items[0].amount_fen += 1;
    story.breaks(&[Property::AckedLost]);
}

#[test]
fn a_mutation_that_another_node_did_is_acked_lost_unless_that_one_was_asked_before_and_not_heard() {
    let mut story = story();
    story.journal[2].node = 2;
    story.breaks(&[Property::AckedLost]);
    story.journal[2].perhaps_done_at = vec![1];
    story.breaks(&[]);
}

#[test]
fn a_ticket_claimed_twice_is_found_with_its_money() {
    let mut story = story();
    story.retell(|events| {
        let again = (events[4].0.clone(), Some(request_hex(TERMINAL, "another")));
        events.push(again);
    });
    story.report("claims", "claims", json!(2));
    story.breaks(&[Property::TicketsPaidTwice, Property::LedgerSum]);
}

#[test]
fn a_request_applied_twice_is_found() {
    let mut story = story();
    story.retell(|events| events.push(events[4].clone()));
    story.report("claims", "claims", json!(2));
    story.breaks(&[Property::TicketsPaidTwice, Property::LedgerSum, Property::RequestsAppliedTwice]);
}

#[test]
fn a_request_that_did_more_than_it_told_is_found() {
    let mut story = story();
    story.journal[0].items.pop();
    story.breaks(&[Property::RequestsAppliedTwice]);
}

#[test]
fn two_replies_to_one_request_are_found() {
    let mut story = story();
    let mut other = story.journal[1].clone();
    other.items[0].amount_fen = 1;
    story.journal.push(other);
    story.breaks(&[Property::RequestsAppliedTwice, Property::AckedLost]);
}

#[test]
fn a_ledger_that_does_not_sum_to_zero_is_told_in_fen() {
    let mut story = story();
    story.balances[3].1 += 7;
    story.breaks(&[Property::LedgerSum]);
    assert_eq!(story.judge().invariants.ledger_sum_fen, 2 * (7 + 7));
}

#[test]
fn balances_that_sum_to_zero_but_lie_are_found() {
    let mut story = story();
    story.balances[2].1 += 5;
    story.balances[3].1 -= 5;
    story.breaks(&[Property::LedgerSum]);
}

#[test]
fn a_prize_that_was_not_printed_is_found() {
    let mut story = story();
    story.retell(|events| events[4].0["prize_fen"] = json!(999_999));
    story.breaks(&[Property::LedgerSum, Property::AckedLost]);
}

#[test]
fn an_outlet_that_was_ever_below_zero_is_found() {
    let mut story = story();
    story.hub = {
        let mut events: Vec<_> = story.hub.iter().map(|line| (line["event"].clone(), None)).collect();
        events[3].0["amount_fen"] = json!(30_000);
        chained(0, &events)
    };
    story.balances[0].1 = -30_000;
    story.balances[1].1 -= 70_000;
    story.breaks(&[Property::AccountsOverdrawn]);
}

#[test]
fn a_pack_in_two_places_or_in_none_is_found() {
    let mut twice = story();
    twice.packs.push((3, "13010002", "in_transit"));
    twice.breaks(&[Property::PacksMisplaced]);
    let mut nowhere = story();
    nowhere.packs.pop();
    nowhere.breaks(&[Property::PacksMisplaced]);
    let mut elsewhere = story();
    elsewhere.packs[0].2 = "sold_out";
    elsewhere.breaks(&[Property::PacksMisplaced]);
}

#[test]
fn a_sale_from_a_pack_of_another_outlet_is_found() {
    let mut story = story();
    let foreign = story.pools.0[0].ticket_id(Position { pack: 3, ticket: 0 });
    story.retell(|events| {
        events.push((json!({ "kind": "ticket_sold", "ticket": foreign, "outlet": OUTLET, "price_fen": 1_000 }), None));
    });
    story.report("sales", "tickets_sold", json!(2));
    story.breaks(&[Property::PacksMisplaced]);
}

#[test]
fn a_pack_that_went_back_scratched_is_found() {
    let mut story = story();
    let ticket = story.pools.0[0].ticket_id(Position { pack: 2, ticket: 0 });
    story.retell(|events| {
        let returned = events.iter().position(|(event, _)| event["kind"] == "pack_returned").unwrap();
        events.insert(returned, (json!({ "kind": "ticket_scratched", "ticket": ticket, "outlet": OUTLET }), None));
    });
    story.breaks(&[Property::PacksMisplaced]);
}

#[test]
fn a_ticket_that_was_never_printed_is_found() {
    let mut story = story();
    story.retell(|events| {
        let ticket = "G9901-26001-0000099-000";
        events.push((json!({ "kind": "ticket_sold", "ticket": ticket, "outlet": OUTLET, "price_fen": 1_000 }), None));
    });
    story.breaks(&[Property::PacksMisplaced]);
}

#[test]
fn a_table_that_differs_is_counted_and_an_empty_digest_is_no_agreement() {
    let mut differs = story();
    differs.digests.1 = "account 6 abc\npack 3 xyz\n".to_owned();
    differs.breaks(&[Property::SlicesDiffer]);
    assert_eq!(differs.judge().invariants.slices_differ, 1);
    let mut silent = story();
    silent.digests = (String::new(), String::new());
    silent.breaks(&[Property::SlicesDiffer]);
}

#[test]
fn a_deposit_in_the_log_of_a_node_is_found() {
    let mut story = story();
    story.retell(|events| {
        let deposit = json!({ "kind": "deposit_credited", "deposit": 9, "outlet": OUTLET, "node": 1, "amount_fen": 5 });
        events.push((deposit, None));
    });
    story.breaks(&[Property::ChainBreaks]);
}

#[test]
fn a_report_that_is_off_by_one_fen_or_pack_or_ticket_is_found_on_every_axis() {
    let cases = [
        ("sales", "net_sales_yuan", json!("0.01"), Property::LedgerSum),
        ("sales", "commission_yuan", json!("0.00"), Property::LedgerSum),
        ("claims", "prize_yuan", json!("0.00"), Property::LedgerSum),
        ("stock", "face_yuan", json!("0.00"), Property::LedgerSum),
        ("sales", "packs_checked_in", json!(3), Property::PacksMisplaced),
        ("sales", "packs_returned", json!(0), Property::PacksMisplaced),
        ("stock", "sold_out", json!(1), Property::PacksMisplaced),
        ("sales", "tickets_sold", json!(2), Property::SlicesDiffer),
        ("claims", "claims", json!(0), Property::SlicesDiffer),
    ];
    for (report, field, figure, property) in cases {
        for page in 0..9 {
            let mut story = story();
            if story.reports[page].0 == report {
                story.reports[page].2["rows"][0][field] = figure.clone();
                story.breaks(&[property]);
            }
        }
    }
}

#[test]
fn totals_that_are_not_the_sum_and_rows_of_nobody_are_found() {
    let mut totals = story();
    totals.reports[0].2["totals"]["tickets_sold"] = json!(7);
    totals.breaks(&[Property::SlicesDiffer]);
    let mut nobody = story();
    let mut row = nobody.reports[1].2["rows"][0].clone();
    row["key"] = json!("1399");
    nobody.reports[1].2["rows"].as_array_mut().unwrap().push(row);
    nobody.breaks(&[Property::LedgerSum, Property::SlicesDiffer]);
    let mut silent = story();
    silent.reports.clear();
    silent.breaks(&[Property::LedgerSum, Property::PacksMisplaced, Property::SlicesDiffer]);
}

#[test]
fn the_hub_that_believes_a_pack_to_be_elsewhere_is_found_by_its_stock_report() {
    let mut story = story();
    story.reports[5].2["rows"][0]["key"] = json!("13010003");
    story.breaks(&[Property::LedgerSum, Property::PacksMisplaced]);
}

#[test]
fn a_report_without_a_figure_is_refused() {
    let mut reports = HubReports::default();
    let page = json!({ "rows": [{ "key": "1301", "claims": 1 }], "totals": {}, "next": null });
    let refusal = reports.take("claims", Axis::Prefecture, &page).unwrap_err().to_string();
    assert!(refusal.contains("prize_yuan"), "{refusal}");
}

#[test]
fn an_event_that_a_side_could_not_read_is_found_and_the_rest_is_still_judged() {
    let mut story = story();
    let line = story.hub_copy[0].as_object_mut().unwrap();
    line.remove("at_ms");
    line.remove("actor");
    line.remove("request");
    line.insert("event".to_owned(), json!({ "kind": "unreadable" }));
    story.breaks(&[Property::ChainBreaks]);
    let violations = story.judge().violations;
    assert!(violations.iter().any(|violation| violation.what.contains("could not be read")), "{violations:#?}");
    story.node[0] = story.hub_copy[0].clone();
    story.breaks(&[Property::ChainBreaks]);
}
