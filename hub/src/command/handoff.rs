//! `handoff`: outlets that move from node to node.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::DataArg;
use super::client::{Client, block_on};

/// How often moves under way are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Nothing has moved for so long: somebody is waited for.
const STILL: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(super) enum HandoffCommand {
    /// Show how outlets would spread: so that a node gets its share, or gives all of its own away.
    #[command(after_help = "Example:\n  jikai-hub handoff plan --data ./hub --fill 12")]
    Plan(PlanArgs),
    /// Move outlets: by the plan that was shown, or by name. Returns when they are there.
    #[command(after_help = START_EXAMPLES)]
    Start(StartArgs),
    /// Show what moves now.
    #[command(after_help = "Example:\n  jikai-hub handoff status --data ./hub")]
    Status(DataArg),
    /// Let what waits stay where it is; what a node let go of arrives all the same.
    #[command(after_help = "Example:\n  jikai-hub handoff cancel --data ./hub")]
    Cancel(DataArg),
}

const START_EXAMPLES: &str = "Examples:
  jikai-hub handoff start --data ./hub --fill 12 --plan 3f09c1d2aa01be77   # a new node gets its share
  jikai-hub handoff start --data ./hub --empty 3                           # before a node is taken away
  jikai-hub handoff start --data ./hub --from 3 --to 4 --count 200
  jikai-hub handoff start --data ./hub --outlet 13010001,13010002 --to 4";

#[derive(Debug, Args)]
#[group(id = "aim", required = true, multiple = false)]
pub(super) struct AimArgs {
    /// The node that gives some of its outlets away; with --to and --count.
    #[arg(long, value_name = "NODE", group = "aim", requires = "to", requires = "count")]
    from: Option<u16>,
    /// The node that gets its share, from those that have most.
    #[arg(long, value_name = "NODE", group = "aim")]
    fill: Option<u16>,
    /// The node that gives all its outlets away, to those that have least.
    #[arg(long, value_name = "NODE", group = "aim")]
    empty: Option<u16>,
    /// These outlets, a comma list; with --to.
    #[arg(long, value_delimiter = ',', value_name = "OUTLETS", group = "aim", requires = "to")]
    outlet: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    data: DataArg,
    /// The node that gets its share, from those that have most.
    #[arg(long, value_name = "NODE", required_unless_present = "empty", conflicts_with = "empty")]
    fill: Option<u16>,
    /// The node that gives all its outlets away, to those that have least.
    #[arg(long, value_name = "NODE")]
    empty: Option<u16>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct StartArgs {
    #[command(flatten)]
    data: DataArg,
    #[command(flatten)]
    aim: AimArgs,
    /// The node that shall serve them.
    #[arg(long, value_name = "NODE", conflicts_with_all = ["fill", "empty"])]
    to: Option<u16>,
    /// How many outlets of --from move.
    #[arg(long, value_name = "COUNT", requires = "from")]
    count: Option<u32>,
    /// The plan that was shown; nothing moves if it would be another one by now.
    #[arg(long, value_name = "PLAN", conflicts_with = "outlet")]
    plan: Option<String>,
    /// Most outlets on their way at once, 1 to 500.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    window: u16,
    /// Return at once.
    #[arg(long)]
    no_wait: bool,
}

impl HandoffCommand {
    pub(super) fn data(&self) -> &DataArg {
        match self {
            HandoffCommand::Plan(args) => &args.data,
            HandoffCommand::Start(args) => &args.data,
            HandoffCommand::Status(data) | HandoffCommand::Cancel(data) => data,
        }
    }
}

pub(super) fn handoff(command: &HandoffCommand) -> anyhow::Result<()> {
    let client = Client::open(&command.data().data)?;
    block_on(async {
        match command {
            HandoffCommand::Plan(args) => plan(&client, args).await,
            HandoffCommand::Start(args) => start(&client, args).await,
            HandoffCommand::Status(_) => status(&client).await,
            HandoffCommand::Cancel(_) => {
                let cancelled = client.delete("/v1/handoffs").await?;
                println!("{} outlets stay where they are.", cancelled["moves"]);
                Ok(())
            }
        }
    })
}

async fn plan(client: &Client, args: &PlanArgs) -> anyhow::Result<()> {
    let aim = match (args.fill, args.empty) {
        (Some(node), _) => Whole::Fill(node),
        (None, Some(node)) => Whole::Empty(node),
        (None, None) => bail!("name the node: --fill NODE or --empty NODE"),
    };
    let view = planned(client, aim).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&view)?);
        return Ok(());
    }
    show(&view);
    warn_of_absent(&view);
    let plan = view["plan"].as_str().context("the hub named no plan")?;
    if view["moves"] == 0 {
        return Ok(());
    }
    let (data, (name, node)) = (args.data.data.display(), aim.words());
    println!("So be it: jikai-hub handoff start --data {data} --{name} {node} --plan {plan}");
    Ok(())
}

/// What a plan is for that concerns a whole node.
#[derive(Clone, Copy)]
pub(super) enum Whole {
    /// It gets its share.
    Fill(u16),
    /// It gives all its outlets away.
    Empty(u16),
}

impl Whole {
    fn words(self) -> (&'static str, u16) {
        match self {
            Whole::Fill(node) => ("fill", node),
            Whole::Empty(node) => ("empty", node),
        }
    }
}

/// The plan as the hub makes it now.
pub(super) async fn planned(client: &Client, aim: Whole) -> anyhow::Result<Value> {
    let (name, node) = aim.words();
    client.get(&format!("/v1/handoffs/plan?{name}={node}")).await
}

/// Shows a plan.
pub(super) fn show(view: &Value) {
    println!("{:>5}  {:>12}  {:>12}", "node", "outlets now", "outlets then");
    for node in view["nodes"].as_array().into_iter().flatten() {
        let gone = if node["connected"] == false { "  not connected" } else { "" };
        let [number, now, then] = ["node", "outlets_now", "outlets_then"].map(|key| node[key].to_string());
        println!("{number:>5}  {now:>12}  {then:>12}{gone}");
    }
    println!("{} outlets would move.", view["moves"]);
}

/// Tells which nodes would hold the plan up.
pub(super) fn warn_of_absent(view: &Value) {
    let takes_part = |node: &&Value| node["connected"] == false && node["outlets_now"] != node["outlets_then"];
    for node in view["nodes"].as_array().into_iter().flatten().filter(takes_part) {
        println!("{}", held_up_by(&node["node"]));
    }
    warn_of_silent(view);
}

fn held_up_by(node: &Value) -> String {
    format!(
        "Node {node} is not connected: what is ordered from it or to it waits until it is. A dead one is replaced: `jikai-hub node replace`."
    )
}

/// Tells which machines of the hub did not say whether a node is connected to them.
pub(in crate::command) fn warn_of_silent(view: &Value) {
    for machine in view["silent_machines"].as_array().into_iter().flatten() {
        println!("Machine {machine} of the hub does not answer: what is not shown as connected may be so to it.");
    }
}

/// Moves the outlets of a plan that was shown.
pub(super) async fn begin(client: &Client, aim: Whole, shown: &Value, window: u16) -> anyhow::Result<()> {
    let (name, node) = aim.words();
    let mut body = json!({ "plan": shown["plan"], "window": window });
    body[name] = json!(node);
    let started = client.post_json("/v1/handoffs", &body).await?;
    println!("{} outlets move, {} are there already or on their way.", started["moves"], started["existing"]);
    Ok(())
}

async fn start(client: &Client, args: &StartArgs) -> anyhow::Result<()> {
    let StartArgs { aim, to, count, plan, window, .. } = args;
    let moves: Vec<Value> = aim.outlet.iter().map(|outlet| json!({ "outlet": outlet, "to": to })).collect();
    let mut body = json!({ "moves": moves, "fill": aim.fill, "empty": aim.empty, "plan": plan, "window": window });
    if let Some(from) = aim.from {
        (body["from"], body["to"], body["count"]) = (json!(from), json!(to), json!(count));
    }
    let started = client.post_json("/v1/handoffs", &body).await?;
    println!("{} outlets move, {} are there already or on their way.", started["moves"], started["existing"]);
    if args.no_wait {
        return Ok(());
    }
    until_arrived(client).await
}

/// Returns when nothing moves any more. Where nothing has moved for a while, says once which nodes are waited for.
pub(super) async fn until_arrived(client: &Client) -> anyhow::Result<()> {
    let (mut before, mut since, mut was_told) = (Value::Null, Instant::now(), false);
    loop {
        let view = client.get("/v1/handoffs").await?;
        if view["waiting"] == 0 && view["under_way"].as_array().is_none_or(Vec::is_empty) {
            println!("Nothing moves any more.");
            return Ok(());
        }
        if view != before {
            (before, since, was_told) = (view, Instant::now(), false);
        } else if !was_told && since.elapsed() > STILL {
            absent(client, &before).await?.iter().for_each(|line| println!("{line}"));
            println!("Ctrl-C ends only the waiting; `jikai-hub handoff cancel` takes back what was not let go of.");
            was_told = true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// A line for each node from or to which something is on its way, and which is not connected.
async fn absent(client: &Client, handoffs: &Value) -> anyhow::Result<Vec<String>> {
    let ways = handoffs["under_way"].as_array().map(Vec::as_slice).unwrap_or_default();
    let takes_part = |node: &Value| ways.iter().any(|way| way["from_node"] == *node || way["to_node"] == *node);
    let view = client.get("/v1/nodes").await?;
    let nodes = view["nodes"].as_array().into_iter().flatten();
    let absent = nodes.filter(|node| node["connected"] == false && takes_part(&node["node"]));
    Ok(absent.map(|node| held_up_by(&node["node"])).collect())
}

async fn status(client: &Client) -> anyhow::Result<()> {
    let view = client.get("/v1/handoffs").await?;
    println!("{} outlets wait for their turn", view["waiting"]);
    println!("{:>8}  {:>7}  {:>4}  {:>4}  state", "outlet", "handoff", "from", "to");
    for way in view["under_way"].as_array().into_iter().flatten() {
        let (outlet, state) = (way["outlet"].as_str().unwrap_or("-"), way["state"].as_str().unwrap_or("-"));
        println!("{outlet:>8}  {:>7}  {:>4}  {:>4}  {state}", way["handoff"], way["from_node"], way["to_node"]);
    }
    Ok(())
}
