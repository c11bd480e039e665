//! `audit`: works on the data directory, with or without a running hub.

mod filter;

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use jikai_schema::event::KINDS;
use jikai_schema::time::TimeMs;
use jikai_sync::secrets::Secrets;

use self::filter::FilterArgs;
use super::DataArg;
use crate::audit::checkpoint::{self, AuditKey, Journal, PublicKeys};
use crate::audit::search::{Filter, Format, Writer, search};
use crate::audit::{self, AuditError, Bound, Range, Report, SignedHeads};
use crate::config::Config;
use crate::identity::secrets_place;
use crate::store::STATE_FILE;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Recompute every chain of hashes and compare with what is stored and signed; fails on a break.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Sign the heads of all chains now; a running hub does it once a business day.
    #[command(after_help = "Example:\n  jikai-hub audit checkpoint --data ./hub")]
    Checkpoint(DataArg),
    /// List the signed checkpoints, or export them to be kept on another machine.
    #[command(after_help = "Example:\n  jikai-hub audit checkpoints --data ./hub --export checkpoints.jsonl")]
    Checkpoints(CheckpointsArgs),
    /// Print the public halves of all audit keys, oldest first: keep them with the exported checkpoints.
    #[command(after_help = "Example:\n  jikai-hub audit key --data ./hub > audit.pub")]
    Key(DataArg),
    /// Sign with a new audit key from now on; what the old one has signed stays good. Works beside a running hub.
    #[command(
        after_help = "Example:\n  jikai-hub audit renew-key --data ./hub\nThen export keys and checkpoints again."
    )]
    RenewKey(DataArg),
    /// Print the events that fit, oldest first.
    #[command(after_help = SEARCH_EXAMPLES)]
    Search(SearchArgs),
    /// Write the events that fit into a file, as CSV for Excel or as JSON lines.
    #[command(after_help = EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// List the kinds of events, for --kind of search and export.
    Kinds,
}

const VERIFY_EXAMPLES: &str = "Examples:
  jikai-hub audit verify --data ./hub
  jikai-hub audit verify --data ./hub --from 2026-11-01 --to 2026-11-30
  jikai-hub audit verify --data ./hub --checkpoints checkpoints.jsonl --key audit.pub
Prints the first break of each chain with its position, then what was verified. Exit code 1 on a break.
Positions count in each log by itself; feeds follow the positions of the hub's log.
Only checkpoints and a key from outside this machine prove that nobody rewrote it whole.";

const SEARCH_EXAMPLES: &str = "Examples:
  jikai-hub audit search --data ./hub --person zhang.san --from 2026-11-01 --to 2026-11-30
  jikai-hub audit search --data ./hub --item G0201-26001-0000123-045
  jikai-hub audit search --data ./hub --outlet 13010001 --kind ticket_claimed --amount-min 1000.00";

const EXPORT_EXAMPLES: &str = "Examples:
  jikai-hub audit export --data ./hub --format csv --out november.csv --from 2026-11-01 --to 2026-11-30
  jikai-hub audit export --data ./hub --format jsonl --outlet 13010001 | zstd > outlet.jsonl.zst";

#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    data: DataArg,
    /// First position (4711) or business day (2026-11-01). Before it, stored hashes are taken for granted.
    #[arg(long)]
    from: Option<Bound>,
    /// Last position or business day.
    #[arg(long)]
    to: Option<Bound>,
    /// Exported checkpoints to verify against, instead of those in the data directory.
    #[arg(long, requires = "key")]
    checkpoints: Option<PathBuf>,
    /// The audit keys' public halves: 64 hex digits, or a file of what `audit key` printed.
    #[arg(long)]
    key: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct CheckpointsArgs {
    #[command(flatten)]
    data: DataArg,
    /// Write them into this file.
    #[arg(long)]
    export: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Most events to print.
    #[arg(long, default_value_t = 1_000)]
    limit: u64,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// csv (UTF-8 with byte order mark, cells that look like formulas quoted) or jsonl.
    #[arg(long, value_enum)]
    format: ExportFormat,
    /// File to write, which must not exist; standard output when not given.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ExportFormat {
    Csv,
    Jsonl,
}

impl AuditCommand {
    /// The data directory that it works on.
    pub(super) fn data(&self) -> Option<&DataArg> {
        let data = match self {
            AuditCommand::Kinds => return None,
            AuditCommand::Verify(args) => &args.data,
            AuditCommand::Checkpoint(data) | AuditCommand::Key(data) | AuditCommand::RenewKey(data) => data,
            AuditCommand::Checkpoints(args) => &args.data,
            AuditCommand::Search(args) => &args.filter.data,
            AuditCommand::Export(args) => &args.filter.data,
        };
        Some(data)
    }
}

pub(super) fn audit(command: &AuditCommand) -> anyhow::Result<()> {
    let Some(DataArg { data }) = command.data() else {
        println!("{}", KINDS.join("\n"));
        return Ok(());
    };
    if !data.join(STATE_FILE).is_file() {
        bail!("{} does not exist: is --data the directory of a hub?", data.join(STATE_FILE).display());
    }
    match command {
        AuditCommand::Verify(args) => verify(data, args),
        AuditCommand::Checkpoint(_) => sign(data),
        AuditCommand::Checkpoints(args) => checkpoints(data, args),
        AuditCommand::Key(_) => print_keys(data),
        AuditCommand::RenewKey(_) => renew_key(data),
        AuditCommand::Search(args) => print_events(data, args),
        AuditCommand::Export(args) => export_events(data, args),
        AuditCommand::Kinds => Ok(()),
    }
}

fn verify(data: &Path, args: &VerifyArgs) -> anyhow::Result<()> {
    // Before the state is looked at: a checkpoint made meanwhile would be ahead of it.
    let signed = signed_heads(data, args)?;
    let range = Range { from: args.from, to: args.to };
    let report = audit::verify(data, &range, &signed).with_context(|| format!("audit {}", data.display()))?;
    print_report(&report).context("print the report")?;
    match report.breaks().count() {
        0 => Ok(()),
        broken => bail!(
            "{broken} of {} chains are broken. Stop the hub, keep a copy of {} as it is, and compare with its backup and \
             with the nodes (`jikai-node digest`)",
            report.chains.len(),
            data.display()
        ),
    }
}

/// Heads from the file that was given, else those that this machine signed.
fn signed_heads(data: &Path, args: &VerifyArgs) -> anyhow::Result<SignedHeads> {
    let given = args.key.as_deref().map(PublicKeys::read).transpose()?;
    let all = match &args.checkpoints {
        Some(file) => checkpoint::read_file(file)?,
        None => Journal::new(data).read()?,
    };
    let keys = match (given, all.is_empty()) {
        (Some(keys), _) => keys,
        (None, true) => {
            println!("no checkpoint was signed here yet: only the stored hashes and heads are compared");
            return Ok(SignedHeads::default());
        }
        (None, false) => listed_keys(data)?,
    };
    let signed = checkpoint::check(&all, &keys).context("the checkpoints do not hold")?;
    let source = args.checkpoints.as_ref().map_or("of this machine".into(), |file| format!("in {}", file.display()));
    match all.last() {
        Some(last) => println!(
            "{} checkpoints {source} hold, the newest of {} signed by {}",
            all.len(),
            last.checkpoint.day,
            last.checkpoint.key
        ),
        None => bail!("there is no checkpoint {source}: nothing can be verified against it"),
    }
    Ok(signed)
}

fn print_report(report: &Report) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for found in report.breaks() {
        writeln!(out, "BROKEN  {found}")?;
    }
    for chain in &report.chains {
        let state = if chain.broken.is_some() { "whole up to" } else { "whole, ends at" };
        let (name, seq, hash) = (chain.name.to_string(), chain.seq, chain.hash);
        let (events, signed) = (chain.events, chain.signed);
        writeln!(out, "{name:<20} {events:>12} events, {signed:>4} signed heads, {state} {seq} {hash}")?;
    }
    writeln!(
        out,
        "{} events in {} chains verified in {:.2} s on {} threads: {} events/s per core; {} signed heads agree",
        report.events(),
        report.chains.len(),
        report.elapsed.as_secs_f64(),
        report.threads,
        report.events_per_second(),
        report.signed()
    )
}

fn sign(data: &Path) -> anyhow::Result<()> {
    let config = Config::load(data)?;
    let secrets = Secrets::open(&secrets_place(data, &config))?;
    let made = Journal::new(data).make(&secrets, &config.environment, TimeMs::now());
    let made = made.context("sign a checkpoint")?.checkpoint;
    println!("checkpoint {} of {}: {} heads signed by {}", made.number, made.day, made.heads.len(), made.key);
    println!("Next: jikai-hub audit checkpoints --data {} --export FILE, and keep FILE elsewhere", data.display());
    Ok(())
}

fn checkpoints(data: &Path, args: &CheckpointsArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.export {
        let count = checkpoint::export(data, file).context("export the checkpoints")?;
        println!("{count} checkpoints exported to {}", file.display());
        return Ok(());
    }
    for one in Journal::new(data).read()? {
        let (one, events) = (&one.checkpoint, one.checkpoint.heads.iter().map(|head| head.events).sum::<u64>());
        println!("{:>6}  {}  {} heads, {events} events, key {}", one.number, one.day, one.heads.len(), one.key);
    }
    Ok(())
}

fn print_keys(data: &Path) -> anyhow::Result<()> {
    print!("{}", listed_keys(data)?);
    Ok(())
}

/// The keys that this machine lists; a directory of an earlier build, without a list, has one.
fn listed_keys(data: &Path) -> anyhow::Result<PublicKeys> {
    let listed = PublicKeys::load(data)?;
    if !listed.is_empty() {
        return Ok(listed);
    }
    let missing = || format!("no audit key yet: `jikai-hub audit checkpoint --data {}` makes it", data.display());
    let secrets = Secrets::open(&secrets_place(data, &Config::load(data)?))?;
    Ok(AuditKey::load(&secrets)?.with_context(missing)?.public().into())
}

fn renew_key(data: &Path) -> anyhow::Result<()> {
    let secrets = Secrets::open(&secrets_place(data, &Config::load(data)?))?;
    let key = AuditKey::renew(data, &secrets).context("renew the audit key")?;
    println!("The next checkpoint is signed with {}. Next:", key.public_hex());
    println!(
        "  jikai-hub audit key --data {} > audit.pub, and keep it elsewhere, beside the checkpoints",
        data.display()
    );
    Ok(())
}

fn print_events(data: &Path, args: &SearchArgs) -> anyhow::Result<()> {
    let mut writer = Writer::begin(BufWriter::new(std::io::stdout().lock()), Format::Text)?;
    let (mut printed, mut more) = (0, false);
    search(data, &args.filter.filter()?, |found| {
        more = printed == args.limit;
        if !more {
            writer.write(found)?;
            printed += 1;
        }
        Ok(!more)
    })?;
    writer.finish()?;
    let rest = if more { "; there are more: narrow the search, raise --limit or use `audit export`" } else { "" };
    eprintln!("{printed} events{rest}");
    tell_unknown(printed, &args.filter)?;
    Ok(())
}

fn export_events(data: &Path, args: &ExportArgs) -> anyhow::Result<()> {
    let filter = args.filter.filter()?;
    let format = match args.format {
        ExportFormat::Csv => Format::Csv,
        ExportFormat::Jsonl => Format::JsonLines,
    };
    let count = match &args.out {
        None => export_to(data, &filter, format, std::io::stdout().lock())?,
        Some(path) => {
            let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
            let file = file.with_context(|| format!("make {}: choose a name that is not taken", path.display()))?;
            export_to(data, &filter, format, file)?
        }
    };
    eprintln!("{count} events exported");
    tell_unknown(count, &args.filter)
}

/// An empty result may be a slip in a name.
fn tell_unknown(count: u64, filter: &FilterArgs) -> anyhow::Result<()> {
    if let (0, Some(line)) = (count, filter.unknown_person()?) {
        eprintln!("{line}");
    }
    Ok(())
}

fn export_to(data: &Path, filter: &Filter, format: Format, out: impl Write) -> Result<u64, AuditError> {
    let mut writer = Writer::begin(BufWriter::with_capacity(1 << 16, out), format)?;
    let count = search(data, filter, |found| writer.write(found).map(|()| true))?;
    writer.finish()?;
    Ok(count)
}
