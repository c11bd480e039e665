//! A hub whose directory can be put back from a copy, and two nodes that stay.

use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{GENEROUS, Hub, Node, Terminal, read, staff, text};
use crate::process::{done, wait_until};

/// A hub, two nodes with a terminal each, and the lists of a world of which a part is not imported yet.
pub struct Pair {
    /// Nodes 1 and 2, and 3 where it was added.
    pub nodes: Vec<Node>,
    /// The hub; `None` while it is stopped.
    pub hub: Option<Hub>,
    /// A terminal at an outlet of each node.
    pub terminals: Vec<Terminal>,
    /// Folder of the import files.
    pub world: PathBuf,
    /// What is imported after the beginning: words behind `import`.
    later: Vec<Vec<String>>,
    folder: TempDir,
}

/// What is imported from the beginning; the printed batch, its sale, its shipments and the deposits come later.
const FIRST: [&str; 7] = ["node", "divisions", "townships", "games", "outlets", "terminals", "operators"];

impl Pair {
    /// Makes hub and nodes, and imports the master data of a world.
    ///
    /// # Panics
    /// When any of that fails.
    pub fn start() -> Pair {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let world = folder.path().join("world");
        let generate = ["generate", "--terminals", "8", "--nodes", "2", "--games", "G0201", "--out", text(&world)];
        let imports = done("jikai-sim", &generate);
        let imports = imports.lines().filter_map(|line| line.strip_prefix("jikai-hub import --data HUB "));
        let words = |line: &str| line.split(' ').map(str::to_string).collect::<Vec<_>>();
        let (first, later): (Vec<_>, Vec<_>) = imports.map(words).partition(|words| FIRST.contains(&words[0].as_str()));
        let sync_listen = format!("\"{}\"", free_address());
        let settings = [GENEROUS, ("account_per_second", "1000000"), ("sync_listen", sync_listen.as_str())];
        let hub = Hub::start(&folder.path().join("hub"), Some(&world.join("printer.pub")), &settings);
        first.iter().for_each(|words| import(&hub, words));
        let node = |number| Node::start_as(&folder.path().join(format!("node-{number}")), &hub, number, &[GENEROUS]);
        let nodes = vec![node(1), node(2)];
        let (system, security) = staff::administrators(&hub);
        let manager = staff::colleague(&hub, &system, &security, "maker", &["market_manager"]);
        let outlets = read(&world.join("outlets.csv"));
        let terminals = nodes.iter().zip(&first).map(|(node, registered)| {
            // The list begins with the nodes; their last word is the prefectures that they serve.
            let prefectures: Vec<&str> = registered.last().map(|list| list.split(',').collect()).unwrap_or_default();
            let outlet = outlets.lines().find(|line| prefectures.iter().any(|prefecture| line.starts_with(prefecture)));
            let outlet = outlet.and_then(|line| line.split(',').next()).expect("each node serves an outlet");
            Terminal::enrol(&hub, node, &manager, outlet, 90)
        });
        let terminals = terminals.collect();
        Pair { nodes, hub: Some(hub), terminals, world, later, folder }
    }

    /// Imports what does not belong to the master data; again changes nothing.
    pub fn import_later(&self) {
        self.later.iter().for_each(|words| import(self.hub(), words));
    }

    /// Adds node 3, which serves nothing yet.
    ///
    /// # Panics
    /// When it does not come.
    pub fn add_node(&mut self) {
        let node = Node::join(&self.folder.path().join("node-3"), self.hub(), 3, &[GENEROUS]);
        self.hub().await_node(3);
        self.nodes.push(node);
    }

    /// Destroys the directory of a node, and has a new store take its place.
    ///
    /// # Panics
    /// When it does not come.
    pub fn replace_node(&mut self, number: u16) {
        let index = usize::from(number) - 1;
        self.nodes[index].process.kill();
        std::fs::remove_dir_all(&self.nodes[index].data).expect("the node's directory can be removed");
        let data = self.folder.path().join(format!("node-{number}-again"));
        self.nodes[index] = Node::replace(&data, self.hub(), number, &[GENEROUS]);
        self.hub().await_node(number);
    }

    /// The running hub.
    ///
    /// # Panics
    /// When it is stopped.
    pub fn hub(&self) -> &Hub {
        self.hub.as_ref().expect("the hub runs")
    }

    /// The hub's directory.
    pub fn hub_data(&self) -> PathBuf {
        self.folder.path().join("hub")
    }

    /// Kills the hub.
    pub fn kill_hub(&mut self) {
        self.hub = None;
    }

    /// Starts it again.
    pub fn start_hub(&mut self) {
        self.hub = Some(Hub::start_on(&self.hub_data()));
    }

    /// Copies the stopped hub's directory.
    pub fn copy_hub(&self) {
        copy_folder(&self.hub_data(), &self.folder.path().join("copy"));
    }

    /// Puts the copy in place of the stopped hub's directory.
    ///
    /// # Panics
    /// When the files cannot be moved.
    pub fn put_back(&self) {
        std::fs::remove_dir_all(self.hub_data()).expect("the hub's directory can be removed");
        copy_folder(&self.folder.path().join("copy"), &self.hub_data());
    }

    /// Waits until the hub and all nodes have each other's logs.
    pub fn settle(&self) {
        // What one node sent may be on its way to the other.
        wait_until("hub and nodes to stand still", || self.heads() == self.heads());
    }

    fn heads(&self) -> Vec<(Option<u64>, Option<u64>)> {
        self.nodes.iter().map(|node| self.hub().settle_with(node)).collect()
    }

    /// Digests of the hub's shared tables, once each node's store equals its slice.
    ///
    /// # Panics
    /// When one does not.
    pub fn digest(&self) -> String {
        let mut tables = String::new();
        wait_until("hub and nodes to stand still", || {
            self.nodes.iter().for_each(|node| drop(self.hub().slice_with(node)));
            let heads = self.heads();
            tables = self.hub().command(&["digest"], &[]);
            self.heads() == heads
        });
        // A hub that starts again is reached at another port.
        let stays = |line: &&str| !line.starts_with("hub_machine ");
        tables.lines().filter(stays).map(|line| format!("{line}\n")).collect()
    }
}

/// An address whose port is free now, for QUIC.
///
/// # Panics
/// When there is none.
pub fn free_address() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.local_addr().expect("it has an address")
}

fn import(hub: &Hub, words: &[String]) {
    hub.command(&["import"], &words.iter().map(String::as_str).collect::<Vec<_>>());
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for entry in std::fs::read_dir(from).expect("the folder can be read") {
        let entry = entry.expect("the folder can be read");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a file has a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("a file can be copied");
        }
    }
}
