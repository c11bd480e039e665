//! `digest`.

use anyhow::Context;
use jikai_schema::id::NodeId;

use super::DigestArgs;
use crate::store::{STATE_FILE, open_reader};

pub(super) fn digest(args: &DigestArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    let node = args.node.map(NodeId::new).transpose().context("read --node")?;
    let hint = || format!("open {}: is --data the directory of a hub?", data.join(STATE_FILE).display());
    let mut state = open_reader(data).with_context(hint)?;
    for table in jikai_schema::digest::digest(&mut state, node).context("read the state")? {
        println!("{table}");
    }
    Ok(())
}
