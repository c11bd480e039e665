//! A node was replaced: its old store says to hold a sale alone. Only what it names, and what did not wait for the hub, may be missing.

use super::*;

/// The story without its sale, which the node had acknowledged and the hub never got.
fn bereft() -> Story {
    let mut story = story();
    story.retell(|events| drop(events.remove(3)));
    story.report("sales", "tickets_sold", json!(0));
    story.salvages = vec![salvage(&story)];
    story
}

fn named(story: &Story, seq: u64) -> Value {
    let ticket = story.pools.0[0].ticket_id(story.winner);
    json!({ "seq": seq, "request": request_hex(TERMINAL, "sell"), "kind": "ticket_sold", "outlet": OUTLET,
            "event": { "kind": "ticket_sold", "ticket": ticket, "outlet": OUTLET, "price_fen": 1_000 } })
}

/// The old store went on with the sale behind all that the hub has, and then with something that no terminal asked for.
fn salvage(story: &Story) -> KeptSalvage {
    let other = json!({ "seq": 7, "request": null, "kind": "session_closed", "outlet": OUTLET,
                        "event": { "kind": "session_closed", "terminal": TERMINAL } });
    let told = json!({ "node": 1, "hub_seq": 5, "head_seq": 7, "damaged_at_seq": null,
                       "lost": [named(story, 6), other] });
    KeptSalvage { over_at_ms: 1, hub_ack_from_fen: None, told }
}

/// Of what is named: lost, done again, never acknowledged.
fn tail(story: &Story) -> [u64; 3] {
    let tails = story.judge().local_tails;
    assert_eq!((tails.len(), tails[0].node, tails[0].named), (1, 1, 1));
    [tails[0].lost, tails[0].repeated, tails[0].unanswered]
}

#[test]
fn what_a_node_alone_acknowledged_and_its_old_store_names_is_told_and_no_breach() {
    let story = bereft();
    story.breaks(&[]);
    assert_eq!(tail(&story), [1, 0, 0]);
}

#[test]
fn what_a_node_alone_acknowledged_and_its_old_store_does_not_name_is_lost() {
    let mut silent = bereft();
    silent.salvages[0].told["lost"] = json!([]);
    silent.salvages[0].told["head_seq"] = json!(5);
    silent.breaks(&[Property::AckedLost]);
    assert_eq!(silent.judge().invariants.acked_lost, 2, "on both sides");
    let mut without = bereft();
    without.salvages.clear();
    without.breaks(&[Property::AckedLost]);
}

#[test]
fn what_waited_for_the_hub_is_lost_also_if_the_old_store_names_it() {
    let mut all_wait = bereft();
    all_wait.salvages[0].hub_ack_from_fen = Some(0);
    all_wait.breaks(&[Property::AckedLost]);
    let mut some_wait = bereft();
    // A sale moves no money: by its amount it never waits.
    some_wait.salvages[0].hub_ack_from_fen = Some(1);
    some_wait.breaks(&[]);
    for (verb, from_fen, waits) in [(Verb::Pay, 1_000, true), (Verb::Pay, 1_001, false), (Verb::Sell, 0, true)] {
        let entry = entry(verb, "key", vec![("a".to_owned(), 400), ("b".to_owned(), 600)]);
        let story = bereft();
        let kept = KeptSalvage { hub_ack_from_fen: Some(from_fen), ..salvage(&story) };
        assert_eq!(
            Salvage::read(&kept, &story.pools).unwrap().may_have_lost(&entry),
            !waits,
            "{verb:?} from {from_fen}"
        );
    }
}

#[test]
fn what_the_store_in_its_place_acknowledged_or_another_node_or_with_another_amount_is_lost() {
    let mut later = bereft();
    later.journal[1].at_ms = 1;
    later.breaks(&[Property::AckedLost]);
    let mut elsewhere = bereft();
    elsewhere.journal[1].node = 2;
    elsewhere.breaks(&[Property::AckedLost]);
    let mut more = bereft();
    more.journal[1].items[0].amount_fen += 1;
    more.breaks(&[Property::AckedLost]);
    let mut other_outlet = bereft();
    other_outlet.journal[1].outlet = "13010002".to_owned();
    other_outlet.breaks(&[Property::AckedLost]);
}

#[test]
fn what_was_sent_again_with_its_key_is_kept_and_what_nobody_was_told_is_unanswered() {
    let mut repeated = bereft();
    repeated.retell(|events| {
        let sale = events.remove(3);
        events.push(sale);
    });
    repeated.report("sales", "tickets_sold", json!(1));
    repeated.breaks(&[]);
    assert_eq!(tail(&repeated), [0, 1, 0]);
    let mut unanswered = bereft();
    unanswered.journal.remove(1);
    unanswered.breaks(&[]);
    assert_eq!(tail(&unanswered), [0, 0, 1]);
}

#[test]
fn a_salvage_that_leaves_out_or_names_what_the_hub_has_or_is_damaged_is_found() {
    let mut leaves_out = bereft();
    leaves_out.salvages[0].told["head_seq"] = json!(8);
    leaves_out.breaks(&[Property::AckedLost]);
    let mut names_too_much = story();
    names_too_much.salvages = vec![salvage(&names_too_much)];
    // The hub has the sale, at the fourth place of the old store's own log.
    names_too_much.breaks(&[Property::ChainBreaks]);
    let mut damaged = bereft();
    damaged.salvages[0].told["damaged_at_seq"] = json!(8);
    damaged.breaks(&[Property::ChainBreaks]);
    let mut unreadable = salvage(&damaged);
    unreadable.told["lost"][0]["request"] = json!("no hex");
    assert!(Salvage::read(&unreadable, &damaged.pools).is_err());
}
