//! How outlets spread over nodes when one is added or taken away. The same state gives the same plan.

use std::collections::BTreeMap;

use jikai_schema::command::OutletMove;
use jikai_schema::crypto::{Suite, hash};
use jikai_schema::id::{NodeId, OutletId};
use rusqlite::Connection;

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// The node gets as many outlets as the others have in the middle, from those that have most.
    Fill(NodeId),
    /// The node gives all its outlets away, to those that have least.
    Empty(NodeId),
    /// So many outlets of one node go to another.
    Shift {
        /// Whose.
        from: NodeId,
        /// Who gets them.
        to: NodeId,
        /// At most so many.
        count: usize,
    },
}

/// Outlets of a node before and behind a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLoad {
    /// Which.
    pub node: NodeId,
    /// Outlets now; those on their way count where they go.
    pub now: usize,
    /// Outlets then.
    pub then: usize,
}

/// Which outlets move where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// By outlet.
    pub moves: Vec<OutletMove>,
    /// By node.
    pub loads: Vec<NodeLoad>,
}

impl Plan {
    /// Makes it from the state as it is. `None` for a node that is not registered, or where no other one is.
    pub fn make(state: &Connection, aim: Aim) -> Result<Option<Self>, rusqlite::Error> {
        let mut outlets = outlets(state)?;
        let now: BTreeMap<NodeId, usize> = outlets.iter().map(|(node, list)| (*node, list.len())).collect();
        let named = match aim {
            Aim::Fill(node) | Aim::Empty(node) => [node, node],
            Aim::Shift { from, to, .. } => [from, to],
        };
        if named.iter().any(|node| !outlets.contains_key(node)) || outlets.len() < 2 {
            return Ok(None);
        }
        let mut moves = match aim {
            Aim::Fill(node) => fill(&mut outlets, node),
            Aim::Empty(node) => empty(&mut outlets, node),
            Aim::Shift { from, to, count } => shift(&mut outlets, from, to, count),
        };
        moves.sort_unstable_by_key(|a_move| a_move.outlet);
        let loads = outlets.iter().map(|(node, list)| NodeLoad { node: *node, now: now[node], then: list.len() });
        Ok(Some(Plan { loads: loads.collect(), moves }))
    }

    /// Names this very plan: who starts it says which one was shown.
    pub fn id(&self) -> String {
        let bytes: Vec<u8> = self
            .moves
            .iter()
            .flat_map(|OutletMove { outlet, to }| outlet.get().to_be_bytes().into_iter().chain(to.get().to_be_bytes()))
            .collect();
        hex::encode(&hash(Suite::configured(), &[b"jikai handoff plan\n", &bytes])[..8])
    }
}

type Outlets = BTreeMap<NodeId, Vec<OutletId>>;

/// Takes from whoever has most until the node has no fewer than that one.
fn fill(outlets: &mut Outlets, node: NodeId) -> Vec<OutletMove> {
    let mut moves = Vec::new();
    loop {
        let most = outlets.iter().filter(|(other, _)| **other != node).max_by_key(|(_, list)| list.len());
        let Some((most, count)) = most.map(|(other, list)| (*other, list.len())) else { return moves };
        if outlets.get(&node).map_or(0, Vec::len) + 1 >= count {
            return moves;
        }
        let Some(outlet) = outlets.get_mut(&most).and_then(Vec::pop) else { return moves };
        outlets.entry(node).or_default().push(outlet);
        moves.push(OutletMove { outlet, to: node });
    }
}

/// Gives to whoever has least, one after the other.
fn empty(outlets: &mut Outlets, node: NodeId) -> Vec<OutletMove> {
    let mut moves = Vec::new();
    for outlet in outlets.insert(node, Vec::new()).unwrap_or_default() {
        let least = outlets.iter().filter(|(other, _)| **other != node).min_by_key(|(_, list)| list.len());
        let Some(to) = least.map(|(other, _)| *other) else { return moves };
        outlets.entry(to).or_default().push(outlet);
        moves.push(OutletMove { outlet, to });
    }
    moves
}

fn shift(outlets: &mut Outlets, from: NodeId, to: NodeId, count: usize) -> Vec<OutletMove> {
    if from == to {
        return Vec::new();
    }
    let list = outlets.entry(from).or_default();
    let gone: Vec<OutletId> = list.drain(..count.min(list.len())).collect();
    outlets.entry(to).or_default().extend(&gone);
    gone.into_iter().map(|outlet| OutletMove { outlet, to }).collect()
}

/// The outlets of each registered node; those on their way where they go.
fn outlets(state: &Connection) -> Result<Outlets, rusqlite::Error> {
    let mut outlets = Outlets::new();
    let mut statement = state.prepare_cached("SELECT node FROM node ORDER BY node")?;
    let nodes = statement.query_map([], |row| row.get::<_, u16>(0))?.collect::<Result<Vec<_>, _>>()?;
    outlets.extend(nodes.into_iter().filter_map(|node| Some((NodeId::new(node).ok()?, Vec::new()))));
    let sql = "SELECT o.outlet, coalesce(w.to_node, h.to_node, o.node) FROM outlet o LEFT JOIN handoff h USING (outlet) \
               LEFT JOIN handoff_waiting w USING (outlet) ORDER BY o.outlet";
    let mut statement = state.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let (Ok(outlet), Ok(node)) = (OutletId::new(row.get(0)?), NodeId::new(row.get(1)?)) {
            outlets.entry(node).or_default().push(outlet);
        }
    }
    Ok(outlets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn spread(counts: &[(u16, u32)]) -> Outlets {
        let mut next = 13_010_000;
        let mut take = |count: u32| {
            let first = next;
            next += count;
            (first..next).map(|outlet| OutletId::new(outlet).unwrap()).collect()
        };
        counts.iter().map(|(number, count)| (node(*number), take(*count))).collect()
    }

    fn counts(outlets: &Outlets) -> Vec<usize> {
        outlets.values().map(Vec::len).collect()
    }

    #[test]
    fn a_new_node_gets_its_share_from_those_that_have_most() {
        let mut outlets = spread(&[(1, 10), (2, 40), (3, 38), (12, 0)]);
        let moves = fill(&mut outlets, node(12));
        assert_eq!(counts(&outlets), [10, 26, 26, 26]);
        assert_eq!(moves.len(), 26);
        assert!(fill(&mut outlets, node(12)).is_empty(), "it has its share");
    }

    #[test]
    fn a_node_that_goes_gives_all_it_has_to_those_that_have_least() {
        let mut outlets = spread(&[(1, 3), (2, 9), (3, 8)]);
        let moves = empty(&mut outlets, node(2));
        assert_eq!((counts(&outlets), moves.len()), (vec![10, 0, 10], 9));
    }

    #[test]
    fn so_many_of_one_node_go_to_another_and_no_more_than_there_are() {
        let mut outlets = spread(&[(1, 3), (2, 9)]);
        assert_eq!(shift(&mut outlets, node(2), node(1), 4).len(), 4);
        assert_eq!(counts(&outlets), [7, 5]);
        assert_eq!(shift(&mut outlets, node(2), node(1), 400).len(), 5);
        assert!(shift(&mut outlets, node(1), node(1), 4).is_empty());
    }

    #[test]
    fn another_spread_has_another_name() {
        let plan = |to| Plan {
            moves: vec![OutletMove { outlet: OutletId::new(13_010_000).unwrap(), to: node(to) }],
            loads: Vec::new(),
        };
        assert_ne!(plan(1).id(), plan(2).id());
        assert_eq!(plan(1).id(), plan(1).id());
    }
}
