//! The worked examples of DOMAIN §3 and the rules around them, through the real projection.

use rusqlite::Connection;

use super::{Projection, ProjectionError};
use crate::event::*;
use crate::id::*;
use crate::ledger::AccountId;
use crate::money::{Money, PackCharge, RatePpm, SaleShares};
use crate::store::{MIGRATIONS, migrate};
use crate::time::{BusinessDay, TimeMs};

/// A small world: node 1, one outlet, a game of 10 yuan with 50 tickets a pack, six packs on their way.
struct World {
    store: Connection,
    hub_seq: u64,
    node_seq: u64,
}

fn node() -> NodeId {
    NodeId::new(1).unwrap()
}

fn outlet() -> OutletId {
    OutletId::new(13_010_001).unwrap()
}

fn pack(number: u32) -> PackId {
    PackId::new(BatchNo::new(1).unwrap(), number).unwrap()
}

fn yuan(text: &str) -> Money {
    text.parse().unwrap()
}

fn charge() -> PackCharge {
    shares().charge(yuan("500.00")).unwrap()
}

fn shares() -> SaleShares {
    let rate = |ppm| RatePpm::new(ppm).unwrap();
    SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).unwrap()
}

impl World {
    fn new() -> Self {
        let mut store = Connection::open_in_memory().unwrap();
        migrate(&mut store, "projection", MIGRATIONS).unwrap();
        let mut world = World { store, hub_seq: 0, node_seq: 0 };
        let game = "J1001".parse().unwrap();
        let name = "x".to_string();
        let status = OutletStatus::Active;
        world.hub(MasterEvent::OutletDefined { outlet: outlet(), node: node(), township: 1, name, status });
        world.hub(MasterEvent::GameDefined {
            game,
            name: "渤海明珠".into(),
            price: yuan("10.00"),
            shares: shares(),
            outlet_limit: yuan("10000.00"),
            city_limit: yuan("50000.00"),
        });
        let level = PrizeLevel { level: 1, amount: yuan("860.00"), ticket_count: 1 };
        let second = PrizeLevel { level: 2, amount: yuan("100.00"), ticket_count: 1 };
        let third = PrizeLevel { level: 3, amount: yuan("10000.00"), ticket_count: 1 };
        let fourth = PrizeLevel { level: 4, amount: yuan("10000.01"), ticket_count: 1 };
        world.hub(MasterEvent::BatchDefined(BatchFacts {
            batch: BatchNo::new(1).unwrap(),
            game,
            code: BatchCode::new(26_001).unwrap(),
            tickets_per_pack: 50,
            packs_per_case: 10,
            packs: 10,
            print_completed_on: BusinessDay::from_number(9_000),
            package_hash: [0; 32],
            levels: vec![level, second, third, fourth],
        }));
        for number in 1..=6 {
            let (outlet, node) = (outlet(), node());
            let records = vec![0; 50 * crate::seal::RECORD_BYTES];
            world.hub_body(EventBody::Pack(PackEvent::Shipped {
                pack: pack(number),
                outlet,
                node,
                shipment: 1,
                records,
            }));
        }
        world
    }

    fn hub(&mut self, event: MasterEvent) {
        self.hub_body(EventBody::Master(event));
    }

    fn hub_body(&mut self, body: EventBody) {
        self.hub_seq += 1;
        self.apply(NodeId::HUB, self.hub_seq, body).unwrap();
    }

    fn node_body(&mut self, body: EventBody) {
        self.node_seq += 1;
        self.apply(node(), self.node_seq, body).unwrap();
    }

    fn apply(&mut self, origin: NodeId, seq: u64, body: EventBody) -> Result<(), ProjectionError> {
        let at_ms = TimeMs::from_ms(1_700_000_000_000 + seq as i64);
        let event = Event { key: EventKey { origin, seq }, at_ms, actor: Actor::System, request: None, body };
        let tx = self.store.transaction().unwrap();
        let mut projection = Projection::new(&tx);
        // Also behind an error, as a batch goes on behind a poison event: what one left in the rows would be written here.
        let applied = projection.apply(&event);
        projection.flush()?;
        tx.commit().unwrap();
        applied
    }

    fn deposit(&mut self, deposit: u64, amount: Money) {
        let (outlet, node) = (outlet(), node());
        self.hub_body(EventBody::Money(MoneyEvent::DepositCredited { deposit, outlet, node, amount }));
    }

    fn check_in(&mut self, number: u32) {
        let body = PackEvent::CheckedIn { pack: pack(number), outlet: outlet(), charge: charge() };
        self.node_body(EventBody::Pack(body));
    }

    fn claim(ticket: u16, prize: Money) -> EventBody {
        let ticket = pack(1).ticket(ticket).unwrap();
        let level = match prize.fen() {
            10_000 => 2,
            1_000_000 => 3,
            1_000_001 => 4,
            _ => 1,
        };
        EventBody::Ticket(TicketEvent::Claimed { ticket, outlet: outlet(), level, prize })
    }

    fn balance(&self, id: AccountId) -> Money {
        Projection::new(&self.store).account(id).unwrap().balance
    }

    fn outlet_balance(&self) -> Money {
        self.balance(AccountId::outlet(node(), outlet()))
    }

    fn count(&self, sql: &str) -> i64 {
        self.store.query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

#[test]
fn the_outlet_day_of_the_domain_text_ends_at_7480_yuan() {
    let mut world = World::new();
    world.deposit(1, yuan("5000.00"));
    world.deposit(2, yuan("3000.00"));
    // Four packs are charged, one of them goes back untouched.
    for number in 1..=4 {
        world.check_in(number);
    }
    world.node_body(World::claim(7, yuan("860.00")));
    let body = PackEvent::Returned { pack: pack(4), outlet: outlet(), charge: charge() };
    world.node_body(EventBody::Pack(body));
    assert_eq!(world.outlet_balance(), yuan("7480.00"));
    assert_eq!(world.count("SELECT sum(balance_fen) FROM account"), 0);
    assert_eq!(world.count("SELECT charge_fen FROM outlet_day WHERE packs_checked_in > 0"), 200_000);
    assert_eq!(world.count("SELECT commission_fen FROM outlet_day WHERE packs_checked_in > 0"), 12_000);
}

#[test]
fn a_pack_of_500_yuan_reaches_the_funds_as_the_domain_text_says() {
    let mut world = World::new();
    world.deposit(1, yuan("500.00"));
    world.check_in(1);
    let game = |kind| AccountId::game(kind, node(), "J1001".parse().unwrap());
    use crate::ledger::AccountKind::*;
    assert_eq!(world.balance(game(PrizeFund)), yuan("325.00"));
    assert_eq!(world.balance(game(WelfareFund)), yuan("100.00"));
    assert_eq!(world.balance(game(IssueFee)), yuan("35.00"));
    assert_eq!(world.balance(game(SalesClearing)), Money::ZERO);
    assert_eq!(world.outlet_balance(), yuan("40.00"));
}

#[test]
fn a_charge_beyond_the_balance_is_covered_by_suspense_and_listed() {
    let mut world = World::new();
    world.deposit(1, yuan("499.99"));
    world.check_in(1);
    assert_eq!(world.outlet_balance(), yuan("40.00"));
    assert_eq!(world.balance(AccountId::suspense(node())), yuan("-0.01"));
    assert_eq!(world.count("SELECT count(*) FROM exception WHERE kind = 'overdrawn' AND amount_fen = 1"), 1);
    assert_eq!(world.count("SELECT sum(balance_fen) FROM account"), 0);
}

#[test]
fn a_second_claim_of_one_ticket_never_touches_the_prize_fund() {
    let mut world = World::new();
    world.deposit(1, yuan("500.00"));
    world.check_in(1);
    world.node_body(World::claim(7, yuan("100.00")));
    world.node_body(World::claim(7, yuan("100.00")));
    let fund = AccountId::game(crate::ledger::AccountKind::PrizeFund, node(), "J1001".parse().unwrap());
    assert_eq!(world.balance(fund), yuan("225.00"));
    assert_eq!(world.balance(AccountId::suspense(node())), yuan("-100.00"));
    assert_eq!(world.count("SELECT count(*) FROM exception WHERE kind = 'paid_twice'"), 1);
    assert_eq!(world.count("SELECT claims FROM outlet_day WHERE claims > 0"), 1);
}

#[test]
fn a_listed_prize_above_what_an_outlet_pays_is_paid_by_no_fund() {
    let mut world = World::new();
    world.deposit(1, yuan("500.00"));
    world.check_in(1);
    world.node_body(World::claim(7, yuan("10000.00")));
    assert_eq!(world.count("SELECT count(*) FROM exception"), 0, "10,000 yuan may be paid");
    world.node_body(World::claim(8, yuan("10000.01")));
    assert_eq!(world.count("SELECT amount_fen FROM exception WHERE kind = 'unlisted_prize'"), 1_000_001);
    assert_eq!(world.balance(AccountId::suspense(node())), yuan("-10000.01"));
    assert_eq!(world.count("SELECT sum(balance_fen) FROM account"), 0);
}

#[test]
fn the_code_that_locks_a_ticket_is_listed_once_without_an_amount() {
    let mut world = World::new();
    let ticket = pack(1).ticket(7).unwrap();
    for locks in [false, false, false, false, true, true] {
        let presented = TicketEvent::WrongCodePresented { ticket, outlet: outlet(), locks };
        world.node_body(EventBody::Ticket(presented));
        let listed = world.count("SELECT count(*) FROM exception WHERE kind = 'ticket_locked' AND amount_fen = 0");
        assert_eq!(listed, i64::from(locks));
    }
    assert_eq!(world.count("SELECT subject FROM exception"), ticket.key());
}

#[test]
fn a_pack_that_is_sent_back_after_a_prize_was_paid_on_it_is_listed() {
    let mut world = World::new();
    world.deposit(1, yuan("500.00"));
    world.check_in(1);
    world.node_body(World::claim(7, yuan("100.00")));
    world.node_body(EventBody::Pack(PackEvent::Returned { pack: pack(1), outlet: outlet(), charge: charge() }));
    assert_eq!(world.count("SELECT count(*) FROM exception WHERE kind = 'returned_touched'"), 1);
    assert_eq!(world.count("SELECT sum(balance_fen) FROM account"), 0);
}

#[test]
fn a_pack_that_is_sent_back_after_a_ticket_was_scratched_is_listed() {
    let mut world = World::new();
    world.deposit(1, yuan("1000.00"));
    world.check_in(1);
    world.check_in(2);
    for number in [9, 7] {
        let scratched = TicketEvent::Scratched { ticket: pack(1).ticket(number).unwrap(), outlet: outlet() };
        world.node_body(EventBody::Ticket(scratched));
    }
    assert_eq!(world.count("SELECT scratched_ticket FROM pack WHERE scratched_ticket IS NOT NULL"), 9, "the first");
    for number in [1, 2] {
        let body = PackEvent::Returned { pack: pack(number), outlet: outlet(), charge: charge() };
        world.node_body(EventBody::Pack(body));
    }
    assert_eq!(world.count("SELECT subject FROM exception WHERE kind = 'returned_touched'"), pack(1).key());
    assert_eq!(world.count("SELECT count(*) FROM exception"), 1, "the other was untouched");
}

#[test]
fn a_pack_charged_below_its_list_price_is_listed() {
    let mut world = World::new();
    world.deposit(1, yuan("500.00"));
    let charge = shares().charge(yuan("0.01")).unwrap();
    world.node_body(EventBody::Pack(PackEvent::CheckedIn { pack: pack(1), outlet: outlet(), charge }));
    assert_eq!(world.count("SELECT count(*) FROM exception WHERE kind = 'charge_mismatch'"), 1);
}

#[test]
fn events_that_contradict_the_state_are_poison_and_change_nothing() {
    let mut world = World::new();
    let changes = world.store.total_changes();
    let absent = pack(9);
    let other_outlet = OutletId::new(13_010_002).unwrap();
    let bad_charge = PackCharge { commission: yuan("80.00"), ..charge() };
    let bodies = [
        EventBody::Pack(PackEvent::CheckedIn { pack: absent, outlet: outlet(), charge: charge() }),
        EventBody::Pack(PackEvent::CheckedIn { pack: pack(1), outlet: other_outlet, charge: charge() }),
        EventBody::Pack(PackEvent::CheckedIn { pack: pack(1), outlet: outlet(), charge: bad_charge }),
        EventBody::Pack(PackEvent::Returned { pack: pack(1), outlet: outlet(), charge: charge() }),
        World::claim(7, Money::ZERO),
        EventBody::Ticket(TicketEvent::Sold {
            ticket: pack(1).ticket(50).unwrap(),
            outlet: outlet(),
            price: yuan("10"),
        }),
        EventBody::Pack(PackEvent::HoldChanged { pack: pack(1), node: node(), hold: PackHold::Stolen }),
        EventBody::Ticket(TicketEvent::Scratched { ticket: absent.ticket(1).unwrap(), outlet: outlet() }),
    ];
    for body in bodies {
        let refused = world.apply(node(), 1, body.clone()).unwrap_err();
        assert!(refused.is_poison(), "{body:?}: {refused}");
    }
    assert_eq!(world.store.total_changes(), changes);
}

#[test]
fn no_fact_names_more_than_the_sums_can_bear() {
    use super::FACT_FEN_MAX;
    let mut world = World::new();
    world.deposit(1, yuan("500.00"));
    world.check_in(1);
    let changes = world.store.total_changes();
    let too_much = World::claim(7, Money::from_fen(FACT_FEN_MAX + 1));
    assert!(world.apply(node(), 9, too_much).unwrap_err().is_poison());
    assert_eq!(world.store.total_changes(), changes);
    world.node_body(World::claim(7, Money::from_fen(FACT_FEN_MAX)));
    assert_eq!(world.count("SELECT suspense_fen FROM outlet_day WHERE claims > 0"), FACT_FEN_MAX);
}

#[test]
fn money_from_suspense_is_summed_beside_charges_and_prizes() {
    let mut world = World::new();
    world.deposit(1, yuan("499.99"));
    world.check_in(1);
    world.node_body(World::claim(7, yuan("100.00")));
    world.node_body(World::claim(7, yuan("100.00")));
    world.node_body(World::claim(8, yuan("3.00")));
    assert_eq!(world.count("SELECT sum(prize_fen) FROM outlet_day"), 10_000, "the fund paid one of them");
    assert_eq!(world.count("SELECT sum(suspense_fen) FROM outlet_day"), 1 + 10_000 + 300);
    assert_eq!(world.count("SELECT sum(claims) FROM outlet_day"), 2, "two tickets were paid");
    let change =
        "SELECT sum(deposit_fen + commission_fen + return_fen + prize_fen + suspense_fen - charge_fen) FROM outlet_day";
    assert_eq!(Money::from_fen(world.count(change)), world.outlet_balance());
}

#[test]
fn an_accounts_transfers_are_chained_newest_first_per_writer() {
    let mut world = World::new();
    world.deposit(1, yuan("5000.00"));
    world.check_in(1);
    world.check_in(2);
    world.deposit(2, yuan("1.00"));
    let row = *Projection::new(&world.store).account(AccountId::outlet(node(), outlet())).unwrap();
    let walk = |mut at: i64| {
        let mut amounts = Vec::new();
        while at != 0 {
            let sql = "SELECT amount_fen, CASE WHEN debit >> 44 = 1 THEN debit_prev ELSE credit_prev END FROM transfer WHERE transfer = ?1";
            let (amount, prev): (i64, i64) =
                world.store.query_row(sql, [at], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            amounts.push(amount);
            at = prev;
        }
        amounts
    };
    assert_eq!(walk(row.last_hub_transfer), [100, 500_000]);
    assert_eq!(walk(row.last_node_transfer), [4_000, 50_000, 4_000, 50_000]);
}

#[test]
fn a_nodes_event_about_another_nodes_outlet_is_poison() {
    let mut world = World::new();
    world.deposit(1, yuan("500.00"));
    let body = EventBody::Pack(PackEvent::CheckedIn { pack: pack(1), outlet: outlet(), charge: charge() });
    let refused = world.apply(NodeId::new(2).unwrap(), 1, body.clone()).unwrap_err();
    assert!(refused.is_poison());
    world.node_body(body);
    assert!(world.apply(NodeId::new(2).unwrap(), 1, World::claim(7, yuan("1.00"))).unwrap_err().is_poison());
}
