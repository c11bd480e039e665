//! Real processes: a small province with a hub of three machines, which loses machines, links and members under load.

use jikai_tests::province::{Played, play};

/// A few outlets, their terminals as fast as they go: every stroke meets operations and acknowledgements on their way.
const SMALL: [&str; 12] =
    ["--terminals", "60", "--nodes", "2", "--duration", "3s", "--ramp", "2s", "--rate", "150", "--hubs", "3"];

fn strike(faults: &str, options: &[&str]) -> Played {
    play(&[SMALL.as_slice(), &["--faults", faults, "--fault-trials", "1"], options].concat())
}

/// All that must be so whatever was struck. Times are reported, and not asserted here.
fn nothing_is_lost_or_doubled(played: &Played, faults: &[&str]) {
    assert_eq!(played.broken_invariants(), Vec::<String>::new(), "{}", played.words);
    assert_eq!(played.report["operations"]["failed"], 0, "{}", played.words);
    assert!(played.report["operations"]["acked"].as_u64() > Some(100), "too little happened:\n{}", played.words);
    for fault in faults {
        let shown = &played.report["faults"][fault];
        assert_eq!(shown["trials"], 1, "{fault}: {}", played.words);
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

#[test]
fn a_killed_leader_a_cut_link_and_a_change_of_members_lose_and_double_nothing() {
    let played = strike("kill-leader,cut-link,membership", &["--seed", "11"]);
    nothing_is_lost_or_doubled(&played, &["kill-leader", "cut-link", "membership"]);
    assert_eq!(played.report["hubs"], 3);
    let share = played.report["cpu_seconds"]["hub_leader_share"].as_f64();
    assert!(share.is_some_and(|share| (0.0..=1.0).contains(&share)), "{}", played.words);
}

#[test]
fn a_partition_and_an_outage_delay_what_waits_for_the_hub_and_heal_by_themselves() {
    let options = ["--seed", "12", "--hub-ack-from", "20", "--fault-for", "4s", "--hub-down-for", "4s"];
    let played = strike("partition,hub-down", &options);
    nothing_is_lost_or_doubled(&played, &["partition", "hub-down"]);
}
