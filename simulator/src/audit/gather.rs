//! Gathers the evidence through public interfaces: exports and digests of the command lines, pages of the hub's API.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::findings::Findings;
use super::history::{Balances, Evidence, ExportedPack, History, read_digests};
use super::record::{LogReader, Record, find_pack};
use super::reports::HubReports;
use super::salvage::{KeptSalvage, Salvage};
use crate::client::Service;
use crate::printer::Pools;

/// Events of a node that are asked of the hub at once.
const NODE_PAGE: u64 = 1_000;
/// Events of the hub that are asked at once; a shipped pack carries all its sealed records.
const HUB_PAGE: u64 = 500;
/// Accounts that are asked at once.
const ACCOUNT_PAGE: u64 = 1_000;

/// Where the evidence lies.
#[derive(Debug, Clone)]
pub struct Sources {
    /// `jikai-node`.
    pub node_binary: PathBuf,
    /// `jikai-hub`.
    pub hub_binary: PathBuf,
    /// Data directories of the nodes.
    pub nodes: BTreeMap<u16, PathBuf>,
    /// Those of them that were taken out of use: their logs, balances and packs count, their tables are compared with nothing, since
    /// they heard nothing of the hub from then on.
    pub removed: BTreeSet<u16>,
    /// Data directory of the hub.
    pub hub: PathBuf,
    /// Salvages of the old stores of replaced nodes.
    pub salvages: Vec<KeptSalvage>,
}

/// Reads everything. Broken chains are found while reading.
pub async fn gather(sources: &Sources, hub: &mut Service, pools: &Pools, findings: &mut Findings) -> Result<Evidence> {
    let mut evidence = Evidence { hub_log: hub_log(hub, 0, pools, findings).await?, ..Evidence::default() };
    evidence.reports = HubReports::fetch(hub).await.context("fetch the hub's reports")?;
    let salvages = sources.salvages.iter().map(|kept| Salvage::read(kept, pools));
    evidence.salvages = salvages.collect::<Result<_>>().context("read what the old stores hold alone")?;
    evidence.nodes.side = "nodes".to_owned();
    evidence.hub = History { side: "hub".to_owned(), logs: BTreeMap::new(), balances: hub_accounts(hub).await? };
    for (&node, data) in &sources.nodes {
        let own = tokio::task::block_in_place(|| node_log(sources, node, data, pools, findings))?;
        evidence.nodes.logs.insert(node, own);
        let balances = tokio::task::block_in_place(|| node_accounts(sources, data))?;
        evidence.nodes.balances.extend(balances);
        let packs = tokio::task::block_in_place(|| node_packs(sources, data, pools))?;
        evidence.packs.insert(node, packs);
        evidence.hub.logs.insert(node, hub_log(hub, node, pools, findings).await?);
        if sources.removed.contains(&node) {
            continue;
        }
        let own = tokio::task::block_in_place(|| output(&sources.node_binary, data, &["digest"]))?;
        let number = node.to_string();
        let slice =
            tokio::task::block_in_place(|| output(&sources.hub_binary, &sources.hub, &["digest", "--node", &number]))?;
        evidence.digests.insert(node, (read_digests(&own), read_digests(&slice)));
    }
    Ok(evidence)
}

/// A log as the hub holds it: its own (0) or the copy of a node's.
async fn hub_log(hub: &mut Service, origin: u16, pools: &Pools, findings: &mut Findings) -> Result<Vec<Record>> {
    let (path, limit) = match origin {
        0 => ("/v1/events".to_owned(), HUB_PAGE),
        node => (format!("/v1/nodes/{node}/events"), NODE_PAGE),
    };
    let mut reader = LogReader::new(pools, origin, "hub".to_owned());
    loop {
        let after = reader.last_seq();
        let reply = hub.get(&format!("{path}?after={after}&limit={limit}")).await?;
        for line in reply.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            reader.read(line, findings)?;
        }
        if reader.last_seq() == after {
            return Ok(reader.finish());
        }
        ensure!(reader.last_seq() > after, "GET {path} went back from event {after} to {}", reader.last_seq());
    }
}

async fn hub_accounts(hub: &mut Service) -> Result<Balances> {
    let mut balances = Balances::new();
    let mut after = String::new();
    loop {
        let mark = if after.is_empty() { String::new() } else { format!("&after={after}") };
        let page = hub.get_json(&format!("/v1/accounts?limit={ACCOUNT_PAGE}{mark}")).await?;
        for account in page["accounts"].as_array().context("the hub's reply lists no accounts")? {
            let (id, balance_fen) = read_account(account)?;
            ensure!(balances.insert(id.clone(), balance_fen).is_none(), "the hub lists account {id} twice");
        }
        after = match &page["next"] {
            Value::Null => return Ok(balances),
            Value::String(next) => next.clone(),
            next => next.to_string(),
        };
    }
}

fn node_log(sources: &Sources, node: u16, data: &Path, pools: &Pools, findings: &mut Findings) -> Result<Vec<Record>> {
    let mut reader = LogReader::new(pools, node, format!("node {node}"));
    for_each_line(sources, data, "--events", |line| reader.read(line, findings))?;
    Ok(reader.finish())
}

fn node_accounts(sources: &Sources, data: &Path) -> Result<Balances> {
    let mut balances = Balances::new();
    for_each_line(sources, data, "--accounts", |line| {
        let (id, balance_fen) = read_account(&serde_json::from_slice(line).context("read an exported account")?)?;
        balances.insert(id, balance_fen);
        Ok(())
    })?;
    Ok(balances)
}

fn node_packs(sources: &Sources, data: &Path, pools: &Pools) -> Result<Vec<ExportedPack>> {
    let mut packs = Vec::new();
    for_each_line(sources, data, "--packs", |line| {
        let value: Value = serde_json::from_slice(line).context("read an exported pack")?;
        packs.push(read_pack(&value, pools).with_context(|| format!("read the exported pack {value}"))?);
        Ok(())
    })?;
    Ok(packs)
}

fn read_account(value: &Value) -> Result<(String, i64)> {
    let id = value["account"].as_str().with_context(|| format!("an account without id: {value}"))?;
    let balance_fen = value["balance_fen"].as_i64().with_context(|| format!("an account without balance: {value}"))?;
    Ok((id.to_owned(), balance_fen))
}

fn read_pack(value: &Value, pools: &Pools) -> Option<ExportedPack> {
    let outlet = match &value["outlet"] {
        Value::String(text) => text.parse().ok()?,
        number => u32::try_from(number.as_u64()?).ok()?,
    };
    let pack = find_pack(pools, value["pack"].as_str()?)?;
    Some(ExportedPack { pack, outlet, state: value["state"].as_str()?.to_owned() })
}

/// Runs `jikai-node export` and hands over its lines as they come.
fn for_each_line(sources: &Sources, data: &Path, what: &str, mut read: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut command = Command::new(&sources.node_binary);
    command.arg("export").arg("--data").arg(data).arg(what).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("run {} export", sources.node_binary.display()))?;
    let mut lines = BufReader::with_capacity(256 * 1024, child.stdout.take().context("no output")?);
    let mut line = Vec::new();
    let result = loop {
        line.clear();
        match lines.read_until(b'\n', &mut line) {
            Ok(0) => break Ok(()),
            Ok(_) if line == b"\n" => {}
            Ok(_) => {
                if let Err(error) = read(&line) {
                    break Err(error);
                }
            }
            Err(error) => break Err(error.into()),
        }
    };
    if result.is_err() {
        let _ = child.kill();
    }
    let status = child.wait().context("wait for the export")?;
    result?;
    ensure!(
        status.success(),
        "`jikai-node export {what}` of {} failed: {status}; its message stands above",
        data.display()
    );
    Ok(())
}

/// Runs a command to its end and returns what it printed.
fn output(binary: &Path, data: &Path, words: &[&str]) -> Result<String> {
    let (verb, rest) = words.split_first().context("no verb")?;
    let mut command = Command::new(binary);
    command.arg(verb).arg("--data").arg(data).args(rest).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("run {} {verb}", binary.display()))?;
    let mut text = String::new();
    child.stdout.take().context("no output")?.read_to_string(&mut text).context("read what the command printed")?;
    let status = child.wait().context("wait for the command")?;
    if !status.success() {
        bail!(
            "`{} {}` of {} failed: {status}; its message stands above",
            binary.display(),
            words.join(" "),
            data.display()
        );
    }
    Ok(text)
}
