//! The command line.

mod audit;
mod ca;
mod client;
mod cluster;
mod digest;
mod front_door;
mod handoff;
mod import;
mod init;
mod join;
mod keys;
mod node;
mod report;
mod restore;
mod run;
mod staff;
mod take_over;
mod terminal;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use jikai_schema::crypto::Suite;
use jikai_schema::parameter::{Parameter, Place};
use jikai_schema::time::TimeMs;
use jikai_sync::machine_log::MachineCommand;
use jikai_sync::secrets::MasterSource;
use jikai_sync::technical_log::{FOLDER, LogPlace};
use rusqlite::Connection;

use crate::config::{CONFIG_FILE, Config};
use crate::store;

/// The hub of an instant-ticket province: master data, stock, money, and the nodes' logs.
#[derive(Debug, Parser)]
#[command(
    name = "jikai-hub",
    version,
    after_help = "Example:\n  jikai-hub init --data ./hub\n  jikai-hub run --data ./hub"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new hub: settings, authority, secrets, the first administrator.
    #[command(after_help = "Example:\n  jikai-hub init --data ./hub --environment training --printer-key printer.pub")]
    Init(InitArgs),
    /// Serve nodes and the centre until SIGTERM or SIGINT.
    #[command(
        after_help = "Example:\n  jikai-hub run --data ./hub\nPrints `ready http=ADDRESS sync=ADDRESS` once both can be reached."
    )]
    Run(RunArgs),
    /// Make the directory of a further machine of a hub.
    #[command(after_help = join::EXAMPLE)]
    Join(join::JoinArgs),
    /// The machines of the hub.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// Outlets that move from node to node.
    #[command(subcommand)]
    Handoff(handoff::HandoffCommand),
    /// The nodes and their stores.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Get back from the nodes what a copy from which the hub was put back lacks.
    #[command(after_help = restore::EXAMPLE)]
    Restore(restore::RestoreArgs),
    /// HAProxy, through which browsers and other systems come.
    #[command(subcommand)]
    FrontDoor(front_door::FrontDoorCommand),
    /// The hub's private certificate authority.
    #[command(subcommand)]
    Ca(CaCommand),
    /// The keys under which all secrets of this machine are encrypted.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Devices of outlets: one-time codes, and devices that are lost.
    #[command(subcommand)]
    Terminal(TerminalCommand),
    /// Accounts of the centre's staff.
    #[command(subcommand)]
    Staff(staff::StaffCommand),
    /// Import a list, a printed batch or a node into the running hub.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(ImportArgs),
    /// Print a report of the running hub.
    #[command(after_help = "Example:\n  jikai-hub report --data ./hub sales --by county --from 2026-11-01 --csv")]
    Report(ReportArgs),
    /// Print a digest of every table, or of one node's slice, to be compared with `jikai-node digest`.
    #[command(after_help = "Example:\n  jikai-hub digest --data ./hub --node 3\n  jikai-hub digest --data ./hub --all")]
    Digest(DigestArgs),
    /// Prove and search what was done, from the data directory; a running hub is not disturbed.
    #[command(subcommand)]
    Audit(audit::AuditCommand),
}

const IMPORT_EXAMPLES: &str = "Examples:
  jikai-hub import --data ./hub node --id 1 --name Shijiazhuang --prefectures 1301
  jikai-hub import --data ./hub outlets outlets.csv
  jikai-hub import --data ./hub batch ./printer/G0201-26001
Importing again is harmless: equal parts are skipped.";

#[derive(Debug, Args)]
struct DataArg {
    /// The hub's data directory.
    #[arg(long, env = "JIKAI_HUB_DATA")]
    data: PathBuf,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    data: DataArg,
    /// Only vote: keep all data, serve nobody. Also where the settings say so.
    #[arg(long)]
    voter_only: bool,
}

#[derive(Debug, Args)]
struct InitArgs {
    #[command(flatten)]
    data: DataArg,
    /// Stores of different environments never talk to each other.
    #[arg(long, value_parser = ["production", "training", "test"], default_value = "test")]
    environment: String,
    /// international (SHA-256, AES-256-GCM) or national (SM3, SM4-GCM); the nodes take the same. Never changed later.
    #[arg(long, default_value_t = Suite::International)]
    crypto_suite: Suite,
    /// From where the key comes that opens all secrets: file:PATH (made where it is missing), env:NAME or credential:NAME.
    #[arg(long, default_value_t = MasterSource::default())]
    master_key: MasterSource,
    /// Login name of the first administrator, who makes the other accounts.
    #[arg(long, default_value = "admin")]
    administrator: String,
    /// Name or address by which browsers reach the hub; goes into its certificate. May be given several times.
    #[arg(long)]
    host: Vec<String>,
    /// Where the centre's API listens. Port 0 lets the system choose, another one at each start.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Where nodes connect (QUIC, UDP). Nodes are told it once: with port 0 they lose the hub at its next start.
    #[arg(long, default_value = "127.0.0.1:0")]
    sync_listen: SocketAddr,
    /// File with the Ed25519 public key of a trusted printer, hex. May be given several times.
    #[arg(long)]
    printer_key: Vec<PathBuf>,
    #[command(flatten)]
    peers: join::PeerArgs,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Sign the certificate request of a node.
    #[command(after_help = "Example:\n  jikai-hub ca sign --data ./hub --csr node.csr --node 3 --out node.pem")]
    Sign(SignArgs),
    /// List the certificates of all nodes.
    #[command(after_help = "Example:\n  jikai-hub ca list --data ./hub")]
    List(DataArg),
    /// Let a certificate, or all that a node has, open no session any more.
    #[command(
        after_help = "Examples:\n  jikai-hub ca revoke --data ./hub --serial 3f09c1 --reason stolen\n  jikai-hub ca revoke --data ./hub --node 3 --reason 'disk lost'"
    )]
    Revoke(RevokeArgs),
    /// Print the authority's certificate, PEM.
    #[command(after_help = "Example:\n  jikai-hub ca show --data ./hub > ca.pem")]
    Show(DataArg),
}

#[derive(Debug, Args)]
struct RevokeArgs {
    #[command(flatten)]
    data: DataArg,
    #[command(flatten)]
    what: RevokeWhat,
    /// Why.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct RevokeWhat {
    /// Serial number, hex, as `ca list` shows it.
    #[arg(long)]
    serial: Option<String>,
    /// All certificates of this node, recorded or not.
    #[arg(long)]
    node: Option<u16>,
}

#[derive(Debug, Subcommand)]
enum TerminalCommand {
    /// Issue a one-time code with which a device binds its key.
    #[command(after_help = "Example:\n  jikai-hub terminal enrol --data ./hub --terminal 1301000101 --kind dedicated")]
    Enrol(EnrolArgs),
    /// Put a lost device out of use.
    #[command(after_help = "Example:\n  jikai-hub terminal revoke --data ./hub --terminal 1301000101 --reason lost")]
    Revoke(RevokeTerminalArgs),
}

#[derive(Debug, Args)]
struct EnrolArgs {
    #[command(flatten)]
    data: DataArg,
    /// Its number, 10 digits, of which the first 8 are the outlet's.
    #[arg(long)]
    terminal: String,
    /// What sort of device.
    #[arg(long, value_parser = ["dedicated", "gun", "phone"])]
    kind: String,
    /// How long the code is good.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=168))]
    hours: u16,
}

#[derive(Debug, Args)]
struct RevokeTerminalArgs {
    #[command(flatten)]
    data: DataArg,
    /// Its number, 10 digits.
    #[arg(long)]
    terminal: String,
    /// Why.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
struct SignArgs {
    #[command(flatten)]
    data: DataArg,
    /// The request that `jikai-node init` wrote.
    #[arg(long)]
    csr: PathBuf,
    /// The node that the certificate will name.
    #[arg(long)]
    node: u16,
    /// Further name or address by which terminals reach the node; stays when it renews the certificate. May be given several
    /// times.
    #[arg(long)]
    host: Vec<String>,
    /// Where to write the certificate.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ImportArgs {
    #[command(flatten)]
    data: DataArg,
    #[command(subcommand)]
    what: ImportWhat,
}

#[derive(Debug, Subcommand)]
enum ImportWhat {
    /// Counties and their prefectures: code,name,prefecture_code,prefecture_name,townships
    Divisions(FileArg),
    /// Townships: code,name,county_code
    Townships(FileArg),
    /// Games with their prize lists, a line a level
    Games(FileArg),
    /// Outlets: outlet_id,name,township_code
    Outlets(FileArg),
    /// Terminals: terminal_id,outlet_id,kind,public_key_hex
    Terminals(FileArg),
    /// Operators: operator_id,outlet_id,name,role,password_hash
    Operators(FileArg),
    /// Packs sent to outlets: shipment_id,outlet_id,game_code,batch,first_pack,last_pack
    Shipments(FileArg),
    /// Deposits that arrived: deposit_id,outlet_id,amount_yuan
    Deposits(FileArg),
    /// Batches to be sold from now on: game_code,batch,approval_number,notice_day
    Openings(FileArg),
    /// Holds on packs: pack,hold (none, frozen, stolen, lost, damaged)
    Holds(FileArg),
    /// Announced ends of redemption: game_code,batch,ends_at
    RedemptionEnds(FileArg),
    /// A printer's directory: PACKAGE, SIGNATURE, MAP, REWARD, CODES
    Batch(DirectoryArg),
    /// Register a node and the prefectures that it serves
    Node(NodeArgs),
}

#[derive(Debug, Args)]
struct FileArg {
    /// The CSV file, with its header line.
    file: PathBuf,
}

#[derive(Debug, Args)]
struct DirectoryArg {
    /// The directory.
    directory: PathBuf,
}

#[derive(Debug, Args)]
struct NodeArgs {
    /// Its number, 1 to 4095.
    #[arg(long)]
    id: u16,
    /// Display name.
    #[arg(long)]
    name: String,
    /// GB/T 2260 codes, comma-separated, such as 1301,1302; none: only what is moved there by `handoff`.
    #[arg(long, value_delimiter = ',')]
    prefectures: Vec<u16>,
}

#[derive(Debug, Args)]
struct ReportArgs {
    #[command(flatten)]
    data: DataArg,
    /// Which report.
    #[arg(value_enum)]
    report: ReportName,
    /// What it is divided by [default: prefecture; for the ledger: kind, its kinds of accounts].
    #[arg(long, value_parser = ["prefecture", "county", "outlet", "game", "day", "kind"])]
    by: Option<String>,
    /// First business day, such as 2026-11-01.
    #[arg(long)]
    from: Option<String>,
    /// Last business day.
    #[arg(long)]
    to: Option<String>,
    /// Print JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV.
    #[arg(long)]
    csv: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ReportName {
    Sales,
    Stock,
    Claims,
    Deposits,
    Ledger,
    /// Facts that broke a rule; what no rule explains came from suspense
    Exceptions,
    /// Events of nodes that could not be applied
    Quarantine,
}

#[derive(Debug, Args)]
struct DigestArgs {
    #[command(flatten)]
    data: DataArg,
    /// Only the slice of this node.
    #[arg(long)]
    node: Option<u16>,
    /// The hub's own tables as well: the same on all machines of a hub that have applied the same of the log.
    #[arg(long, conflicts_with = "node")]
    all: bool,
}

impl Command {
    /// The data directory that it works on.
    fn data(&self) -> &Path {
        let data = match self {
            Command::Init(args) => &args.data,
            Command::Run(args) => &args.data,
            Command::Join(args) => &args.data,
            Command::Handoff(command) => command.data(),
            Command::Cluster(command) => command.data(),
            Command::Node(command) => command.data(),
            Command::Restore(args) => &args.data,
            Command::FrontDoor(command) => command.data(),
            Command::Ca(CaCommand::Show(data) | CaCommand::List(data)) => data,
            Command::Ca(CaCommand::Revoke(args)) => &args.data,
            Command::Terminal(TerminalCommand::Enrol(args)) => &args.data,
            Command::Terminal(TerminalCommand::Revoke(args)) => &args.data,
            Command::Ca(CaCommand::Sign(args)) => &args.data,
            Command::Keys(command) => command.data(),
            Command::Staff(command) => command.data(),
            Command::Import(args) => &args.data,
            Command::Report(args) => &args.data,
            Command::Digest(args) => &args.data,
            // One that only lists words works on none.
            Command::Audit(command) => match command.data() {
                Some(data) => data,
                None => return Path::new(""),
            },
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
        Some(LogPlace { folder: data.join(FOLDER), name: "hub", days: usize::try_from(days).unwrap_or(usize::MAX) })
    }

    /// Does what was asked. That it was done stands in the hub's log, for the auditor.
    pub fn execute(self) -> anyhow::Result<()> {
        let data = self.command.data().to_owned();
        if data.as_os_str().is_empty() {
            return self.dispatch();
        }
        Config::choose_suite(&data)?;
        if matches!(self.command, Command::Run(_)) {
            return self.dispatch();
        }
        let run = MachineCommand::of_this_process(rand::random::<u64>() >> 1, TimeMs::now().ms());
        run.noting(&data, CONFIG_FILE, || self.dispatch())
    }

    fn dispatch(self) -> anyhow::Result<()> {
        match self.command {
            Command::Init(args) => init::init(&args),
            Command::Run(args) => run::run(&args),
            Command::Join(args) => join::join(&args),
            Command::Handoff(command) => handoff::handoff(&command),
            Command::Cluster(command) => cluster::cluster(&command),
            Command::Node(command) => node::node(&command),
            Command::Restore(args) => restore::restore(&args),
            Command::FrontDoor(command) => front_door::front_door(&command),
            Command::Ca(CaCommand::Sign(args)) => ca::sign(&args),
            Command::Ca(CaCommand::Show(args)) => ca::show(&args),
            Command::Ca(CaCommand::List(args)) => ca::list(&args),
            Command::Ca(CaCommand::Revoke(args)) => ca::revoke(&args),
            Command::Terminal(TerminalCommand::Enrol(args)) => terminal::enrol(&args),
            Command::Terminal(TerminalCommand::Revoke(args)) => terminal::revoke(&args),
            Command::Keys(command) => keys::keys(&command),
            Command::Staff(command) => staff::staff(&command),
            Command::Import(args) => import::import(&args.data.data, &args.what),
            Command::Report(args) => report::report(&args),
            Command::Digest(args) => digest::digest(&args),
            Command::Audit(command) => audit::audit(&command),
        }
    }
}
