//! The outlets whose terminals live in one process. Customers walk from one to another of the same node.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use super::losses::Losses;
use super::now_ms;
use super::shelf::Shelf;
use super::tally::locked;
use crate::printer::Pools;
use crate::seed::Dice;
use crate::world::{World, deposit_yuan};

/// Shelves by outlet.
pub struct Street {
    /// What was printed.
    pub pools: Arc<Pools>,
    first_outlet: usize,
    shelves: Vec<Mutex<Shelf>>,
    outlets_by_node: BTreeMap<u16, Vec<usize>>,
    /// Whether outlets move between nodes meanwhile: then a neighbour's ticket may be another node's to decide.
    pub outlets_move: bool,
    /// Nodes that lost their disk.
    pub losses: Losses,
}

impl Street {
    /// The street of a slice of terminals, before the day begins.
    pub fn new(world: &World, pools: Arc<Pools>, terminals: Range<usize>, outlets_move: bool) -> Self {
        let outlets = match (world.terminals[terminals.clone()].first(), world.terminals[terminals].last()) {
            (Some(first), Some(last)) => first.outlet..last.outlet + 1,
            _ => 0..0,
        };
        let shelf = |outlet: usize| {
            let deposit_fen = i64::from(deposit_yuan(world, outlet)) * 100;
            let is_alone = world.outlets[outlet].terminal_count == 1;
            Mutex::new(Shelf::new(outlet, world.stock.of_outlet(outlet), deposit_fen, is_alone))
        };
        let mut outlets_by_node: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
        for outlet in outlets.clone() {
            outlets_by_node.entry(world.outlets[outlet].node).or_default().push(outlet);
        }
        let first_outlet = outlets.start;
        let shelves = outlets.map(shelf).collect();
        Street { pools, first_outlet, shelves, outlets_by_node, outlets_move, losses: Losses::default() }
    }

    /// The shelf of an outlet. Never hold two at once, nor one across an await.
    pub fn shelf(&self, outlet: usize) -> MutexGuard<'_, Shelf> {
        locked(&self.shelves[outlet - self.first_outlet])
    }

    /// A node is dead and its disk is lost: what it acknowledged since then may be gone. Said before the store in its place answers.
    pub fn doubt(&self, node: u16, since_ms: i64) {
        self.losses.add(node, since_ms, now_ms());
        self.shelves.iter().for_each(|shelf| locked(shelf).doubt(node, since_ms));
    }

    /// Another outlet of the same node, if there is one here.
    pub fn neighbour(&self, node: u16, outlet: usize, dice: &mut Dice) -> Option<usize> {
        let outlets = self.outlets_by_node.get(&node)?;
        let drawn = outlets[dice.index(outlets.len())];
        (drawn != outlet).then_some(drawn)
    }
}
