use std::path::Path;

use jikai_schema::command::{ChangeCommand, ChangeSubject, Command, Outcome};
use jikai_schema::event::{Actor, PackHold};
use jikai_schema::id::{OutletClass, OutletId};
use serde_json::Value;

use super::{Filter, Format, Writer, search};
use crate::audit::tests::{intruder, small_hub};
use crate::province::{NOW_MS, Running, deposit, pack, yuan};

/// The result of a search, by its `log/position`.
fn places(data: &Path, filter: &Filter) -> Vec<String> {
    let mut places = Vec::new();
    let count = search(data, filter, |found| {
        places.push(format!("{}/{}", found.log, found.seq));
        Ok(true)
    });
    assert_eq!(count.unwrap() as usize, places.len());
    places
}

fn written(data: &Path, filter: &Filter, format: Format) -> String {
    let mut writer = Writer::begin(Vec::new(), format).unwrap();
    search(data, filter, |found| writer.write(found).map(|()| true)).unwrap();
    String::from_utf8(writer.finish().unwrap()).unwrap()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_string())
}

#[test]
fn events_are_found_by_outlet_ticket_pack_amount_kind_log_and_by_all_of_them() {
    let data = small_hub();
    let found = |filter: Filter| places(data.path(), &filter);
    let none = Filter::default;
    assert_eq!(found(Filter { item: some("G0201-26001-0000001-003"), ..none() }), ["1/2"]);
    let mut pack = found(Filter { item: some("G0201-26001-0000003"), ..none() });
    pack.sort();
    assert_eq!(pack, ["0/19", "2/1", "2/2"], "shipped, checked in, one ticket sold");
    assert_eq!(found(Filter { item: some("G0201-26001-00000"), ..none() }), [""; 0]);
    let prizes = Filter { kind: some("ticket_claimed"), amount_min: Some(yuan("10.00")), ..none() };
    assert_eq!(found(prizes.clone()), ["1/2"]);
    assert_eq!(found(Filter { amount_max: Some(yuan("9.99")), amount_min: None, ..prizes.clone() }), [""; 0]);
    assert_eq!(found(Filter { amount_min: Some(yuan("10.01")), ..prizes }), [""; 0]);
    assert_eq!(found(Filter { log: Some(2), ..none() }), ["2/1", "2/2"], "what is in quarantine cannot be read");
    let outlet = Filter { outlet: some("13020001"), kind: some("deposit_credited"), ..none() };
    assert_eq!(found(outlet.clone()).len(), 1);
    assert_eq!(found(Filter { outlet: some("13020002"), ..outlet }).len(), 0);
    assert_eq!(found(Filter { terminal: some("1301000101"), ..none() }).len(), 1);
    assert_eq!(found(Filter { person: some("1301000101"), ..none() }).len(), 1);
    assert_eq!(found(Filter { person: some("nobody"), ..none() }).len(), 0);
}

#[test]
fn all_logs_are_merged_by_time_and_a_period_is_days_or_instants() {
    let data = small_hub();
    let mut stamps = Vec::new();
    search(data.path(), &Filter::default(), |found| {
        stamps.push(found.at_ms.ms());
        Ok(true)
    })
    .unwrap();
    assert!(stamps.is_sorted() && stamps.len() > 30);
    let within = |from: &str, to: &str| {
        let mut filter = Filter::default();
        filter.since(from).unwrap();
        filter.until(to).unwrap();
        places(data.path(), &filter).len()
    };
    assert_eq!(within("2026-11-23", "2026-11-23"), stamps.len());
    assert_eq!(within("2026-11-24", "2026-11-25"), 0);
    assert_eq!(within("2026-11-01", "2026-11-22"), 0);
    let after = stamps.iter().filter(|at| **at >= NOW_MS + 3).count();
    assert_eq!(within("2026-11-23T10:00:00.003+08:00", "2026-11-23"), after);
    for bad in ["yesterday", "2026-1-1", "2026-11-23T10:00:00"] {
        assert!(Filter::default().since(bad).is_err() && Filter::default().until(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_result_ends_when_enough_was_taken() {
    let data = small_hub();
    let mut left = 5;
    let count = search(data.path(), &Filter::default(), |_| {
        left -= 1;
        Ok(left > 0)
    });
    assert_eq!(count.unwrap(), 5);
}

#[test]
fn csv_opens_in_excel_holds_no_formula_and_neither_form_holds_hashes_of_passwords() {
    let data = small_hub();
    let csv = written(data.path(), &Filter::default(), Format::Csv);
    assert!(csv.starts_with("\u{feff}time,log,position,person,"));
    assert!(csv.contains("燕赵红") && csv.contains("张三") && csv.contains("2026-11-23T10:00:00."));
    let lines = written(data.path(), &Filter::default(), Format::JsonLines);
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    assert_eq!(lines.lines().count() + 1, csv.lines().count());
    assert!(!csv.contains("argon2") && !lines.contains("argon2"));
    // A person whose name is a formula.
    let evil = super::Found { person: "=HYPERLINK(1)".into(), subject: "@x".into(), ..first(data.path()) };
    let mut writer = Writer::begin(Vec::new(), Format::Csv).unwrap();
    writer.write(&evil).unwrap();
    let text = String::from_utf8(writer.finish().unwrap()).unwrap();
    assert!(text.contains(",'=HYPERLINK(1),") && text.contains(",'@x,"), "{text}");
}

#[test]
fn proposals_and_decisions_are_found_by_what_they_are_about() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let data = runtime.block_on(async {
        let hub = Running::set_up().await;
        let class = ChangeSubject::OutletClass {
            outlet: OutletId::new(13_010_001).unwrap(),
            class: OutletClass::new(2).unwrap(),
        };
        let subjects = [
            ChangeSubject::Deposit(deposit(991, 13_010_002, "321.00")),
            ChangeSubject::Hold { pack: pack(3), hold: PackHold::Damaged },
            class,
        ];
        for (subject, number) in subjects.into_iter().zip(1..) {
            let propose = ChangeCommand::Propose { subject, reason: "by order 7".into() };
            let decide = match number {
                1 => ChangeCommand::Approve { number },
                2 => ChangeCommand::Refuse { number, reason: "it is dry".into() },
                _ => ChangeCommand::Withdraw { number },
            };
            let other = if number == 3 { "wei" } else { "zhang" };
            for (who, command) in [("wei", propose), (other, decide)] {
                let outcome = hub.sequencer.propose(Actor::Staff(who.into()), Command::Change(command)).await.unwrap();
                assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
            }
        }
        hub.stop().await
    });
    let kinds = |filter: Filter| {
        let mut kinds = Vec::new();
        let is_about_changes = |kind: &str| kind.starts_with("change_") || kind == "deposit_credited";
        search(data.path(), &filter, |found| {
            kinds.extend(Some(found.clone()).filter(|found| is_about_changes(&found.kind)));
            Ok(true)
        })
        .unwrap();
        kinds.into_iter().map(|found| format!("{} {} {}", found.kind, found.outlet, found.subject)).collect::<Vec<_>>()
    };
    let none = Filter::default;
    let sum = Filter { amount_min: Some(yuan("321.00")), amount_max: Some(yuan("321.00")), ..none() };
    let deposited = ["change_proposed 13010002 991", "deposit_credited 13010002 991", "change_approved 13010002 991"];
    assert_eq!(kinds(sum), deposited);
    assert_eq!(kinds(Filter { outlet: some("13010002"), amount_min: Some(yuan("321.00")), ..none() }), deposited);
    let held = "G0201-26001-0000003";
    assert_eq!(
        kinds(Filter { item: some(held), ..none() }),
        [format!("change_proposed  {held}"), format!("change_refused  {held}")]
    );
    let of_outlet = kinds(Filter { outlet: some("13010001"), ..none() });
    assert!(of_outlet.ends_with(&["change_proposed 13010001 ".into(), "change_withdrawn 13010001 ".into()]));
    let csv = written(data.path(), &Filter { kind: some("change_approved"), ..none() }, Format::Csv);
    assert!(csv.contains(",13010002,change_approved,991,321.00,"), "{csv}");
}

fn first(data: &Path) -> super::Found {
    let mut first = None;
    search(data, &Filter::default(), |found| {
        first = Some(found.clone());
        Ok(false)
    })
    .unwrap();
    first.unwrap()
}

#[test]
fn a_damaged_event_hides_no_other() {
    let data = small_hub();
    let before = places(data.path(), &Filter::default());
    intruder(data.path()).execute_batch("UPDATE hub_log SET bytes = x'01ff' WHERE seq = 4").unwrap();
    let after = places(data.path(), &Filter::default());
    assert_eq!(after.len() + 1, before.len());
}
