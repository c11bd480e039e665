//! `staff`: who the first security administrator is, which only somebody at the machine can tell.

use anyhow::Context;
use clap::{Args, Subcommand};
use jikai_schema::staff::check_login;
use serde_json::json;

use super::DataArg;
use super::client::{Client, block_on};

#[derive(Debug, Subcommand)]
pub(super) enum StaffCommand {
    /// Draw the code by which the first security administrator is known; that person draws the others'.
    #[command(after_help = CONFIRM_EXAMPLE)]
    Confirm(ConfirmArgs),
}

const CONFIRM_EXAMPLE: &str = "Example:
  jikai-hub staff confirm --data ./hub --login guard
Hand the code to that person yourself. Who made the account knows its first password, and must not get the code.";

#[derive(Debug, Args)]
pub(super) struct ConfirmArgs {
    #[command(flatten)]
    data: DataArg,
    /// Login name of the first security administrator.
    #[arg(long)]
    login: String,
}

impl StaffCommand {
    /// The data directory that it works on.
    pub(super) fn data(&self) -> &DataArg {
        let StaffCommand::Confirm(args) = self;
        &args.data
    }
}

pub(super) fn staff(command: &StaffCommand) -> anyhow::Result<()> {
    let StaffCommand::Confirm(args) = command;
    check_login(&args.login).context("--login")?;
    let client = Client::open(&args.data.data)?;
    let path = format!("/v1/staff/{}/confirmation", args.login);
    let offered = block_on(client.post_json(&path, &json!({})))?;
    println!("Code for {}, good for 72 hours, shown only now:", args.login);
    println!("    {}", offered["code"].as_str().unwrap_or_default());
    println!("That person logs in, sets password and second factor, and sends it: PUT /v1/own/confirmation.");
    Ok(())
}
