//! The report, as JSON and in words. Other programs read the JSON: its names are fixed.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::faults::FaultReport;
use super::table;
use crate::audit::{Invariants, LocalTail};
use crate::client::Service;
use crate::load::Retries;

/// What a run has shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The seed of the world.
    pub seed: u64,
    /// Terminals.
    pub terminals: Terminals,
    /// Nodes.
    pub nodes: u16,
    /// Hubs.
    pub hubs: u16,
    /// Priority of their processes as `nice` counts it, below that of nodes and terminals.
    #[serde(default)]
    pub hub_niceness: u8,
    /// Operations of the load phase.
    pub operations: Operations,
    /// What became of requests that lost their answer.
    pub retries: Retries,
    /// From the intended start to the reply.
    pub latency_ms: Latency,
    /// Age of the oldest event of a node that the hub does not have.
    pub sync_lag_ms: SyncLag,
    /// Most memory ever resident, before the audit.
    pub memory_mib: Memory,
    /// User and system time, before the audit.
    pub cpu_seconds: Cpu,
    /// Faults that were struck, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub faults: BTreeMap<String, FaultReport>,
    /// What the old stores of replaced nodes name, in the order of their replacement.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub salvages: Vec<LocalTail>,
    /// Violations; all must be 0.
    pub invariants: Invariants,
}

/// Terminals of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminals {
    /// Asked for.
    pub configured: u64,
    /// Connected at once when the load began.
    pub connected: u64,
}

/// Operations of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operations {
    /// Acknowledged.
    pub acked: u64,
    /// Rightly refused with a documented code.
    pub refused: u64,
    /// Not resolved, server errors, contradictions.
    pub failed: u64,
    /// All of them a second.
    pub per_second: f64,
}

/// Latency quantiles. Milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// Lag quantiles. Milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncLag {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
    /// From the end of the load until the hub had everything.
    pub drain: f64,
}

/// Peak memory. MiB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// Of the largest node.
    pub node_max: f64,
    /// Of the hub.
    pub hub_max: f64,
}

/// CPU time. Seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Of all nodes.
    pub nodes: f64,
    /// Of all machines of the hub.
    pub hub: f64,
    /// The leader's part of it while nothing was struck, 0 to 1; only with several machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_leader_share: Option<f64>,
    /// Of the demo and its load processes.
    pub simulator: f64,
}

impl Latency {
    /// Quantiles of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let ms = |quantile| tenth(histogram.value_at_quantile(quantile) as f64 / 1_000.0);
        Latency {
            p50: ms(0.5),
            p95: ms(0.95),
            p99: ms(0.99),
            p999: ms(0.999),
            max: tenth(histogram.max() as f64 / 1_000.0),
        }
    }
}

impl SyncLag {
    /// Quantiles of a histogram of milliseconds.
    pub fn of(histogram: &Histogram<u64>, drain_ms: f64) -> Self {
        let ms = |quantile| histogram.value_at_quantile(quantile) as f64;
        SyncLag { p50: ms(0.5), p99: ms(0.99), max: histogram.max() as f64, drain: tenth(drain_ms) }
    }
}

/// Rounds to one decimal.
pub fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Report {
    /// Whether every invariant holds, no operation failed, all terminals were connected, and the hub recovered from every fault
    /// in bounded time.
    pub fn holds(&self) -> bool {
        self.faults.values().all(FaultReport::holds)
            && self.invariants.hold()
            && self.operations.failed == 0
            && self.terminals.connected == self.terminals.configured
    }

    /// The summary in words.
    pub fn summary(&self) -> String {
        let (operations, latency, lag) = (&self.operations, &self.latency_ms, &self.sync_lag_ms);
        let invariants = self.invariants.named().map(|(name, count)| format!("{name} {count}")).join(" · ");
        format!(
            "terminals   {} of {} connected, {} nodes, {} hub machines\n\
             operations  {} acked, {} refused, {} failed, {}/s\n\
             retries     {} tries unanswered, {} of them resolved by their key, {} replies confirmed behind an outage, {} operations waited long for the hub\n\
             directory   {} times sent on to another node, {} times another node asked\n\
             latency     p50 {} · p95 {} · p99 {} · p99.9 {} · max {} ms\n\
             sync lag    p50 {} · p99 {} · max {} ms, drained in {} ms\n\
             memory      largest node {} MiB, hub {} MiB\n\
             cpu         nodes {} s, hub {} s{} at nice {}, simulator {} s\n\
             invariants  {invariants}\n",
            self.terminals.connected,
            self.terminals.configured,
            self.nodes,
            self.hubs,
            operations.acked,
            operations.refused,
            operations.failed,
            operations.per_second,
            self.retries.unanswered,
            self.retries.resolved,
            self.retries.confirmed,
            self.retries.delayed,
            self.retries.redirects,
            self.retries.fall_backs,
            latency.p50,
            latency.p95,
            latency.p99,
            latency.p999,
            latency.max,
            lag.p50,
            lag.p99,
            lag.max,
            lag.drain,
            self.memory_mib.node_max,
            self.memory_mib.hub_max,
            self.cpu_seconds.nodes,
            self.cpu_seconds.hub,
            self.cpu_seconds.hub_leader_share.map_or(String::new(), |share| format!(" (leader's share {share})")),
            self.hub_niceness,
            self.cpu_seconds.simulator,
        )
    }
}

/// Columns of the table by prefecture: report, field, title.
const COLUMNS: [(&str, &str, &str); 8] = [
    ("sales", "packs_checked_in", "入站本"),
    ("sales", "packs_returned", "退票本"),
    ("sales", "tickets_sold", "售出张"),
    ("sales", "net_sales_yuan", "净销售额 元"),
    ("stock", "in_transit", "在途本"),
    ("stock", "active", "在售本"),
    ("claims", "claims", "兑奖张"),
    ("claims", "prize_yuan", "兑奖额 元"),
];

/// Sales, stock and claims by prefecture, from the hub's report API.
pub async fn table_by_prefecture(hub: &mut Service) -> Result<String> {
    let mut reports: BTreeMap<&str, Value> = BTreeMap::new();
    for name in ["sales", "stock", "claims"] {
        reports.insert(name, hub.get_json(&format!("/v1/reports/{name}?by=prefecture&limit=100")).await?);
    }
    let mut prefectures: BTreeMap<String, String> = BTreeMap::new();
    for (name, report) in &reports {
        for row in report["rows"].as_array().with_context(|| format!("the {name} report has no rows"))? {
            let key = row["key"].as_str().unwrap_or_default().to_owned();
            prefectures.insert(key, row["name"].as_str().unwrap_or_default().to_owned());
        }
    }
    let cell = |row: Option<&Value>, field: &str| row.map_or("0".to_owned(), |row| plain(&row[field]));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (key, title) in &prefectures {
        let of_report = |name: &str| reports[name]["rows"].as_array()?.iter().find(|row| row["key"] == key.as_str());
        let cells = COLUMNS.iter().map(|(name, field, _)| cell(of_report(name), field));
        rows.push([format!("{key} {title}")].into_iter().chain(cells).collect());
    }
    let totals = COLUMNS.iter().map(|(name, field, _)| cell(Some(&reports[name]["totals"]), field));
    rows.push(["全省".to_owned()].into_iter().chain(totals).collect());
    let header: Vec<&str> = ["地区"].into_iter().chain(COLUMNS.iter().map(|(.., title)| *title)).collect();
    Ok(table::draw(&header, &rows))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "–".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::faults::Recovery;

    fn report() -> Report {
        let mut latencies = crate::terminal::latencies().unwrap();
        latencies.record(12_340).unwrap();
        Report {
            seed: 1,
            terminals: Terminals { configured: 3, connected: 3 },
            nodes: 2,
            hubs: 1,
            hub_niceness: 5,
            operations: Operations { acked: 5, refused: 1, failed: 0, per_second: 1.5 },
            retries: Retries::default(),
            latency_ms: Latency::of(&latencies),
            sync_lag_ms: SyncLag::of(&latencies, 12.34),
            memory_mib: Memory { node_max: 1.0, hub_max: 2.0 },
            cpu_seconds: Cpu { nodes: 1.0, hub: 2.0, hub_leader_share: None, simulator: 3.0 },
            faults: BTreeMap::new(),
            salvages: Vec::new(),
            invariants: Invariants::default(),
        }
    }

    #[test]
    fn the_names_of_the_json_are_those_that_other_programs_read() {
        let json = serde_json::to_value(report()).unwrap();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(names(&json["terminals"]), "configured connected");
        assert_eq!(names(&json["operations"]), "acked failed per_second refused");
        assert_eq!(names(&json["retries"]), "confirmed delayed fall_backs redirects resolved unanswered");
        assert_eq!(names(&json["latency_ms"]), "max p50 p95 p99 p999");
        assert_eq!(names(&json["sync_lag_ms"]), "drain max p50 p99");
        assert_eq!(names(&json["memory_mib"]), "hub_max node_max");
        assert_eq!(names(&json["cpu_seconds"]), "hub nodes simulator");
        let invariants = "accounts_overdrawn acked_lost chain_breaks ledger_sum_fen packs_misplaced requests_applied_twice \
                          slices_differ tickets_paid_twice";
        assert_eq!(names(&json["invariants"]), invariants);
        assert_eq!(json["latency_ms"]["p50"], 12.3);
        assert_eq!(json.get("faults"), None, "nothing was struck");
        let mut several = report();
        several.cpu_seconds.hub_leader_share = Some(0.4);
        let recover_ms = Recovery { p50: 1.0, p99: 2.0, max: 2.0 };
        several.faults.insert(
            "kill-leader".to_owned(),
            FaultReport {
                trials: 3,
                recover_ms,
                failed_operations: 0,
                interruption_ms: None,
                worst_second_p99_ms: None,
                longest_operation_ms: recover_ms,
                demands: Vec::new(),
                within_bound: true,
            },
        );
        assert!(several.holds());
        let json = serde_json::to_value(several).unwrap();
        assert_eq!(names(&json["cpu_seconds"]), "hub hub_leader_share nodes simulator");
        assert_eq!(
            names(&json["faults"]["kill-leader"]),
            "demands failed_operations longest_operation_ms recover_ms trials"
        );
        assert_eq!(names(&json["faults"]["kill-leader"]["recover_ms"]), "max p50 p99");
    }

    #[test]
    fn one_violation_or_failure_or_missing_terminal_fails_the_run() {
        assert!(report().holds());
        let mut failed = report();
        failed.operations.failed = 1;
        let mut lost = report();
        lost.invariants.acked_lost = 1;
        let mut missing = report();
        missing.terminals.connected = 2;
        assert!(!failed.holds() && !lost.holds() && !missing.holds());
    }
}
