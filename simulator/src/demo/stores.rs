//! Stores of nodes that are destroyed, replaced, read again, or copied.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;

use super::Family;
use super::cluster::{Cluster, command, put_first, put_text, run, value};
use super::machines::at_hub;
use crate::client::{Endpoint, Service};

/// Time for one answer of a copy.
const ASK_LIMIT: Duration = Duration::from_secs(5);

impl Cluster {
    /// The process of a node.
    pub(super) fn process_of(node: u16) -> String {
        format!("node-{node}")
    }

    /// Has the hub shut a node's store out and makes another in `data`, at the same address. It is not started. `papers` is the beginning
    /// of the paths of what the hub writes for it.
    pub(super) async fn replace_store(
        &self,
        node: u16,
        data: &Path,
        papers: &Path,
        hub_ack_from_fen: Option<i64>,
    ) -> Result<()> {
        let (invitation, code) = (papers.with_extension("invitation"), papers.with_extension("code"));
        let address = self.nodes.get(&node).with_context(|| format!("node {node} is not known"))?;
        let mut replace = Command::new(&self.binaries().hub);
        replace.args(["node", "replace", "--data"]).arg(self.hub_data()?).args(["--node", &node.to_string()]);
        replace.arg("--out").arg(&invitation).arg("--code-file").arg(&code);
        // It was killed a moment ago, which the hub may not have noticed.
        replace.args(["--reason", "its disk is gone", "--although-connected"]);
        run(replace).await.with_context(|| format!("replace node {node}"))?;
        let listen = address.to_string();
        let joined = self.join_store(data, (&invitation, &code), &listen, hub_ack_from_fen).await;
        joined.with_context(|| format!("make another store of node {node}"))
    }

    /// Makes a store in `data` from an invitation and its code.
    async fn join_store(
        &self,
        data: &Path,
        (invitation, code): (&Path, &Path),
        listen: &str,
        hub_ack_from_fen: Option<i64>,
    ) -> Result<()> {
        let mut join = command(&self.binaries().node, "init", data);
        join.arg("--join").arg(invitation).arg("--code-file").arg(code).args(["--listen", listen]);
        run(join).await?;
        match hub_ack_from_fen {
            Some(from_fen) => put_first(&data.join("node.toml"), &format!("hub_ack_from_fen = {from_fen}")),
            None => Ok(()),
        }
    }

    /// Has the hub add a node that serves no outlet yet, makes its store in `data` from the invitation, and starts it. `papers`: see
    /// [`Cluster::replace_store`].
    pub(super) async fn add_node(
        &mut self,
        node: u16,
        data: &Path,
        papers: &Path,
        hub_ack_from_fen: Option<i64>,
        family: &mut Family,
    ) -> Result<()> {
        let (invitation, code) = (papers.with_extension("invitation"), papers.with_extension("code"));
        let mut add = Command::new(&self.binaries().hub);
        add.args(["node", "add", "--data"]).arg(self.hub_data()?).args(["--id", &node.to_string()]);
        add.args(["--name", &format!("节点{node}")]).arg("--out").arg(&invitation).arg("--code-file").arg(&code);
        run(add).await.with_context(|| format!("add node {node}"))?;
        let joined = self.join_store(data, (&invitation, &code), "127.0.0.1:0", hub_ack_from_fen).await;
        joined.with_context(|| format!("make the store of node {node}"))?;
        self.run_new_node(node, data, family).await
    }

    /// Has the hub take a node out of use that serves no outlet any more, ends its process, and forgets it. Its store stays.
    pub(super) async fn remove_node(&mut self, node: u16, family: &mut Family) -> Result<()> {
        let mut remove = Command::new(&self.binaries().hub);
        remove.args(["node", "remove", "--data"]).arg(self.hub_data()?).args(["--id", &node.to_string()]);
        remove.args(["--reason", "its lease ends"]);
        run(remove).await.with_context(|| format!("remove node {node}"))?;
        family.retire(&Cluster::process_of(node)).await?;
        self.nodes.remove(&node);
        Ok(())
    }

    /// Starts a node whose store was made, and waits until it serves.
    pub(super) async fn run_node(&self, node: u16, data: &Path, family: &mut Family) -> Result<()> {
        let run = command(&self.binaries().node, "run", data);
        family.start(&Cluster::process_of(node), run)?.wait_ready().await.map(drop)
    }

    /// Starts a copy of a node's store at an address of its own. Gives a client that believes it to be the node.
    pub(super) async fn run_copy(&self, node: u16, data: &Path, name: &str, family: &mut Family) -> Result<Service> {
        put_text(&data.join("node.toml"), "listen", "127.0.0.1:0")?;
        let ready = family.start(name, command(&self.binaries().node, "run", data))?.wait_ready().await?;
        let address: SocketAddr = value(&ready, "http")?.parse().context("read the address of the copy")?;
        Ok(Service::new(Endpoint::of_node(node, address, self.tls.clone())?, None, ASK_LIMIT))
    }

    /// What the hub says of a node, as `jikai-node salvage` takes it.
    pub(super) async fn show_node(&self, node: u16) -> Result<String> {
        let mut show = Command::new(&self.binaries().hub);
        show.args(["node", "show", "--json", "--data"]).arg(self.hub_data()?).args(["--node", &node.to_string()]);
        run(show).await.with_context(|| format!("ask the hub about node {node}"))
    }

    /// Has the hub, whose directory was put back from a copy, await what its nodes had received of it.
    pub(super) async fn begin_recovery(&self, data: &Path) -> Result<()> {
        run(at_hub(&self.binaries().hub, "restore", data)).await.context("restore the hub").map(drop)
    }

    /// What an old store holds alone.
    pub(super) async fn salvage(&self, node: u16, old: &Path) -> Result<Value> {
        let report = old.with_extension("report");
        let shown = self.show_node(node).await?;
        std::fs::write(&report, shown).with_context(|| format!("write {}", report.display()))?;
        let mut salvage = command(&self.binaries().node, "salvage", old);
        salvage.arg("--report").arg(&report).arg("--json");
        let told = run(salvage).await.with_context(|| format!("read the old store of node {node}"))?;
        serde_json::from_str(&told).context("read what the old store holds alone")
    }
}

/// Copies a store as it lies: files and folders, no sockets.
pub(super) fn copy_store(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("make the folder {}", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry.with_context(|| format!("list {}", from.display()))?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().with_context(|| format!("look at {}", path.display()))?;
        if kind.is_dir() {
            copy_store(&path, &target)?;
        } else if kind.is_file() {
            std::fs::copy(&path, &target).with_context(|| format!("copy {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_are_copied_and_sockets_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::create_dir_all(from.join("inner")).unwrap();
        std::fs::write(from.join("inner/file"), "text").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        copy_store(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("inner/file")).unwrap(), "text");
        assert!(!to.join("socket").exists());
    }
}
