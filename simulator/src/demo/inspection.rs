//! The audit of a run: its journals against its stores.

use anyhow::{Context, Result};

use super::cluster::Cluster;
use super::machines::Difference;
use super::{Binaries, Family, Layout};
use crate::audit::{Findings, Property, Sources, gather, judge};
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
    let cluster = Cluster::run_hub(binaries, layout, family).await?;
    audit(binaries, layout, world, pools, &cluster).await
}

/// Reads journals and evidence, and judges.
pub(super) async fn audit(
    binaries: &Binaries,
    layout: &Layout,
    world: &World,
    pools: &Pools,
    cluster: &Cluster,
) -> Result<Findings> {
    let sources = Sources {
        node_binary: binaries.node.clone(),
        hub_binary: binaries.hub.clone(),
        nodes: world.nodes.iter().map(|node| (node.id, layout.node(node.id))).collect(),
        hub: cluster.machines.front()?.data.clone(),
    };
    let mut findings = Findings::default();
    for difference in cluster.machines.differences().await? {
        let Difference { machine, table } = difference;
        let what = "its digest differs from that of the first machine";
        findings.add(Property::SlicesDiffer, format!("table {table}"), format!("machine {machine} of the hub"), what);
    }
    let journal = read_journals(&layout.journals())?;
    let evidence = gather(&sources, &mut cluster.hub()?, pools, &mut findings)
        .await
        .context("gather the evidence for the audit")?;
    tokio::task::block_in_place(|| judge(&journal, &evidence, pools, &mut findings));
    Ok(findings)
}
