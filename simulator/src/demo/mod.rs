//! `jikai-sim demo`: a hub, its nodes and all terminals of a province on this machine, from set-up to audit.

mod args;
mod binaries;
mod child;
mod cluster;
mod disk;
mod faults;
mod figures;
mod following;
mod health;
mod inspection;
mod layout;
mod machines;
mod others;
mod play;
mod relay;
mod report;
mod screen;
mod stores;
mod table;
mod workers;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};

pub use args::DemoArgs;
pub use binaries::Binaries;
pub use child::{Child, Family};
pub use inspection::audit_run;
pub use layout::Layout;
pub use report::Report;

use screen::Screen;

/// Runs the demo. Success only if every invariant holds and no operation failed.
pub fn demo(args: &DemoArgs) -> Result<ExitCode> {
    let mut args = args.clone();
    args.faults.settle(args.hubs);
    args.verify()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(run(&args))
}

async fn run(args: &DemoArgs) -> Result<ExitCode> {
    let layout = Layout::make(args.data.as_deref(), args.keep)?;
    let screen = Screen::new(args.plain);
    let mut family = Family::new(layout.logs());
    let played = tokio::select! {
        played = play::play(args, &layout, &screen, &mut family) => played,
        stopped = interrupted() => stopped,
    };
    screen.clear();
    family.stop().await;
    layout.say_where_it_is();
    let report = played?;
    match report.holds() {
        true => Ok(ExitCode::SUCCESS),
        false => bail!("the run failed: see the violations and failures above; repeat it with {}", args.rerun()),
    }
}

/// Ends with an error on Ctrl-C or SIGTERM.
async fn interrupted() -> Result<Report> {
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed.context("listen for Ctrl-C")?,
        _ = terminate.recv() => {}
    }
    bail!("interrupted; all processes of the demo are being stopped")
}
