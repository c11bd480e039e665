//! A break is named with its place, and found only in the range that holds it.

use rusqlite::Connection;

use super::{breaks, intruder, small_hub, verify_on};
use crate::audit::{Bound, Range, SignedHeads};

fn range(from: u64, to: u64) -> Range {
    Range { from: Some(Bound::Seq(from)), to: Some(Bound::Seq(to)) }
}

/// The breaks that a change makes, in a range.
fn found(change: &str, range: Range) -> Vec<String> {
    let data = small_hub();
    let mut store: Connection = intruder(data.path());
    let tx = store.transaction().unwrap();
    tx.execute_batch(change).unwrap();
    breaks(&verify_on(data.path(), &tx, &range, &SignedHeads::default()))
}

#[test]
fn a_whole_log_verifies_in_every_range() {
    let data = small_hub();
    let store = intruder(data.path());
    for from in 1..=20 {
        for to in from..=20 {
            let chains = verify_on(data.path(), &store, &range(from, to), &SignedHeads::default());
            assert_eq!(breaks(&chains), Vec::<String>::new(), "{from}..={to}");
            assert_eq!(chains[0].events, to + 1 - from);
        }
    }
    let day = |text: &str| Some(Bound::Day(text.parse().unwrap()));
    for (from, to, some) in [("2026-11-23", "2026-11-23", true), ("2026-11-24", "2026-11-30", false)] {
        let chains = verify_on(data.path(), &store, &Range { from: day(from), to: day(to) }, &SignedHeads::default());
        assert_eq!(breaks(&chains), Vec::<String>::new());
        assert_eq!(chains[0].events > 0, some, "{from}");
    }
}

#[test]
fn a_break_is_found_by_the_ranges_that_hold_it_and_by_no_other() {
    let change = "UPDATE hub_log SET bytes = CAST(bytes || x'00' AS BLOB) WHERE seq = 7";
    let found_in = |range| found(change, range).iter().any(|text| text.starts_with("log of the hub, event 7: "));
    assert!(found_in(Range::default()) && found_in(range(7, 7)) && found_in(range(1, 100)));
    assert!(!found_in(range(1, 6)) && !found_in(range(8, 20)));
}

#[test]
fn the_place_and_what_is_wrong_are_named() {
    let whole = Range::default();
    let one = |change: &str, chain: &str, flaw: &str| {
        let texts = found(change, whole);
        assert!(texts.iter().any(|text| text.starts_with(chain) && text.contains(flaw)), "{change}: {texts:?}");
    };
    one("DELETE FROM hub_log WHERE seq = 9", "log of the hub, event 9: ", "missing: the next one kept is 10");
    one("UPDATE hub_log SET audience = 1 WHERE seq = 3", "log of the hub, event 3: ", "the event's own is -1");
    one("DELETE FROM feed_head WHERE node = 2", "feed of node 2, event ", "no head in `feed_head`");
    one("DELETE FROM down_feed WHERE node = 1 AND seq = 4", "feed of node 1, event 4: ", "the next one kept is 5");
    one(
        "UPDATE node_cursor SET next_seq = 90 WHERE node = 1",
        "log of node 1, event 7: ",
        "stored head in `node_cursor`",
    );
    one(
        "DELETE FROM node_batch WHERE node_batch = (1 << 48) + 3",
        "log of node 1, event 3: ",
        "the chain ends at event 2",
    );
    one("UPDATE quarantine SET bytes = x'01' WHERE seq = 4", "log of node 2, event 4: ", "quarantine");
    // One hash for four events: the command log tells which one it was.
    let third = "UPDATE node_batch SET bytes = CAST(substr(bytes, 1, length(bytes) - 1) || x'7f' AS BLOB) \
                 WHERE node_batch = (1 << 48) + 3";
    one(third, "log of node 1, event 6: ", "altered");
    one(
        "UPDATE node_batch SET last_hash = zeroblob(32) WHERE node_batch = (1 << 48) + 3",
        "log of node 1, event 3: ",
        "the events are those of the command log",
    );
    one(
        "UPDATE node_batch SET event_count = 3 WHERE node_batch = (1 << 48) + 3",
        "log of node 1, event ",
        "3 events are promised",
    );
}
