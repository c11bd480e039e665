//! `cluster take-over`: a person makes one machine the whole hub, without the consent of the others.

use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use clap::Args;
use jikai_schema::command::{ClusterCommand, Command, Outcome};
use jikai_schema::event::Actor;
use jikai_schema::id::MachineNo;
use jikai_schema::time::TimeMs;
use jikai_sync::secrets::Secrets;

use super::DataArg;
use super::client::run_to_end;
use super::run::{Lock, seat};
use crate::config::Config;
use crate::identity::{IdentityFiles, secrets_place};
use crate::member::Member;
use crate::raft::log_store::claim_alone;
use crate::raft::settings::Settings;

pub(super) const EXAMPLE: &str = "Example:
  jikai-hub cluster take-over --data ./hub2 --the-others-are-gone
Only where a majority of the machines is gone for good. What the others had confirmed and this one had not received is lost at the
hub: nodes send their part again, events of the centre are gone. Nodes turn away whoever of the others comes back; let them join anew.";

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
    run_to_end(raise(data, &config, &secrets))?;
    println!("This machine is the whole hub now. Next:");
    println!("  1. jikai-hub run --data {}", data.display());
    println!("  2. invite new machines, under new numbers: jikai-hub cluster invite");
    println!("Nodes that had received more from the others are told `HubBehind` in /v1/nodes: see hub/DESIGN.md.");
    Ok(())
}

async fn raise(data: &std::path::Path, config: &Config, secrets: &Secrets) -> anyhow::Result<()> {
    let files = IdentityFiles::new(data);
    let number = files.machine()?;
    let (folder, tls) = (data.to_owned(), files.tls(secrets)?);
    tokio::task::spawn_blocking(move || claim_alone(&folder, u64::from(number))).await.context("claim the log")??;
    let member = Member::start(data, &tls, seat(config, number), Settings::default()).await?;
    let (sequencer, sequencing) = member.sequencer(Arc::new(TimeMs::now));
    let raised = match member.wait_for_leader().await {
        true => {
            let (machine, said_at_ms) = (MachineNo::new(number)?, TimeMs::now());
            let command = Command::Cluster(ClusterCommand::RaiseGeneration { machine, said_at_ms });
            Some(sequencer.propose(Actor::Staff("@console".into()), command).await)
        }
        false => None,
    };
    drop(sequencer);
    sequencing.await.context("end the proposing")?;
    member.stop().await;
    match raised {
        Some(Ok(Outcome::Refused(refusal))) => bail!("the take-over was refused: {refusal}"),
        Some(Ok(_)) => Ok(()),
        Some(Err(error)) => bail!("the take-over was not committed: {error}"),
        None => bail!("this machine did not come to lead: a defect, see the log"),
    }
}
