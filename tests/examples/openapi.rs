//! Plays both OpenAPI documents against a running hub and node with schemathesis, whose program is the one argument: whatever is
//! sent, no server answers with an error of its own. Called by `tests/openapi.sh`.

use std::path::Path;
use std::process::{Command, ExitCode};

use jikai_tests::https::{Answer, Request, Server};
use jikai_tests::running::{Person, Running};

/// Time for one part. Seconds.
const PART_S: &str = "12";
/// A machine that is drained rightly says 503 to who asks whether it is ready.
const DRAINING: &str = "/draining$";
/// Addresses by which a person would end the own session in the middle of the part, and [`DRAINING`].
const OWN_END: &str = r"^/v1/(session|own|staff/[^/]+/sessions/)|/draining$";
/// What a node rightly calls an error once the fuzzing has revoked its certificates, which the security administrator may.
const REVOKED: &str = "refusal=the certificate of node 1 was revoked";
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
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    // An administrator may end whatever another one rests on: each plays last in a world.
    let worlds: [fn(&Running) -> Vec<Part<'_>>; 2] = [business_and_security, administration];
    let (mut tried, mut is_well) = (0, true);
    for parts_of in worlds {
        let mut running = Running::start();
        for part in parts_of(&running) {
            let played = play(&program, &part, folder.path());
            is_well &= played.is_some();
            tried += played.unwrap_or(0);
        }
        is_well &= stands(&mut running);
    }
    println!("OpenAPI requests tried: {tried}");
    if is_well && tried > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Each may end the sessions of those above it.
fn business_and_security(running: &Running) -> Vec<Part<'_>> {
    let token = |token: String| vec![("authorization", format!("Bearer {token}"))];
    let (terminal, machine) = (token(running.terminal.token()), token(running.hub.token()));
    let node = Part {
        name: "the node, as an owner",
        server: &running.node.server,
        headers: terminal,
        left_out: "^/v1/logout",
        opened: "/v1/stock",
    };
    let machine = Part {
        name: "the hub, as the machine",
        server: &running.hub.server,
        headers: machine,
        left_out: DRAINING,
        opened: "/v1/nodes",
    };
    let maker = of_person(running, "the hub, as a maker", &running.maker, "/v1/changes");
    let checker = of_person(running, "the hub, as a checker", &running.checker, "/v1/changes");
    let security = of_person(running, "the hub, as its security administrator", &running.security, "/v1/staff");
    vec![node, machine, maker, checker, security]
}

fn administration(running: &Running) -> Vec<Part<'_>> {
    vec![of_person(running, "the hub, as its system administrator", &running.system, "/v1/staff")]
}

fn of_person<'a>(running: &'a Running, name: &'a str, person: &Person, opened: &'a str) -> Part<'a> {
    let headers = vec![("cookie", person.cookie.clone()), ("x-csrf-token", person.csrf.clone())];
    Part { name, server: &running.hub.server, headers, left_out: OWN_END, opened }
}

/// Whether both servers still run and neither found an error of its own.
fn stands(running: &mut Running) -> bool {
    let alive = running.hub.process.is_alive() && running.node.process.is_alive();
    let logs = [running.hub.process.log(), running.node.process.log()];
    let errors = logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains("ERROR"));
    let errors: Vec<&str> = errors.filter(|line| !line.contains(REVOKED)).collect();
    errors.iter().take(20).for_each(|line| eprintln!("{line}"));
    alive && errors.is_empty()
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
