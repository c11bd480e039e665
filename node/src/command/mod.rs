//! The command line: `jikai-node init|enrol|run|renew|request|keys|digest|export|salvage`.

mod export;
mod init;
mod keys;
mod run;
mod salvage;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use jikai_schema::crypto::Suite;
use jikai_schema::parameter::{Parameter, Place};
use jikai_schema::time::TimeMs;
use jikai_sync::machine_log::MachineCommand;
use jikai_sync::secrets::MasterSource;
use jikai_sync::technical_log::{FOLDER, LogPlace};
use rusqlite::Connection;

use crate::config::{Acknowledge, CONFIG_FILE, Config};
use crate::store;

/// A regional node of the instant-ticket lottery: serves terminals, keeps its outlets' books, syncs with the hub.
#[derive(Debug, Parser)]
#[command(name = "jikai-node", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  jikai-node init --data /var/lib/jikai --node 3 --hub 10.0.0.1:7400 --environment production
  jikai-hub ca sign --data /var/lib/jikai-hub --csr node.csr --node 3 --out node.pem      (at the hub)
  jikai-node enrol --data /var/lib/jikai --certificate node.pem --ca ca.pem
  jikai-node run --data /var/lib/jikai";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new store and a key, and the request to have the key certified.
    #[command(
        after_help = "Examples:\n  jikai-node init --data ./node-3 --node 3 --hub 127.0.0.1:7400 --environment test\n  jikai-node init --data ./node-3 --join node-3.json      (what `jikai-hub node add` or `node replace` wrote)"
    )]
    Init(InitArgs),
    /// Install the certificate that the hub signed.
    #[command(
        after_help = "Example:\n  jikai-node enrol --data ./node-3 --certificate node-3.pem --ca ca.pem\nStop the node first."
    )]
    Enrol(EnrolArgs),
    /// Serve terminals and sync with the hub until SIGTERM.
    #[command(
        after_help = "Example:\n  jikai-node run --data ./node-3\nPrints `ready http=ADDRESS` once terminals can connect."
    )]
    Run(DataArg),
    /// Have the running node's certificate renewed now; it does so by itself in the last third of its validity.
    #[command(after_help = "Example:\n  jikai-node renew --data ./node-3")]
    Renew(DataArg),
    /// Make a new key and the request to have it certified, where the certificate was revoked or has expired.
    #[command(
        after_help = "Example:\n  jikai-node request --data ./node-3\nWorks beside a running node: what it runs on stays until the next is enrolled."
    )]
    Request(DataArg),
    /// The keys under which all secrets of this machine are encrypted.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Print a digest of every table, to be compared with `jikai-hub digest --node N`.
    #[command(after_help = "Example:\n  jikai-node digest --data ./node-3")]
    Digest(DataArg),
    /// List what the old disk of a replaced node holds alone. The disk is not written to.
    #[command(
        after_help = "Example:\n  jikai-hub node show --data ./hub --node 3 --json > node-3.json      (at the hub)\n  jikai-node salvage --data /mnt/old-disk/jikai --report node-3.json"
    )]
    Salvage(salvage::SalvageArgs),
    /// Print events, accounts or packs as JSON lines.
    #[command(after_help = "Example:\n  jikai-node export --data ./node-3 --events --after 1000")]
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct DataArg {
    /// The node's data directory.
    #[arg(long, env = "JIKAI_NODE_DATA")]
    data: PathBuf,
}

#[derive(Debug, Args)]
struct InitArgs {
    #[command(flatten)]
    data: DataArg,
    /// Number of the node, 1 to 4095, as registered at the hub.
    #[arg(long, required_unless_present = "join", conflicts_with = "join")]
    node: Option<u16>,
    /// Sync addresses of the hub, IP:PORT, comma-separated, tried in this order. With --join: instead of the invitation's.
    #[arg(long, value_delimiter = ',', required_unless_present = "join", value_parser = hub_address)]
    hub: Vec<SocketAddr>,
    /// Stores of different environments never talk to each other.
    #[arg(long, value_parser = ["production", "training", "test"], required_unless_present = "join", conflicts_with = "join")]
    environment: Option<String>,
    /// Make the first store of a new node, or take the place of a lost one, with what `jikai-hub node add` or `node replace` wrote.
    #[arg(long)]
    join: Option<PathBuf>,
    /// File with the code of the invitation; without it the code is asked for.
    #[arg(long, requires = "join")]
    code_file: Option<PathBuf>,
    /// international (SHA-256, AES-256-GCM) or national (SM3, SM4-GCM), as the hub has it. Never changed later.
    #[arg(long, default_value_t = Suite::International, conflicts_with = "join")]
    crypto_suite: Suite,
    /// From where the key comes that opens all secrets: file:PATH (made where it is missing), env:NAME or credential:NAME.
    #[arg(long, default_value_t = MasterSource::default())]
    master_key: MasterSource,
    /// Where terminals connect. Port 0 lets the system choose, another one at each start.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where terminals reach this node, HOST:PORT; the hub tells all terminals. May be given up to 8 times, the one to be tried first
    /// in front. Without it: where it listens, if that is one address.
    #[arg(long)]
    public_address: Vec<String>,
    /// When a mutation is acknowledged to the terminal.
    #[arg(long, value_enum, default_value = "local")]
    ack: Acknowledge,
}

/// An address of the hub. Names are not looked up: a region must find the hub while the names' server is away.
fn hub_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "an address of the hub has the form IP:PORT, such as 10.0.0.1:7400; names are not looked up".to_string()
    })
}

#[derive(Debug, Args)]
struct EnrolArgs {
    #[command(flatten)]
    data: DataArg,
    /// The signed certificate, PEM.
    #[arg(long)]
    certificate: PathBuf,
    /// The hub's CA certificate, PEM.
    #[arg(long)]
    ca: PathBuf,
}

#[derive(Debug, Args)]
struct ExportArgs {
    #[command(flatten)]
    data: DataArg,
    #[command(flatten)]
    what: ExportWhat,
    /// Only events behind this position.
    #[arg(long, default_value_t = 0)]
    after: u64,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ExportWhat {
    /// The node's own log.
    #[arg(long)]
    events: bool,
    /// All accounts with their balances.
    #[arg(long)]
    accounts: bool,
    /// All packs with their states.
    #[arg(long)]
    packs: bool,
}

impl Command {
    /// The data directory that it works on.
    fn data(&self) -> &Path {
        let data = match self {
            Command::Init(args) => &args.data,
            Command::Enrol(args) => &args.data,
            Command::Run(data) | Command::Digest(data) | Command::Renew(data) | Command::Request(data) => data,
            Command::Export(args) => &args.data,
            Command::Salvage(args) => &args.data,
            Command::Keys(command) => command.data(),
        };
        &data.data
    }
}

impl Cli {
    /// Where the technical log is kept: only of a server, for as long as the parameter says that was in force when it started.
    pub fn log_place(&self) -> Option<LogPlace> {
        let Command::Run(_) = &self.command else { return None };
        let data = self.command.data();
        let read = |store: Connection| Parameter::RetentionTechnical.read(&store, &Place::PROVINCE, TimeMs::now());
        let days = store::open_reader(data).ok().and_then(|store| read(store).ok());
        let days = days.unwrap_or(Parameter::RetentionTechnical.default_value());
        Some(LogPlace { folder: data.join(FOLDER), name: "node", days: usize::try_from(days).unwrap_or(usize::MAX) })
    }

    /// Does what was asked. That it was done stands in the node's log, for the auditor.
    pub fn execute(self) -> anyhow::Result<()> {
        let data = self.command.data().to_owned();
        Config::choose_suite(&data)?;
        // Of a server its own log tells; the disk of a replaced node is not written to.
        if matches!(self.command, Command::Run(_) | Command::Salvage(_)) {
            return self.dispatch();
        }
        let run = MachineCommand::of_this_process(rand::random::<u64>() >> 1, TimeMs::now().ms());
        run.noting(&data, CONFIG_FILE, || self.dispatch())
    }

    fn dispatch(self) -> anyhow::Result<()> {
        match self.command {
            Command::Init(args) => init::init(&args),
            Command::Enrol(args) => init::enrol(&args),
            Command::Run(args) => run::run(&args.data),
            Command::Renew(args) => init::renew(&args.data),
            Command::Request(args) => init::request(&args.data),
            Command::Digest(args) => export::digest(&args.data),
            Command::Keys(command) => keys::keys(&command),
            Command::Export(args) => export::export(&args),
            Command::Salvage(args) => salvage::salvage(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_is_named_by_addresses_and_a_name_is_refused_with_the_form() {
        let init = |hub: &str| {
            Cli::try_parse_from([
                "jikai-node",
                "init",
                "--data",
                "d",
                "--node",
                "3",
                "--environment",
                "test",
                "--hub",
                hub,
            ])
        };
        assert!(init("10.0.0.1:7400,[2001:db8::1]:7400").is_ok());
        for bad in ["hub.example:7400", "10.0.0.1", ""] {
            assert!(init(bad).unwrap_err().to_string().contains("IP:PORT"), "{bad}");
        }
    }
}
