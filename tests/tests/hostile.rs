//! Hostile requests to real processes over TLS: each is refused in a known way, and nothing changes.

use std::io::Write;

use jikai_tests::hostile::flood::{Target, connections, dawdle, late_bodies, resets, strangers, streams};
use jikai_tests::hostile::{Case, form, proof, text};
use jikai_tests::running::{Hub, Node, Running, Settings};

/// Tables of requests, by name.
type Group = (&'static str, fn(&Running) -> Vec<Case>);

const GROUPS: [Group; 10] = [
    ("sql", text::sql),
    ("paths", text::paths),
    ("names", text::names),
    ("headers", form::headers),
    ("methods", form::methods),
    ("bodies", form::bodies),
    ("numbers", form::numbers),
    ("tokens", proof::tokens),
    ("logins", proof::logins),
    ("replays", proof::replays),
];

/// Places that a small server has.
const CONNECTIONS_MAX: usize = 8;

#[test]
fn hostile_requests_are_refused_and_change_nothing() {
    let mut tried = refused_requests();
    tried += floods();
    // Past the harness, which keeps what a test prints: `make test` shows this line.
    writeln!(std::io::stdout(), "hostile requests tried: {tried}").expect("it can be printed");
    assert!(tried > 1_000);
}

/// What one request can hold, with everything that it could change compared before and after each table.
fn refused_requests() -> u64 {
    // With its usual patience: who sends less than it said must hear so while the test waits.
    let mut running = Running::start_with("test", &[("patience_ms", "10000")]);
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let mut tried = proof::certificates(&running, folder.path());
    let before = running.picture();
    for (name, cases) in GROUPS {
        let cases = cases(&running);
        let faults: Vec<String> = cases.iter().filter_map(Case::fault).collect();
        assert!(faults.is_empty(), "{name}: {} of {}\n{}", faults.len(), cases.len(), faults.join("\n"));
        tried += cases.len() as u64;
        assert_eq!(running.picture(), before, "{name} changed something");
    }
    tried += proof::uniform_refusals(&running);
    assert!(running.hub.process.is_alive() && running.node.process.is_alive());
    for log in [running.hub.process.log(), running.node.process.log()] {
        let bad: Vec<&str> = log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
        assert!(bad.is_empty(), "{}", bad.join("\n"));
    }
    tried
}

/// Too much and too slow, on servers with small bounds.
fn floods() -> u64 {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let hurried: Settings<'_> = &[("patience_ms", "3000")];
    let places = CONNECTIONS_MAX.to_string();
    let small: Settings<'_> = &[("connections_max", &places), ("strangers_per_second", "5")];
    let many: Settings<'_> = &[("strangers_per_second", "100000")];
    let mut tried = 0;
    for (name, settings, floods) in [
        ("hurried", hurried, &[dawdle as fn(&Target<'_>) -> u64] as &[_]),
        ("small", small, &[|target: &Target<'_>| connections(target, CONNECTIONS_MAX), strangers]),
        ("many", many, &[late_bodies, streams, resets]),
    ] {
        let hub = Hub::start(&folder.path().join(format!("{name}-hub")), None, settings);
        hub.command(&["import"], &["node", "--id", "1", "--name", "one", "--prefectures", "1301"]);
        let node = Node::start(&folder.path().join(format!("{name}-node")), &hub, settings);
        let targets = [
            Target { server: &hub.server, open_to_all: "/v1/session", of_a_session: "/v1/changes" },
            Target { server: &node.server, open_to_all: "/v1/login/challenge", of_a_session: "/v1/claims/pay" },
        ];
        for target in &targets {
            tried += floods.iter().map(|flood| flood(target)).sum::<u64>();
        }
    }
    tried
}
