//! Real processes: a small province in peace, and one whose node and hub are killed in mid-load.

use jikai_tests::province::play;

#[test]
fn a_small_province_works_a_day_and_every_invariant_holds() {
    let played =
        play(&["--terminals", "40", "--nodes", "3", "--duration", "6s", "--ramp", "2s", "--rate", "60", "--seed", "7"]);
    assert_eq!(played.broken_invariants(), Vec::<String>::new(), "{}", played.words);
    assert_eq!(played.report["terminals"]["connected"], 40);
    assert_eq!(played.report["operations"]["failed"], 0, "{}", played.words);
    assert!(played.report["operations"]["acked"].as_u64() > Some(100), "too little happened to prove anything");
    assert_eq!(played.report["retries"]["unanswered"], 0, "nothing was killed, and yet something was not answered");
    assert!(played.succeeded, "{}", played.words);
}

/// Operations from this amount on wait for the hub's acknowledgement: about half of those that move money. Yuan.
const HUB_ACK_FROM: &str = "20";

#[test]
fn killing_a_node_and_the_hub_in_mid_load_loses_and_doubles_nothing_that_either_acknowledged() {
    // As fast as it goes: every terminal always waits for an answer, so that each kill meets commits in flight.
    let options =
        ["--terminals", "120", "--nodes", "2", "--duration", "12s", "--ramp", "3s", "--rate", "max", "--seed", "8"];
    let played = play(&[options.as_slice(), &["--crash", "all", "--hub-ack-from", HUB_ACK_FROM]].concat());
    assert_eq!(played.broken_invariants(), Vec::<String>::new(), "{}", played.words);
    for victim in ["killed Node", "killed Hub"] {
        assert_eq!(played.words.matches(victim).count(), 2, "{victim} twice:\n{}", played.words);
    }
    let count = |group: &str, name: &str| played.report[group][name].as_u64().expect("the report has this count");
    assert_eq!(count("operations", "failed"), 0, "{}", played.words);
    assert!(count("operations", "acked") > 1_000, "too little happened to prove anything:\n{}", played.words);
    assert!(count("retries", "unanswered") > 0, "no mutation was unresolved at a kill:\n{}", played.words);
    assert!(count("retries", "resolved") > 0, "no key was asked for again:\n{}", played.words);
    assert!(count("retries", "confirmed") > 0, "no earlier reply was asked for again:\n{}", played.words);
    assert!(played.succeeded, "{}", played.words);
}
