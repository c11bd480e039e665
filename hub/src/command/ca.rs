//! `ca`: the running hub signs, remembers and revokes certificates of nodes.

use anyhow::Context;
use jikai_schema::time::TimeMs;
use serde_json::{Value, json};

use super::client::{Client, block_on};
use super::{DataArg, RevokeArgs, SignArgs};
use crate::identity::IdentityFiles;

pub(super) fn sign(args: &SignArgs) -> anyhow::Result<()> {
    let request = std::fs::read_to_string(&args.csr).with_context(|| format!("read {}", args.csr.display()))?;
    let body = json!({ "node": args.node, "request": request }).to_string();
    let client = Client::open(&args.data.data)?;
    let signed = block_on(client.post("/v1/certificates", "application/json", body.into_bytes()))?;
    let certificate = signed["certificate"].as_str().context("the hub gave no certificate")?;
    std::fs::write(&args.out, certificate).with_context(|| format!("write {}", args.out.display()))?;
    let (out, serial) = (args.out.display(), signed["serial"].as_str().unwrap_or_default());
    println!("Signed for node {}: {out}, serial number {serial}, until {}.", args.node, day(&signed["not_after_ms"]));
    println!("Next, at the node:");
    println!("  jikai-node enrol --data NODE --certificate {out} --ca ca.pem   (ca.pem: jikai-hub ca show)");
    Ok(())
}

pub(super) fn list(data: &DataArg) -> anyhow::Result<()> {
    let client = Client::open(&data.data)?;
    let answer = block_on(client.get("/v1/certificates"))?;
    for row in answer["certificates"].as_array().into_iter().flatten() {
        let state = row["revoked"].as_str().map_or("good".to_string(), |reason| format!("revoked: {reason}"));
        let serial = row["serial"].as_str().unwrap_or_default();
        println!("node {:<5} {serial:<40} until {}  {state}", row["node"], day(&row["not_after_ms"]));
    }
    Ok(())
}

pub(super) fn revoke(args: &RevokeArgs) -> anyhow::Result<()> {
    let plain = args.serial.bytes().all(|digit| digit.is_ascii_hexdigit());
    anyhow::ensure!(plain, "--serial is not a serial number in hex; `jikai-hub ca list` shows them");
    let client = Client::open(&args.data.data)?;
    let path = format!("/v1/certificates/{}/revocation", args.serial);
    let body = json!({ "reason": args.reason }).to_string();
    block_on(client.post(&path, "application/json", body.into_bytes()))?;
    println!("Revoked. A session that this certificate held has ended, and it opens no other.");
    Ok(())
}

pub(super) fn show(data: &DataArg) -> anyhow::Result<()> {
    print!("{}", IdentityFiles::new(&data.data).authority_pem()?);
    Ok(())
}

fn day(at_ms: &Value) -> String {
    TimeMs::from_ms(at_ms.as_i64().unwrap_or_default()).business_day().to_string()
}
