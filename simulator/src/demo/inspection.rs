//! The audit of a run: its journals against its stores.

use anyhow::{Context, Result};

use super::cluster::Cluster;
use super::health::services;
use super::machines::Difference;
use super::{Binaries, Family, Layout};
use crate::audit::{Findings, Property, Sources, gather, judge};
use crate::journal::read_journals;
use crate::printer::Pools;

/// Audits a run whose processes have ended: starts its hub again.
pub async fn audit_run(binaries: &Binaries, layout: &Layout, pools: &Pools, family: &mut Family) -> Result<Findings> {
    let cluster = Cluster::run_hub(binaries, layout, family).await?;
    audit(binaries, layout, pools, &cluster).await
}

/// Nodes whose hub came back with less than it had acknowledged. They sent it again, so that no store shows it any more. A run whose
/// nodes have ended has nobody to ask.
async fn find_forgotten(cluster: &Cluster, findings: &mut Findings) -> Result<()> {
    for (node, mut service) in services(cluster)? {
        let reply = service.get("/metrics").await.with_context(|| format!("ask node {node} what the hub forgot"))?;
        let count = forgotten(&String::from_utf8_lossy(&reply.body))
            .with_context(|| format!("node {node} does not tell what the hub forgot"))?;
        note_forgotten(node, count, findings);
    }
    Ok(())
}

fn note_forgotten(node: u16, count: u64, findings: &mut Findings) {
    if count > 0 {
        let what = format!("{count} times the hub came back with less than it had acknowledged");
        findings.add_weighted(Property::AckedLost, count, format!("log of node {node}"), format!("node {node}"), what);
    }
}

/// How often the hub forgot, by the metrics of a node.
fn forgotten(metrics: &str) -> Option<u64> {
    let mut counts = metrics.lines().filter_map(|line| line.strip_prefix("jikai_hub_forgot_total "));
    counts.next()?.trim().parse().ok()
}

/// Reads journals and evidence, and judges.
pub(super) async fn audit(binaries: &Binaries, layout: &Layout, pools: &Pools, cluster: &Cluster) -> Result<Findings> {
    let sources = Sources {
        node_binary: binaries.node.clone(),
        hub_binary: binaries.hub.clone(),
        nodes: layout.nodes()?,
        removed: layout.read_removed()?,
        hub: cluster.machines.front()?.data.clone(),
        salvages: layout.read_salvages()?,
    };
    let mut findings = Findings::default();
    find_forgotten(cluster, &mut findings).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hub_forgot_is_a_loss_of_what_was_acknowledged() {
        let metrics = "# TYPE jikai_hub_forgot_total counter\njikai_hub_forgot_total 2\njikai_up_head_seq 7\n";
        assert_eq!(forgotten(metrics), Some(2));
        assert_eq!(forgotten("jikai_up_head_seq 7\n"), None);
        let mut findings = Findings::default();
        note_forgotten(3, 0, &mut findings);
        assert!(findings.invariants.hold());
        note_forgotten(3, 2, &mut findings);
        assert_eq!(findings.invariants.acked_lost, 2);
        assert!(findings.violations[0].to_string().contains("log of node 3"), "{}", findings.violations[0]);
    }
}
