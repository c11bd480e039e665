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
    assert!(played.succeeded, "{}", played.words);
}

#[test]
fn killing_a_node_and_the_hub_in_mid_load_loses_and_doubles_nothing() {
    let options =
        ["--terminals", "40", "--nodes", "2", "--duration", "12s", "--ramp", "2s", "--rate", "60", "--seed", "8"];
    let played = play(&[options.as_slice(), &["--crash", "all"]].concat());
    assert_eq!(played.broken_invariants(), Vec::<String>::new(), "{}", played.words);
    assert!(played.words.contains("killed Node") && played.words.contains("killed Hub"), "{}", played.words);
    assert!(played.report["operations"]["acked"].as_u64() > Some(100), "too little happened to prove anything");
}
