//! The auditor's own book of packs: each in exactly one place, moved only along its life.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::findings::{Findings, Property};
use super::history::{ExportedPack, History, in_order};
use super::record::{Fact, Pack, Record};
use crate::printer::Pools;

/// Where a pack is and what happened to it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    node: u16,
    pub(super) outlet: u32,
    pub(super) state: &'static str,
    sold: HashSet<u16>,
    /// A ticket of it was paid or scratched.
    is_opened: bool,
}

/// Follows every pack through one side's history. Returns where each ends.
pub(super) fn follow(
    hub_log: &[Record],
    history: &History,
    pools: &Pools,
    findings: &mut Findings,
) -> HashMap<Pack, Place> {
    let mut places: HashMap<Pack, Place> = HashMap::new();
    for record in hub_log {
        if let Fact::Shipped { pack, outlet, node } = record.fact {
            let place = Place { node, outlet, state: "in_transit", sold: HashSet::new(), is_opened: false };
            if let Some(before) = places.insert(pack, place) {
                let what = format!("sent to outlet {outlet} and to outlet {}", before.outlet);
                findings.add(Property::PacksMisplaced, pack.id(pools), "hub", what);
            }
        }
    }
    let mut by_outlet: HashMap<u32, Vec<Pack>> = HashMap::new();
    places.iter().for_each(|(pack, place)| by_outlet.entry(place.outlet).or_default().push(*pack));
    for (node, record) in in_order(hub_log, history) {
        if let Fact::Moved { outlet, to, .. } = record.fact {
            for pack in by_outlet.get(&outlet).into_iter().flatten() {
                places.entry(*pack).and_modify(|place| place.node = to);
            }
            continue;
        }
        if let Some((pack, what)) = step(&mut places, node, &record.fact, pools) {
            let what = format!("event {node}/{}: {what}", record.seq);
            findings.add(Property::PacksMisplaced, pack.id(pools), &history.side, what);
        }
    }
    places
}

/// Applies one fact; tells what is wrong with it.
fn step(places: &mut HashMap<Pack, Place>, node: u16, fact: &Fact, pools: &Pools) -> Option<(Pack, String)> {
    let (pack, outlet) = match fact {
        Fact::CheckedIn { pack, outlet, .. } | Fact::Returned { pack, outlet, .. } => (*pack, Some(*outlet)),
        Fact::Sold { ticket, outlet, .. } => (ticket.pack, Some(*outlet)),
        Fact::Claimed { ticket, .. } | Fact::Scratched { ticket } => (ticket.pack, None),
        _ => return None,
    };
    let Some(place) = places.get_mut(&pack) else {
        return Some((pack, "the pack was never sent anywhere".to_owned()));
    };
    if place.node != node || outlet.is_some_and(|outlet| outlet != place.outlet) {
        let what = format!(
            "outlet {outlet:?} of node {node} acts on a pack at outlet {} of node {}",
            place.outlet, place.node
        );
        return Some((pack, what));
    }
    let (wanted, next): (&[&str], &'static str) = match fact {
        Fact::CheckedIn { .. } => (&["in_transit"], "active"),
        Fact::Returned { .. } => (&["active"], "returned"),
        Fact::Sold { ticket, .. } => {
            if !place.sold.insert(ticket.number) {
                return Some((pack, format!("ticket {} is sold twice", ticket.number)));
            }
            let size = usize::from(pools.0[usize::from(pack.game)].game.tickets_per_pack);
            (&["active"], if place.sold.len() == size { "sold_out" } else { "active" })
        }
        _ => {
            place.is_opened = true;
            (&["active", "sold_out"], place.state)
        }
    };
    let was = std::mem::replace(&mut place.state, next);
    let is_touched_return = matches!(fact, Fact::Returned { .. }) && (place.is_opened || !place.sold.is_empty());
    match wanted.contains(&was) && !is_touched_return {
        true => None,
        false => Some((
            pack,
            format!("the pack was {was} with {} tickets sold, opened: {}", place.sold.len(), place.is_opened),
        )),
    }
}

/// Events about packs follow their life, as the hub tells it. Where the hub believes them to be is seen in its stock report.
pub fn check_lives(hub_log: &[Record], history: &History, pools: &Pools, findings: &mut Findings) {
    follow(hub_log, history, pools, findings);
}

/// Events about packs follow their life; and every pack is exported by exactly one node, in the state that events give.
pub fn check_places(
    hub_log: &[Record],
    history: &History,
    exported: &BTreeMap<u16, Vec<ExportedPack>>,
    pools: &Pools,
    findings: &mut Findings,
) {
    let places = follow(hub_log, history, pools, findings);
    let mut seen: HashMap<Pack, u16> = HashMap::new();
    for (&node, packs) in exported {
        for told in packs {
            if let Some(other) = seen.insert(told.pack, node) {
                let what = format!("is at node {other} and at node {node}");
                findings.add(Property::PacksMisplaced, told.pack.id(pools), &history.side, what);
            }
            let wrong = match places.get(&told.pack) {
                None => "is exported and was never sent".to_owned(),
                Some(place) if (place.node, place.outlet, place.state) != (node, told.outlet, told.state.as_str()) => {
                    format!(
                        "is exported as {} at outlet {} of node {node}, by events it is {} at outlet {} of node {}",
                        told.state, told.outlet, place.state, place.outlet, place.node
                    )
                }
                Some(_) => continue,
            };
            findings.add(Property::PacksMisplaced, told.pack.id(pools), &history.side, wrong);
        }
    }
    let mut missing: Vec<&Pack> = places.keys().filter(|pack| !seen.contains_key(pack)).collect();
    missing.sort();
    for pack in missing {
        let what = format!("was sent to node {} and is exported by none", places[pack].node);
        findings.add(Property::PacksMisplaced, pack.id(pools), &history.side, what);
    }
}
