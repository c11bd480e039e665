//! `cluster take-over`: a person makes one machine the whole hub, without the consent of the others.

use std::path::Path;

use anyhow::{Context, ensure};
use clap::Args;
use jikai_schema::command::{ClusterCommand, Command, Proposal, encode_entry};
use jikai_schema::event::Actor;
use jikai_schema::id::MachineNo;
use jikai_schema::time::TimeMs;
use jikai_sync::secrets::Secrets;

use super::DataArg;
use super::client::run_to_end;
use super::run::{Lock, seat};
use crate::config::Config;
use crate::identity::{IdentityFiles, secrets_place};
use crate::machine::generation;
use crate::member::{Member, refuse_differing};
use crate::raft::log_store::claim_alone;
use crate::raft::settings::Settings;
use crate::store;

pub(super) const EXAMPLE: &str = "Example:
  jikai-hub cluster take-over --data ./hub2 --the-others-are-gone
Only where a majority of the machines is gone for good. What the others had confirmed and this one had not received is lost at the
hub: nodes send their part again, events of the centre are gone. Where nodes may have received some of those, `jikai-hub restore`
gets them back instead. Nodes turn away whoever of the others comes back; let them join anew.";

#[derive(Debug, Args)]
pub(super) struct TakeOverArgs {
    #[command(flatten)]
    pub(super) data: DataArg,
    /// Needed: says that the other machines are switched off and will not come back under their numbers.
    #[arg(long)]
    the_others_are_gone: bool,
}

pub(super) fn take_over(args: &TakeOverArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    let config = Config::load(data)?;
    ensure!(
        args.the_others_are_gone,
        "say --the-others-are-gone once they are switched off: two hubs that both take in money cannot be merged"
    );
    ensure!(!config.voter_only, "a machine that only votes has no keys of the hub: let one that serves take over");
    let _only_one = Lock::take(data)?;
    let secrets = Secrets::take(&secrets_place(data, &config))?;
    let machine = MachineNo::new(IdentityFiles::new(data).machine()?)?;
    let command = |said_at_ms| Command::Cluster(ClusterCommand::RaiseGeneration { machine, said_at_ms });
    run_to_end(raise(data, &config, &secrets, command))?;
    println!("This machine is the whole hub now. Next:");
    println!("  1. jikai-hub run --data {}", data.display());
    println!("  2. invite new machines, under new numbers: jikai-hub cluster invite");
    println!("Nodes that had received more from the others are told `HubBehind` in /v1/nodes: see hub/DESIGN.md.");
    Ok(())
}

/// The log gets both in one step: that this machine is the only voter, and a command by which the generation is one higher. A machine
/// that took over without raising it would not be told from the others by any node.
pub(super) async fn raise(
    data: &Path,
    config: &Config,
    secrets: &Secrets,
    command: impl FnOnce(TimeMs) -> Command,
) -> anyhow::Result<()> {
    // Before anything is claimed: the log would be another one than the others', and the state not to be started on.
    refuse_differing(data)?;
    let files = IdentityFiles::new(data);
    let number = files.machine()?;
    let before = generation(&store::open_reader(data)?).context("read the generation")?;
    let said_at_ms = TimeMs::now();
    let command = command(said_at_ms);
    let actor = Actor::Staff("@console".into());
    let entry = encode_entry(&[Proposal { at_ms: said_at_ms, actor, request: None, command }])?;
    let (folder, tls) = (data.to_owned(), files.tls(secrets)?);
    let claimed = tokio::task::spawn_blocking(move || claim_alone(&folder, u64::from(number), entry)).await;
    claimed.context("claim the log")??;
    let member = Member::start(data, &tls, seat(config, number), Settings::default()).await?;
    let caught_up = match member.wait_for_leader().await {
        true => member.cluster.ensure_linearizable().await.map(drop).map_err(anyhow::Error::from),
        false => Err(anyhow::anyhow!("this machine did not come to lead: a defect, see the log")),
    };
    member.stop().await;
    caught_up?;
    let after = generation(&store::open_reader(data)?).context("read the generation")?;
    ensure!(
        after > before,
        "the generation was not raised: was this machine removed from the hub, or does it await its nodes after a restore?"
    );
    Ok(())
}
