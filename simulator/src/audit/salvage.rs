//! What went down with the disk of a replaced node, by the word of its old store: the one loss that an acknowledgement of the node
//! alone allows. What waited for the hub, and what no salvage names, is lost like anything else.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::acks::{Effect, effect_of};
use super::findings::{Findings, Property};
use super::history::Evidence;
use super::record::{Fact, read_fact};
use crate::amount::format_yuan;
use crate::journal::{Entry, Item, Verb};
use crate::printer::Pools;

/// A salvage as it is kept with a run: what `jikai-node salvage --json` printed, and what its words do not tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeptSalvage {
    /// When the node was dead and the store in its place had not begun to answer. Unix ms.
    pub over_at_ms: i64,
    /// From this amount on its acknowledgements waited for the hub; `None`: none did; 0: all did. Fen.
    pub hub_ack_from_fen: Option<i64>,
    /// What was printed.
    pub told: Value,
}

/// A salvage as the auditor reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salvage {
    node: u16,
    over_at_ms: i64,
    hub_ack_from_fen: Option<i64>,
    /// The last event of the old store that the hub has.
    hub_seq: u64,
    /// The last event of the old store.
    head_seq: u64,
    damaged_at_seq: Option<u64>,
    named: Vec<Named>,
}

/// An event that the old store says to hold alone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    seq: u64,
    request: Option<[u8; 16]>,
    fact: Fact,
}

/// What became of what the old store of a replaced node names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalTail {
    /// Which node.
    pub node: u16,
    /// From this amount on its acknowledgements waited for the hub; `None`: none did; 0: all did. Fen.
    pub hub_ack_from_fen: Option<i64>,
    /// Packs and tickets of requests that it names.
    pub named: u64,
    /// Acknowledged by the node alone and lost with its disk.
    pub lost: u64,
    /// Sent again with their keys, and done by the new store.
    pub repeated: u64,
    /// Never acknowledged by anybody.
    pub unanswered: u64,
}

impl std::fmt::Display for LocalTail {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let word = match self.hub_ack_from_fen {
            None => "its own word was enough".to_owned(),
            Some(0) => "everything waited for the hub".to_owned(),
            Some(from_fen) => format!("what moved {} yuan or more waited for the hub", format_yuan(from_fen)),
        };
        let LocalTail { node, named, lost, repeated, unanswered, .. } = self;
        write!(
            to,
            "node {node} ({word}): {named} packs and tickets named, {lost} of them acknowledged and lost, {repeated} done again by their \
             keys, {unanswered} never acknowledged"
        )
    }
}

impl Salvage {
    /// Reads what was printed.
    pub fn read(kept: &KeptSalvage, pools: &Pools) -> Result<Self> {
        let told = &kept.told;
        let number = |name: &str| told[name].as_u64().with_context(|| format!("the salvage has no number {name}"));
        let lost = told["lost"].as_array().context("the salvage lists nothing that was lost")?;
        let damaged_at_seq = match &told["damaged_at_seq"] {
            Value::Null => None,
            seq => Some(seq.as_u64().with_context(|| format!("the salvage has a chain damaged at {seq}"))?),
        };
        Ok(Salvage {
            node: u16::try_from(number("node")?).context("read the node of the salvage")?,
            over_at_ms: kept.over_at_ms,
            hub_ack_from_fen: kept.hub_ack_from_fen,
            hub_seq: number("hub_seq")?,
            head_seq: number("head_seq")?,
            damaged_at_seq,
            named: lost.iter().map(|line| Named::read(line, pools)).collect::<Result<_>>()?,
        })
    }

    /// The items that it names, by what they did.
    fn effects<'a>(&'a self, pools: &'a Pools) -> impl Iterator<Item = (Effect, i64, u32)> + 'a {
        self.named.iter().filter_map(|named| {
            let (kind, subject, amount_fen, outlet) = effect_of(&named.fact, pools)?;
            Some((Effect { request: named.request?, kind, subject }, amount_fen, outlet))
        })
    }

    /// Whether the node's own word was enough for this reply, and it was the old store that gave it.
    pub(super) fn may_have_lost(&self, entry: &Entry) -> bool {
        let waited = self.hub_ack_from_fen.is_some_and(|from_fen| awaited_fen(entry) >= from_fen);
        entry.node == self.node && entry.at_ms < self.over_at_ms && !waited
    }

    /// Its own words must fit together: everything behind the hub's place, and nothing that the hub has.
    fn check(&self, evidence: &Evidence, pools: &Pools, findings: &mut Findings) {
        let source = format!("old store of node {}", self.node);
        let log = format!("log {}", self.node);
        if let Some(seq) = self.damaged_at_seq {
            findings.add(Property::ChainBreaks, &log, &source, format!("its chain is broken at event {seq}"));
        }
        let seqs = self.named.iter().map(|named| named.seq);
        if !seqs.eq(self.hub_seq + 1..=self.head_seq) {
            let (first, last) = (self.hub_seq + 1, self.head_seq);
            let what = format!("{} events are named, it holds {first} to {last} alone", self.named.len());
            findings.add(Property::AckedLost, &log, &source, what);
        }
        let held = evidence.hub.logs.get(&self.node).map(Vec::as_slice).unwrap_or_default();
        let held = held.iter().filter(|record| record.seq <= self.hub_seq);
        let held: HashSet<Effect> = held.filter_map(|record| Effect::of(record, pools)).collect();
        for (effect, ..) in self.effects(pools).filter(|(effect, ..)| held.contains(effect)) {
            findings.add(
                Property::ChainBreaks,
                effect.subject,
                &source,
                "is named, and the hub has it from this store",
            );
        }
    }
}

impl Named {
    fn read(line: &Value, pools: &Pools) -> Result<Self> {
        let seq = line["seq"].as_u64().with_context(|| format!("a salvaged event without a number: {line}"))?;
        let request = match line["request"].as_str() {
            None => None,
            Some(text) => {
                let bytes = hex::decode(text).ok().and_then(|bytes| bytes.try_into().ok());
                Some(bytes.with_context(|| format!("read the request {text} of the salvaged event {seq}"))?)
            }
        };
        let fact = read_fact(&line["event"], pools).with_context(|| format!("read the salvaged event {seq}"))?;
        ensure!(!matches!(fact, Fact::Unprinted(_)), "the salvaged event {seq} names what was never printed: {line}");
        Ok(Named { seq, request, fact })
    }
}

/// The amount by which a node decides whether a reply waits for the hub: what is charged, given back or paid. Fen.
fn awaited_fen(entry: &Entry) -> i64 {
    match entry.verb {
        Verb::Sell => 0,
        Verb::Receive | Verb::Return | Verb::Pay => entry.items.iter().map(|item| item.amount_fen).sum(),
    }
}

/// What salvages explain.
#[derive(Debug, Default)]
pub struct Excuses<'a> {
    by_effect: HashMap<Effect, Vec<Excuse<'a>>>,
}

#[derive(Debug)]
struct Excuse<'a> {
    salvage: &'a Salvage,
    amount_fen: i64,
    outlet: u32,
}

impl Excuses<'_> {
    /// Whether an item of a reply is missing for no other reason than that its node alone had acknowledged it and lost its disk.
    pub fn cover(&self, entry: &Entry, item: &Item, effect: &Effect) -> bool {
        self.by_effect.get(effect).into_iter().flatten().any(|excuse| {
            excuse.salvage.may_have_lost(entry)
                && excuse.amount_fen == item.amount_fen
                && entry.outlet.parse() == Ok(excuse.outlet)
        })
    }
}

/// Checks the salvages themselves, counts what became of what they name, and gives what they explain.
pub fn check_salvages<'a>(
    journal: &[Entry],
    evidence: &'a Evidence,
    pools: &Pools,
    findings: &mut Findings,
) -> Excuses<'a> {
    let mut excuses = Excuses::default();
    if evidence.salvages.is_empty() {
        return excuses;
    }
    let acknowledged: HashSet<&str> = journal.iter().map(|entry| entry.request.as_str()).collect();
    let kept: HashSet<Effect> = evidence.hub.facts().filter_map(|(_, record)| Effect::of(record, pools)).collect();
    for salvage in &evidence.salvages {
        salvage.check(evidence, pools, findings);
        let Salvage { node, hub_ack_from_fen, .. } = *salvage;
        let mut tail = LocalTail { node, hub_ack_from_fen, named: 0, lost: 0, repeated: 0, unanswered: 0 };
        for (effect, amount_fen, outlet) in salvage.effects(pools) {
            tail.named += 1;
            match (acknowledged.contains(hex::encode(effect.request).as_str()), kept.contains(&effect)) {
                (_, true) => tail.repeated += 1,
                (true, false) => tail.lost += 1,
                (false, false) => tail.unanswered += 1,
            }
            excuses.by_effect.entry(effect).or_default().push(Excuse { salvage, amount_fen, outlet });
        }
        findings.local_tails.push(tail);
    }
    excuses
}
