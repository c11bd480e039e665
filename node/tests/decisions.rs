//! The edges of the rules: exact limits, instants and balances, and what `counter.rs` does not try.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, reason = "each test binary uses its part of the outlet")]
mod outlet;

use std::sync::Arc;

use jikai_node::decide::{Caller, PackSelection, Verb};
use jikai_node::keyring::Keyring;
use jikai_node::session::load_secrets;
use jikai_node::store;
use jikai_node::writer::Writer;
use jikai_schema::barcode::{PackRef, SecurityBarcode, parse_pack, parse_ticket};
use jikai_schema::event::*;
use jikai_schema::id::*;
use jikai_schema::ledger::AccountId;
use jikai_schema::money::{Money, RatePpm, SaleShares};
use jikai_schema::projection::Projection;
use jikai_schema::rules::ClaimAnswer;
use jikai_schema::seal::RECORD_BYTES;
use jikai_schema::time::{BusinessDay, TimeMs};
use jikai_schema::vault::MasterKey;
use outlet::*;
use tempfile::TempDir;

struct Counter {
    data: TempDir,
    writer: Writer,
    feed: Feed,
    keys_used: u32,
}

impl Counter {
    async fn open() -> Counter {
        let data = tempfile::tempdir().unwrap();
        init(data.path());
        let (writer, _) = start(data.path());
        let mut feed = Feed::new();
        feed.send(&writer, world()).await;
        Counter { data, writer, feed, keys_used: 0 }
    }

    async fn ask(&mut self, caller: Caller, verb: Verb) -> String {
        self.keys_used += 1;
        outcome(&self.writer.ask(request(caller, &format!("key-{}", self.keys_used), verb)).await)
    }

    async fn hub(&mut self, body: EventBody) {
        self.feed.send(&self.writer, vec![body]).await;
    }

    /// What outlet 1 is told about these codes, in one question.
    async fn told(&mut self, codes: Vec<SecurityBarcode>) -> Vec<&'static str> {
        self.keys_used += 1;
        let asked = request(clerk(1), &format!("told-{}", self.keys_used), Verb::InquireClaims(codes));
        let reply = self.writer.ask(asked).await.unwrap();
        reply.judgements.iter().map(|judgement| judgement.answer.code()).collect()
    }

    /// A login whose proofs are good now.
    fn opens(&self, caller: Caller) -> Verb {
        let store = store::open_reader(self.data.path()).unwrap();
        let ground = load_secrets(&store, caller.terminal, caller.operator).unwrap().unwrap().ground();
        Verb::OpenSession { token: TokenTag([1; 16]), expires_at_ms: TimeMs::from_ms(NOW_MS + 1_000), ground }
    }

    fn balance(&self, number: u32) -> String {
        let store = store::open_reader(self.data.path()).unwrap();
        Projection::new(&store).account(AccountId::outlet(node(), outlet(number))).unwrap().balance.to_string()
    }
}

fn refs(numbers: &[u32]) -> Vec<PackRef> {
    numbers.iter().map(|number| parse_pack(&format!("J1001-26001-{number:07}")).unwrap()).collect()
}

fn receives(numbers: &[u32]) -> Verb {
    Verb::ReceivePacks(PackSelection::Packs(refs(numbers)))
}

fn sells(tickets: &[(u32, u16)]) -> Verb {
    let name = |(pack, ticket): &(u32, u16)| parse_ticket(&format!("J1001-26001-{pack:07}-{ticket:03}")).unwrap();
    Verb::SellTickets(tickets.iter().map(name).collect())
}

fn pays(pack: u32, ticket: u16) -> Verb {
    Verb::PayClaims(vec![barcode(pack, ticket)])
}

fn wrong(pack: u32, ticket: u16, variant: char) -> SecurityBarcode {
    SecurityBarcode::parse(&wrong_code(pack, ticket, variant)).unwrap()
}

fn hold(number: u32, hold: PackHold) -> EventBody {
    EventBody::Pack(PackEvent::HoldChanged { pack: pack(number), node: node(), hold })
}

fn limits(outlet_limit: &str, city_limit: &str) -> EventBody {
    let rate = |ppm| RatePpm::new(ppm).unwrap();
    let yuan = |text: &str| text.parse::<Money>().unwrap();
    master(MasterEvent::GameDefined {
        game: "J1001".parse().unwrap(),
        name: "x".into(),
        price: yuan("10.00"),
        shares: SaleShares::new(rate(650_000), rate(200_000), rate(80_000)).unwrap(),
        outlet_limit: yuan(outlet_limit),
        city_limit: yuan(city_limit),
    })
}

fn outlet_defined(number: u32, served_by: u16, status: OutletStatus) -> EventBody {
    let (outlet, node) = (outlet(number), NodeId::new(served_by).unwrap());
    master(MasterEvent::OutletDefined { outlet, node, township: 1, name: "x".into(), status })
}

fn deposit_of_two(number: u64, fen: i64) -> EventBody {
    let amount = Money::from_fen(fen);
    EventBody::Money(MoneyEvent::DepositCredited { deposit: number, outlet: outlet(2), node: node(), amount })
}

/// A batch printed on that day, open, with one pack on its way to outlet 1.
fn old_batch(number: u32, print_completed_on: BusinessDay) -> Vec<EventBody> {
    let batch = BatchNo::new(number).unwrap();
    let facts = BatchFacts {
        batch,
        game: "J1001".parse().unwrap(),
        code: BatchCode::new(26_000 + number).unwrap(),
        tickets_per_pack: TICKETS,
        packs_per_case: 10,
        packs: 10,
        print_completed_on,
        package_hash: [0; 32],
        levels: vec![],
    };
    let records = vec![0; usize::from(TICKETS) * RECORD_BYTES];
    let (pack, outlet, node) = (PackId::new(batch, 1).unwrap(), outlet(1), node());
    vec![
        master(MasterEvent::BatchDefined(facts)),
        master(MasterEvent::BatchSaleChanged { batch, state: SaleState::Open }),
        EventBody::Pack(PackEvent::Shipped { pack, outlet, node, shipment: 9, records }),
    ]
}

#[tokio::test]
async fn the_outlet_pays_up_to_its_limit_and_the_city_up_to_its_own_to_the_fen() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), receives(&[1])).await, "done");
    for (outlet_limit, city_limit, told) in [
        ("50.00", "20000.00", ["go_to_province_centre", "go_to_city_centre", "won"]),
        ("49.99", "19999.99", ["go_to_province_centre", "go_to_province_centre", "go_to_city_centre"]),
        ("20000.00", "60000.00", ["go_to_city_centre", "go_to_city_centre", "won"]),
    ] {
        counter.hub(limits(outlet_limit, city_limit)).await;
        assert_eq!(counter.told((0..3).map(|ticket| barcode(1, ticket)).collect()).await, told);
    }
    counter.hub(limits("49.99", "50.00")).await;
    assert_eq!(counter.ask(clerk(1), pays(1, 2)).await, "go_to_city_centre");
    assert_eq!(counter.ask(clerk(1), pays(1, 0)).await, "go_to_province_centre");
    counter.hub(limits("50.00", "50.00")).await;
    assert_eq!(counter.ask(clerk(1), pays(1, 2)).await, "done");
}

#[tokio::test]
async fn prizes_are_paid_until_the_announced_instant_and_not_at_it() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), receives(&[1, 2])).await, "done");
    let ends = |at_ms| {
        let ends_at_ms = TimeMs::from_ms(at_ms);
        master(MasterEvent::RedemptionEndAnnounced { batch: BatchNo::new(1).unwrap(), ends_at_ms })
    };
    // The clock stands still, so the next event is stamped 1 ms behind the two check-ins.
    counter.hub(ends(NOW_MS + 3)).await;
    assert_eq!(counter.ask(clerk(1), pays(1, 2)).await, "done");
    assert_eq!(counter.ask(clerk(1), pays(2, 2)).await, "redemption_closed");
    assert_eq!(counter.told(vec![barcode(1, 2)]).await, ["already_paid_here"], "a paid ticket stays a paid ticket");
}

#[tokio::test]
async fn the_balance_reaches_zero_and_never_passes_it() {
    let mut counter = Counter::open().await;
    counter.hub(deposit_of_two(2, 9_999)).await;
    let received = receives(&[9]);
    assert_eq!(counter.ask(owner(2), received.clone()).await, "insufficient_balance");
    assert_eq!(counter.balance(2), "99.99");
    counter.hub(deposit_of_two(3, 1)).await;
    assert_eq!(counter.ask(owner(2), received).await, "done");
    assert_eq!(counter.balance(2), "8.00", "only the commission is left");
}

#[tokio::test]
async fn what_names_one_bad_item_moves_none() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), receives(&[1, 9])).await, "pack_not_yours");
    assert_eq!(counter.ask(owner(1), receives(&[1, 2])).await, "done");
    assert_eq!(counter.ask(clerk(1), sells(&[(1, 4), (1, TICKETS)])).await, "ticket_unknown");
    assert_eq!(counter.ask(clerk(1), sells(&[(1, 4), (1, 4)])).await, "named_twice");
    assert_eq!(counter.ask(owner(1), Verb::ReturnPacks(refs(&[1, 3]))).await, "pack_not_checked_in");
    assert_eq!(counter.balance(1), "816.00");
    assert_eq!(counter.ask(owner(1), Verb::ReturnPacks(refs(&[1, 2]))).await, "done", "no ticket of them was sold");
    assert_eq!(counter.balance(1), "1000.00", "a return reverses charge and commission exactly");
}

#[tokio::test]
async fn a_pack_of_exactly_sixty_months_is_received_and_one_a_day_older_is_not() {
    let mut counter = Counter::open().await;
    let printed = TimeMs::from_ms(NOW_MS).business_day().plus_months(-60);
    assert_eq!(printed.plus_months(60), TimeMs::from_ms(NOW_MS).business_day());
    counter.feed.send(&counter.writer, [old_batch(2, printed), old_batch(3, printed.plus_days(-1))].concat()).await;
    let received = |text| Verb::ReceivePacks(PackSelection::Packs(vec![parse_pack(text).unwrap()]));
    assert_eq!(counter.ask(owner(1), received("J1001-26002-0000001")).await, "done");
    assert_eq!(counter.ask(owner(1), received("J1001-26003-0000001")).await, "batch_too_old");
}

#[tokio::test]
async fn nothing_is_sold_from_a_held_pack_or_a_paused_batch() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), receives(&[1])).await, "done");
    counter.hub(hold(1, PackHold::Frozen)).await;
    assert_eq!(counter.ask(clerk(1), sells(&[(1, 4)])).await, "pack_held");
    assert_eq!(counter.ask(owner(1), Verb::ReturnPacks(refs(&[1]))).await, "pack_held");
    assert_eq!(counter.told(vec![barcode(1, 2)]).await, ["pack_frozen"]);
    counter.hub(hold(1, PackHold::None)).await;
    let batch = BatchNo::new(1).unwrap();
    counter.hub(master(MasterEvent::BatchSaleChanged { batch, state: SaleState::Stopped })).await;
    assert_eq!(counter.ask(clerk(1), sells(&[(1, 4)])).await, "batch_not_on_sale");
    assert_eq!(counter.ask(clerk(1), pays(1, 2)).await, "done", "a stop ends sales, not claims");
}

#[tokio::test]
async fn a_ticket_of_a_returned_unknown_or_unprinted_pack_is_never_paid() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), receives(&[1])).await, "done");
    assert_eq!(counter.ask(owner(1), Verb::ReturnPacks(refs(&[1]))).await, "done");
    let foreign = SecurityBarcode::parse("G9999260010000001002CCCCCCCCCCCCCCCCAG001").unwrap();
    let told = counter.told(vec![barcode(1, 2), foreign, barcode(2, TICKETS)]).await;
    assert_eq!(told, ["pack_returned", "foreign_ticket", "impossible_ticket"]);
    assert_eq!(counter.ask(clerk(1), pays(1, 2)).await, "pack_returned");
}

#[tokio::test]
async fn without_the_batch_key_the_answer_is_to_try_later() {
    let data = tempfile::tempdir().unwrap();
    init(data.path());
    let connection = store::open(data.path()).unwrap();
    let keys = Arc::new(Keyring::load(&connection, MasterKey::from_bytes([1; 32])).unwrap());
    let (writer, _thread) = Writer::start(connection, keys, clock()).unwrap();
    Feed::new().send(&writer, world()).await;
    let asked = request(clerk(1), "never-repeated", Verb::InquireClaims(vec![barcode(1, 2)]));
    assert_eq!(writer.ask(asked).await.unwrap().judgements[0].answer, ClaimAnswer::TryLater);
}

#[tokio::test]
async fn a_damaged_record_goes_to_manual_review_and_the_tickets_beside_it_are_judged() {
    let mut counter = Counter::open().await;
    for (number, spoil) in [
        (10, (|records| records[RECORD_BYTES * 2 + 20] ^= 1) as fn(&mut Vec<u8>)),
        (11, |records| records.truncate(RECORD_BYTES * 2)),
    ] {
        let EventBody::Pack(PackEvent::Shipped { pack, outlet, node, shipment, mut records }) = shipped(number, 1)
        else {
            panic!("a shipment")
        };
        spoil(&mut records);
        counter.hub(EventBody::Pack(PackEvent::Shipped { pack, outlet, node, shipment, records })).await;
        assert_eq!(counter.told(vec![barcode(number, 2)]).await, ["pack_not_checked_in"]);
        assert_eq!(counter.ask(owner(1), receives(&[number])).await, "done");
        let told = counter.told(vec![barcode(number, 1), barcode(number, 2)]).await;
        assert_eq!(told, ["go_to_city_centre", "manual_review"]);
        assert_eq!(counter.ask(clerk(1), pays(number, 2)).await, "manual_review");
    }
    assert_eq!(counter.told(vec![wrong(10, 2, 'A')]).await, ["wrong_code"], "the right code is asked for all the same");
}

#[tokio::test]
async fn a_level_that_the_signed_list_does_not_have_goes_to_manual_review() {
    let mut counter = Counter::open().await;
    let EventBody::Pack(PackEvent::Shipped { pack, outlet, node, shipment, mut records }) = shipped(10, 1) else {
        panic!("a shipment")
    };
    let sealed = sealed(10, 5, 9);
    records[RECORD_BYTES * 5..RECORD_BYTES * 6].copy_from_slice(&sealed);
    counter.hub(EventBody::Pack(PackEvent::Shipped { pack, outlet, node, shipment, records })).await;
    assert_eq!(counter.ask(owner(1), receives(&[10])).await, "done");
    assert_eq!(counter.told(vec![barcode(10, 5), barcode(10, 6)]).await, ["manual_review", "not_a_winner"]);
}

#[tokio::test]
async fn five_different_wrong_codes_lock_also_in_one_request_from_two_outlets_and_past_a_restart() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), receives(&[1])).await, "done");
    let codes = vec![wrong(1, 2, 'A'), wrong(1, 2, 'A'), wrong(1, 2, 'B'), wrong(1, 2, 'C')];
    assert_eq!(counter.told(codes).await, ["wrong_code"; 4]);
    assert_eq!(counter.ask(clerk(2), Verb::PayClaims(vec![wrong(1, 2, 'D')])).await, "wrong_code");
    let (writer, _) = start(counter.data.path());
    counter.writer = writer;
    assert_eq!(counter.told(vec![wrong(1, 2, 'D')]).await, ["wrong_code"]);
    assert_eq!(counter.told(vec![barcode(1, 2)]).await, ["won"], "four different ones do not lock");
    let last = Verb::InquireClaims(vec![wrong(1, 2, 'E')]);
    assert_eq!(counter.ask(clerk(1), last).await, "done");
    assert_eq!(counter.told(vec![barcode(1, 2), barcode(1, 3)]).await, ["locked", "not_a_winner"]);
    assert_eq!(counter.ask(clerk(1), pays(1, 2)).await, "locked");
}

#[tokio::test]
async fn a_session_opens_only_while_key_password_and_role_are_those_that_were_proven() {
    let mut counter = Counter::open().await;
    let proven = counter.opens(clerk(1));
    let define = |role, password_hash: &str| {
        let (operator, name, password_hash) = (clerk(1).operator, "clerk".to_string(), password_hash.to_string());
        MasterEvent::OperatorDefined { operator, node: node(), name, role, password_hash }
    };
    counter.hub(master(define(OperatorRole::Owner, "$argon2id$x"))).await;
    assert_eq!(counter.ask(clerk(1), proven).await, "login_outdated", "another role and password");
    let proven = counter.opens(clerk(1));
    let (kind, public_key) = (TerminalKind::Dedicated, [9; 32]);
    counter.hub(master(MasterEvent::TerminalDefined { terminal: terminal(1), node: node(), kind, public_key })).await;
    assert_eq!(counter.ask(clerk(1), proven).await, "login_outdated", "another key");
    let proven = counter.opens(clerk(1));
    assert_eq!(counter.ask(clerk(1), proven).await, "done");
}

#[tokio::test]
async fn a_suspended_outlet_may_send_packs_back_and_one_served_elsewhere_only_log_out() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), receives(&[1, 3])).await, "done");
    let opens = counter.opens(owner(1));
    let returns = Verb::ReturnPacks(vec![parse_pack("J1001-26001-0000003").unwrap()]);
    counter.hub(outlet_defined(1, 2, OutletStatus::Active)).await;
    assert_eq!(counter.ask(owner(1), returns.clone()).await, "outlet_elsewhere");
    counter.hub(outlet_defined(1, 1, OutletStatus::Suspended)).await;
    assert_eq!(counter.ask(owner(1), returns).await, "done");
    let cases = [(1, OutletStatus::Suspended, "outlet_suspended"), (2, OutletStatus::Active, "outlet_elsewhere")];
    for (served_by, status, code) in cases {
        counter.hub(outlet_defined(1, served_by, status)).await;
        for verb in [opens.clone(), receives(&[2]), sells(&[(1, 4)]), pays(1, 2)] {
            assert_eq!(counter.ask(owner(1), verb).await, code);
        }
        assert_eq!(counter.ask(owner(1), Verb::CloseSession).await, "done");
    }
    counter.hub(outlet_defined(1, 1, OutletStatus::Active)).await;
    for verb in [opens, receives(&[2]), sells(&[(1, 4)]), pays(1, 2)] {
        assert_eq!(counter.ask(owner(1), verb).await, "done");
    }
}

#[tokio::test]
async fn an_outlet_whose_rows_are_here_is_decided_for_by_nobody_until_it_has_arrived() {
    use jikai_schema::event::HandoffEvent;
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), receives(&[1])).await, "done");
    let (handoff, outlet, from, to) = (1, outlet(1), NodeId::new(2).unwrap(), node());
    let class = format!(
        r#"{{"table":"outlet_class","columns":["outlet","class"],"rows":[[{{"Integer":{}}},{{"Integer":2}}]]}}"#,
        outlet.get()
    );
    let rows = vec![serde_json::from_str(&class).unwrap()];
    let opens = counter.opens(owner(1));
    counter.hub(EventBody::Handoff(HandoffEvent::RowsMoved { handoff, outlet, to, rows })).await;
    for verb in [opens, receives(&[3]), sells(&[(1, 4)]), pays(1, 2), Verb::CloseSession] {
        assert_eq!(counter.ask(owner(1), verb).await, "outlet_arriving");
    }
    assert_eq!(counter.ask(owner(2), pays(1, 2)).await, "try_later", "a ticket of its pack at another outlet");
    let arrived = HandoffEvent::Arrived { handoff, outlet, from, to, balance: Money::ZERO };
    counter.hub(EventBody::Handoff(arrived)).await;
    assert_eq!(counter.ask(owner(1), sells(&[(1, 4)])).await, "done");
    assert_eq!(counter.ask(owner(2), pays(1, 2)).await, "done");
}
