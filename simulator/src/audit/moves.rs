//! The order of facts of several nodes where outlets moved between them: what a node decided for an outlet comes behind its arrival there.

use std::collections::{BTreeMap, HashMap};

use super::history::History;
use super::record::{Fact, Pack, Record};

/// Who serves which outlet, and where packs are, while the logs are followed.
struct Owners<'a> {
    by_outlet: HashMap<u32, u16>,
    by_pack: HashMap<Pack, u32>,
    /// The hub's words by outlet and number of the handoff.
    moves: HashMap<(u32, u64), &'a Record>,
}

impl<'a> Owners<'a> {
    fn new(hub_log: &'a [Record]) -> Self {
        let (mut by_outlet, mut by_pack, mut moves) = (HashMap::new(), HashMap::new(), HashMap::new());
        for record in hub_log {
            match record.fact {
                Fact::Deposited { outlet, node, .. } => {
                    by_outlet.entry(outlet).or_insert(node);
                }
                Fact::Shipped { pack, outlet, node } => {
                    by_outlet.entry(outlet).or_insert(node);
                    by_pack.insert(pack, outlet);
                }
                Fact::Moved { handoff, outlet, from, .. } => {
                    by_outlet.entry(outlet).or_insert(from);
                    moves.insert((outlet, handoff), record);
                }
                _ => {}
            }
        }
        Owners { by_outlet, by_pack, moves }
    }

    /// Whether a fact of this node must wait until its outlet, or the outlet of its pack, has come there.
    fn is_early(&self, node: u16, fact: &Fact) -> bool {
        let of_pack = fact.pack().and_then(|pack| self.by_pack.get(&pack).copied());
        let outlets = [fact.outlet(), of_pack];
        outlets.into_iter().flatten().any(|outlet| self.by_outlet.get(&outlet).is_some_and(|owner| *owner != node))
    }

    /// The hub's word behind a release.
    fn release(&mut self, fact: &Fact) -> Option<&'a Record> {
        let Fact::Released { handoff, outlet } = fact else { return None };
        let moved = *self.moves.get(&(*outlet, *handoff))?;
        if let Fact::Moved { to, .. } = moved.fact {
            self.by_outlet.insert(*outlet, to);
        }
        Some(moved)
    }
}

/// All facts of all nodes, each log in its own order, and where the hub moved outlets between them (with node 0). A fact that is early
/// for ever, since no move explains it, comes at the end: it is found there.
pub fn in_order<'a>(hub_log: &'a [Record], history: &'a History) -> Vec<(u16, &'a Record)> {
    let mut owners = Owners::new(hub_log);
    let mut cursors: BTreeMap<u16, usize> = history.logs.keys().map(|&node| (node, 0)).collect();
    let mut facts = Vec::new();
    loop {
        let before = facts.len();
        for (&node, log) in &history.logs {
            let Some(at) = cursors.get_mut(&node) else { continue };
            while let Some(record) = log.get(*at).filter(|record| !owners.is_early(node, &record.fact)) {
                facts.push((node, record));
                facts.extend(owners.release(&record.fact).map(|moved| (0, moved)));
                *at += 1;
            }
        }
        if facts.len() == before {
            break;
        }
    }
    for (&node, log) in &history.logs {
        let from = cursors.get(&node).copied().unwrap_or(0);
        facts.extend(log.get(from..).unwrap_or_default().iter().map(|record| (node, record)));
    }
    facts
}
