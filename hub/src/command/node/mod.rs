//! `node`: the nodes and their stores.

mod fleet;
mod invitation;

use anyhow::Context;
use clap::{Args, Subcommand};
use jikai_schema::time::TimeMs;
use serde_json::{Value, json};

use self::invitation::InvitationArgs;
use super::DataArg;
use super::client::{Client, block_on};
use super::handoff::warn_of_silent;

#[derive(Debug, Subcommand)]
pub(super) enum NodeCommand {
    /// Show all nodes: their links, their stores, and what is to be looked after.
    #[command(after_help = "Example:\n  jikai-hub node list --data ./hub")]
    List(ListArgs),
    /// Show a node: its link, its store, and from where on an earlier store holds what never came.
    #[command(after_help = "Example:\n  jikai-hub node show --data ./hub --node 3 --json > node-3.json")]
    Show(ShowArgs),
    /// Add a node: write what its store needs, sealed under a code, and show which outlets it would get.
    #[command(after_help = fleet::ADD_EXAMPLE)]
    Add(fleet::AddArgs),
    /// Take a node out of use for ever, once it serves no outlet.
    #[command(after_help = fleet::REMOVE_EXAMPLE)]
    Remove(fleet::RemoveArgs),
    /// Shut a node's store out for ever, and write what another one needs to take its place, sealed under a code.
    #[command(after_help = REPLACE_EXAMPLE)]
    Replace(ReplaceArgs),
}

const REPLACE_EXAMPLE: &str = "Example:
  jikai-hub node replace --data ./hub --node 3 --out node-3.json --reason 'disk failed'
Then, on the new machine: jikai-node init --data DIR --join node-3.json --listen IP:PORT
The old store serves nobody from then on. Keep its disk: `jikai-node salvage` names what it alone holds.";

#[derive(Debug, Args)]
pub(super) struct ListArgs {
    #[command(flatten)]
    data: DataArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    data: DataArg,
    /// Its number.
    #[arg(long)]
    node: u16,
    /// Print JSON, as `jikai-node salvage --report` takes it.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReplaceArgs {
    #[command(flatten)]
    data: DataArg,
    /// Its number.
    #[arg(long)]
    node: u16,
    /// Why, for the audit log.
    #[arg(long)]
    reason: String,
    /// The node is connected, and is to be replaced all the same: its store works, and is shut out at once.
    #[arg(long)]
    although_connected: bool,
    #[command(flatten)]
    invitation: InvitationArgs,
}

impl NodeCommand {
    /// The data directory that it works on.
    pub(super) fn data(&self) -> &DataArg {
        match self {
            NodeCommand::List(args) => &args.data,
            NodeCommand::Show(args) => &args.data,
            NodeCommand::Add(args) => &args.data,
            NodeCommand::Remove(args) => &args.data,
            NodeCommand::Replace(args) => &args.data,
        }
    }
}

pub(super) fn node(command: &NodeCommand) -> anyhow::Result<()> {
    let client = Client::open(&command.data().data)?;
    match command {
        NodeCommand::List(args) => list(&client, args),
        NodeCommand::Show(args) => show(&client, args),
        NodeCommand::Add(args) => block_on(fleet::add(&client, args)),
        NodeCommand::Remove(args) => block_on(fleet::remove(&client, args)),
        NodeCommand::Replace(args) => replace(&client, args),
    }
}

fn list(client: &Client, args: &ListArgs) -> anyhow::Result<()> {
    let view = block_on(client.get("/v1/nodes"))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&view)?);
        return Ok(());
    }
    println!("{:>5}  {:<12}  {:>9}  {:>5}  {:>12}  name", "node", "connected", "lag ms", "epoch", "events held");
    for node in view["nodes"].as_array().into_iter().flatten() {
        let connected = link_words(node);
        let held = node["up_next"].as_u64().unwrap_or_default().saturating_sub(1);
        let name = node["name"].as_str().unwrap_or("-");
        // A JSON value does not heed the width of its column.
        let [number, lag_ms, epoch] = ["node", "lag_ms", "epoch"].map(|key| node[key].to_string());
        println!("{number:>5}  {connected:<12}  {lag_ms:>9}  {epoch:>5}  {held:>12}  {name}");
        told_of(node).iter().for_each(|line| println!("{:>7}{line}", ""));
    }
    for node in view["retired"].as_array().into_iter().flatten() {
        println!("{:>5}  out of use", node["node"].to_string());
    }
    warn_of_silent(&view);
    Ok(())
}

/// To which machine of the hub it is connected.
fn link_words(node: &Value) -> String {
    match (node["connected"].as_bool(), node["machine"].as_u64()) {
        (Some(true), Some(machine)) => format!("machine {machine}"),
        _ => "NO".to_owned(),
    }
}

/// What is to be looked after at a node.
fn told_of(node: &Value) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(stopped) = node["feed_stopped"].as_str() {
        lines.push(format!("ITS FEED IS STOPPED, upgrade it: {stopped}"));
    }
    if let Some(refused) = node["refused"].as_str() {
        lines.push(format!("refused: {refused}"));
    }
    if let Some(at_ms) = node["clone_refused_at_ms"].as_i64() {
        lines.push(format!("A COPY of its store was refused on {}: find out who made it.", day(at_ms)));
    }
    if node["quarantined"].as_u64().is_some_and(|count| count > 0) {
        lines.push(format!("{} of its events could not be applied, and wait for a person.", node["quarantined"]));
    }
    lines
}

fn show(client: &Client, args: &ShowArgs) -> anyhow::Result<()> {
    let view = block_on(client.get("/v1/nodes"))?;
    let node = view["nodes"].as_array().into_iter().flatten().find(|node| node["node"] == args.node);
    let node = node.with_context(|| format!("node {} is not registered", args.node))?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(node)?);
        return Ok(());
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    println!("node {}  {}  epoch {}", node["node"], text(&node["name"]), node["epoch"]);
    println!("connected: {}   lag: {} ms   next event: {}", link_words(node), node["lag_ms"], node["up_next"]);
    warn_of_silent(&view);
    told_of(node).iter().for_each(|line| println!("{line}"));
    for row in node["replacements"].as_array().into_iter().flatten() {
        println!(
            "epoch {} since {}: {}\n    the store before holds alone what follows event {} (chain {})",
            row["epoch"],
            day(row["replaced_at_ms"].as_i64().unwrap_or_default()),
            text(&row["reason"]),
            row["next_seq"].as_u64().unwrap_or_default().saturating_sub(1),
            text(&row["hash"]),
        );
    }
    Ok(())
}

fn day(at_ms: i64) -> String {
    TimeMs::from_ms(at_ms).business_day().to_string()
}

fn replace(client: &Client, args: &ReplaceArgs) -> anyhow::Result<()> {
    let ReplaceArgs { node, reason, although_connected, invitation, .. } = args;
    let files = invitation.make_files()?;
    let what = json!({ "reason": reason, "although_connected": although_connected });
    let made = block_on(files.ask(client, &format!("/v1/nodes/{node}/replacement"), what))?;
    let held = made["next_seq"].as_u64().unwrap_or_default().saturating_sub(1);
    println!("The old store of node {node} is shut out. The hub holds its log up to event {held}.");
    files.write(&made)?;
    println!("New store of epoch {}, on its machine: {}", made["epoch"], invitation.join_words());
    println!("Its --listen, --ack and --public-address are given there, as the node before had them in its node.toml.");
    Ok(())
}
