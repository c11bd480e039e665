use jikai_schema::command::{Command, Outcome, Refusal};
use jikai_schema::event::{BatchFacts, SaleState};
use jikai_schema::id::BatchNo;
use jikai_schema::time::TimeMs;

use crate::province::*;

fn done(events: u64, existing: u64) -> Outcome {
    Outcome::Done { events, existing }
}

fn reserve(code: &str) -> Command {
    Command::ReserveBatch { game: game(), code: code.parse().unwrap() }
}

fn import(facts: BatchFacts) -> Command {
    Command::ImportBatch { facts, wrapped_key: vec![9; 60] }
}

/// A province with its batch reserved and not imported.
fn reserved() -> Hub {
    let mut hub = Hub::empty();
    set_up().into_iter().take(2).for_each(|command| drop(hub.ask(command)));
    hub
}

#[test]
fn a_batch_gets_one_number_however_often_it_is_reserved() {
    let mut hub = reserved();
    let number = |number| Outcome::Batch { batch: BatchNo::new(number).unwrap() };
    assert_eq!(hub.ask(reserve("26001")), number(1));
    assert_eq!(hub.ask(reserve("26002")), number(2));
    assert_eq!(hub.ask(reserve("26001")), number(1));
    let unknown = Command::ReserveBatch { game: "J1001".parse().unwrap(), code: code() };
    assert_eq!(hub.refuse(unknown), Refusal::Unknown { kind: "game".into(), id: "J1001".into() });
}

#[test]
fn a_batch_is_imported_once_and_keeps_its_first_key() {
    let mut hub = reserved();
    assert_eq!(hub.ask(import(facts())), done(1, 0));
    let again = Command::ImportBatch { facts: facts(), wrapped_key: vec![1; 60] };
    assert_eq!(hub.ask(again), done(0, 1));
    let kept: Vec<u8> = hub.state.query_row("SELECT wrapped FROM batch_key", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, vec![9; 60]);
    let other = BatchFacts { package_hash: [6; 32], ..facts() };
    assert_eq!(hub.refuse(import(other)), Refusal::ExistsWithOther { kind: "batch".into(), id: "G0201-26001".into() });
}

#[test]
fn a_batch_with_impossible_facts_is_refused() {
    let check = |change: fn(&mut BatchFacts), code: &str| {
        let mut bad = facts();
        change(&mut bad);
        assert_eq!(reserved().refuse(import(bad.clone())).code(), code, "{bad:?}");
    };
    check(|facts| facts.batch = BatchNo::new(2).unwrap(), "batch_not_reserved");
    check(|facts| facts.code = "26009".parse().unwrap(), "batch_not_reserved");
    check(|facts| facts.game = "J1001".parse().unwrap(), "unknown");
    check(|facts| facts.tickets_per_pack = 0, "invalid_batch_size");
    check(|facts| facts.tickets_per_pack = 1001, "invalid_batch_size");
    check(|facts| facts.packs = 0, "invalid_batch_size");
    check(|facts| facts.packs_per_case = 0, "invalid_batch_size");
    check(|facts| facts.levels[0].amount = yuan("100.01"), "prize_fund_mismatch");
    check(|facts| facts.levels.clear(), "prize_fund_mismatch");
    check(|facts| facts.levels[1].level = 7, "invalid_prize_list");
    check(|facts| facts.levels[1].ticket_count = 0, "invalid_prize_list");
    check(|facts| facts.levels[1].amount = yuan("-1.00"), "invalid_prize_list");
    check(|facts| facts.levels[1].amount = jikai_schema::money::Money::from_fen(i64::MAX), "invalid_prize_list");
    let keyless = Command::ImportBatch { facts: facts(), wrapped_key: Vec::new() };
    assert_eq!(reserved().refuse(keyless).code(), "invalid_batch_key");
}

#[test]
fn packs_are_stocked_once_wherever_they_are_now() {
    let mut hub = Hub::set_up();
    assert_eq!(hub.ask(stock(1..=PACKS)), done(0, u64::from(PACKS)), "also the shipped ones");
    assert_eq!(hub.count("SELECT count(*) FROM warehouse"), 7);
    for number in [1, 5] {
        let other = Command::StockPacks { batch: batch(), packs: vec![(number, records(99))] };
        assert_eq!(hub.refuse(other).code(), "exists_with_other", "pack {number}");
    }
}

#[test]
fn packs_that_the_batch_does_not_have_are_refused() {
    let mut hub = Hub::empty();
    set_up().into_iter().take(3).for_each(|command| drop(hub.ask(command)));
    let mut refuse = |packs| hub.refuse(Command::StockPacks { batch: batch(), packs }).code().to_string();
    assert_eq!(refuse(vec![(0, records(0))]), "invalid_pack_number");
    assert_eq!(refuse(vec![(PACKS + 1, records(1))]), "invalid_pack_number");
    assert_eq!(refuse(vec![(2, records(2)), (2, records(2))]), "invalid_pack_number");
    assert_eq!(refuse(vec![(1, records(1)), (2, vec![0; 3])]), "invalid_records");
    let unknown = Command::StockPacks { batch: BatchNo::new(9).unwrap(), packs: Vec::new() };
    assert_eq!(hub.refuse(unknown).code(), "unknown");
}

#[test]
fn a_sale_follows_its_life_cycle_and_stops_for_good() {
    let mut hub = Hub::set_up();
    let change = |state| Command::ChangeSale { batch: batch(), state, approval: None };
    assert_eq!(hub.ask(change(SaleState::Open)), done(0, 1));
    assert_eq!(hub.ask(change(SaleState::Paused)), done(1, 0));
    assert_eq!(hub.ask(change(SaleState::Open)), done(1, 0), "the approval is remembered");
    assert_eq!(hub.refuse(change(SaleState::Imported)).code(), "sale_transition");
    assert_eq!(hub.ask(change(SaleState::Stopped)), done(1, 0));
    for state in [SaleState::Open, SaleState::Paused, SaleState::Imported] {
        assert_eq!(hub.refuse(change(state)).code(), "sale_transition");
    }
    let unknown = Command::ChangeSale { batch: BatchNo::new(9).unwrap(), state: SaleState::Open, approval: None };
    assert_eq!(hub.refuse(unknown).code(), "unknown");
}

#[test]
fn a_sale_opens_only_with_an_approval_and_a_notice_of_ten_days() {
    let mut hub = Hub::empty();
    set_up().into_iter().take(3).for_each(|command| drop(hub.ask(command)));
    let open = |number: &str, day: &str| {
        let approval = Some((number.to_string(), day.parse().unwrap()));
        Command::ChangeSale { batch: batch(), state: SaleState::Open, approval }
    };
    let without = Command::ChangeSale { batch: batch(), state: SaleState::Open, approval: None };
    assert_eq!(hub.refuse(without).code(), "approval_missing");
    assert_eq!(hub.refuse(open(" ", "2026-01-01")).code(), "approval_missing");
    assert_eq!(hub.refuse(open("A", "2026-11-14")).code(), "notice_too_recent");
    let pause = Command::ChangeSale { batch: batch(), state: SaleState::Paused, approval: None };
    assert_eq!(hub.refuse(pause).code(), "sale_transition");
    assert_eq!(hub.ask(open("A", "2026-11-13")), done(1, 0));
}

#[test]
fn the_end_of_redemption_is_announced_before_it_comes_and_never_moved_forward() {
    let mut hub = Hub::set_up();
    let announce =
        |ends_at_ms| Command::AnnounceRedemptionEnd { batch: batch(), ends_at_ms: TimeMs::from_ms(ends_at_ms) };
    assert_eq!(hub.refuse(announce(NOW_MS)).code(), "redemption_end_past");
    assert_eq!(hub.ask(announce(NOW_MS + 1000)), done(1, 0));
    assert_eq!(hub.ask(announce(NOW_MS + 1000)), done(0, 1));
    assert_eq!(hub.ask(announce(NOW_MS + 2000)), done(1, 0));
    assert_eq!(hub.refuse(announce(NOW_MS + 1500)).code(), "redemption_end_earlier");
    let unknown =
        Command::AnnounceRedemptionEnd { batch: BatchNo::new(9).unwrap(), ends_at_ms: TimeMs::from_ms(i64::MAX) };
    assert_eq!(hub.refuse(unknown).code(), "unknown");
}
