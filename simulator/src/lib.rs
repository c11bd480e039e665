//! The simulator: a whole province on one machine, and an independent witness of what it does.
//!
//! It knows the system only by its public interfaces (command lines, HTTPS APIs, exports) and shares no code with it:
//! barcodes, money rules, hash chain and request ids are written a second time here, from the documents.
//!
//! In reading order:
//! - [`seed`]: everything random, from one number
//! - [`printer`]: games, pools, codes and the printer's files
//! - [`world`]: outlets, terminals, people, stock and deposits, and their import files ([`generate`])
//! - [`client`], [`terminal`]: a connection, and the actor that lives a day on it
//! - [`journal`]: what terminals were told
//! - [`load`]: one process with a slice of the terminals
//! - [`audit`]: the account that the auditor keeps of its own ([`check`])
//! - [`demo`]: all of it together

pub mod amount;
pub mod audit;
pub mod check;
pub mod client;
pub mod demo;
pub mod duration;
pub mod generate;
pub mod journal;
pub mod load;
pub mod printer;
pub mod seed;
pub mod terminal;
pub mod world;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Simulates a province and audits what the system did.
#[derive(Debug, Parser)]
#[command(
    name = "jikai-sim",
    version,
    about,
    after_help = "Examples:\n  \
    jikai-sim demo                                          # 20,000 terminals, 11 nodes, one hub\n  \
    jikai-sim demo --terminals 100 --duration 5s --ramp 2s  # a small one\n  \
    jikai-sim generate --terminals 100 --out /tmp/world     # only the import files\n  \
    jikai-sim help load                                     # load against any node"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a hub, nodes and terminals on this machine, then audit them
    Demo(Box<demo::DemoArgs>),
    /// Load nodes with one slice of the terminals
    Load(Box<load::LoadArgs>),
    /// Audit a kept run again
    Check(check::CheckArgs),
    /// Write a world's import files
    Generate(generate::GenerateArgs),
}

/// Runs what the command line asks for.
pub fn run(cli: Cli) -> ExitCode {
    let ended: Result<ExitCode> = match cli.command {
        Command::Demo(args) => demo::demo(&args),
        Command::Load(args) => load::load(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => check::check(&args),
        Command::Generate(args) => generate::generate(&args).map(|()| ExitCode::SUCCESS),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
