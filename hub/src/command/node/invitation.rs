//! The invitation for a store that is to be a node's, as `node add` and `node replace` write it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use jikai_sync::identity::write_private_file;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::client::Client;

#[derive(Debug, Args)]
pub(super) struct InvitationArgs {
    /// Where to write the invitation for the store.
    #[arg(long)]
    out: PathBuf,
    /// Write the code into this file, readable by its owner only, instead of printing it.
    #[arg(long)]
    code_file: Option<PathBuf>,
    /// Further name or address by which terminals reach the node. May be given several times.
    #[arg(long)]
    host: Vec<String>,
    /// Where the store reaches the hub first, IP:PORT [default: the links of the hub's machines]. May be given several times.
    #[arg(long)]
    hub: Vec<SocketAddr>,
}

/// The files of an invitation: they are there, and empty.
pub(super) struct Files<'a> {
    args: &'a InvitationArgs,
}

impl InvitationArgs {
    /// Makes its files empty, before the hub is asked: what cannot be written behind its answer would be lost.
    pub(super) fn make_files(&self) -> anyhow::Result<Files<'_>> {
        if let Some(path) = self.paths().find(|path| path.exists()) {
            bail!("{} exists: nothing is written over another file", path.display());
        }
        let files = Files { args: self };
        for path in self.paths() {
            write_private_file(path, b"")
                .with_context(|| format!("write {}", path.display()))
                .inspect_err(|_| files.remove())?;
        }
        Ok(files)
    }

    /// How the store is made on its machine.
    pub(super) fn join_words(&self) -> String {
        let code = self.code_file.as_ref().map_or(String::new(), |path| format!(" --code-file {}", path.display()));
        format!("jikai-node init --data DIR --join {}{code} --listen IP:PORT", self.out.display())
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.out).chain(&self.code_file).map(PathBuf::as_path)
    }
}

impl Files<'_> {
    /// Asks the hub for an invitation, for a store of which `what` tells the rest. The empty files would stand in the way of the next try:
    /// they are removed where the hub gives none; if they stay, that says so.
    pub(super) async fn ask(&self, client: &Client, path: &str, mut what: Value) -> anyhow::Result<Value> {
        (what["hosts"], what["hub"]) = (json!(self.args.host), json!(self.args.hub));
        client.post_json(path, &what).await.inspect_err(|_| self.remove())
    }

    fn remove(&self) {
        for path in self.args.paths() {
            let _ = std::fs::remove_file(path);
        }
    }

    /// Writes the invitation; the code into its file, or onto the screen.
    pub(super) fn write(&self, made: &Value) -> anyhow::Result<()> {
        let code = Zeroizing::new(made["code"].as_str().context("the hub gave no code")?.to_owned());
        write_private_file(&self.args.out, serde_json::to_string_pretty(&made["invitation"])?.as_bytes())?;
        match &self.args.code_file {
            Some(path) => write_private_file(path, code.as_bytes())?,
            None => println!("Code, shown only now; carry it apart from the file:\n    {}", code.as_str()),
        }
        Ok(())
    }
}
