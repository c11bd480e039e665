//! `front-door`: the configuration of HAProxy from the machines of the hub.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand};
use jikai_sync::identity::HUB_NAME;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::DataArg;
use super::client::{Client, block_on};
use crate::front_door::{Backend, FrontDoor};

/// How often the machines are looked at with `--watch`.
const LOOK_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(super) enum FrontDoorCommand {
    /// Write the configuration of HAProxy; with --watch again whenever machines come or go.
    #[command(after_help = EXAMPLE)]
    Config(ConfigArgs),
}

const EXAMPLE: &str = "Examples:
  jikai-hub front-door config --data ./hub --bind 10.0.0.100:443
  jikai-hub front-door config --data ./hub --bind 10.0.0.100:443 --out /etc/haproxy/haproxy.cfg --pid-file /run/haproxy.pid --watch
HAProxy runs as a master with workers (haproxy -W); the new configuration is checked before it is put in place, and taken over without
a connection dropped. Each machine names the doors that it believes: front_doors = [\"10.0.0.98\", \"10.0.0.99\"] in hub.toml.";

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    #[command(flatten)]
    data: DataArg,
    /// Where the door listens. May be given several times.
    #[arg(long, required = true)]
    bind: Vec<SocketAddr>,
    /// Where to write it; without it the configuration is printed.
    #[arg(long)]
    out: Option<PathBuf>,
    /// File with the process id of HAProxy's master, which is told of a new configuration.
    #[arg(long, requires = "out")]
    pid_file: Option<PathBuf>,
    /// Where HAProxy keeps its socket.
    #[arg(long, default_value = "/run/haproxy/jikai.sock")]
    socket: PathBuf,
    /// The authority's certificate, as HAProxy reads it [default: the one in the data directory].
    #[arg(long)]
    ca_file: Option<PathBuf>,
    /// Go on, and write it again when machines come or go.
    #[arg(long, requires = "out")]
    watch: bool,
}

impl FrontDoorCommand {
    /// The data directory that it works on.
    pub(super) fn data(&self) -> &DataArg {
        let FrontDoorCommand::Config(args) = self;
        &args.data
    }
}

pub(super) fn front_door(command: &FrontDoorCommand) -> anyhow::Result<()> {
    let FrontDoorCommand::Config(args) = command;
    block_on(async {
        let mut owed = false;
        let written = match write_once(args, &mut owed).await {
            Err(error) if args.watch => {
                eprintln!("jikai-hub: {error:#}; it is tried again");
                true
            }
            written => written?,
        };
        if args.watch {
            return watch(args, owed).await;
        }
        if args.out.is_some() && !written {
            println!("Nothing has changed.");
        }
        Ok(())
    })
}

/// Looks again and again, until the process is ended.
async fn watch(args: &ConfigArgs, mut owed: bool) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(error) = write_once(args, &mut owed).await {
            // The door goes on with what it has: it finds out by itself which machines are ready.
            eprintln!("jikai-hub: the machines could not be looked at: {error:#}");
        }
    }
}

/// Writes the configuration where it differs, and has HAProxy take it; whether it did. `owed` remembers that HAProxy could not be told yet.
async fn write_once(args: &ConfigArgs, owed: &mut bool) -> anyhow::Result<bool> {
    let view = Client::open(&args.data.data)?.get("/v1/cluster").await?;
    let ca_file = match &args.ca_file {
        Some(path) => path.clone(),
        None => std::path::absolute(args.data.data.join("ca").join("ca.pem")).context("name the authority's file")?,
    };
    let (bind, socket) = (args.bind.clone(), args.socket.clone());
    let door = FrontDoor { bind, ca_file, socket, server_name: HUB_NAME, backends: backends(&view)? };
    let text = door.config();
    let Some(out) = &args.out else {
        print!("{text}");
        return Ok(true);
    };
    let is_new = !std::fs::read_to_string(out).is_ok_and(|before| before == text);
    if is_new {
        put_in_place(out, &text)?;
        println!(
            "Wrote {} with {} machines. Each must name this door in `front_doors` of its hub.toml.",
            out.display(),
            door.backends.len()
        );
    }
    *owed |= is_new;
    if let (true, Some(pid_file)) = (*owed, &args.pid_file) {
        if !pid_file.exists() {
            println!("HAProxy does not run yet: haproxy -W -p {} -f {}", pid_file.display(), out.display());
        } else {
            reload(pid_file)?;
        }
    }
    *owed = false;
    Ok(is_new)
}

fn put_in_place(out: &Path, text: &str) -> anyhow::Result<()> {
    let unproven = out.with_extension("new");
    std::fs::write(&unproven, text).with_context(|| format!("write {}", unproven.display()))?;
    check(&unproven)?;
    std::fs::rename(&unproven, out).with_context(|| format!("put {} in place", out.display()))
}

/// Machines that serve people; one that drains stays until it is removed, so that its connections end by themselves.
fn backends(view: &Value) -> anyhow::Result<Vec<Backend>> {
    let machines = view["machines"].as_array().context("the hub lists no machines")?;
    let serving = machines.iter().filter(|machine| machine["role"] != "outside" && machine["state"] != "retired");
    let mut backends = Vec::new();
    for machine in serving {
        if let (Some(number), Some(http)) = (machine["machine"].as_u64(), machine["http"].as_str()) {
            backends.push(Backend { machine: number, http: http.parse().context("read a machine's address")? });
        }
    }
    ensure!(
        !backends.is_empty(),
        "no machine of the hub has told where its API is reached: set http_address in hub.toml"
    );
    Ok(backends)
}

/// Has HAProxy read it. Where that is not installed, on a machine that only writes the file, nothing is checked.
fn check(config: &Path) -> anyhow::Result<()> {
    let checked =
        std::process::Command::new("haproxy").args(["-c", "-q", "-f"]).arg(config).stdin(Stdio::null()).output();
    match checked {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => bail!("HAProxy refuses {}:\n{}", config.display(), String::from_utf8_lossy(&output.stderr)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("jikai-hub: haproxy is not installed here: the configuration was not checked");
            Ok(())
        }
        Err(error) => Err(error).context("run haproxy"),
    }
}

/// The master starts new workers on the new configuration; the old ones end with their last connection.
fn reload(pid_file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(pid_file).with_context(|| format!("read {}", pid_file.display()))?;
    let first = text.lines().next().unwrap_or_default().trim();
    let pid = first.parse().ok().and_then(Pid::from_raw);
    let pid = pid.with_context(|| format!("{} holds no process id", pid_file.display()))?;
    kill_process(pid, Signal::USR2).context("tell HAProxy")?;
    println!("HAProxy takes it over.");
    Ok(())
}
