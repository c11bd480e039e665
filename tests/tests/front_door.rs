//! The real HAProxy before a hub of two machines: made from the machines, reloaded when they change, without a connection lost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use jikai_tests::https::{Request, Server};
use jikai_tests::machines::Machines;
use jikai_tests::process::wait_until;
use jikai_tests::province::binaries;

/// HAProxy as a master with workers, killed when it is dropped.
struct Door {
    master: Child,
    config: PathBuf,
    pid_file: PathBuf,
}

impl Door {
    fn open(folder: &Path) -> Door {
        let (config, pid_file) = (folder.join("haproxy.cfg"), folder.join("haproxy.pid"));
        let log = std::fs::File::create(folder.join("haproxy.log")).expect("it works here");
        let master = Command::new("haproxy")
            .args(["-W", "-db", "-f"])
            .arg(&config)
            .arg("-p")
            .arg(&pid_file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("it works here"))
            .stderr(log)
            .spawn()
            .expect("haproxy is installed (make test installs it)");
        std::fs::write(&pid_file, master.id().to_string()).expect("it works here");
        Door { master, config, pid_file }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // The workers end with their master.
        let _ = Command::new("kill").arg(self.master.id().to_string()).status();
        let _ = self.master.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").expect("it works here").local_addr().expect("it works here")
}

fn write_config(machines: &Machines, from: u16, bind: SocketAddr, folder: &Path, more: &[&str]) -> String {
    let (bind, config, socket) = (bind.to_string(), folder.join("haproxy.cfg"), folder.join("haproxy.sock"));
    let (config, socket) = (config.to_str().expect("it works here"), socket.to_str().expect("it works here"));
    let words = ["front-door", "config", "--bind", &bind, "--out", config, "--socket", socket];
    machines.command(from, &[words.as_slice(), more].concat())
}

/// Asks on an open connection, and leaves it open.
fn ask(stream: &mut (impl Read + Write), path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: hub.jikai\r\n\r\n").expect("it works here");
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while !String::from_utf8_lossy(&answer).contains("\r\n\r\n") {
        let read = stream.read(&mut piece).expect("it works here");
        assert_ne!(read, 0, "the connection ended");
        answer.extend_from_slice(&piece[..read]);
    }
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_string()
}

/// One machine and a door before it: where the door listens, the door, and the hub as it is reached through it.
fn machine_behind_a_door(folder: &Path) -> (Machines, SocketAddr, Door, Server) {
    let machines = Machines::start(folder, &["--front-door", "127.0.0.1"]);
    let bind = free_address();
    wait_until("the first machine to tell where it is", || machines.view(1)["machines"][0]["http"].is_string());
    write_config(&machines, 1, bind, folder, &[]);
    let door = Door::open(folder);
    let authority = std::fs::read_to_string(machines.machine(1).data.join("ca/ca.pem")).expect("init made it");
    let through = Server::new(bind, "hub.jikai", &authority);
    (machines, bind, door, through)
}

#[test]
fn the_front_door_follows_the_machines_and_keeps_its_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (mut machines, bind, door, through) = machine_behind_a_door(folder.path());
    let is_ready = || is_ready(&through);
    wait_until("the door to find the machine ready", is_ready);
    let mut kept = through.dial("http/1.1").unwrap();
    assert!(ask(&mut kept, "/health/live").contains("200"));

    let second = machines.join(false);
    machines.add(second);
    wait_until("the second machine to tell where it is", || machines.view(1)["machines"][1]["http"].is_string());
    let pid_file = door.pid_file.to_str().unwrap();
    let said = write_config(&machines, 1, bind, folder.path(), &["--pid-file", pid_file]);
    assert!(said.contains("with 2 machines") && said.contains("takes it over"), "{said}");
    assert!(std::fs::read_to_string(&door.config).unwrap().contains("machine-2"));
    let again = write_config(
        &machines,
        2,
        bind,
        folder.path(),
        &["--ca-file", machines.machine(1).data.join("ca/ca.pem").to_str().unwrap()],
    );
    assert!(again.contains("Nothing has changed"), "the same machines, seen from the other one: {again}");
    assert!(ask(&mut kept, "/health/live").contains("200"), "the connection from before goes on");
    wait_until("the door to be ready on the new configuration", is_ready);

    // A machine that drains is not ready: whoever comes anew meets the other one.
    machines.command(1, &["cluster", "drain", "--machine", "1"]);
    let first = machines.server(1);
    wait_until("the first machine not to be ready", || first.ask(&Request::new("GET", "/health/ready")).status == 503);
    wait_until("the door to be ready by the second machine", is_ready);
}

/// A process that is killed when it is dropped.
struct Watch(Child);

impl Watch {
    /// `front-door config --watch` of the first machine.
    fn start(machines: &Machines, bind: SocketAddr, folder: &Path) -> Watch {
        let child = Command::new(binaries().join("jikai-hub"))
            .args(["front-door", "config", "--watch", "--data"])
            .arg(&machines.machine(1).data)
            .args(["--bind", &bind.to_string(), "--out"])
            .arg(folder.join("haproxy.cfg"))
            .arg("--socket")
            .arg(folder.join("haproxy.sock"))
            .arg("--pid-file")
            .arg(folder.join("haproxy.pid"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it can be started");
        Watch(child)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Comes anew through the door and asks; the first line of the answer.
fn come(through: &Server, path: &str) -> std::io::Result<String> {
    let (mut stream, mut answer) = (through.dial("http/1.1")?, String::new());
    write!(stream, "GET {path} HTTP/1.1\r\nHost: hub.jikai\r\nConnection: close\r\n\r\n")?;
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

fn is_ready(through: &Server) -> bool {
    come(through, "/health/ready").is_ok_and(|first| first.contains(" 200 "))
}

/// Ends those who come and go, also where the test fails before.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Comes again and again until it is told to end; how often it was answered, and every failure.
fn come_and_go(through: &Server, is_over: &AtomicBool) -> (u32, Vec<String>) {
    let (mut answered, mut failures) = (0, Vec::new());
    while !is_over.load(Ordering::Relaxed) && failures.len() < 10 {
        match come(through, "/health/live") {
            Ok(first) if first.contains(" 200 ") => answered += 1,
            other => failures.push(format!("{other:?}")),
        }
    }
    (answered, failures)
}

#[test]
fn a_watched_door_takes_over_machines_that_come_and_go_and_nobody_who_comes_meanwhile_is_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    let (mut machines, bind, door, through) = machine_behind_a_door(folder.path());
    let is_over = AtomicBool::new(false);
    wait_until("the door to find the machine ready", || is_ready(&through));
    let _watch = Watch::start(&machines, bind, folder.path());
    let lists_second = || std::fs::read_to_string(&door.config).unwrap().contains("machine-2");
    let (answered, failures) = std::thread::scope(|scope| {
        let coming = scope.spawn(|| come_and_go(&through, &is_over));
        let ends = Ends(&is_over);
        let second = machines.join(false);
        machines.add(second);
        wait_until("the door to have the second machine", lists_second);
        machines.command(1, &["cluster", "remove", "--machine", "2"]);
        wait_until("the door to have it no more", || !lists_second());
        drop(ends);
        coming.join().unwrap()
    });
    assert_eq!(failures, Vec::<String>::new(), "beside {answered} that were answered");
    assert!(answered > 100, "only {answered} came");
}

#[test]
fn whoever_is_behind_a_believed_door_is_who_asks_and_the_machines_token_is_no_use_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let machines = Machines::start(folder.path(), &["--front-door", "127.0.0.1"]);
    let server = machines.server(1);
    // As HAProxy announces a caller at 10.0.0.7.
    let mut announced = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    announced.extend([10, 0, 0, 7, 127, 0, 0, 1, 0x9c, 0x40, 1, 0xbb]);
    let request = machines.request(1, "GET", "/v1/nodes");
    let directly = server.ask(&request);
    assert_eq!(directly.status, 200, "{}", directly.json());
    let behind = server.ask_behind(&announced, &request);
    assert_eq!((behind.status, behind.json()["code"].clone()), (401, "token_invalid".into()), "{}", behind.json());
    drop(machines);
    let other = tempfile::tempdir().unwrap();
    let unbelieved = Machines::start(other.path(), &[]);
    let outcome = unbelieved.server(1).dial_behind(&announced, "http/1.1");
    assert!(outcome.is_err(), "such words are no TLS where nobody is believed");
}
