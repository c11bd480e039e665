//! Real processes: what is revoked at the centre is refused at a connected node within a second.

use std::io::Write;
use std::time::{Duration, Instant};

use jikai_tests::https::Answer;
use jikai_tests::process::wait_until;
use jikai_tests::running::{Running, Terminal};
use serde_json::json;

/// The longest time between the centre's answer and the first refusal at a connected node; half of the trials keep it.
const WITHIN: Duration = Duration::from_secs(1);
/// Numbers of the terminals that are revoked, one after the other.
const TERMINALS: [u8; 5] = [91, 92, 93, 94, 95];

#[test]
fn what_is_revoked_at_the_centre_is_refused_at_a_connected_node_within_a_second() {
    let running = Running::start();
    let mut took: Vec<Duration> = TERMINALS.iter().map(|number| revoke_terminal(&running, *number)).collect();
    took.sort();
    let median = took[took.len() / 2];
    tell(&format!("terminal revoked: session ended after {} ms (median of {})", median.as_millis(), took.len()));
    assert!(median <= WITHIN, "{took:?}");
    assert_eq!(running.terminal.ask("GET", "/v1/account").status, 200, "a terminal that nobody revoked works on");
    let took = revoke_certificates(&running);
    tell(&format!("certificates revoked: node fenced after {} ms", took.as_millis()));
}

/// Past the harness, which keeps what a test prints: `make test` shows these lines.
fn tell(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("it can be printed");
}

/// Revokes a terminal in the middle of its work; how long it went on working after the centre's answer.
fn revoke_terminal(running: &Running, number: u8) -> Duration {
    let terminal = running.another_terminal(number);
    assert_eq!(terminal.ask("GET", "/v1/account").status, 200);
    let path = format!("/v1/terminals/{}/revocation", terminal.id);
    // By a person, and as `jikai-hub terminal revoke` does it.
    let request = match number % 2 {
        0 => running.maker.request("POST", &path),
        _ => running.hub.as_machine("POST", &path),
    };
    let revoked = running.hub.server.ask(&request.json(&json!({ "reason": "lost" })));
    let answered = Instant::now();
    assert_eq!(revoked.status, 204, "{}", revoked.json());
    let refused = first_refusal(&terminal);
    let took = answered.elapsed();
    assert_eq!(code(&refused), (401, "session_expired".to_string()));
    for path in ["/v1/session", "/v1/stock", "/v1/packs", "/v1/account/entries"] {
        assert_eq!(code(&terminal.ask("GET", path)), (401, "session_expired".to_string()), "{path}");
    }
    assert_eq!(code(&terminal.ask("POST", "/v1/logout")), (401, "session_expired".to_string()));
    assert_eq!(code(&terminal.log_in()), (403, "terminal_revoked".to_string()));
    took
}

/// Asks again and again; the first answer that is not what was asked for.
fn first_refusal(terminal: &Terminal) -> Answer {
    let mut refused = None;
    wait_until("a refusal", || {
        refused = Some(terminal.ask("GET", "/v1/account")).filter(|answer| answer.status != 200);
        refused.is_some()
    });
    refused.expect("it was waited for")
}

/// Revokes all certificates of the node; how long it went on serving after the centre's answer. It does not come back by itself.
fn revoke_certificates(running: &Running) -> Duration {
    let connected = || running.hub.get("/v1/nodes")["nodes"][0]["connected"].clone();
    assert_eq!(connected(), true);
    let request = running.hub.as_machine("POST", "/v1/nodes/1/certificates/revocation");
    let revoked = running.hub.server.ask(&request.json(&json!({ "reason": "disk lost" })));
    let answered = Instant::now();
    assert_eq!(revoked.status, 204, "{}", revoked.json());
    let refused = first_refusal(&running.terminal);
    let took = answered.elapsed();
    assert_eq!(code(&refused), (503, "node_fenced".to_string()));
    assert_eq!(code(&running.terminal.log_in()), (503, "node_fenced".to_string()));
    wait_until("the end of the session between node and hub", || connected() == false);
    wait_until("the hub to tell why", || !running.hub.get("/v1/nodes")["nodes"][0]["refused"].is_null());
    assert_eq!(connected(), false, "it does not come back by itself");
    took
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["code"].as_str().unwrap_or_default().to_string())
}
