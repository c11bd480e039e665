//! The hub and its nodes: made, started, filled.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::process::Command;

use super::machines::{Machines, Wiring};
use super::{Binaries, Family, Layout};
use crate::client::{Service, trust};
use crate::load::Endpoints;
use crate::world::{Node, WorldFiles};

/// Time for one command line to end; importing a pool is the longest.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);

/// The running hub and nodes.
pub struct Cluster {
    binaries: Binaries,
    /// The machines of the hub.
    pub machines: Machines,
    /// Addresses of the nodes.
    pub nodes: BTreeMap<u16, SocketAddr>,
    /// Trusts the hub's CA.
    pub tls: Arc<ClientConfig>,
}

impl Cluster {
    /// Makes the hub's first machine and starts it.
    pub async fn start_hub(
        binaries: &Binaries,
        layout: &Layout,
        files: &WorldFiles,
        wiring: Wiring,
        family: &mut Family,
    ) -> Result<Self> {
        let key = files.printer_key.display().to_string();
        let options = ["--environment", "test", "--printer-key", &key].map(str::to_owned);
        let machines = Machines::found(&binaries.hub, layout.root(), wiring, &options, family).await?;
        Cluster::of(binaries, layout, machines)
    }

    /// Starts the hub of a kept run.
    pub async fn run_hub(binaries: &Binaries, layout: &Layout, family: &mut Family) -> Result<Self> {
        let machines = Machines::resume(&binaries.hub, layout.root(), &layout.read_machines()?, family).await?;
        Cluster::of(binaries, layout, machines)
    }

    fn of(binaries: &Binaries, layout: &Layout, machines: Machines) -> Result<Self> {
        let tls = trust(&layout.hub().join("ca").join("ca.pem"))?;
        Ok(Cluster { binaries: binaries.clone(), machines, nodes: BTreeMap::new(), tls })
    }

    /// A client of the hub's API with the administrator's token.
    pub fn hub(&self) -> Result<Service> {
        self.machines.front_service()
    }

    /// The data directory at which the hub's commands are given.
    pub(super) fn hub_data(&self) -> Result<&Path> {
        self.machines.front().map(|machine| machine.data.as_path())
    }

    /// The programs.
    pub(super) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// From its next start on a node waits for the hub with everything that it acknowledges.
    pub(super) fn set_ack_hub(&self, data: &Path) -> Result<()> {
        put_text(&data.join("node.toml"), "ack", "hub")
    }

    /// Tells the hub of a node; before its outlets.
    pub async fn register(&self, node: &Node) -> Result<()> {
        let prefectures: Vec<String> = node.prefectures.iter().map(u16::to_string).collect();
        let mut import = command(&self.binaries.hub, "import", self.hub_data()?);
        import.args([
            "node",
            "--id",
            &node.id.to_string(),
            "--name",
            &node.name,
            "--prefectures",
            &prefectures.join(","),
        ]);
        run(import).await.with_context(|| format!("register node {}", node.id)).map(drop)
    }

    /// Imports one file or directory.
    pub async fn import(&self, kind: &str, path: &Path) -> Result<()> {
        let mut import = command(&self.binaries.hub, "import", self.hub_data()?);
        import.arg(kind).arg(path);
        run(import).await.with_context(|| format!("import {kind} from {}", path.display())).map(drop)
    }

    /// Makes a node's store and key, has its certificate signed, and starts it.
    pub async fn start_node(
        &mut self,
        node: u16,
        data: &Path,
        hub_ack_from_fen: Option<i64>,
        family: &mut Family,
    ) -> Result<()> {
        let mut init = command(&self.binaries.node, "init", data);
        init.args([
            "--node",
            &node.to_string(),
            "--hub",
            &self.machines.sync_addresses(),
            "--environment",
            "test",
            "--listen",
            "127.0.0.1:0",
        ]);
        run(init).await.with_context(|| format!("initialise node {node}"))?;
        if let Some(from_fen) = hub_ack_from_fen {
            put_first(&data.join("node.toml"), &format!("hub_ack_from_fen = {from_fen}"))?;
        }
        let certificate = data.join("signed.pem");
        let mut sign = Command::new(&self.binaries.hub);
        sign.args(["ca", "sign"]).arg("--data").arg(self.hub_data()?);
        sign.arg("--csr").arg(data.join("node.csr")).args(["--node", &node.to_string()]).arg("--out").arg(&certificate);
        run(sign).await.with_context(|| format!("sign the certificate of node {node}"))?;
        let mut enrol = command(&self.binaries.node, "enrol", data);
        enrol.arg("--certificate").arg(&certificate).arg("--ca").arg(self.hub_data()?.join("ca").join("ca.pem"));
        run(enrol).await.with_context(|| format!("enrol node {node}"))?;
        self.run_new_node(node, data, family).await
    }

    /// Starts a node for the first time, and keeps the address that the system chose.
    pub(super) async fn run_new_node(&mut self, node: u16, data: &Path, family: &mut Family) -> Result<()> {
        let ready =
            family.start(&Cluster::process_of(node), command(&self.binaries.node, "run", data))?.wait_ready().await?;
        let address = value(&ready, "http")?.parse().with_context(|| format!("read the address of node {node}"))?;
        self.nodes.insert(node, address);
        Ok(())
    }

    /// Kills a node and starts it again at the same address, which terminals know.
    pub async fn crash_node(&mut self, node: u16, data: &Path, family: &mut Family) -> Result<()> {
        let address = *self.nodes.get(&node).with_context(|| format!("node {node} is not running"))?;
        // The address that the system chose.
        put_text(&data.join("node.toml"), "listen", &address.to_string())?;
        let name = Cluster::process_of(node);
        family.kill(&name).await?;
        family.start(&name, command(&self.binaries.node, "run", data))?.wait_ready().await.map(drop)
    }

    /// Kills the hub's first machine and starts it again at the same addresses, which nodes know.
    pub async fn crash_hub(&mut self, family: &mut Family) -> Result<()> {
        self.machines.kill(1, family).await?;
        self.machines.start(1, family).await
    }

    /// The addresses for load processes.
    pub fn endpoints(&self) -> Endpoints {
        Endpoints(self.nodes.clone())
    }

    /// Waits until the hub says of every node what `done` wants.
    pub async fn wait_for_nodes(
        &self,
        what: &str,
        limit: Duration,
        family: &mut Family,
        done: impl Fn(&Value) -> bool,
    ) -> Result<()> {
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            family.check_alive()?;
            let nodes = self.machines.nodes().await?;
            let waiting: Vec<&Value> = nodes.iter().filter(|node| !done(node)).collect();
            if waiting.is_empty() && nodes.len() == self.nodes.len() {
                return Ok(());
            }
            if tokio::time::Instant::now() > deadline {
                bail!("not every node is {what} within {limit:?}; the hub says {waiting:?} of {} nodes", nodes.len());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Writes another text into the settings.
pub(super) fn put_text(settings: &Path, key: &str, text_of_key: &str) -> Result<()> {
    let text = std::fs::read_to_string(settings).with_context(|| format!("read {}", settings.display()))?;
    let lines = text.lines().map(|line| match line.split_once('=') {
        Some((name, _)) if name.trim() == key => format!("{key} = \"{text_of_key}\"\n"),
        _ => format!("{line}\n"),
    });
    std::fs::write(settings, lines.collect::<String>()).with_context(|| format!("write {}", settings.display()))
}

/// Writes one more setting into the settings, before all sections.
pub(super) fn put_first(settings: &Path, line: &str) -> Result<()> {
    let text = std::fs::read_to_string(settings).with_context(|| format!("read {}", settings.display()))?;
    std::fs::write(settings, format!("{line}\n{text}")).with_context(|| format!("write {}", settings.display()))
}

/// A node that is connected, by the hub's word.
pub fn is_connected(node: &Value) -> bool {
    node["connected"] == true
}

/// A node that has received all that the hub has for it.
pub fn has_everything(node: &Value) -> bool {
    is_connected(node) && node["down_head"].is_u64() && node["down_acked"].as_u64() >= node["down_head"].as_u64()
}

/// A command line of one of the programs.
pub(super) fn command(binary: &Path, verb: &str, data: &Path) -> Command {
    let mut command = Command::new(binary);
    command.arg(verb).arg("--data").arg(data);
    command
}

/// Runs a command line to its end; its words are in the error.
pub(super) async fn run(mut command: Command) -> Result<String> {
    let words = format!("{:?}", command.as_std());
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(COMMAND_LIMIT, command.output()).await;
    let output = output.with_context(|| format!("{words} did not end within {COMMAND_LIMIT:?}"))?;
    let output = output.with_context(|| format!("run {words}"))?;
    ensure!(
        output.status.success(),
        "{words} failed ({}):\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The value of `key` in a `ready` line.
pub(super) fn value(pairs: &[(String, String)], key: &str) -> Result<String> {
    let found = pairs.iter().find(|(name, _)| name == key);
    found.map(|(_, value)| value.clone()).with_context(|| format!("the `ready` line has no {key}=…"))
}
