//! `terminal`: one-time codes for devices, and devices that are lost.

use jikai_schema::id::TerminalId;
use serde_json::json;

use super::client::{Client, block_on};
use super::{EnrolArgs, RevokeTerminalArgs};

pub(super) fn enrol(args: &EnrolArgs) -> anyhow::Result<()> {
    let terminal: TerminalId = args.terminal.parse()?;
    let body = json!({ "kind": args.kind, "hours": args.hours });
    let path = format!("/v1/terminals/{terminal}/enrolment");
    let client = Client::open(&args.data.data)?;
    let offered = block_on(client.post_json(&path, &body))?;
    println!("One-time code for terminal {terminal}, good for {} hours, shown only now:", args.hours);
    println!("    {}", offered["code"].as_str().unwrap_or_default());
    println!("The device sends it with its public key to its node: POST /v1/enrolment.");
    Ok(())
}

pub(super) fn revoke(args: &RevokeTerminalArgs) -> anyhow::Result<()> {
    let terminal: TerminalId = args.terminal.parse()?;
    let path = format!("/v1/terminals/{terminal}/revocation");
    let body = json!({ "reason": args.reason });
    let client = Client::open(&args.data.data)?;
    block_on(client.post_json(&path, &body))?;
    println!("Revoked. Its sessions end as soon as its node hears it.");
    Ok(())
}
