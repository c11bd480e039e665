//! Acknowledged replies against events: nothing lost, nothing applied twice, no ticket paid twice.

use std::collections::{HashMap, HashSet};

use super::findings::{Findings, Property};
use super::history::History;
use super::record::{Fact, Record, Ticket};
use super::salvage::Excuses;
use crate::journal::Entry;
use crate::printer::Pools;

/// What one event did for a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Effect {
    pub(super) request: [u8; 16],
    pub(super) kind: &'static str,
    pub(super) subject: String,
}

impl Effect {
    /// What an event did, if a terminal's request caused it.
    pub(super) fn of(record: &Record, pools: &Pools) -> Option<Self> {
        let (kind, subject, ..) = effect_of(&record.fact, pools)?;
        Some(Effect { request: record.request?, kind, subject })
    }
}

/// Kind, subject and amount of an event that a terminal's request can cause.
pub(super) fn effect_of(fact: &Fact, pools: &Pools) -> Option<(&'static str, String, i64, u32)> {
    match fact {
        Fact::CheckedIn { pack, shares_fen, outlet } => {
            Some(("pack_checked_in", pack.id(pools), shares_fen[0], *outlet))
        }
        Fact::Returned { pack, shares_fen, outlet } => Some(("pack_returned", pack.id(pools), shares_fen[0], *outlet)),
        Fact::Sold { ticket, price_fen, outlet } => Some(("ticket_sold", ticket.id(pools), *price_fen, *outlet)),
        Fact::Claimed { ticket, prize_fen, outlet, .. } => {
            Some(("ticket_claimed", ticket.id(pools), *prize_fen, *outlet))
        }
        _ => None,
    }
}

/// Every item of every reply must be there once, decided by the node that replied, with the amount that was told; and
/// a request that was acknowledged must have done nothing else. Only what a salvage explains may be missing.
pub fn check_acks(journal: &[Entry], history: &History, excuses: &Excuses<'_>, pools: &Pools, findings: &mut Findings) {
    let mut effects: HashMap<Effect, (u16, i64, u32)> = HashMap::new();
    let mut effect_counts: HashMap<[u8; 16], usize> = HashMap::new();
    for (node, record) in history.facts() {
        let (Some(request), Some((kind, subject, amount_fen, outlet))) =
            (record.request, effect_of(&record.fact, pools))
        else {
            continue;
        };
        *effect_counts.entry(request).or_default() += 1;
        let effect = Effect { request, kind, subject };
        if effects.insert(effect.clone(), (node, amount_fen, outlet)).is_some() {
            let what = format!("request {} did {kind} twice", hex::encode(request));
            findings.add(Property::RequestsAppliedTwice, effect.subject, &history.side, what);
        }
    }
    for entry in journal {
        check_entry(entry, &effects, excuses, &history.side, findings);
        let listed: HashSet<&str> = entry.items.iter().map(|item| item.subject.as_str()).collect();
        let request = decode_request(&entry.request);
        let done = request.and_then(|request| effect_counts.get(&request)).copied().unwrap_or(0);
        if done > listed.len() {
            let what = format!("the reply listed {} items, {done} events name the request", listed.len());
            findings.add(Property::RequestsAppliedTwice, &entry.request, &history.side, what);
        }
    }
}

fn check_entry(
    entry: &Entry,
    effects: &HashMap<Effect, (u16, i64, u32)>,
    excuses: &Excuses<'_>,
    side: &str,
    findings: &mut Findings,
) {
    let request = decode_request(&entry.request).unwrap_or_default();
    for item in &entry.items {
        let effect = Effect { request, kind: entry.verb.event_kind(), subject: item.subject.clone() };
        let who = || format!("{} by terminal {} with key {}", effect.kind, entry.terminal, entry.key);
        let wrong = match effects.get(&effect) {
            None if excuses.cover(entry, item, &effect) => continue,
            None => format!("{} was acknowledged, and no event tells of it", who()),
            Some((node, ..)) if *node != entry.node && !entry.perhaps_done_at.contains(node) => {
                format!("{} was acknowledged by node {} and stands in the log of node {node}", who(), entry.node)
            }
            Some((_, amount_fen, _)) if *amount_fen != item.amount_fen => {
                format!("{} was acknowledged with {} fen, the event has {amount_fen}", who(), item.amount_fen)
            }
            Some((.., outlet)) if entry.outlet.parse() != Ok(*outlet) => {
                format!("{} was acknowledged to outlet {}, the event has {outlet}", who(), entry.outlet)
            }
            Some(_) => continue,
        };
        findings.add(Property::AckedLost, &item.subject, side, wrong);
    }
}

fn decode_request(text: &str) -> Option<[u8; 16]> {
    hex::decode(text).ok()?.try_into().ok()
}

/// At most one payment for a ticket, over all nodes.
pub fn check_claims(history: &History, pools: &Pools, findings: &mut Findings) {
    let mut payers: HashMap<Ticket, (u16, u64)> = HashMap::new();
    for (node, record) in history.facts() {
        let Fact::Claimed { ticket, .. } = &record.fact else { continue };
        if let Some((first_node, first_seq)) = payers.insert(*ticket, (node, record.seq)) {
            let what = format!("paid by event {first_node}/{first_seq} and by event {node}/{}", record.seq);
            findings.add(Property::TicketsPaidTwice, ticket.id(pools), &history.side, what);
        }
    }
}

/// The two journals of one request agree: a repeat never got another reply.
pub fn check_journal(journal: &[Entry], findings: &mut Findings) {
    let mut replies: HashMap<&str, &Entry> = HashMap::new();
    for entry in journal {
        if let Some(first) = replies.insert(&entry.request, entry)
            && (first.verb != entry.verb || first.items != entry.items)
        {
            findings.add(
                Property::RequestsAppliedTwice,
                &entry.request,
                "journal",
                "one request got two different replies",
            );
        }
    }
}
