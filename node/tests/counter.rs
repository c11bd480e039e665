//! What a terminal may do, and each refusal beside its success, through the real writer and store.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod outlet;

use jikai_node::decide::{PackSelection, Verb};
use jikai_node::store::{self, OwnLog};
use jikai_node::writer::{WriteError, Writer};
use jikai_schema::barcode::{SecurityBarcode, parse_pack, parse_ticket};
use jikai_schema::chain::ChainHash;
use jikai_schema::codec::decode_event;
use jikai_schema::event::*;
use jikai_schema::id::BatchNo;
use jikai_schema::rules::ClaimAnswer;
use jikai_schema::time::TimeMs;
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

    async fn ask(&mut self, caller: jikai_node::decide::Caller, verb: Verb) -> String {
        self.keys_used += 1;
        outcome(&self.writer.ask(request(caller, &format!("key-{}", self.keys_used), verb)).await)
    }

    async fn hub(&mut self, event: MasterEvent) {
        self.feed.send(&self.writer, vec![master(event)]).await;
    }

    async fn answers(&mut self, codes: &[(u32, u16)]) -> Vec<ClaimAnswer> {
        let codes = codes.iter().map(|(pack, ticket)| barcode(*pack, *ticket)).collect();
        self.keys_used += 1;
        let asked = request(owner(1), &format!("answers-{}", self.keys_used), Verb::InquireClaims(codes));
        self.writer.ask(asked).await.unwrap().judgements.iter().map(|judgement| judgement.answer).collect()
    }

    /// Events of a kind in the node's log.
    fn count(&self, kind: &str) -> usize {
        let store = store::open_reader(self.data.path()).unwrap();
        let names = BatchNames::load(&store).unwrap();
        let events = OwnLog(&store).read(1, 10_000, usize::MAX).unwrap();
        let view = |bytes: &[u8]| EventView::new(&decode_event(bytes).unwrap(), bytes, ChainHash::GENESIS, &names);
        events.iter().filter(|event| view(&event.bytes).event["kind"] == kind).count()
    }
}

fn packs(numbers: &[u32]) -> Verb {
    let packs = numbers.iter().map(|number| parse_pack(&format!("J1001-26001-{number:07}")).unwrap());
    Verb::ReceivePacks(PackSelection::Packs(packs.collect()))
}

fn returns(number: u32) -> Verb {
    Verb::ReturnPacks(vec![parse_pack(&format!("J1001-26001-{number:07}")).unwrap()])
}

fn sells(pack: u32, ticket: u16) -> Verb {
    Verb::SellTickets(vec![parse_ticket(&format!("J1001-26001-{pack:07}-{ticket:03}")).unwrap()])
}

fn pays(codes: &[(u32, u16)]) -> Verb {
    Verb::PayClaims(codes.iter().map(|(pack, ticket)| barcode(*pack, *ticket)).collect())
}

#[tokio::test]
async fn packs_are_received_only_by_the_owner_once_and_while_the_money_lasts() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(clerk(1), packs(&[1])).await, "owner_required");
    assert_eq!(counter.ask(owner(1), packs(&[9])).await, "pack_not_yours");
    assert_eq!(counter.ask(owner(1), packs(&[99])).await, "pack_not_yours");
    assert_eq!(counter.ask(owner(1), packs(&[1, 1])).await, "named_twice");
    assert_eq!(counter.ask(owner(1), Verb::ReceivePacks(PackSelection::Shipment(6))).await, "shipment_unknown");
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "done");
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "pack_already_checked_in");
    assert_eq!(counter.ask(owner(1), Verb::ReceivePacks(PackSelection::Shipment(5))).await, "done");
    assert_eq!(counter.ask(owner(1), Verb::ReceivePacks(PackSelection::Shipment(5))).await, "shipment_unknown");
    // 1000.00 − 8 × 100.00 + 8 × 8.00 = 264.00: two more packs, not three.
    let more = (10..=12).map(|number| shipped(number, 1)).collect();
    counter.feed.send(&counter.writer, more).await;
    assert_eq!(counter.ask(owner(1), packs(&[10, 11, 12])).await, "insufficient_balance");
    assert_eq!(counter.ask(owner(1), packs(&[10, 11])).await, "done");
    assert_eq!(counter.ask(owner(1), packs(&[12])).await, "insufficient_balance");
}

#[tokio::test]
async fn a_consignment_larger_than_a_request_is_checked_in_by_asking_again() {
    let mut counter = Counter::open().await;
    let more = (1_000..1_300).map(|number| shipped(number, 1)).chain([deposit(2, "40000.00")]).collect();
    counter.feed.send(&counter.writer, more).await;
    let left = |counter: &Counter| -> i64 {
        let store = store::open_reader(counter.data.path()).unwrap();
        store
            .query_row("SELECT count(*) FROM pack WHERE shipment = 5 AND outlet = 13010001 AND state = 0", [], |row| {
                row.get(0)
            })
            .unwrap()
    };
    let receive = || Verb::ReceivePacks(PackSelection::Shipment(5));
    assert_eq!((counter.ask(owner(1), receive()).await.as_str(), left(&counter)), ("done", 308 - 256));
    assert_eq!((counter.ask(owner(1), receive()).await.as_str(), left(&counter)), ("done", 0));
    assert_eq!(counter.ask(owner(1), receive()).await, "shipment_unknown");
}

#[tokio::test]
async fn a_pack_is_not_put_on_sale_while_its_batch_outlet_or_a_hold_forbids() {
    let mut counter = Counter::open().await;
    let batch = BatchNo::new(1).unwrap();
    counter.hub(MasterEvent::BatchSaleChanged { batch, state: SaleState::Paused }).await;
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "batch_not_on_sale");
    counter.hub(MasterEvent::BatchSaleChanged { batch, state: SaleState::Open }).await;
    let hold = |hold| vec![EventBody::Pack(PackEvent::HoldChanged { pack: pack(1), node: node(), hold })];
    counter.feed.send(&counter.writer, hold(PackHold::Frozen)).await;
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "pack_held");
    counter.feed.send(&counter.writer, hold(PackHold::None)).await;
    let suspend =
        |status| MasterEvent::OutletDefined { outlet: outlet(1), node: node(), township: 1, name: "x".into(), status };
    counter.hub(suspend(OutletStatus::Suspended)).await;
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "outlet_suspended");
    counter.hub(suspend(OutletStatus::Active)).await;
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "done");
}

#[tokio::test]
async fn only_an_untouched_pack_goes_back() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), returns(1)).await, "pack_not_checked_in");
    assert_eq!(counter.ask(owner(1), packs(&[1, 2, 3])).await, "done");
    assert_eq!(counter.ask(clerk(1), returns(1)).await, "owner_required");
    assert_eq!(counter.ask(owner(1), sells(1, 4)).await, "done");
    assert_eq!(counter.ask(owner(1), returns(1)).await, "pack_touched");
    assert_eq!(counter.ask(owner(1), pays(&[(2, 2)])).await, "done");
    assert_eq!(counter.ask(owner(1), returns(2)).await, "pack_touched");
    assert_eq!(counter.ask(owner(1), returns(3)).await, "done");
    for verb in [returns(3), packs(&[3]), sells(3, 4)] {
        assert_eq!(counter.ask(owner(1), verb).await, "pack_returned");
    }
}

#[tokio::test]
async fn a_pack_that_was_sold_out_is_neither_received_nor_sent_back() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "done");
    for ticket in 0..TICKETS {
        assert_eq!(counter.ask(clerk(1), sells(1, ticket)).await, "done");
    }
    for verb in [returns(1), packs(&[1])] {
        assert_eq!(counter.ask(owner(1), verb).await, "pack_sold_out");
    }
    assert_eq!(counter.ask(clerk(1), sells(1, 4)).await, "ticket_already_sold");
}

#[tokio::test]
async fn a_pack_of_which_a_ticket_was_scratched_does_not_go_back_whatever_the_ticket_won() {
    let mut counter = Counter::open().await;
    assert_eq!(
        counter.answers(&[(5, 2)]).await,
        [ClaimAnswer::PackNotCheckedIn],
        "no code is looked at before check-in"
    );
    assert_eq!(counter.ask(owner(1), packs(&[1, 2, 3, 4, 5])).await, "done");
    assert_eq!(counter.answers(&[(1, 5), (1, 6), (1, 2)]).await.len(), 3);
    assert_eq!(counter.answers(&[(1, 7), (1, 5)]).await.len(), 2);
    let wrong = SecurityBarcode::parse(&wrong_code(2, 5, 'A')).unwrap();
    assert_eq!(counter.ask(clerk(1), Verb::InquireClaims(vec![wrong])).await, "done");
    assert_eq!(counter.ask(clerk(1), pays(&[(3, 5)])).await, "not_a_winner", "a refused payment tells it too");
    assert_eq!(counter.ask(clerk(1), pays(&[(4, 2), (4, 2)])).await, "named_twice");
    assert_eq!(counter.count("ticket_scratched"), 3, "once for each of the packs 1, 3 and 4");
    let (writer, _) = start(counter.data.path());
    counter.writer = writer;
    for (number, told) in [(1, "pack_touched"), (2, "done"), (3, "pack_touched"), (4, "pack_touched"), (5, "done")] {
        assert_eq!(counter.ask(owner(1), returns(number)).await, told, "pack {number}");
    }
    assert_eq!(counter.ask(clerk(1), pays(&[(4, 2)])).await, "done", "what won is paid");
}

#[tokio::test]
async fn a_number_that_was_not_printed_is_told_from_a_foreign_ticket_and_noted_once() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "done");
    let impossible = ClaimAnswer::ImpossibleTicket;
    assert_eq!(counter.answers(&[(101, 0), (101, 0), (1, TICKETS)]).await, [impossible; 3]);
    assert_eq!(counter.ask(clerk(2), pays(&[(101, 0)])).await, "impossible_ticket");
    assert!(matches!(counter.answers(&[(100, 0)]).await[..], [ClaimAnswer::NotDecidableHere]), "the last of the batch");
    assert_eq!(counter.count("impossible_ticket_presented"), 2);
    let foreign = SecurityBarcode::parse(&code(1, 2).replace("J1001", "J1002")).unwrap();
    assert_eq!(counter.ask(clerk(1), Verb::PayClaims(vec![foreign])).await, "foreign_ticket");
    assert_eq!(counter.ask(owner(1), returns(1)).await, "done", "nothing of the pack was touched");
}

#[tokio::test]
async fn a_ticket_is_sold_once_from_a_pack_on_sale_here() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(clerk(1), sells(1, 4)).await, "pack_not_checked_in");
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "done");
    assert_eq!(counter.ask(clerk(1), sells(1, 4)).await, "done");
    assert_eq!(counter.ask(clerk(1), sells(1, 4)).await, "ticket_already_sold");
    assert_eq!(counter.ask(clerk(1), sells(1, TICKETS)).await, "ticket_unknown");
    assert_eq!(counter.ask(owner(2), sells(1, 5)).await, "pack_not_yours");
    assert_eq!(counter.ask(owner(1), pays(&[(1, 2)])).await, "done");
    assert_eq!(counter.ask(clerk(1), sells(1, 2)).await, "ticket_already_paid");
}

#[tokio::test]
async fn every_answer_to_a_presented_ticket_is_told_apart() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.answers(&[(1, 2)]).await, [ClaimAnswer::PackNotCheckedIn]);
    assert_eq!(counter.ask(owner(1), packs(&[1, 2])).await, "done");
    let told: Vec<&str> =
        counter.answers(&[(1, 0), (1, 1), (1, 2), (1, 3), (50, 0)]).await.iter().map(ClaimAnswer::code).collect();
    assert_eq!(told, ["go_to_province_centre", "go_to_city_centre", "won", "not_a_winner", "not_decidable_here"]);
    assert_eq!(counter.ask(clerk(1), pays(&[(1, 2)])).await, "done");
    assert!(matches!(counter.answers(&[(1, 2)]).await[..], [ClaimAnswer::AlreadyPaidHere { .. }]));
    assert_eq!(counter.ask(owner(2), pays(&[(1, 2)])).await, "already_paid_elsewhere");
    assert_eq!(counter.answers(&[(101, 0)]).await, [ClaimAnswer::ImpossibleTicket]);
    for (hold, told) in
        [(PackHold::Stolen, "pack_stolen"), (PackHold::Lost, "pack_lost"), (PackHold::Damaged, "pack_damaged")]
    {
        let body = EventBody::Pack(PackEvent::HoldChanged { pack: pack(2), node: node(), hold });
        counter.feed.send(&counter.writer, vec![body]).await;
        assert_eq!(counter.ask(owner(1), pays(&[(2, 2)])).await, told);
    }
    let ends_at_ms = TimeMs::from_ms(NOW_MS);
    counter.hub(MasterEvent::RedemptionEndAnnounced { batch: BatchNo::new(1).unwrap(), ends_at_ms }).await;
    assert_eq!(counter.answers(&[(1, 3)]).await, [ClaimAnswer::RedemptionClosed]);
}

#[tokio::test]
async fn several_tickets_are_paid_all_or_none() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), packs(&[1, 2])).await, "done");
    let before = counter.writer.head().borrow().seq;
    assert_eq!(counter.ask(clerk(1), pays(&[(1, 2), (2, 3)])).await, "not_a_winner");
    assert_eq!(counter.ask(clerk(1), pays(&[(1, 2), (1, 2)])).await, "named_twice");
    assert_eq!(counter.count("ticket_scratched"), 2, "the code of either pack was right");
    assert_eq!(counter.writer.head().borrow().seq, before + 2, "a refused request leaves no other trace");
    assert_eq!(counter.ask(clerk(1), pays(&[(1, 2), (2, 2)])).await, "done");
}

#[tokio::test]
async fn five_different_wrong_codes_lock_a_ticket_and_a_repeated_one_counts_once() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "done");
    let wrong = |variant| {
        Verb::PayClaims(vec![jikai_schema::barcode::SecurityBarcode::parse(&wrong_code(1, 2, variant)).unwrap()])
    };
    for variant in ['A', 'A', 'B', 'B', 'C', 'D', 'A'] {
        assert_eq!(counter.ask(clerk(1), wrong(variant)).await, "wrong_code");
    }
    assert!(
        matches!(counter.answers(&[(1, 2)]).await[..], [ClaimAnswer::Won { .. }]),
        "four different ones do not lock"
    );
    assert_eq!(counter.ask(clerk(1), wrong('E')).await, "wrong_code");
    assert_eq!(counter.ask(clerk(1), pays(&[(1, 2)])).await, "locked");
}

#[tokio::test]
async fn a_repeated_key_gives_the_same_events_also_after_a_restart_and_another_body_is_refused() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "done");
    let paid = request(clerk(1), "the-same-key-0001", pays(&[(1, 2)]));
    let first = counter.writer.ask(paid.clone()).await.unwrap();
    assert_eq!(counter.writer.ask(paid.clone()).await.unwrap(), first);
    let other = request(clerk(1), "the-same-key-0001", sells(1, 5));
    assert_eq!(outcome(&counter.writer.ask(other).await), "idempotency_key_reused");
    let Counter { data, writer, .. } = counter;
    drop(writer);
    let (writer, _) = start(data.path());
    assert_eq!(writer.ask(paid).await.unwrap(), first);
    assert_eq!(writer.head().borrow().seq, first.seq);
}

#[tokio::test]
async fn a_gap_or_fork_of_the_feed_is_refused_and_a_poison_event_waits_in_quarantine() {
    let mut counter = Counter::open().await;
    let next = counter.feed.batch(vec![deposit(7, "1.00")]);
    let gap = jikai_node::writer::DownBatch { first_seq: next.first_seq + 1, ..next.clone() };
    let fork = jikai_node::writer::DownBatch { prev_hash: next.last_hash, ..next.clone() };
    assert!(counter.writer.apply_down(gap).await.is_err());
    assert!(counter.writer.apply_down(fork).await.is_err());
    assert!(counter.writer.apply_down(next.clone()).await.is_ok());
    assert!(counter.writer.apply_down(next).await.is_err(), "a run is applied once");
    let unknown_pack = PackEvent::HoldChanged { pack: pack(77), node: node(), hold: PackHold::Lost };
    counter.feed.send(&counter.writer, vec![EventBody::Pack(unknown_pack), deposit(8, "2.00")]).await;
    let store = store::open_reader(counter.data.path()).unwrap();
    let count = |sql: &str| store.query_row::<i64, _, _>(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(count("SELECT count(*) FROM quarantine"), 1);
    assert_eq!(count("SELECT count(*) FROM deposit WHERE deposit = 8"), 1);
}

#[tokio::test]
async fn the_code_that_locks_a_ticket_locks_it_for_the_codes_behind_it_in_one_request_too() {
    let mut counter = Counter::open().await;
    assert_eq!(counter.ask(owner(1), packs(&[1])).await, "done");
    let wrong = |letter| SecurityBarcode::parse(&wrong_code(1, 2, letter)).unwrap();
    let mut codes: Vec<_> = ('A'..='G').map(wrong).collect();
    codes.insert(1, codes[0]);
    codes.push(barcode(1, 2));
    let asked = request(owner(1), "seven-wrong-codes", Verb::InquireClaims(codes));
    let told: Vec<&str> =
        counter.writer.ask(asked).await.unwrap().judgements.iter().map(|judgement| judgement.answer.code()).collect();
    let expected = [["wrong_code"; 6].as_slice(), ["locked"; 3].as_slice()].concat();
    assert_eq!(told, expected, "one of them was the same mistake twice");
    let store = store::open_reader(counter.data.path()).unwrap();
    let count: i64 = store.query_row("SELECT wrong_code_count FROM ticket_lock", [], |row| row.get(0)).unwrap();
    assert_eq!(count, 5);
}

#[tokio::test]
async fn a_full_disk_refuses_the_request_and_leaves_the_store_whole() {
    let data = tempfile::tempdir().unwrap();
    init(data.path());
    let (writer, keys) = start(data.path());
    Feed::new().send(&writer, world()).await;
    drop(writer);
    // The page limit stands for the end of the disk: SQLite reports the same error for both.
    let connection = store::open(data.path()).unwrap();
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    connection.pragma_update(None, "max_page_count", pages + 2).unwrap();
    let (writer, _thread) = Writer::start(connection, keys, clock()).unwrap();
    let mut refused = None;
    for number in 0..200 {
        let verb = Verb::NoteLoginFailure { failures: number };
        let result = writer.ask(request(owner(1), &format!("session-{number}"), verb)).await;
        if let Err(error) = result {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(WriteError::StorageFull)), "{refused:?}");
    let seq = writer.head().borrow().seq;
    drop(writer);
    let (writer, _) = start(data.path());
    assert_eq!(writer.head().borrow().seq, seq, "what was acknowledged is there, what was refused is not");
    assert_eq!(outcome(&writer.ask(request(owner(1), "room-again-00001", packs(&[1]))).await), "done");
    let store = store::open_reader(data.path()).unwrap();
    let whole: String = store.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(whole, "ok");
    let events = OwnLog(&store).read(1, 1_000, usize::MAX).unwrap();
    let head = events.iter().fold(jikai_schema::chain::ChainHash::GENESIS, |hash, event| hash.next(&event.bytes));
    assert_eq!(events.last().map(|event| event.hash), Some(head), "the chain is whole");
}
