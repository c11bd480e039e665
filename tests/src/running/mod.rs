//! A hub and a node with outlets, stock, staff and a terminal that is logged in, all of them reached as anybody would.

mod pair;
mod staff;
mod terminal;

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jikai_schema::directory::{Directory, SignedDirectory};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::https::{Request, Server};
use crate::process::{Process, done, wait_until};
pub use pair::{Pair, free_address};
pub use staff::Person;
pub use terminal::Terminal;

/// Settings that replace those of `init`, as lines of its file.
pub type Settings<'a> = &'a [(&'a str, &'a str)];

/// A running hub.
pub struct Hub {
    /// The process.
    pub process: Process,
    /// Its API.
    pub server: Server,
    /// Its data directory.
    pub data: PathBuf,
    /// The first administrator's one-time password.
    pub one_time_password: String,
}

impl Hub {
    /// Makes and starts a hub.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(data: &Path, printer_key: Option<&Path>, settings: Settings<'_>) -> Hub {
        Hub::start_in("test", data, printer_key, settings)
    }

    /// The same in this environment.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_in(environment: &str, data: &Path, printer_key: Option<&Path>, settings: Settings<'_>) -> Hub {
        let mut arguments =
            vec!["init", "--data", text(data), "--administrator", "admin", "--environment", environment];
        arguments.extend(printer_key.iter().flat_map(|key| ["--printer-key", text(key)]));
        let words = done("jikai-hub", &arguments);
        let one_time_password = word_behind(&words, "with the one-time password");
        change_settings(&data.join("hub.toml"), settings);
        let process = Process::run("jikai-hub", data);
        let server = Server::new(process.address("http"), "hub.jikai", &read(&data.join("ca/ca.pem")));
        Hub { process, server, data: data.to_owned(), one_time_password }
    }

    /// Starts it on a directory that is there, whatever it listens on.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_on(data: &Path) -> Hub {
        let process = Process::run("jikai-hub", data);
        let server = Server::new(process.address("http"), "hub.jikai", &read(&data.join("ca/ca.pem")));
        Hub { process, server, data: data.to_owned(), one_time_password: String::new() }
    }

    /// Waits until this node is connected: nothing moves to one that has never come.
    ///
    /// # Panics
    /// When it does not come.
    pub fn await_node(&self, number: u16) {
        wait_until("the node to be connected", || {
            let view = self.get("/v1/nodes");
            view["nodes"]
                .as_array()
                .is_some_and(|nodes| nodes.iter().any(|line| line["node"] == number && line["connected"] == true))
        });
    }

    /// Waits until the hub and a node have each other's log, and gives how far the two logs go: up, down.
    fn settle_with(&self, node: &Node) -> (Option<u64>, Option<u64>) {
        let mut heads = (None, None);
        wait_until("hub and node to agree", || {
            let (health, view) = (node.health(), self.get("/v1/nodes"));
            let lines = view["nodes"].as_array().into_iter().flatten();
            let Some(line) = lines.clone().find(|line| line["node"] == node.number) else { return false };
            let (up, number) = (&health["up"], |value: &Value| value.as_u64());
            heads = (number(&up["head_seq"]), number(&line["down_head"]));
            (heads.0.is_some() && heads.1.is_some() && up["acked_seq"] == up["head_seq"])
                && number(&line["up_next"]) == heads.0.map(|seq| seq + 1)
                && number(&health["down"]["next_seq"]) == heads.1.map(|seq| seq + 1)
        });
        heads
    }

    /// Digests of a node's tables, which are those of its slice here: once the directory names where the node is reached, which both
    /// tell by themselves a moment after a start, and taken again while anything else comes.
    fn slice_with(&self, node: &Node) -> String {
        let address = node.process.address("http").to_string();
        wait_until("the directory to name where the node is reached", || {
            let known = node.directory().and_then(|signed| Directory::read(&signed.bytes).ok());
            let nodes = known.iter().flat_map(|directory| &directory.nodes);
            nodes.clone().any(|line| line.node.get() == node.number && line.addresses.contains(&address))
        });
        let (mut slice, mut store) = (String::new(), String::new());
        wait_until("hub and node to stand still", || {
            let heads = self.settle_with(node);
            slice = self.command(&["digest"], &["--node", &node.number.to_string()]);
            store = done("jikai-node", &["digest", "--data", text(&node.data)]);
            self.settle_with(node) == heads
        });
        assert_eq!(slice, store, "the tables of node {} are not the hub's slice", node.number);
        slice
    }

    /// Starts it again, where it listened before: nodes are told once where it is.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        let address = |name| format!("\"{}\"", self.process.address(name));
        let addresses = [("listen", &*address("http")), ("sync_listen", &*address("sync"))];
        change_settings(&self.data.join("hub.toml"), &addresses);
        self.process = Process::run("jikai-hub", &self.data);
    }

    /// Runs a command of `jikai-hub` on its data directory.
    pub fn command(&self, words: &[&str], more: &[&str]) -> String {
        done("jikai-hub", &[words, &["--data", text(&self.data)], more].concat())
    }

    /// The machine's token.
    pub fn token(&self) -> String {
        read(&self.data.join("admin.token")).trim().to_string()
    }

    /// A request in the name of the machine.
    pub fn as_machine(&self, method: &str, path: &str) -> Request {
        Request::new(method, path).header("authorization", format!("Bearer {}", self.token()))
    }

    /// What the machine may read at this address.
    ///
    /// # Panics
    /// When it may not.
    pub fn get(&self, path: &str) -> Value {
        let answer = self.server.ask(&self.as_machine("GET", path));
        assert_eq!(answer.status, 200, "{path}: {}", answer.json());
        answer.json()
    }
}

/// A running node.
pub struct Node {
    /// The process.
    pub process: Process,
    /// Its API.
    pub server: Server,
    /// Its data directory.
    pub data: PathBuf,
    number: u16,
    authority: String,
}

impl Node {
    /// Makes node 1 of a hub, has its certificate signed there, and starts it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(data: &Path, hub: &Hub, settings: Settings<'_>) -> Node {
        Node::start_as(data, hub, 1, settings)
    }

    /// The same for the node of this number.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_as(data: &Path, hub: &Hub, number: u16, settings: Settings<'_>) -> Node {
        Node::make(data, hub, number);
        let (request, certificate) = (data.join("node.csr"), data.join("signed.pem"));
        let of_node = ["--csr", text(&request), "--node", &number.to_string(), "--out", text(&certificate)];
        hub.command(&["ca", "sign"], &of_node);
        let authority = hub.data.join("ca/ca.pem");
        let enrol = ["enrol", "--data", text(data), "--certificate", text(&certificate), "--ca", text(&authority)];
        done("jikai-node", &enrol);
        change_settings(&data.join("node.toml"), settings);
        let (process, authority) = (Process::run("jikai-node", data), read(&authority));
        let server = server_of(&process, number, &authority);
        Node { process, server, data: data.to_owned(), number, authority }
    }

    /// Adds the node of this number to a hub, makes it on the invitation, and starts it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn join(data: &Path, hub: &Hub, number: u16, settings: Settings<'_>) -> Node {
        let addition = ["--id", &number.to_string(), "--name", "新节点"];
        Node::invited(data, hub, number, ("add", &addition), settings)
    }

    /// Takes the place of a node whose store is lost, with a store made on the invitation for that, and starts it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn replace(data: &Path, hub: &Hub, number: u16, settings: Settings<'_>) -> Node {
        // The hub may not have noticed yet that the node is gone.
        let replacement = ["--node", &number.to_string(), "--reason", "the disk is gone", "--although-connected"];
        Node::invited(data, hub, number, ("replace", &replacement), settings)
    }

    fn invited(data: &Path, hub: &Hub, number: u16, (order, of_node): (&str, &[&str]), settings: Settings<'_>) -> Node {
        let (file, code) = (data.with_extension("json"), data.with_extension("code"));
        let files = ["--out", text(&file), "--code-file", text(&code)];
        hub.command(&["node", order], &[of_node, &files].concat());
        let invitation = ["init", "--data", text(data), "--join", text(&file), "--code-file", text(&code)];
        done("jikai-node", &invitation);
        change_settings(&data.join("node.toml"), settings);
        let (process, authority) = (Process::run("jikai-node", data), read(&hub.data.join("ca/ca.pem")));
        let server = server_of(&process, number, &authority);
        Node { process, server, data: data.to_owned(), number, authority }
    }

    /// Starts it again. It listens elsewhere then.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.process = Process::run("jikai-node", &self.data);
        self.server = server_of(&self.process, self.number, &self.authority);
    }

    /// Makes the data directory of a node, without a certificate.
    pub fn make(data: &Path, hub: &Hub, number: u16) {
        let (address, number) = (hub.process.address("sync").to_string(), number.to_string());
        let settings = read(&hub.data.join("hub.toml"));
        let environment = settings.lines().find_map(|line| line.strip_prefix("environment = "));
        let environment = environment.expect("a hub has an environment").trim_matches('"');
        done(
            "jikai-node",
            &["init", "--data", text(data), "--node", &number, "--hub", &address, "--environment", environment],
        );
    }

    /// What it tells terminals of where all nodes are; `None` before it has heard.
    ///
    /// # Panics
    /// When that cannot be read.
    pub fn directory(&self) -> Option<SignedDirectory> {
        let view = self.server.ask(&Request::new("GET", "/v1/directory")).json();
        let bytes = |name: &str| view[name].as_str().map(|text| STANDARD.decode(text).expect("it is base64"));
        let version = view["version"].as_u64()?;
        Some(SignedDirectory { version, bytes: bytes("document")?, signature: bytes("signature")? })
    }

    fn health(&self) -> Value {
        self.server.ask(&Request::new("GET", "/health/ready")).json()
    }
}

/// Both, with a small world.
pub struct Running {
    /// The hub; dropped last.
    pub node: Node,
    /// Its node 1, which serves every outlet.
    pub hub: Hub,
    /// The terminal of one outlet.
    pub terminal: Terminal,
    /// Makes accounts.
    pub system: Person,
    /// Grants rights.
    pub security: Person,
    /// Reads everything.
    pub auditor: Person,
    /// Looks after outlets, proposes parameters and deposits.
    pub maker: Person,
    /// Decides what the maker proposes.
    pub checker: Person,
    _data: TempDir,
}

/// One request costs a test nothing but its answer.
pub const GENEROUS: (&str, &str) = ("strangers_per_second", "1000000");

impl Running {
    /// Starts hub and node, imports a world, makes staff, enrols a terminal and logs everybody in.
    ///
    /// # Panics
    /// When any of that fails.
    pub fn start() -> Running {
        Running::start_with("test", &[])
    }

    /// The same in this environment, with further settings of the hub.
    ///
    /// # Panics
    /// When any of that fails.
    pub fn start_with(environment: &str, more_of_hub: Settings<'_>) -> Running {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let at = |name: &str| folder.path().join(name);
        let world = at("world");
        let generate = ["generate", "--terminals", "4", "--nodes", "1", "--games", "G0201", "--out", text(&world)];
        let imports = done("jikai-sim", &generate);
        // A busy machine takes long over the printed batch.
        let usual = [GENEROUS, ("account_per_second", "1000000"), ("patience_ms", "600000")];
        let hub_settings = [&usual, more_of_hub].concat();
        let hub = Hub::start_in(environment, &at("hub"), Some(&world.join("printer.pub")), &hub_settings);
        for line in imports.lines().filter_map(|line| line.strip_prefix("jikai-hub import --data HUB ")) {
            hub.command(&["import"], &line.split(' ').collect::<Vec<_>>());
        }
        let more = [GENEROUS, ("terminal_requests_per_second", "1000000"), ("terminal_requests_burst", "1000000")];
        let node = Node::start(&at("node"), &hub, &more);
        let (system, security) = staff::administrators(&hub);
        let auditor = staff::colleague(&hub, &system, &security, "auditor", &["audit_administrator"]);
        let roles = ["market_manager", "parameter_maker", "finance_maker"];
        let maker = staff::colleague(&hub, &system, &security, "maker", &roles);
        let roles = ["parameter_checker", "finance_checker", "prize_data_b"];
        let checker = staff::colleague(&hub, &system, &security, "checker", &roles);
        let outlet = first_cell(&world.join("outlets.csv"));
        let terminal = Terminal::enrol(&hub, &node, &maker, &outlet, 90);
        Running { node, hub, terminal, system, security, auditor, maker, checker, _data: folder }
    }

    /// One more terminal at the outlet of the first one, with an owner of its own: numbers 91 to 99.
    pub fn another_terminal(&self, number: u8) -> Terminal {
        Terminal::enrol(&self.hub, &self.node, &self.maker, self.terminal.outlet(), number)
    }

    /// Waits until both have each other's log.
    pub fn settle(&self) {
        self.settle_with(&self.node);
    }

    /// Waits until the hub and a node have each other's log.
    pub fn settle_with(&self, node: &Node) {
        self.hub.settle_with(node);
    }

    /// All that requests could change and must not: every table of hub and node, and what staff may do.
    ///
    /// # Panics
    /// When hub and node do not agree.
    pub fn picture(&self) -> Vec<String> {
        let slice = self.hub.slice_with(&self.node);
        let whole = self.hub.command(&["digest"], &[]);
        // Tests log the terminal in again: which session is open is no harm done. The directory follows what tests define by a job, a
        // moment later.
        let is_kept = |line: &&str| !line.starts_with("session ") && !line.starts_with("directory ");
        let tables = whole.lines().chain(slice.lines()).filter(is_kept);
        let mut picture: Vec<String> = tables.map(str::to_string).collect();
        let mut staff = self.auditor.get("/v1/staff");
        for row in staff["staff"].as_array_mut().expect("staff is listed") {
            // Guessing at a name makes it wait: that is the bound, not a change of rights.
            row["locked_until_ms"] = json!(0);
        }
        picture.push(staff.to_string());
        for path in ["/v1/changes", "/v1/parameters", "/v1/certificates", "/v1/support"] {
            let mut answer = self.auditor.get(path);
            forget_countdowns(&mut answer);
            picture.push(answer.to_string());
        }
        for login in ["admin", "guard", "auditor", "maker", "checker"] {
            picture.push(self.auditor.get(&format!("/v1/staff/{login}/grants")).to_string());
        }
        picture
    }
}

fn server_of(process: &Process, number: u16, authority: &str) -> Server {
    Server::new(process.address("http"), &format!("node-{number}.jikai"), authority)
}

/// Seconds that are left pass by themselves.
fn forget_countdowns(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !name.ends_with("expires_in_s"));
            fields.values_mut().for_each(forget_countdowns);
        }
        Value::Array(values) => values.iter_mut().for_each(forget_countdowns),
        _ => {}
    }
}

/// A path as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The word on the line after the one that ends so.
fn word_behind(words: &str, before: &str) -> String {
    let mut lines = words.lines().skip_while(|line| !line.ends_with(before));
    lines.nth(1).unwrap_or_else(|| panic!("nothing behind `{before}`: {words}")).trim().to_string()
}

/// The first cell below the header of an import file.
fn first_cell(path: &Path) -> String {
    let line = read(path).lines().nth(1).map(str::to_string).expect("the file has a row");
    line.split(',').next().unwrap_or_default().to_string()
}

/// Replaces settings in a file that `init` wrote.
///
/// # Panics
/// When one is not there.
pub fn change_settings(path: &Path, settings: Settings<'_>) {
    let mut lines: Vec<String> = read(path).lines().map(str::to_string).collect();
    for (key, value) in settings {
        let of_key = |line: &String| line.split(" =").next() == Some(*key);
        let line = lines.iter_mut().find(|line| of_key(line)).unwrap_or_else(|| panic!("{key} is no setting"));
        *line = format!("{key} = {value}");
    }
    std::fs::write(path, lines.join("\n")).expect("the settings can be written");
}
