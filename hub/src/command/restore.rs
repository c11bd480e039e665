//! `restore`: a hub that was put back from an older copy gets back from its nodes what they had received of it.

use anyhow::ensure;
use clap::Args;
use jikai_schema::command::{Command, RecoveryCommand};
use jikai_schema::event::MachineState;
use jikai_schema::id::MachineNo;
use jikai_schema::time::TimeMs;
use jikai_sync::secrets::Secrets;
use serde_json::{Value, json};

use super::DataArg;
use super::client::{Client, block_on, run_to_end};
use super::run::Lock;
use super::take_over::raise;
use crate::config::Config;
use crate::identity::{IdentityFiles, secrets_place};
use crate::machine::MachineRow;
use crate::store;

pub(super) const EXAMPLE: &str = "Examples:
  jikai-hub restore --data ./hub                        the hub is stopped, its directory put back from a copy
  jikai-hub run --data ./hub                            nodes connect and return what they had received
  jikai-hub restore --data ./hub --status               how it stands; at the end: what came back, what is to be entered again
  jikai-hub restore --data ./hub --finish --without 3   node 3 will not come back: what only it had received is lost
Until every node has returned, the hub takes nothing in; nodes serve their outlets.";

#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    pub(super) data: DataArg,
    /// Needed where the hub had other machines: says that they are switched off and will not come back under their numbers.
    #[arg(long)]
    the_others_are_gone: bool,
    /// Show how the running hub's recovery stands, or what the last one led to.
    #[arg(long, conflicts_with_all = ["finish", "the_others_are_gone"])]
    status: bool,
    /// Have the running hub await no node any more.
    #[arg(long, conflicts_with = "the_others_are_gone")]
    finish: bool,
    /// Nodes to be left out, comma-separated: they are refused from then on and must be replaced, and what only they had received
    /// is lost.
    #[arg(long, value_delimiter = ',', requires = "finish")]
    without: Vec<u16>,
}

pub(super) fn restore(args: &RestoreArgs) -> anyhow::Result<()> {
    if args.status || args.finish {
        let client = Client::open(&args.data.data)?;
        return block_on(async {
            if args.finish {
                let body = json!({ "without": args.without });
                client.post_json("/v1/cluster/recovery/end", &body).await?;
                println!(
                    "No node is awaited any more; what came back is merged. Look again: jikai-hub restore --status"
                );
            }
            print(&client.get("/v1/cluster/recovery").await?);
            Ok(())
        });
    }
    begin(args)
}

fn begin(args: &RestoreArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    let config = Config::load(data)?;
    ensure!(!config.voter_only, "a machine that only votes has no keys of the hub: put back one that serves");
    let _only_one = Lock::take(data)?;
    let number = IdentityFiles::new(data).machine()?;
    let others = MachineRow::list(&store::open_reader(data)?)?;
    let others = others.iter().filter(|row| row.machine != number && row.state != Some(MachineState::Retired)).count();
    ensure!(
        others == 0 || args.the_others_are_gone,
        "the hub has {others} other machines: say --the-others-are-gone once they are switched off. Where one of them still has \
         what this copy lacks, keep it and let this machine join anew instead"
    );
    let secrets = Secrets::take(&secrets_place(data, &config))?;
    let machine = MachineNo::new(number)?;
    let begin = |said_at_ms: TimeMs| Command::Recovery(RecoveryCommand::Begin { machine, said_at_ms });
    run_to_end(raise(data, &config, &secrets, begin))?;
    println!("The hub awaits what its nodes had received of it. Next:");
    println!("  1. jikai-hub run --data {}", data.display());
    println!("  2. jikai-hub restore --data {} --status", data.display());
    Ok(())
}

fn print(view: &Value) {
    let number = |key: &str| view[key].as_u64().unwrap_or_default();
    let list = |key: &str| {
        let items = view[key].as_array().into_iter().flatten().map(Value::to_string);
        items.collect::<Vec<_>>().join(", ")
    };
    println!("state: {}", view["state"].as_str().unwrap_or_default());
    if view["state"] == "never" {
        return;
    }
    println!("generation: {}   events of the hub in the copy: {}", number("generation"), number("head_seq"));
    for node in view["nodes"].as_array().into_iter().flatten() {
        let count = |key: &str| node[key].as_u64().unwrap_or_default();
        let state = node["state"].as_str().unwrap_or_default();
        let store = match node["met_epoch"].as_u64() {
            Some(epoch) => format!("   by its store of epoch {epoch}, which the copy did not know"),
            None => String::new(),
        };
        println!("node {:>4}  {state:<9} {:>10} events{store}", count("node"), count("events"));
    }
    if let Some(node) = view["log_awaited_of"].as_u64() {
        println!("awaits the log of node {node}: let it connect, or leave it out (--finish --without {node})");
    }
    println!("came back: {}   lost: {}   in conflict: {}", number("recovered"), number("lost"), number("conflicts"));
    for (kind, count) in view["kinds"].as_object().into_iter().flatten() {
        println!("  {kind:<28} {:>10}", count.as_u64().unwrap_or_default());
    }
    if view["state"] != "over" {
        return;
    }
    let gaps = list("gaps");
    if !gaps.is_empty() {
        println!("lost places of the hub's log, of which no node had been told: {gaps}");
    }
    let (keys, approvals) = (list("batches_without_key"), list("batches_without_approval"));
    if !keys.is_empty() {
        println!("batches without a key, import them again: {keys}");
    }
    if !approvals.is_empty() {
        println!("batches without an approval, enter it again before their sale is opened anew: {approvals}");
    }
    println!("{LOST}");
}

/// What no node is ever told, so that none can return it.
const LOST: &str = "What no node is told did not come back, enter again what was done since the copy:
  accounts, rights and sessions of staff; proposals and approvals that wait; personal data; one-time codes of devices;
  certificates that were signed or revoked; releases of prize data; packs that were stocked and not shipped (import the batch again);
  what nodes had not received yet (deposits, shipments). Entering a deposit or a shipment twice under its number changes nothing.";
