//! `node add` and `node remove`.

use std::io::{BufRead, Write};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::super::DataArg;
use super::super::client::Client;
use super::super::handoff::{Whole, begin, planned, show, until_arrived, warn_of_absent};
use super::invitation::InvitationArgs;

pub(super) const ADD_EXAMPLE: &str = "Example:
  jikai-hub node add --data ./hub --id 12 --name 节点12 --out node-12.json
Then, on its machine: jikai-node init --data DIR --join node-12.json --listen IP:PORT, and jikai-node run --data DIR.
It serves no outlet until some are moved: jikai-hub handoff plan --fill 12 shows which, handoff start moves them.";

pub(super) const REMOVE_EXAMPLE: &str = "Examples:
  jikai-hub node remove --data ./hub --id 12 --reason 'lease ends'            # refused while it serves outlets
  jikai-hub node remove --data ./hub --id 12 --reason 'lease ends' --drain    # shows where they would go, asks, moves them
Its number is given to no other node; its log and what it did stay. A dead node is replaced, not removed: node replace.";

#[derive(Debug, Args)]
pub(in crate::command) struct AddArgs {
    #[command(flatten)]
    pub(super) data: DataArg,
    /// Its number, 1 to 4095; one that no node ever had.
    #[arg(long)]
    id: u16,
    /// Display name.
    #[arg(long)]
    name: String,
    /// GB/T 2260 codes whose new outlets it serves, comma-separated, such as 1301,1302; none: only what is moved there.
    #[arg(long, value_delimiter = ',')]
    prefectures: Vec<u16>,
    #[command(flatten)]
    invitation: InvitationArgs,
}

pub(super) async fn add(client: &Client, args: &AddArgs) -> anyhow::Result<()> {
    let AddArgs { data, id, name, prefectures, invitation } = args;
    let files = invitation.make_files()?;
    let what = json!({ "name": name, "prefectures": prefectures });
    let made = files.ask(client, &format!("/v1/nodes/{id}/addition"), what).await?;
    println!("Node {id} is registered; it serves nobody yet.");
    files.write(&made)?;
    match planned(client, Whole::Fill(*id)).await {
        Ok(view) => {
            println!("\nThe plan that will be offered, as things are now:");
            show(&view);
        }
        // Where it is the only one there is nothing to share.
        Err(error) => println!("\nNo plan can be made now: {error:#}"),
    }
    let (data, join) = (data.data.display(), invitation.join_words());
    println!("\nNext:");
    println!("  1. on its machine:          {join}");
    println!("  2. on its machine:          jikai-node run --data DIR");
    println!("  3. here, once it has come:  jikai-hub handoff plan --data {data} --fill {id}");
    Ok(())
}

#[derive(Debug, Args)]
pub(in crate::command) struct RemoveArgs {
    #[command(flatten)]
    pub(super) data: DataArg,
    /// Its number.
    #[arg(long)]
    id: u16,
    /// Why, for the audit log.
    #[arg(long)]
    reason: String,
    /// Move its outlets to the other nodes first; the plan is shown, and asked about.
    #[arg(long)]
    drain: bool,
    /// Do not ask.
    #[arg(long, requires = "drain")]
    yes: bool,
    /// Most outlets on their way at once, 1 to 500.
    #[arg(long, default_value_t = 50, value_name = "COUNT", requires = "drain")]
    window: u16,
}

pub(super) async fn remove(client: &Client, args: &RemoveArgs) -> anyhow::Result<()> {
    let RemoveArgs { id, reason, .. } = args;
    if args.drain {
        drain(client, args).await?;
    }
    let body = json!({ "reason": reason });
    let gone = client.post_json(&format!("/v1/nodes/{id}/removal"), &body).await?;
    println!(
        "Node {id} is out of use. Its number is given to no other node; its log stays: jikai-hub audit search --log {id}"
    );
    println!("Stop jikai-node on its machine: its store serves nobody any more.");
    let codes: Vec<&str> = gone["prefectures"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !codes.is_empty() {
        let codes = codes.join(",");
        println!(
            "New outlets of {codes} have no node now: name one that serves them with `jikai-hub import node --prefectures`."
        );
    }
    Ok(())
}

/// Moves what the node serves by the plan that was shown.
async fn drain(client: &Client, args: &RemoveArgs) -> anyhow::Result<()> {
    let aim = Whole::Empty(args.id);
    let view = planned(client, aim).await?;
    show(&view);
    warn_of_absent(&view);
    if view["moves"] != 0 {
        if !args.yes && !agreed(args.id)? {
            bail!("nothing was done; --yes says it beforehand");
        }
        begin(client, aim, &view, args.window).await?;
    }
    // Also those that were on their way before.
    until_arrived(client).await
}

fn agreed(node: u16) -> anyhow::Result<bool> {
    print!("Move them, and take node {node} out of use for ever? [y/N] ");
    std::io::stdout().flush().context("ask")?;
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).context("read the answer")?;
    Ok(matches!(line.trim(), "y" | "Y" | "yes" | "是"))
}
