//! The audit of a run: its journals against its stores.

use anyhow::{Context, Result};

use super::cluster::Cluster;
use super::{Binaries, Family, Layout};
use crate::audit::{Findings, Sources, gather, judge};
use crate::client::Service;
use crate::journal::read_journals;
use crate::printer::Pools;
use crate::world::World;

/// Audits a run whose processes have ended: starts its hub again.
pub async fn audit_run(
    binaries: &Binaries,
    layout: &Layout,
    world: &World,
    pools: &Pools,
    family: &mut Family,
) -> Result<Findings> {
    let cluster = Cluster::run_hub(binaries, &layout.hub(), family).await?;
    audit(binaries, layout, world, pools, &mut cluster.hub()?).await
}

/// Reads journals and evidence, and judges.
pub(super) async fn audit(
    binaries: &Binaries,
    layout: &Layout,
    world: &World,
    pools: &Pools,
    hub: &mut Service,
) -> Result<Findings> {
    let sources = Sources {
        node_binary: binaries.node.clone(),
        hub_binary: binaries.hub.clone(),
        nodes: world.nodes.iter().map(|node| (node.id, layout.node(node.id))).collect(),
        hub: layout.hub(),
    };
    let mut findings = Findings::default();
    let journal = read_journals(&layout.journals())?;
    let evidence = gather(&sources, hub, pools, &mut findings).await.context("gather the evidence for the audit")?;
    tokio::task::block_in_place(|| judge(&journal, &evidence, pools, &mut findings));
    Ok(findings)
}
