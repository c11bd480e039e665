//! A move of an outlet, followed through the stores of the hub, the old node and the new one.

use rusqlite::Connection;

use super::{HandoffRow, Projection, ProjectionError};
use crate::digest::digest;
use crate::event::*;
use crate::id::*;
use crate::ledger::AccountId;
use crate::money::{Money, RatePpm, SaleShares};
use crate::outlet_rows;
use crate::store::{MIGRATIONS, migrate};
use crate::time::{BusinessDay, TimeMs};

struct Province {
    hub: Connection,
    nodes: [Connection; 2],
    seq: u64,
}

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn outlet(last: u32) -> OutletId {
    OutletId::new(13_010_000 + last).unwrap()
}

fn pack(number: u32) -> PackId {
    PackId::new(BatchNo::new(1).unwrap(), number).unwrap()
}

fn apply(store: &mut Connection, event: &Event) -> Result<(), ProjectionError> {
    let transaction = store.transaction().unwrap();
    let mut projection = Projection::new(&transaction);
    projection.apply(event)?;
    projection.flush()?;
    transaction.commit().unwrap();
    Ok(())
}

impl Province {
    fn new() -> Self {
        let store = || {
            let mut store = Connection::open_in_memory().unwrap();
            store.execute_batch("PRAGMA foreign_keys = ON").unwrap();
            migrate(&mut store, "projection", MIGRATIONS).unwrap();
            store
        };
        let mut province = Province { hub: store(), nodes: [store(), store()], seq: 0 };
        let rate = |ppm| RatePpm::new(ppm).unwrap();
        let shares = SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).unwrap();
        let (game, fen) = ("J1001".parse().unwrap(), Money::from_fen);
        let (name, outlet_limit, city_limit) = ("x".to_string(), fen(1_000), fen(2_000));
        province.tell(MasterEvent::GameDefined { game, name, price: fen(1_000), shares, outlet_limit, city_limit });
        province.tell(MasterEvent::BatchDefined(BatchFacts {
            batch: BatchNo::new(1).unwrap(),
            game,
            code: BatchCode::new(26_001).unwrap(),
            tickets_per_pack: 50,
            packs_per_case: 10,
            packs: 10,
            print_completed_on: BusinessDay::from_number(9_000),
            package_hash: [0; 32],
            levels: vec![PrizeLevel { level: 1, amount: fen(500), ticket_count: 1 }],
        }));
        for last in 1..=2 {
            province.open_outlet(outlet(last), u64::from(last));
        }
        province.nodes_word(EventBody::Pack(PackEvent::CheckedIn {
            pack: pack(1),
            outlet: outlet(1),
            charge: shares.charge(fen(50_000)).unwrap(),
        }));
        let ticket = pack(1).ticket(7).unwrap();
        province.nodes_word(EventBody::Ticket(TicketEvent::Claimed {
            ticket,
            outlet: outlet(1),
            level: 1,
            prize: fen(500),
        }));
        province
    }

    fn open_outlet(&mut self, outlet: OutletId, number: u64) {
        let (node, name) = (node(1), "y".to_string());
        let terminal = TerminalId::new(u64::from(outlet.get()) * 100 + 1).unwrap();
        let operator = OperatorId::new(u64::from(outlet.get()) * 100 + 1).unwrap();
        let (status, role) = (OutletStatus::Active, OperatorRole::Owner);
        let (kind, password_hash) = (TerminalKind::Gun, "$argon2id$".to_string());
        self.tell(MasterEvent::OutletDefined { outlet, node, township: 130_102_001, name: name.clone(), status });
        self.tell(MasterEvent::OutletClassified { outlet, node, class: OutletClass::new(2).unwrap() });
        self.tell(MasterEvent::TerminalDefined { terminal, node, kind, public_key: [7; 32] });
        self.tell(MasterEvent::OperatorDefined { operator, node, name, role, password_hash });
        let (amount, records) = (Money::from_fen(80_000), vec![0; 50 * crate::seal::RECORD_BYTES]);
        let deposited = MoneyEvent::DepositCredited { deposit: number, outlet, node, amount };
        self.hub(EventBody::Money(deposited)).unwrap();
        let pack = pack(number as u32);
        let shipped = PackEvent::Shipped { pack, outlet, node, shipment: number, records };
        self.hub(EventBody::Pack(shipped)).unwrap();
        let (token, expires_at_ms) = (TokenTag([number as u8; 16]), TimeMs::from_ms(9_000_000));
        self.nodes_word(EventBody::Session(SessionEvent::Opened { terminal, operator, token, expires_at_ms }));
    }

    fn event(&mut self, origin: NodeId, body: EventBody) -> Event {
        self.seq += 1;
        let (key, at_ms) = (EventKey { origin, seq: self.seq }, TimeMs::from_ms(1_000 + self.seq as i64));
        Event { key, at_ms, actor: Actor::System, request: None, body }
    }

    fn tell(&mut self, body: MasterEvent) {
        self.hub(EventBody::Master(body)).unwrap();
    }

    /// A fact of the hub, at the hub and where its audience is.
    fn hub(&mut self, body: EventBody) -> Result<(), ProjectionError> {
        let event = self.event(NodeId::HUB, body);
        apply(&mut self.hub, &event)?;
        for (number, store) in (1..).zip(&mut self.nodes) {
            let audience = event.body.audience();
            if audience == Audience::All || audience == Audience::Node(node(number)) {
                apply(store, &event)?;
            }
        }
        Ok(())
    }

    /// A fact of the first node, there and at the hub.
    fn nodes_word(&mut self, body: EventBody) {
        let event = self.event(node(1), body);
        apply(&mut self.nodes[0], &event).unwrap();
        apply(&mut self.hub, &event).unwrap();
    }

    fn handoff(&mut self, body: HandoffEvent) {
        self.hub(EventBody::Handoff(body)).unwrap();
    }

    /// Moves the first outlet to the second node.
    fn move_away(&mut self) {
        let (handoff, outlet, from, to) = (1, outlet(1), node(1), node(2));
        self.handoff(HandoffEvent::Ordered { handoff, outlet, from, to });
        self.nodes_word(EventBody::Handoff(HandoffEvent::Released { handoff, outlet, to }));
        for rows in outlet_rows::export(&self.hub, outlet).unwrap() {
            self.handoff(HandoffEvent::RowsMoved { handoff, outlet, to, rows });
        }
        let balance = Projection::new(&self.hub).account(AccountId::outlet(from, outlet)).unwrap().balance;
        self.handoff(HandoffEvent::Arrived { handoff, outlet, from, to, balance });
        self.handoff(HandoffEvent::Left { handoff, outlet, from, to, balance });
    }

    /// Rows of the first outlet as the hub takes them.
    fn bring(&mut self, rows: &str) -> Result<(), ProjectionError> {
        let rows = vec![serde_json::from_str(rows).unwrap()];
        let moved = HandoffEvent::RowsMoved { handoff: 1, outlet: outlet(1), to: node(2), rows };
        let event = self.event(NodeId::HUB, EventBody::Handoff(moved));
        apply(&mut self.hub, &event)
    }

    fn assert_slices_are_equal(&mut self) {
        for (number, store) in (1..).zip(&mut self.nodes) {
            let (own, slice) =
                (digest(store, Some(node(number))).unwrap(), digest(&mut self.hub, Some(node(number))).unwrap());
            assert_eq!(own, slice, "node {number}");
            // Nothing lies in a store that is not in its slice.
            assert_eq!(digest(store, None).unwrap(), slice, "node {number}, whole");
        }
    }

    fn count(store: &Connection, sql: &str) -> i64 {
        store.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn an_outlet_moves_with_all_its_rows_and_money_and_each_slice_equals_the_hubs() {
    let mut province = Province::new();
    province.assert_slices_are_equal();
    province.move_away();
    province.assert_slices_are_equal();
    let [old, new] = &province.nodes;
    for table in ["outlet", "terminal", "operator", "session", "pack", "pack_seal", "outlet_class"] {
        let sql = format!("SELECT count(*) FROM {table}");
        assert_eq!((Province::count(old, &sql), Province::count(new, &sql)), (1, 1), "{table}");
    }
    let sum = "SELECT coalesce(sum(balance_fen), 0) FROM account";
    assert_eq!([&province.hub, old, new].map(|store| Province::count(store, sum)), [0, 0, 0]);
    let balance = |store: &Connection, number| {
        Projection::new(store).account(AccountId::outlet(node(number), outlet(1))).unwrap().balance.fen()
    };
    // 800.00 deposited, 500.00 charged, 40.00 commission back, 5.00 paid out as a prize.
    assert_eq!((balance(old, 1), balance(new, 2), balance(&province.hub, 2)), (0, 34_500, 34_500));
    assert_eq!(Projection::new(old).moved_to(outlet(1), node(1)).unwrap(), Some(node(2)));
    let claim = Projection::new(new).pack(pack(1)).unwrap().and_then(|row| row.claim_of(7));
    assert!(claim.is_some(), "what was paid there is known here");
}

#[test]
fn an_outlet_that_comes_back_is_as_it_was() {
    let mut province = Province::new();
    province.move_away();
    let (handoff, outlet, from, to) = (2, outlet(1), node(2), node(1));
    province.handoff(HandoffEvent::Ordered { handoff, outlet, from, to });
    let released = province.event(from, EventBody::Handoff(HandoffEvent::Released { handoff, outlet, to }));
    apply(&mut province.nodes[1], &released).unwrap();
    apply(&mut province.hub, &released).unwrap();
    for rows in outlet_rows::export(&province.hub, outlet).unwrap() {
        province.handoff(HandoffEvent::RowsMoved { handoff, outlet, to, rows });
    }
    let balance = Money::from_fen(34_500);
    province.handoff(HandoffEvent::Arrived { handoff, outlet, from, to, balance });
    province.handoff(HandoffEvent::Left { handoff, outlet, from, to, balance });
    province.assert_slices_are_equal();
    assert_eq!(Projection::new(&province.nodes[0]).moved_to(outlet, to).unwrap(), None);
}

#[test]
fn a_cancelled_order_leaves_the_outlet_where_it_is_also_when_the_node_let_go_meanwhile() {
    let (handoff, outlet, from, to) = (1, outlet(1), node(1), node(2));
    let mut province = Province::new();
    province.handoff(HandoffEvent::Ordered { handoff, outlet, from, to });
    province.handoff(HandoffEvent::Cancelled { handoff, outlet, from });
    province.assert_slices_are_equal();
    assert_eq!(Projection::new(&province.hub).handoff(outlet).unwrap(), None);
    // The node's word crosses the hub's.
    province.handoff(HandoffEvent::Ordered { handoff: 2, outlet, from, to });
    let released = province.event(from, EventBody::Handoff(HandoffEvent::Released { handoff: 2, outlet, to }));
    apply(&mut province.nodes[0], &released).unwrap();
    province.handoff(HandoffEvent::Cancelled { handoff: 2, outlet, from });
    apply(&mut province.hub, &released).unwrap();
    province.assert_slices_are_equal();
    province.handoff(HandoffEvent::Returned { handoff: 2, outlet, node: from });
    province.assert_slices_are_equal();
    assert_eq!(Projection::new(&province.nodes[0]).handoff(outlet).unwrap(), None);
}

#[test]
fn a_release_that_was_taken_back_stands_behind_no_later_order_and_the_node_serves_until_it_releases_that_one() {
    let (outlet, from, to) = (outlet(1), node(1), node(2));
    let mut province = Province::new();
    province.handoff(HandoffEvent::Ordered { handoff: 1, outlet, from, to });
    let way = |store: &Connection| Projection::new(store).handoff(outlet).unwrap();
    let released = |handoff| EventBody::Handoff(HandoffEvent::Released { handoff, outlet, to });
    let first = province.event(from, released(1));
    apply(&mut province.nodes[0], &first).unwrap();
    assert!(way(&province.nodes[0]).unwrap().released, "nobody's");
    // While the node's link is down.
    province.handoff(HandoffEvent::Cancelled { handoff: 1, outlet, from });
    province.handoff(HandoffEvent::Ordered { handoff: 2, outlet, from, to });
    let second = Some(HandoffRow { handoff: 2, node: from, to, released: false });
    assert_eq!(way(&province.nodes[0]), second, "the node's again");
    apply(&mut province.hub, &first).unwrap();
    province.assert_slices_are_equal();
    province.handoff(HandoffEvent::Returned { handoff: 1, outlet, node: from });
    province.assert_slices_are_equal();
    assert_eq!(way(&province.hub), second);
    province.nodes_word(released(2));
    province.assert_slices_are_equal();
    assert!(way(&province.hub).unwrap().released);
}

#[test]
fn a_node_releases_only_what_it_serves_and_rows_of_other_tables_are_refused() {
    let mut province = Province::new();
    let released = HandoffEvent::Released { handoff: 1, outlet: outlet(1), to: node(1) };
    let released = province.event(node(2), EventBody::Handoff(released));
    assert!(apply(&mut province.hub, &released).unwrap_err().is_poison());
    for json in [
        r#"{"table":"pack; --","columns":["pack"],"rows":[]}"#,
        r#"{"table":"outlet","columns":["node) --"],"rows":[]}"#,
        r#"{"table":"outlet","columns":["outlet","node"],"rows":[[{"Integer":1}]]}"#,
        r#"{"table":"outlet_class","columns":["class"],"rows":[[{"Integer":1}]]}"#,
        r#"{"table":"outlet_class","columns":["outlet","class"],"rows":[["Null",{"Integer":1}]]}"#,
    ] {
        assert!(province.bring(json).unwrap_err().is_poison(), "{json}");
    }
}

#[test]
fn rows_of_a_newer_build_are_too_new_and_not_poison() {
    let mut province = Province::new();
    for json in [
        r#"{"table":"outlet_mood","columns":["outlet"],"rows":[]}"#,
        r#"{"table":"account","columns":["account"],"rows":[]}"#,
        r#"{"table":"outlet","columns":["outlet","mood"],"rows":[[{"Integer":13010001},{"Integer":1}]]}"#,
    ] {
        let refused = province.bring(json).unwrap_err();
        assert!(matches!(refused, ProjectionError::TooNew { .. }) && !refused.is_poison(), "{json}: {refused}");
        let rows: outlet_rows::RowSet = serde_json::from_str(json).unwrap();
        assert!(!outlet_rows::are_known(&province.hub, &[rows]).unwrap(), "{json}");
    }
    assert_eq!(Projection::new(&province.nodes[1]).handoff(outlet(1)).unwrap(), None, "nothing was written");
}

#[test]
fn rows_of_another_outlet_are_refused() {
    let mut province = Province::new();
    let json = |table: &str, columns: &[&str], values: &[i64]| {
        let values: Vec<_> = values.iter().map(|value| serde_json::json!({ "Integer": value })).collect();
        serde_json::json!({ "table": table, "columns": columns, "rows": [values] }).to_string()
    };
    // The first outlet has pack 1, the second pack 2; pack 3 is nobody's.
    let packs = [1, 2, 3].map(|number| pack(number).key());
    let ticket = |pack: i64| pack << 10 | 7;
    let day = |outlet: i64| 9_000 << 46 | outlet << 19;
    for (table, columns, values) in [
        ("outlet", &["outlet"][..], &[13_010_002][..]),
        ("outlet_class", &["class", "outlet"], &[1, 13_010_002]),
        ("terminal", &["terminal"], &[1_301_000_201]),
        ("terminal_revoked", &["terminal"], &[1_301_000_200]),
        ("session", &["terminal"], &[1_301_000_099]),
        ("operator", &["operator"], &[1_301_000_201]),
        ("operator_disabled", &["operator"], &[13_010_001]),
        ("pack", &["pack", "outlet"], &[packs[1], 13_010_001]),
        ("pack", &["pack", "outlet"], &[packs[2], 13_010_002]),
        ("pack_seal", &["pack"], &[packs[1]]),
        ("pack_seal", &["pack"], &[packs[2]]),
        ("ticket_lock", &["ticket"], &[ticket(packs[1])]),
        ("claim_history", &["ticket"], &[ticket(packs[2])]),
        ("outlet_day", &["outlet_day"], &[day(13_010_002)]),
        ("outlet_day", &["outlet_day"], &[i64::MIN | day(13_010_001)]),
    ] {
        let rows = json(table, columns, values);
        let refused = province.bring(&rows).unwrap_err();
        assert!(refused.is_poison() && refused.to_string().contains("another outlet"), "{rows}: {refused}");
    }
    let class = json("outlet_class", &["outlet", "class"], &[13_010_001, 3]);
    let lock = json("ticket_lock", &["ticket", "wrong_code_count"], &[ticket(packs[0]), 1]);
    for rows in [class, lock] {
        province.bring(&rows).unwrap();
    }
}

#[test]
fn between_its_first_row_and_its_arrival_the_outlet_is_marked_at_the_new_node_and_at_the_hub_as_released() {
    let mut province = Province::new();
    let (handoff, outlet, from, to) = (1, outlet(1), node(1), node(2));
    province.handoff(HandoffEvent::Ordered { handoff, outlet, from, to });
    province.nodes_word(EventBody::Handoff(HandoffEvent::Released { handoff, outlet, to }));
    let way = |store: &Connection| Projection::new(store).handoff(outlet).unwrap();
    let of_release = way(&province.hub);
    for rows in outlet_rows::export(&province.hub, outlet).unwrap() {
        province.handoff(HandoffEvent::RowsMoved { handoff, outlet, to, rows });
        let mark = way(&province.nodes[1]).expect("a row has come");
        assert!(mark.released && mark.is_arriving(), "{mark:?}");
        assert_eq!(way(&province.hub), of_release, "the hub's row is the old node's");
        assert!(!of_release.unwrap().is_arriving());
    }
    let balance = Projection::new(&province.hub).account(AccountId::outlet(from, outlet)).unwrap().balance;
    province.handoff(HandoffEvent::Arrived { handoff, outlet, from, to, balance });
    assert_eq!((way(&province.nodes[1]), way(&province.hub)), (None, of_release));
    province.handoff(HandoffEvent::Left { handoff, outlet, from, to, balance });
    province.assert_slices_are_equal();
}
