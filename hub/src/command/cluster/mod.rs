//! `cluster`: the machines of the hub, from any of them.

mod status;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use jikai_sync::identity::write_private_file;
use serde_json::json;
use zeroize::Zeroizing;

use self::status::status;
use super::DataArg;
use super::client::{Client, block_on};
use super::take_over::TakeOverArgs;

/// How often a machine that catches up is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often its progress is told where there is no terminal.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// Looks before a machine that does not come closer is given up.
const LOOKS_MAX: u32 = 50;
/// As many of them count for one at which it did not answer.
const LOOKS_PER_SILENCE: u32 = 10;
/// Longest time for a machine that does.
const CATCH_UP_WAIT: Duration = Duration::from_secs(600);
/// Entries that a machine may be behind and count as caught up: what comes in meanwhile.
const NEARLY: u64 = 200;

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// Show the machines and how they stand.
    #[command(after_help = "Example:\n  jikai-hub cluster status --data ./hub")]
    Status(StatusArgs),
    /// Give a number to a machine that is to join, and write what it needs, sealed under a code.
    #[command(after_help = INVITE_EXAMPLE)]
    Invite(InviteArgs),
    /// Take in a machine that has joined: it follows, catches up, then votes.
    #[command(after_help = "Example:\n  jikai-hub cluster add --data ./hub --machine 2 --address 10.0.0.2:7402")]
    Add(AddArgs),
    /// Give a machine that follows a vote.
    #[command(after_help = "Example:\n  jikai-hub cluster promote --data ./hub --machine 2")]
    Promote(MachineArgs),
    /// Hand the lead to a voter; what comes in meanwhile waits for some round trips.
    #[command(after_help = "Example:\n  jikai-hub cluster transfer-leadership --data ./hub --machine 2")]
    TransferLeadership(MachineArgs),
    /// Send the nodes of a machine, and who comes through the front door, to the others; for upkeep.
    #[command(
        after_help = "Examples:\n  jikai-hub cluster drain --data ./hub --machine 2\n  jikai-hub cluster drain --data ./hub --machine 2 --undo"
    )]
    Drain(DrainArgs),
    /// Remove a machine for ever: it drains, hands over the lead, and has no vote any more.
    #[command(after_help = "Example:\n  jikai-hub cluster remove --data ./hub --machine 1")]
    Remove(MachineArgs),
    /// Make this stopped machine the whole hub, because a majority of the others is gone for good.
    #[command(after_help = super::take_over::EXAMPLE)]
    TakeOver(TakeOverArgs),
}

const INVITE_EXAMPLE: &str = "Example:
  jikai-hub cluster invite --data ./hub --out invitation.json
The file holds the keys of the hub, sealed; carry the code apart from it. With --voter-only it holds none.";

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    data: DataArg,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct InviteArgs {
    #[command(flatten)]
    data: DataArg,
    /// Where to write the invitation.
    #[arg(long)]
    out: PathBuf,
    /// Write the code into this file, readable by its owner only, instead of printing it.
    #[arg(long)]
    code_file: Option<PathBuf>,
    /// The machine votes only: it keeps all data, serves nobody, and gets no keys.
    #[arg(long)]
    voter_only: bool,
    /// Name or address by which browsers reach it. May be given several times.
    #[arg(long)]
    host: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct AddArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// Its peer address, HOST:PORT, as `join` printed it.
    #[arg(long)]
    address: String,
    /// Leave it without a vote: a copy for a second site, see DESIGN.md.
    #[arg(long)]
    learner: bool,
}

#[derive(Debug, Args)]
pub(super) struct MachineArgs {
    #[command(flatten)]
    data: DataArg,
    /// Its number.
    #[arg(long)]
    machine: u16,
}

#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// Have it serve again.
    #[arg(long)]
    undo: bool,
}

impl ClusterCommand {
    /// The data directory that it works on.
    pub(super) fn data(&self) -> &DataArg {
        match self {
            ClusterCommand::Status(args) => &args.data,
            ClusterCommand::Invite(args) => &args.data,
            ClusterCommand::Add(args) => &args.machine.data,
            ClusterCommand::Promote(args) | ClusterCommand::TransferLeadership(args) | ClusterCommand::Remove(args) => {
                &args.data
            }
            ClusterCommand::Drain(args) => &args.machine.data,
            ClusterCommand::TakeOver(args) => &args.data,
        }
    }
}

pub(super) fn cluster(command: &ClusterCommand) -> anyhow::Result<()> {
    if let ClusterCommand::TakeOver(args) = command {
        return super::take_over::take_over(args);
    }
    let client = Client::open(&command.data().data)?;
    block_on(async {
        match command {
            ClusterCommand::Status(args) => status(&client, args.json).await,
            ClusterCommand::Invite(args) => invite(&client, args).await,
            ClusterCommand::Add(args) => add(&client, args).await,
            ClusterCommand::Promote(args) => promote(&client, args.machine).await,
            ClusterCommand::TransferLeadership(args) => {
                let waiting = spinner(&format!("machine {} takes the lead", args.machine));
                client.post_json(&format!("{}/lead", path(args.machine)), &json!({})).await?;
                waiting.finish_and_clear();
                println!("Machine {} leads.", args.machine);
                Ok(())
            }
            ClusterCommand::Drain(args) => drain(&client, args.machine.machine, args.undo).await,
            ClusterCommand::Remove(args) => {
                let waiting = spinner(&format!("machine {} drains, hands over and leaves", args.machine));
                let mut told = client.delete(&path(args.machine)).await?;
                while told["removed"] == false {
                    told = client.get(&format!("{}/taking-out", path(args.machine))).await?;
                }
                waiting.finish_and_clear();
                println!("Removed. Machine {} serves nobody any more: take it out of use.", args.machine);
                Ok(())
            }
            ClusterCommand::TakeOver(_) => Ok(()),
        }
    })
}

fn path(machine: u16) -> String {
    format!("/v1/cluster/machines/{machine}")
}

async fn invite(client: &Client, args: &InviteArgs) -> anyhow::Result<()> {
    if args.out.exists() {
        bail!("{} exists: an invitation is never written over another file", args.out.display());
    }
    let body = json!({ "voter_only": args.voter_only, "hosts": args.host });
    let made = client.post_json("/v1/cluster/invitations", &body).await?;
    let code = Zeroizing::new(made["code"].as_str().context("the hub gave no code")?.to_owned());
    write_private_file(&args.out, serde_json::to_string_pretty(&made["invitation"])?.as_bytes())?;
    println!("Machine {} may join with {}.", made["machine"], args.out.display());
    match &args.code_file {
        Some(path) => write_private_file(path, code.as_bytes())?,
        None => println!("Code, shown only now; carry it apart from the file:\n    {}", code.as_str()),
    }
    let code = args.code_file.as_ref().map_or(String::new(), |path| format!(" --code-file {}", path.display()));
    let addresses = if args.voter_only { "" } else { " --listen IP:PORT --sync-listen IP:PORT" };
    println!(
        "There: jikai-hub join --data DIR --invitation {}{code}{addresses} --peer-listen IP:PORT",
        args.out.display()
    );
    Ok(())
}

async fn add(client: &Client, args: &AddArgs) -> anyhow::Result<()> {
    let machine = args.machine.machine;
    let (target, body) = (path(machine), json!({ "peer_address": args.address }));
    let adding = async {
        let mut told = client.post_json(&target, &body).await?;
        while told["caught_up"] == false {
            told = client.get(&format!("{target}/taking-in")).await?;
        }
        anyhow::Ok(())
    };
    let mut progress = Progress::of(format!("machine {machine} catches up"));
    tokio::pin!(adding);
    loop {
        tokio::select! {
            added = &mut adding => {
                added?;
                break;
            }
            // A look that fails costs nothing: the next one follows.
            () = tokio::time::sleep(LOOK_EVERY) => {
                if let Ok(Some(places)) = places(client, machine).await {
                    progress.show(places);
                }
            }
        }
    }
    progress.bar.finish_and_clear();
    println!("Machine {machine} has caught up.");
    match args.learner {
        true => {}
        false => promote(client, machine).await?,
    }
    await_announced(client, machine).await
}

/// Waits a little until a machine that was taken in has told where it is reached: before, nodes do not know it.
async fn await_announced(client: &Client, machine: u16) -> anyhow::Result<()> {
    let waiting = spinner(&format!("machine {machine} tells where it is reached"));
    for _ in 0..LOOKS_MAX {
        let view = client.get("/v1/cluster").await?;
        let known = view["machines"].as_array().and_then(|all| all.iter().find(|known| known["machine"] == machine));
        if known.is_some_and(|known| known["state"] != "unknown") {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    waiting.finish_and_clear();
    println!("It has not told yet where it is reached, and nodes do not know it: jikai-hub cluster status");
    Ok(())
}

/// The newest entry of the leader, and the newest one that a machine has applied; `None` where one of them does not answer.
async fn places(client: &Client, machine: u16) -> anyhow::Result<Option<(u64, u64)>> {
    let view = client.get("/v1/cluster").await?;
    let told = |number: u64, what: &str| {
        let machines = view["machines"].as_array()?;
        machines.iter().find(|known| known["machine"] == number)?[what].as_u64()
    };
    let newest = view["leader"].as_u64().and_then(|leader| told(leader, "last_index"));
    Ok(newest.zip(told(u64::from(machine), "applied_index")))
}

/// How far a machine has come: a bar at a terminal, a line now and then elsewhere.
struct Progress {
    what: String,
    bar: ProgressBar,
    told_at: tokio::time::Instant,
}

impl Progress {
    fn of(what: String) -> Self {
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(1) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} entries") {
            bar.set_style(style);
        }
        bar.set_message(what.clone());
        Progress { what, bar, told_at: tokio::time::Instant::now() }
    }

    fn show(&mut self, (all, has): (u64, u64)) {
        self.bar.set_length(all);
        self.bar.set_position(has);
        if self.bar.is_hidden() && self.told_at.elapsed() >= TELL_EVERY {
            self.told_at = tokio::time::Instant::now();
            eprintln!("{}: {has} of {all} entries", self.what);
        }
    }
}

/// Waits while a machine comes closer: as a voter that is far behind it would hold up the others.
async fn promote(client: &Client, machine: u16) -> anyhow::Result<()> {
    let mut progress = Progress::of(format!("machine {machine} catches up"));
    let deadline = tokio::time::Instant::now() + CATCH_UP_WAIT;
    let (mut closest, mut looks_left) = (u64::MAX, LOOKS_MAX);
    loop {
        // One that fails may be followed by one that does not.
        let looked = places(client, machine).await;
        looked.iter().flatten().for_each(|places| progress.show(*places));
        let behind = looked.iter().flatten().next().map(|(all, has)| all.saturating_sub(*has));
        match behind {
            Some(behind) if behind <= NEARLY => break,
            Some(behind) if behind < closest => (closest, looks_left) = (behind, LOOKS_MAX),
            Some(_) => looks_left -= 1,
            // Each such look waits a second for it.
            None => looks_left = looks_left.saturating_sub(LOOKS_PER_SILENCE),
        }
        if looks_left == 0 || tokio::time::Instant::now() > deadline {
            looked?;
            bail!("{}", given_up(machine, behind, looks_left > 0));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    progress.bar.finish_and_clear();
    client.post_json(&format!("{}/promotion", path(machine)), &json!({})).await?;
    println!("Machine {machine} votes.");
    Ok(())
}

/// Why a machine that is `behind` by so many entries gets no vote now.
fn given_up(machine: u16, behind: Option<u64>, comes_closer: bool) -> String {
    match (behind, comes_closer) {
        (None, _) => format!("machine {machine} does not answer, or was not taken in: jikai-hub cluster add"),
        (Some(behind), true) => format!(
            "machine {machine} is {behind} entries behind and comes closer slowly: ask again when it has caught up"
        ),
        (Some(behind), false) => format!(
            "machine {machine} is {behind} entries behind and comes no closer: it is too slow, or busy; try later"
        ),
    }
}

async fn drain(client: &Client, machine: u16, undo: bool) -> anyhow::Result<()> {
    let target = format!("{}/draining", path(machine));
    match undo {
        true => client.delete(&target).await?,
        false => client.put(&target).await?,
    };
    match undo {
        true => println!("Machine {machine} serves again."),
        false => println!("Machine {machine} drains: its nodes go to the others. `--undo` has it serve again."),
    }
    Ok(())
}

/// Of what cannot be counted.
fn spinner(what: &str) -> ProgressBar {
    let bar = if std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(LOOK_EVERY);
    bar
}
