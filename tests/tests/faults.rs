//! Real processes: a small province with a hub of three machines, which loses machines, links and members under load.

use jikai_tests::province::{Played, play};

/// A few outlets, their terminals as fast as they go: every stroke meets operations and acknowledgements on their way.
const SMALL: [&str; 12] =
    ["--terminals", "60", "--nodes", "2", "--duration", "3s", "--ramp", "2s", "--rate", "150", "--hubs", "3"];

fn strike(faults: &str, trials: u32, options: &[&str]) -> Played {
    let trials = trials.to_string();
    play(&[SMALL.as_slice(), &["--faults", faults, "--fault-trials", &trials], options].concat())
}

/// All that must be so whatever was struck. Times are reported, and not asserted here.
fn nothing_is_lost_or_doubled(played: &Played, trials: u32, faults: &[&str]) {
    assert_eq!(played.broken_invariants(), Vec::<String>::new(), "{}", played.words);
    assert_eq!(played.report["operations"]["failed"], 0, "{}", played.words);
    assert!(played.report["operations"]["acked"].as_u64() > Some(100), "too little happened:\n{}", played.words);
    for fault in faults {
        let shown = &played.report["faults"][fault];
        assert_eq!(shown["trials"], trials, "{fault}: {}", played.words);
        assert_eq!(shown["failed_operations"], 0, "{fault}: {}", played.words);
        // The longest stall of a change of members is told by its bound, which is never 0.
        let measured = match *fault {
            "membership" => &shown["worst_second_p99_ms"]["during"]["max"],
            _ => &shown["recover_ms"]["max"],
        };
        assert!(measured.as_f64() > Some(0.0), "{fault}: {}", played.words);
    }
    assert_eq!(played.report["faults"].as_object().expect("the report has faults").len(), faults.len());
    assert!(played.succeeded, "{}", played.words);
}

/// Some operations wait for the hub: they are delayed by what is struck.
const WAIT_FOR_HUB: [&str; 2] = ["--hub-ack-from", "20"];

#[test]
fn a_killed_leader_a_cut_link_and_a_change_of_members_lose_and_double_nothing() {
    let played = strike("kill-leader,cut-link,membership", 1, &[&["--seed", "11"], &WAIT_FOR_HUB[..]].concat());
    nothing_is_lost_or_doubled(&played, 1, &["kill-leader", "cut-link", "membership"]);
    assert_eq!(played.report["hubs"], 3);
    let share = played.report["cpu_seconds"]["hub_leader_share"].as_f64();
    assert!(share.is_some_and(|share| share > 0.0 && share < 0.9), "three machines work: {}", played.words);
}

#[test]
fn a_killed_follower_or_voter_and_a_paused_leader_lose_and_double_nothing() {
    let played = strike("kill-follower,kill-voter,pause-leader", 1, &["--seed", "13", "--fault-for", "4s"]);
    nothing_is_lost_or_doubled(&played, 1, &["kill-follower", "kill-voter", "pause-leader"]);
}

#[test]
fn a_partition_whichever_way_and_an_outage_delay_what_waits_for_the_hub_and_heal_by_themselves() {
    let options = ["--seed", "12", "--fault-for", "4s", "--hub-down-for", "4s"];
    let all = [&options, &WAIT_FOR_HUB[..]].concat();
    // Three trials: apart both ways, unheard, deaf.
    nothing_is_lost_or_doubled(&strike("partition", 3, &all), 3, &["partition"]);
    nothing_is_lost_or_doubled(&strike("hub-down", 1, &all), 1, &["hub-down"]);
}
