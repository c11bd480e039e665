//! `digest`.

use anyhow::Context;
use jikai_schema::id::NodeId;

use super::DigestArgs;
use crate::machine::RetiredRow;
use crate::reports::is_registered;
use crate::store::{STATE_FILE, digest_all, open_reader};

pub(super) fn digest(args: &DigestArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    let node = args.node.map(NodeId::new).transpose().context("read --node")?;
    let hint = || format!("open {}: is --data the directory of a hub?", data.join(STATE_FILE).display());
    let mut state = open_reader(data).with_context(hint)?;
    if let Some(node) = node.filter(|node| !node.is_hub()) {
        let known = is_registered(&state, node).context("read the nodes")?
            || RetiredRow::is_retired(&state, node).context("read the nodes")?;
        anyhow::ensure!(known, "node {node} is not registered; `jikai-hub import --data HUB node` registers one");
    }
    let tables = match args.all {
        true => state.transaction().and_then(|state| digest_all(&state)),
        false => jikai_schema::digest::digest(&mut state, node),
    };
    for table in tables.context("read the state")? {
        println!("{table}");
    }
    Ok(())
}
