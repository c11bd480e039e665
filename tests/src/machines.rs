//! A hub of several machines, each a process of its own, made as an operator would.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::https::{Request, Server};
use crate::process::{Process, done, wait_until};
use crate::running::Hub;

/// One machine of the hub.
pub struct Machine {
    /// Its number.
    pub number: u16,
    /// Its data directory.
    pub data: PathBuf,
    /// The process, while it runs.
    pub process: Option<Process>,
}

/// The machines of a hub, by number from 1.
pub struct Machines {
    folder: PathBuf,
    /// All that were ever made.
    pub all: Vec<Machine>,
}

impl Machines {
    /// Makes and starts the first machine. `settings` are further words of `init`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(folder: &Path, settings: &[&str]) -> Machines {
        let (data, peer) = (folder.join("hub-1"), free_peer_address());
        let words = ["init", "--data", text(&data), "--peer-listen", &peer];
        done("jikai-hub", &[words.as_slice(), settings].concat());
        let process = Some(Process::run("jikai-hub", &data));
        Machines { folder: folder.to_owned(), all: vec![Machine { number: 1, data, process }] }
    }

    /// Machines beside a running hub, which is the first one and stays in the caller's hands. It must have been made with an address of
    /// its own for the others (`peer_listen`, see [`free_peer_address`]).
    pub fn beside(hub: &Hub) -> Machines {
        let folder = hub.data.parent().expect("its data lie in a folder").to_owned();
        Machines { folder, all: vec![Machine { number: 1, data: hub.data.clone(), process: None }] }
    }

    /// Invites, makes and starts a further machine, which belongs to the hub once it is added.
    ///
    /// # Panics
    /// When that fails.
    pub fn join(&mut self, voter_only: bool) -> u16 {
        let number = self.all.len() as u16 + 1;
        let name = |what: &str| self.folder.join(format!("{what}-{number}"));
        let (invitation, code, data) = (name("invitation"), name("code"), name("hub"));
        let mut invite = vec!["cluster", "invite", "--out", text(&invitation), "--code-file", text(&code)];
        if voter_only {
            invite.push("--voter-only");
        }
        self.command(1, &invite);
        let peer = free_peer_address();
        let files = ["--invitation", text(&invitation), "--code-file", text(&code), "--peer-listen", &peer];
        let said = done("jikai-hub", &[["join", "--data", text(&data)].as_slice(), &files].concat());
        assert!(said.contains(&format!("machine={number}\n")), "{said}");
        let process = Some(Process::run("jikai-hub", &data));
        self.all.push(Machine { number, data, process });
        number
    }

    /// Takes a joined machine in, as a voter.
    ///
    /// # Panics
    /// When that fails.
    pub fn add(&self, number: u16) {
        self.add_as(number, &[]);
    }

    /// Takes a joined machine in; `more` are further words of the command.
    ///
    /// # Panics
    /// When that fails.
    pub fn add_as(&self, number: u16, more: &[&str]) {
        let peer = self.machine(number).process.as_ref().expect("it runs").address("peer").to_string();
        let number = number.to_string();
        let words = ["cluster", "add", "--machine", &number, "--address", &peer];
        self.command(1, &[words.as_slice(), more].concat());
    }

    /// Runs a command of `jikai-hub` on a machine's directory.
    pub fn command(&self, number: u16, words: &[&str]) -> String {
        let data = text(&self.machine(number).data);
        // `import` takes it before what is imported.
        let (before, behind) = words.split_at(if words[0] == "import" { 1 } else { words.len() });
        done("jikai-hub", &[before, &["--data", data], behind].concat())
    }

    /// Kills a machine's process (kill -9).
    pub fn kill(&mut self, number: u16) {
        self.all[usize::from(number) - 1].process = None;
    }

    /// Starts a machine again.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self, number: u16) {
        let machine = &mut self.all[usize::from(number) - 1];
        machine.process = Some(Process::run("jikai-hub", &machine.data));
    }

    /// One of them.
    pub fn machine(&self, number: u16) -> &Machine {
        &self.all[usize::from(number) - 1]
    }

    /// The API of a running machine.
    ///
    /// # Panics
    /// When it does not run.
    pub fn server(&self, number: u16) -> Server {
        let machine = self.machine(number);
        let process = machine.process.as_ref().expect("it runs");
        Server::new(process.address("http"), "hub.jikai", &read(&machine.data.join("ca/ca.pem")))
    }

    /// A request in the name of a machine, with its own token.
    pub fn request(&self, number: u16, method: &str, path: &str) -> Request {
        let token = read(&self.machine(number).data.join("admin.token"));
        Request::new(method, path).header("authorization", format!("Bearer {}", token.trim()))
    }

    /// The machines as one of them sees them.
    pub fn view(&self, number: u16) -> Value {
        self.server(number).ask(&self.request(number, "GET", "/v1/cluster")).json()
    }

    /// Waits until machine `seen_from` knows a leader that `is_good`; its number.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn wait_for_leader(&self, seen_from: u16, is_good: impl Fn(u16) -> bool) -> u16 {
        let mut leader = None;
        wait_until("a leader", || {
            leader = self.view(seen_from)["leader"].as_u64().and_then(|leader| u16::try_from(leader).ok());
            leader.is_some_and(&is_good)
        });
        leader.expect("it was waited for")
    }
}

/// An address that is free now: the machines must find each other at the same one after a restart.
///
/// # Panics
/// When there is none.
pub fn free_peer_address() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.local_addr().expect("it is bound").to_string()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("it was written before")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are text")
}
