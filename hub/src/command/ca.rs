//! `ca`.

use anyhow::Context;
use jikai_schema::id::NodeId;

use super::{DataArg, SignArgs};
use crate::identity::IdentityFiles;

pub(super) fn sign(args: &SignArgs) -> anyhow::Result<()> {
    let request = std::fs::read_to_string(&args.csr).with_context(|| format!("read {}", args.csr.display()))?;
    let node = NodeId::new(args.node).context("read --node")?;
    let certificate = IdentityFiles::new(&args.data.data).sign_node(&request, node)?;
    std::fs::write(&args.out, certificate).with_context(|| format!("write {}", args.out.display()))?;
    println!("Signed for node {node}: {}. Next, at the node:", args.out.display());
    println!(
        "  jikai-node enrol --data NODE --certificate {} --ca ca.pem   (ca.pem: jikai-hub ca show)",
        args.out.display()
    );
    Ok(())
}

pub(super) fn show(data: &DataArg) -> anyhow::Result<()> {
    print!("{}", IdentityFiles::new(&data.data).authority_pem()?);
    Ok(())
}
