//! The history of the province as one side tells it: all nodes by their own exports, or the hub by its copies.

use std::collections::BTreeMap;

use super::findings::{Findings, Property};
use super::record::{Fact, Pack, Record};
use super::reports::HubReports;
use super::salvage::Salvage;

/// Balances by account id, as exported. Fen.
pub type Balances = BTreeMap<String, i64>;

/// A pack as a node exports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedPack {
    /// Which one.
    pub pack: Pack,
    /// Where it is.
    pub outlet: u32,
    /// `in_transit`, `active`, `sold_out`, `returned`.
    pub state: String,
}

/// One side's whole story.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Who tells it: `nodes` or `hub`.
    pub side: String,
    /// Logs of the nodes.
    pub logs: BTreeMap<u16, Vec<Record>>,
    /// Balances after the last event.
    pub balances: Balances,
}

/// Everything that the auditor looks at.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// The hub's own log.
    pub hub_log: Vec<Record>,
    /// As the nodes tell it.
    pub nodes: History,
    /// As the hub tells it.
    pub hub: History,
    /// Packs by node.
    pub packs: BTreeMap<u16, Vec<ExportedPack>>,
    /// Digest lines by node: on the node, and the hub's slice.
    pub digests: BTreeMap<u16, (Digests, Digests)>,
    /// What the hub reports.
    pub reports: HubReports,
    /// What the old stores of replaced nodes say to hold alone.
    pub salvages: Vec<Salvage>,
}

/// Rows and hash by table, as printed.
pub type Digests = BTreeMap<String, String>;

impl History {
    /// All facts of all nodes, with the node that decided them.
    pub fn facts(&self) -> impl Iterator<Item = (u16, &Record)> {
        self.logs.iter().flat_map(|(&node, records)| records.iter().map(move |record| (node, record)))
    }
}

/// Reads `table rows sha256hex` lines.
pub fn read_digests(text: &str) -> Digests {
    let lines = text.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    lines.map(|(table, rest)| (table.to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "))).collect()
}

/// The hub's copy of every log must be the node's log: same length, same hashes, same readable content. Only what the audit
/// itself did at the node, whose own commands are facts, may stand behind what the node exported.
pub fn compare_logs(evidence: &Evidence, findings: &mut Findings) {
    let empty = Vec::new();
    for (node, own) in &evidence.nodes.logs {
        let copy = evidence.hub.logs.get(node).unwrap_or(&empty);
        let behind = copy.get(own.len()..).unwrap_or_default();
        if copy.len() < own.len() || behind.iter().any(|record| record.fact != Fact::MachineCommand) {
            let what = format!("the node holds {} events, the hub {} of them", own.len(), copy.len());
            findings.add(Property::ChainBreaks, format!("log {node}"), "node and hub", what);
        }
        let differing = own.iter().zip(copy).find(|(own, copy)| own != copy);
        if let Some((own, _)) = differing {
            let what = "differs between the node and the hub's copy";
            findings.add(Property::ChainBreaks, format!("event {node}/{}", own.seq), "node and hub", what);
        }
    }
    for node in evidence.hub.logs.keys().filter(|node| !evidence.nodes.logs.contains_key(node)) {
        findings.add(Property::ChainBreaks, format!("log {node}"), "hub", "no such node");
    }
}

/// Node tables must equal the hub's slice.
pub fn compare_digests(evidence: &Evidence, findings: &mut Findings) {
    for (node, (own, slice)) in &evidence.digests {
        if own.is_empty() {
            findings.add(Property::SlicesDiffer, format!("node {node}"), "digest", "the node printed no digest");
        }
        let mut tables: Vec<&String> = own.keys().chain(slice.keys()).collect();
        tables.sort();
        tables.dedup();
        for table in tables.into_iter().filter(|&table| own.get(table) != slice.get(table)) {
            let absent = "absent".to_owned();
            let what =
                format!("node: {}, hub: {}", own.get(table).unwrap_or(&absent), slice.get(table).unwrap_or(&absent));
            findings.add(Property::SlicesDiffer, format!("table {table} of node {node}"), "digest", what);
        }
    }
}

/// Nothing that the hub must never decide may stand in a node's log, and the other way round.
pub fn check_writers(evidence: &Evidence, history: &History, findings: &mut Findings) {
    for (node, record) in history.facts() {
        if matches!(record.fact, Fact::Shipped { .. } | Fact::Deposited { .. }) {
            let what = "a node decided what only the hub may decide";
            findings.add(Property::ChainBreaks, format!("event {node}/{}", record.seq), &history.side, what);
        }
    }
    for record in &evidence.hub_log {
        if !matches!(
            record.fact,
            Fact::Shipped { .. } | Fact::Deposited { .. } | Fact::Moved { .. } | Fact::MachineCommand | Fact::Other
        ) {
            let what = "the hub decided what only a node may decide";
            findings.add(Property::ChainBreaks, format!("event 0/{}", record.seq), "hub", what);
        }
    }
}
