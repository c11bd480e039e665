//! Plays both OpenAPI documents against a running hub and node with schemathesis, whose program is the one argument: whatever is
//! sent, no server answers with an error of its own. Called by `tests/openapi.sh`.

use std::path::Path;
use std::process::{Command, ExitCode};

use jikai_tests::https::{Answer, Request, Server};
use jikai_tests::running::{Person, Running};

/// Time for one part. Seconds.
const PART_S: &str = "15";
/// The same requests each time, as far as the answers are the same.
const SEED: &str = "7";

/// Whose requests go where, and which addresses are left out because they would end the session.
struct Part<'a> {
    name: &'a str,
    server: &'a Server,
    headers: Vec<(&'static str, String)>,
    left_out: &'a str,
    /// What these headers open; also at the end, or the part has proved nothing.
    opened: &'a str,
}

impl Part<'_> {
    fn opens(&self) -> Answer {
        let request = Request::new("GET", self.opened);
        self.server.ask(&self.headers.iter().fold(request, |request, (name, value)| request.header(name, value)))
    }
}

fn main() -> ExitCode {
    let Some(program) = std::env::args().nth(1) else {
        eprintln!("usage: openapi PROGRAM");
        return ExitCode::FAILURE;
    };
    let mut running = Running::start();
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let person = |person: &Person| vec![("cookie", person.cookie.clone()), ("x-csrf-token", person.csrf.clone())];
    let bearer = |token: String| vec![("authorization", format!("Bearer {token}"))];
    let (hub, node) = (&running.hub.server, &running.node.server);
    let own = "^/v1/(session|own)";
    let parts = [
        // Each may end the sessions of those above it.
        Part {
            name: "the node, as an owner",
            server: node,
            headers: bearer(running.terminal.token()),
            left_out: "^/v1/logout",
            opened: "/v1/stock",
        },
        Part {
            name: "the hub, as the machine",
            server: hub,
            headers: bearer(running.hub.token()),
            left_out: "^$",
            opened: "/v1/nodes",
        },
        Part {
            name: "the hub, as a maker",
            server: hub,
            headers: person(&running.maker),
            left_out: own,
            opened: "/v1/changes",
        },
        Part {
            name: "the hub, as its administrator",
            server: hub,
            headers: person(&running.system),
            left_out: own,
            opened: "/v1/staff",
        },
    ];
    let played: Vec<Option<u64>> = parts.iter().map(|part| play(&program, part, folder.path())).collect();
    let tried: u64 = played.iter().flatten().sum();
    let is_well = played.iter().all(Option::is_some) && tried > 0;
    let alive = running.hub.process.is_alive() && running.node.process.is_alive();
    let logs = [running.hub.process.log(), running.node.process.log()];
    let errors: Vec<&str> = logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains("ERROR")).collect();
    errors.iter().take(20).for_each(|line| eprintln!("{line}"));
    println!("OpenAPI requests tried: {tried}");
    if is_well && alive && errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays one part; gives the number of its requests, unless a server failed.
fn play(program: &str, part: &Part<'_>, folder: &Path) -> Option<u64> {
    println!("-- {}", part.name);
    assert_eq!(part.opens().status, 200, "{} at the start", part.opened);
    let document = folder.join("openapi.json");
    let answer = part.server.ask(&Request::new("GET", "/openapi.json"));
    std::fs::write(&document, &answer.body).expect("the document can be written");
    let mut command = Command::new(program);
    command.arg("run").arg(&document).args(["--url", &format!("https://{}", part.server.address)]);
    // The certificate names the node, not 127.0.0.1.
    command.args(["--tls-verify", "false", "--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing"]);
    command.args(["--max-time", PART_S, "--seed", SEED, "--no-shrink", "--continue-on-failure", "--no-color"]);
    command.args(["--warnings", "off", "--exclude-path-regex", part.left_out, "--request-timeout", "30"]);
    for (name, value) in &part.headers {
        command.arg("--header").arg(format!("{name}: {value}"));
    }
    let output = command.current_dir(folder).env("PYTHONWARNINGS", "ignore").output().expect("it can be started");
    let words = String::from_utf8_lossy(&output.stdout).into_owned();
    let opened = part.opens();
    if !output.status.success() || opened.status != 200 {
        println!("{words}{}", String::from_utf8_lossy(&output.stderr));
        println!("   failed; {} answers {} {}", part.opened, opened.status, opened.json()["code"]);
        return None;
    }
    let count = words.lines().find_map(|line| line.trim().split_once(" generated")).map(|(count, _)| count);
    let count = count.and_then(|count| count.parse().ok())?;
    println!("   {count} requests, no server error");
    Some(count)
}
