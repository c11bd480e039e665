//! `audit`: works on the data directory, with or without a running hub.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use super::DataArg;
use crate::audit::{self, Bound, Range, Report, SignedHeads};
use crate::store::STATE_FILE;

#[derive(Debug, Subcommand)]
pub(super) enum AuditCommand {
    /// Recompute every chain of hashes and compare with what is stored; fails on a break.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
}

const VERIFY_EXAMPLES: &str = "Examples:
  jikai-hub audit verify --data ./hub
  jikai-hub audit verify --data ./hub --from 2026-11-01 --to 2026-11-30
Prints the first break of each chain with its position, then what was verified. Exit code 1 on a break.
Positions count in each log by itself; feeds follow the positions of the hub's log.";

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
}

impl AuditCommand {
    /// The data directory that it works on.
    pub(super) fn data(&self) -> &DataArg {
        match self {
            AuditCommand::Verify(args) => &args.data,
        }
    }
}

pub(super) fn audit(command: &AuditCommand) -> anyhow::Result<()> {
    match command {
        AuditCommand::Verify(args) => verify(args),
    }
}

fn verify(args: &VerifyArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    let range = Range { from: args.from, to: args.to };
    let report = audit::verify(data, &range, &SignedHeads::default()).with_context(|| hint(data))?;
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

fn print_report(report: &Report) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for found in report.breaks() {
        writeln!(out, "BROKEN  {found}")?;
    }
    for chain in &report.chains {
        let state = if chain.broken.is_some() { "whole up to" } else { "whole, ends at" };
        let (name, seq, hash) = (chain.name.to_string(), chain.seq, chain.hash);
        writeln!(out, "{name:<20} {:>12} events, {state} {seq} {hash}", chain.events)?;
    }
    writeln!(
        out,
        "{} events in {} chains verified in {:.2} s on {} threads: {} events/s per core",
        report.events(),
        report.chains.len(),
        report.elapsed.as_secs_f64(),
        report.threads,
        report.events_per_second()
    )
}

fn hint(data: &Path) -> String {
    format!("audit {}: is --data the directory of a hub?", data.join(STATE_FILE).display())
}
