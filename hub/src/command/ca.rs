//! `ca`: the running hub signs, remembers and revokes certificates of nodes.

use std::fs::OpenOptions;
use std::io::Write;

use anyhow::Context;
use jikai_schema::time::TimeMs;
use serde_json::{Value, json};

use super::client::{Client, block_on};
use super::{DataArg, RevokeArgs, SignArgs};
use crate::identity::IdentityFiles;

pub(super) fn sign(args: &SignArgs) -> anyhow::Result<()> {
    let request = std::fs::read_to_string(&args.csr).with_context(|| format!("read {}", args.csr.display()))?;
    let taken = || format!("make {}: choose a name that is not taken", args.out.display());
    // Before it is signed: a certificate that could not be kept would be recorded all the same.
    let mut out = OpenOptions::new().write(true).create_new(true).open(&args.out).with_context(taken)?;
    let signed = ask_to_sign(args, &request).inspect_err(|_| {
        // The empty file would stand in the way of the next try; if it stays, that says so.
        let _ = std::fs::remove_file(&args.out);
    })?;
    let certificate = signed["certificate"].as_str().context("the hub gave no certificate")?;
    out.write_all(certificate.as_bytes()).with_context(|| format!("write {}", args.out.display()))?;
    let (out, serial) = (args.out.display(), signed["serial"].as_str().unwrap_or_default());
    println!("Signed for node {}: {out}, serial number {serial}, until {}.", args.node, day(&signed["not_after_ms"]));
    println!("Next, at the node:");
    println!("  jikai-node enrol --data NODE --certificate {out} --ca ca.pem   (ca.pem: jikai-hub ca show)");
    Ok(())
}

fn ask_to_sign(args: &SignArgs, request: &str) -> anyhow::Result<Value> {
    let body = json!({ "node": args.node, "request": request, "hosts": args.host });
    let client = Client::open(&args.data.data)?;
    block_on(client.post_json("/v1/certificates", &body))
}

pub(super) fn list(data: &DataArg) -> anyhow::Result<()> {
    let client = Client::open(&data.data)?;
    let answer = block_on(client.get("/v1/certificates"))?;
    let hub = &answer["hub"];
    println!("authority  {:<40} {}", "", lasting(&hub["authority_not_after_ms"], &hub["authority_expires_in_s"]));
    println!("hub        {:<40} {}", text(&hub["serial"]), lasting(&hub["not_after_ms"], &hub["expires_in_s"]));
    for row in answer["certificates"].as_array().into_iter().flatten() {
        let state = match (row["revoked"].as_str(), row["superseded_by"].as_str()) {
            (Some(reason), _) => format!("revoked: {reason}"),
            (None, Some(by)) => format!("renewed by {by}"),
            (None, None) if row["expires_in_s"].as_i64() < Some(0) => "expired".to_string(),
            (None, None) if row["of_earlier_store"] == true => "of a store that was replaced".to_string(),
            (None, None) => "good".to_string(),
        };
        let until = lasting(&row["not_after_ms"], &row["expires_in_s"]);
        println!("node {:<5} {:<40} {until}  {state}", row["node"].to_string(), text(&row["serial"]));
    }
    Ok(())
}

pub(super) fn revoke(args: &RevokeArgs) -> anyhow::Result<()> {
    let path = match (&args.what.serial, args.what.node) {
        (Some(serial), _) => {
            let plain = serial.bytes().all(|digit| digit.is_ascii_hexdigit());
            anyhow::ensure!(plain, "--serial is not a serial number in hex; `jikai-hub ca list` shows them");
            format!("/v1/certificates/{serial}/revocation")
        }
        (None, node) => format!("/v1/nodes/{}/certificates/revocation", node.unwrap_or_default()),
    };
    let client = Client::open(&args.data.data)?;
    let body = json!({ "reason": args.reason });
    block_on(client.post_json(&path, &body))?;
    println!("Revoked. A session that was held by it has ended, and no other is opened by it.");
    if args.what.node.is_some() {
        println!("If the node is to go on: `jikai-node request` at the node, and sign that request.");
    }
    Ok(())
}

pub(super) fn show(data: &DataArg) -> anyhow::Result<()> {
    print!("{}", IdentityFiles::new(&data.data).authority_pem()?);
    Ok(())
}

fn day(at_ms: &Value) -> String {
    TimeMs::from_ms(at_ms.as_i64().unwrap_or_default()).business_day().to_string()
}

/// The last day, and how many days are left.
fn lasting(not_after_ms: &Value, expires_in_s: &Value) -> String {
    format!("until {} ({} days)", day(not_after_ms), expires_in_s.as_i64().unwrap_or_default().div_euclid(86_400))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
