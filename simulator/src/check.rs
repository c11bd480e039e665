//! `jikai-sim check`: audits a kept run again.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Args;

use crate::audit::Findings;
use crate::demo::{Binaries, Family, Layout, audit_run};
use crate::printer::Pools;
use crate::world::World;

/// Options of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    jikai-sim demo --terminals 100 --duration 5s --data /tmp/run\n  \
    jikai-sim check --data /tmp/run\n\n\
    Starts the hub of the run for the time of the audit (its API tells the hub's side); nodes are read by their exports.\n\
    Exit code 0 only if every invariant is 0.")]
pub struct CheckArgs {
    /// The folder of a run made with `jikai-sim demo --data DIR`
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Print the counts as JSON
    #[arg(long)]
    json: bool,
}

/// Audits and prints what was found.
pub fn check(args: &CheckArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let findings = runtime.block_on(run(args))?;
    findings.local_tails.iter().for_each(|tail| println!("salvage     {tail}"));
    for violation in &findings.violations {
        println!("violation   {violation}");
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings.invariants)?);
    } else {
        for (name, count) in findings.invariants.named() {
            println!("{name:24} {count}");
        }
    }
    Ok(if findings.invariants.hold() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(args: &CheckArgs) -> Result<Findings> {
    let layout = Layout::open(&args.data)?;
    let binaries = Binaries::find()?;
    let world = World::make(&layout.read_plan()?)?;
    let pools = Pools::print(world.plan.seed, &world.games)?;
    let mut family = Family::new(layout.logs());
    let audited = tokio::select! {
        audited = audit_run(&binaries, &layout, &pools, &mut family) => audited,
        pressed = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted ({pressed:?})")),
    };
    family.stop().await;
    audited
}
