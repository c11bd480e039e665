use jikai_schema::command::{Command, Outcome, Refusal};
use jikai_schema::event::{MasterEvent, OutletStatus, PackHold, SaleState};
use jikai_schema::id::{NodeId, PackId};
use jikai_schema::money::Money;

use crate::province::*;

fn done(events: u64, existing: u64) -> Outcome {
    Outcome::Done { events, existing }
}

#[test]
fn each_record_lies_in_one_place() {
    let mut hub = Hub::set_up();
    assert_eq!(hub.ask(ship(7, 13_010_002, 4..=6)), done(3, 0));
    assert_eq!(hub.count("SELECT count(*) FROM warehouse"), 4);
    assert_eq!(hub.count("SELECT count(*) FROM pack_seal"), 6);
    assert_eq!(hub.count("SELECT count(*) FROM warehouse JOIN pack_seal USING (pack)"), 0);
    assert_eq!(hub.count("SELECT count(*) FROM pack_seal WHERE length(records) = 240"), 6);
}

#[test]
fn a_consignment_may_grow_and_be_sent_again() {
    let mut hub = Hub::set_up();
    assert_eq!(hub.ask(ship(1, 13_010_001, 1..=2)), done(0, 2));
    let more = Command::ShipPacks { shipment: 1, outlet: outlet(13_010_001), packs: vec![pack(2), pack(5), pack(4)] };
    assert_eq!(hub.ask(more), done(2, 1));
}

#[test]
fn a_pack_goes_out_once_to_one_outlet_that_may_trade() {
    let mut hub = Hub::set_up();
    assert_eq!(
        hub.refuse(ship(1, 13_010_002, 5..=5)),
        Refusal::ExistsWithOther { kind: "shipment".into(), id: "1".into() }
    );
    assert_eq!(hub.refuse(ship(9, 13_010_001, 1..=1)).code(), "exists_with_other");
    assert_eq!(hub.refuse(ship(9, 13_010_002, 4..=11)), Refusal::PackNotInWarehouse { pack: pack(11) });
    assert_eq!(hub.refuse(ship(9, 13_019_999, 4..=4)).code(), "unknown");
    assert_eq!(hub.refuse(ship(0, 13_010_002, 4..=4)).code(), "invalid_shipment");
    assert_eq!(hub.refuse(ship(u64::MAX, 13_010_002, 4..=4)).code(), "invalid_shipment");
    let twice = Command::ShipPacks { shipment: 9, outlet: outlet(13_010_002), packs: vec![pack(4), pack(4)] };
    assert_eq!(hub.refuse(twice).code(), "invalid_shipment");
    let suspended = MasterEvent::OutletDefined {
        outlet: outlet(13_010_002),
        node: NodeId::HUB,
        township: 130_102_001,
        name: "closed".into(),
        status: OutletStatus::Suspended,
    };
    hub.ask(Command::DefineMaster(vec![suspended]));
    assert_eq!(hub.refuse(ship(9, 13_010_002, 4..=4)).code(), "outlet_suspended");
}

#[test]
fn a_stopped_batch_leaves_the_warehouse_no_more() {
    let mut hub = Hub::set_up();
    hub.ask(Command::ChangeSale { batch: batch(), state: SaleState::Stopped, approval: None });
    assert_eq!(hub.refuse(ship(9, 13_010_002, 4..=4)).code(), "batch_stopped");
}

#[test]
fn a_hold_is_put_on_and_taken_off_shipped_packs() {
    let mut hub = Hub::set_up();
    let hold = |pack: PackId, hold| Command::HoldPack { pack, hold };
    assert_eq!(hub.ask(hold(pack(1), PackHold::Stolen)), done(1, 0));
    assert_eq!(hub.ask(hold(pack(1), PackHold::Stolen)), done(0, 1));
    assert_eq!(hub.ask(hold(pack(1), PackHold::None)), done(1, 0));
    assert_eq!(hub.refuse(hold(pack(8), PackHold::Frozen)).code(), "unknown");
}

#[test]
fn a_deposit_is_credited_once() {
    let mut hub = Hub::set_up();
    let credit = |number, to, amount: &str| Command::CreditDeposits(vec![deposit(number, to, amount)]);
    assert_eq!(hub.ask(credit(1, 13_010_001, "1000.00")), done(0, 1));
    let both = vec![deposit(3, 13_010_001, "5.00"), deposit(3, 13_010_001, "5.00"), deposit(4, 13_020_001, "6.00")];
    assert_eq!(hub.ask(Command::CreditDeposits(both)), done(2, 1));
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account WHERE account >> 44 = 1"), 151_100);
    assert_eq!(hub.count("SELECT sum(balance_fen) FROM account"), 0);
    assert_eq!(hub.refuse(credit(1, 13_010_001, "1000.01")).code(), "exists_with_other");
    assert_eq!(hub.refuse(credit(1, 13_010_002, "1000.00")).code(), "exists_with_other");
    assert_eq!(hub.refuse(credit(9, 13_019_999, "1.00")).code(), "unknown");
    for amount in ["0.00", "-1.00", "10000000.01"] {
        assert_eq!(hub.refuse(credit(9, 13_010_001, amount)).code(), "invalid_amount", "{amount}");
    }
    for number in [0, u64::MAX] {
        assert_eq!(hub.refuse(credit(number, 13_010_001, "1.00")).code(), "invalid_deposit");
    }
    let split = vec![deposit(9, 13_010_001, "1.00"), deposit(9, 13_010_001, "2.00")];
    assert_eq!(hub.refuse(Command::CreditDeposits(split)).code(), "exists_with_other");
    let mut huge = deposit(9, 13_010_001, "1.00");
    huge.amount = Money::from_fen(i64::MAX);
    assert_eq!(hub.refuse(Command::CreditDeposits(vec![huge, huge])).code(), "amount_too_large");
}
