//! `jikai-node`: parse the command line, do it, say what went wrong.

use clap::Parser;
use jikai_node::command::Cli;
use jikai_sync::causes::with_causes;
use jikai_sync::technical_log;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    technical_log::start(cli.log_place().as_ref());
    match cli.execute() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jikai-node: {}", with_causes(error.as_ref()));
            std::process::ExitCode::FAILURE
        }
    }
}
