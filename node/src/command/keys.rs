//! `keys`: the ring under which all secrets of the node are encrypted, and the master key that opens it.

use std::path::Path;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use jikai_sync::secrets::{MasterSource, Secrets, SecretsError};

use super::DataArg;
use crate::config::{CONFIG_FILE, Config};
use crate::keyring::{Counted, reseal};
use crate::secrets::secrets_place;
use crate::store;

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Show the versions of the keys and how many secrets lie under each.
    #[command(after_help = "Example:\n  jikai-node keys list --data ./node-3\nWorks beside a running node.")]
    List(DataArg),
    /// Add a new version, and encrypt all secrets anew under it: the TLS key and the batch keys.
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate(DataArg),
    /// Change the master key, which opens the ring of keys; the secrets themselves are not touched.
    #[command(after_help = REWRAP_EXAMPLES)]
    Rewrap(RewrapArgs),
}

const ROTATE_EXAMPLES: &str = "Example:
  jikai-node keys rotate --data ./node-3
Stop the node first. May be cut off at any time: the next start goes on.
The version before stays in the ring until the next rotation, for backups that are older. If a key has leaked, rotate twice.";

const REWRAP_EXAMPLES: &str = "Examples:
  jikai-node keys rewrap --data ./node-3 --new-master file:/etc/jikai/node.key   (made where it is missing)
  JIKAI_KEY=$(cat new.key) jikai-node keys rewrap --data ./node-3 --new-master env:JIKAI_KEY
  openssl rand -hex 32                                                           (digits of a new key)
Stop the node first. The settings name the new source afterwards; the old key opens nothing any more, but in old backups.";

#[derive(Debug, Args)]
pub(super) struct RewrapArgs {
    #[command(flatten)]
    data: DataArg,
    /// From where the new key comes: file:PATH, env:NAME or credential:NAME. Never the key itself.
    #[arg(long)]
    new_master: MasterSource,
}

impl KeysCommand {
    /// The data directory that it works on.
    pub(super) fn data(&self) -> &DataArg {
        match self {
            KeysCommand::List(data) | KeysCommand::Rotate(data) => data,
            KeysCommand::Rewrap(args) => &args.data,
        }
    }
}

pub(super) fn keys(command: &KeysCommand) -> anyhow::Result<()> {
    let data = &command.data().data;
    let config = Config::load(data)?;
    match command {
        KeysCommand::List(_) => list(data, &config),
        KeysCommand::Rotate(_) => rotate(data, &config),
        KeysCommand::Rewrap(args) => rewrap(data, &config, &args.new_master),
    }
}

fn list(data: &Path, config: &Config) -> anyhow::Result<()> {
    let secrets = Secrets::open(&secrets_place(data, config))?;
    let (files, ring) = (secrets.list()?, secrets.ring());
    let counted = Counted::of(&store::open_reader(data)?, ring).context("count the batch keys")?;
    println!("master key: {}", config.master_key);
    println!("{:>7}  {:>5}  {:>10}", "version", "files", "batch keys");
    for version in ring.versions() {
        let files = files.iter().filter(|(_, of)| *of == version).count();
        let batch_keys = counted.batch_keys.get(&version).copied().unwrap_or(0);
        let note = if version == ring.newest() { "  encrypts" } else { "" };
        println!("{version:>7}  {files:>5}  {batch_keys:>10}{note}");
    }
    if counted.in_use().iter().any(|version| *version != ring.newest()) {
        println!("Secrets under older versions follow at the next start of the node, or with `keys rotate`.");
    }
    match counted.unreadable {
        0 => Ok(()),
        some => bail!("{some} batch keys open under none of these keys: restore {}/secrets", data.display()),
    }
}

/// First the ring and the files, then the rows: whatever is cut off, the ring has the keys of all that lies anywhere.
fn rotate(data: &Path, config: &Config) -> anyhow::Result<()> {
    let mut secrets = take(data, config)?;
    let mut store = store::open(data).context("open the store")?;
    let in_use = Counted::of(&store, secrets.ring()).context("count the batch keys")?.in_use();
    let newest = secrets.rotate(&in_use)?;
    let batch_keys = reseal(&mut store, secrets.ring()).context("encrypt the batch keys anew")?;
    let files = secrets.list()?.len();
    println!("Version {newest} encrypts: {files} files and {batch_keys} batch keys lie under it.");
    println!("Next: keep {}/secrets in its backup again, then jikai-node run --data {0}", data.display());
    Ok(())
}

fn rewrap(data: &Path, config: &Config, to: &MasterSource) -> anyhow::Result<()> {
    let made = take(data, config)?.rewrap(to, &data.join(CONFIG_FILE))?;
    if made {
        println!("Made a new key: {to}. Keep it in a backup of its own.");
    }
    let (settings, old) = (data.join(CONFIG_FILE), &config.master_key);
    println!("The master key comes from {to} now; {} says so.", settings.display());
    println!("Next: keep {}/secrets in its backup again, then take the old key ({old}) away.", data.display());
    Ok(())
}

/// Takes the secrets for a change; a running node has them.
pub(super) fn take(data: &Path, config: &Config) -> anyhow::Result<Secrets> {
    match Secrets::take(&secrets_place(data, config)) {
        Err(SecretsError::Busy(_)) => bail!("a node runs on {}: stop it first, then ask again", data.display()),
        taken => Ok(taken?),
    }
}
