//! `keys`: the ring under which all secrets of the machine are encrypted, and the master key that opens it.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use jikai_schema::event::{Actor, MachineState};
use jikai_schema::time::TimeMs;
use jikai_sync::secrets::{MasterSource, Secrets, SecretsError};

use super::DataArg;
use super::client::run_to_end;
use super::run::{Lock, seat};
use crate::audit::checkpoint::Journal;
use crate::config::{CONFIG_FILE, Config};
use crate::identity::{IdentityFiles, secrets_place};
use crate::keys::{Counted, Resealed, reseal};
use crate::machine::MachineRow;
use crate::member::Member;
use crate::raft::settings::Settings;
use crate::sequencer::Sequencer;
use crate::store;

/// On whose behalf the machine's own commands act; no login name has an `@`.
const CONSOLE: &str = "@console";

#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Show the versions of the keys and how many secrets lie under each.
    #[command(after_help = "Example:\n  jikai-hub keys list --data ./hub\nWorks beside a running hub.")]
    List(DataArg),
    /// Add a new version, and encrypt all secrets anew under it: files, batch keys, second factors.
    #[command(after_help = ROTATE_EXAMPLES)]
    Rotate(DataArg),
    /// Change the master key, which opens the ring of keys; the secrets themselves are not touched.
    #[command(after_help = REWRAP_EXAMPLES)]
    Rewrap(RewrapArgs),
}

const ROTATE_EXAMPLES: &str = "Example:
  jikai-hub keys rotate --data ./hub
Stop the hub first; nodes work on meanwhile. May be cut off at any time: the next start goes on.
The version before stays in the ring until the next rotation, for backups that are older. If a key has leaked, rotate twice.";

const REWRAP_EXAMPLES: &str = "Examples:
  jikai-hub keys rewrap --data ./hub --new-master file:/etc/jikai/hub.key      (made where it is missing)
  JIKAI_KEY=$(cat new.key) jikai-hub keys rewrap --data ./hub --new-master env:JIKAI_KEY
  openssl rand -hex 32                                                         (digits of a new key)
Stop the hub first. The settings name the new source afterwards; the old key opens nothing any more, but in old backups.";

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
    let counted = Counted::of(&store::open_reader(data)?, ring).context("count the secrets of the state")?;
    println!("master key: {}", config.master_key);
    println!(
        "{:>7}  {:>5}  {:>10}  {:>14}  {:>13}",
        "version", "files", "batch keys", "second factors", "personal data"
    );
    for version in ring.versions() {
        let files = files.iter().filter(|(_, of)| *of == version).count();
        let rows = [&counted.batch_keys, &counted.factors, &counted.personal];
        let [batch_keys, factors, personal] = rows.map(|rows| rows.get(&version).copied().unwrap_or(0));
        let note = if version == ring.newest() { "  encrypts" } else { "" };
        println!("{version:>7}  {files:>5}  {batch_keys:>10}  {factors:>14}  {personal:>13}{note}");
    }
    if counted.in_use().iter().any(|version| *version != ring.newest()) {
        println!("Secrets under older versions follow at the next start of the hub, or with `keys rotate`.");
    }
    match counted.unreadable {
        0 => Ok(()),
        some => bail!("{some} secrets open under none of these keys: restore {}/secrets", data.display()),
    }
}

fn rotate(data: &Path, config: &Config) -> anyhow::Result<()> {
    let others = MachineRow::list(&store::open_reader(data)?).context("read the machines")?;
    let serving = others.iter().filter(|row| !row.voter_only && row.state != Some(MachineState::Retired)).count();
    if serving > 1 {
        bail!(
            "{serving} machines share these keys, or were invited with them: the others would not open what a new version encrypts. Remove them \
             (jikai-hub cluster remove), rotate here, and invite them anew"
        );
    }
    let (_only_one, mut secrets) = take(data, config)?;
    let _no_new_audit_key_meanwhile = Journal::new(data).lock()?;
    let rotated = run_to_end(rotate_alone(data, config, &mut secrets));
    let (done, files) = (rotated?, secrets.list()?.len());
    let Resealed { batch_keys, factors, personal } = done;
    println!(
        "Version {} encrypts: {files} files, {batch_keys} batch keys, {factors} second factors and {personal} fields of \
         personal data lie under it.",
        secrets.ring().newest()
    );
    println!("Next: keep {}/secrets in its backup again, then jikai-hub run --data {0}", data.display());
    Ok(())
}

/// Takes part in the hub's log for as long as it takes.
async fn rotate_alone(data: &Path, config: &Config, secrets: &mut Secrets) -> anyhow::Result<Resealed> {
    let files = IdentityFiles::new(data);
    let member = Member::start(data, &files.tls(secrets)?, seat(config, files.machine()?), Settings::default()).await?;
    let (sequencer, sequencing) = member.sequencer(Arc::new(TimeMs::now));
    let rotated = match member.wait_for_leader().await {
        true => rotate_with(&sequencer, data, secrets).await,
        false => Err(anyhow::anyhow!("the hub has no leader: a majority of its machines has to run")),
    };
    drop(sequencer);
    sequencing.await.context("end the proposing")?;
    member.stop().await;
    rotated
}

/// First the ring and the files, then the rows: whatever is cut off, the ring has the keys of all that lies anywhere.
async fn rotate_with(sequencer: &Sequencer, data: &Path, secrets: &mut Secrets) -> anyhow::Result<Resealed> {
    let state = store::open_reader(data)?;
    let in_use = Counted::of(&state, secrets.ring()).context("count the secrets of the state")?.in_use();
    secrets.rotate(&in_use)?;
    let console = Actor::Staff(CONSOLE.into());
    reseal(sequencer, &state, secrets.ring(), &console, true).await
}

fn rewrap(data: &Path, config: &Config, to: &MasterSource) -> anyhow::Result<()> {
    let (_only_one, mut secrets) = take(data, config)?;
    let made = secrets.rewrap(to, &data.join(CONFIG_FILE))?;
    if made {
        println!("Made a new key: {to}. Keep it in a backup of its own.");
    }
    println!("The master key comes from {to} now; {} says so.", data.join(CONFIG_FILE).display());
    println!(
        "Next: keep {}/secrets in its backup again, then take the old key ({}) away.",
        data.display(),
        config.master_key
    );
    Ok(())
}

/// Takes the secrets for a change; a running hub has them.
fn take(data: &Path, config: &Config) -> anyhow::Result<(Lock, Secrets)> {
    let lock = Lock::take(data)?;
    match Secrets::take(&secrets_place(data, config)) {
        Err(SecretsError::Busy(_)) => bail!("a hub runs on {}: stop it first, then ask again", data.display()),
        taken => Ok((lock, taken?)),
    }
}
