//! The province of a run: nodes, outlets, devices, people, stock and money; a pure function of a [`Plan`].

mod args;
mod files;
mod place;
mod staff;
mod stock;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

pub use args::PlanArgs;
pub use files::{WorldFiles, write_world};
pub use staff::{Role, password, terminal_key};
pub use stock::{Consigned, Stock, deposit_yuan};

use crate::printer::{Game, choose_games};
use crate::seed::Seed;

/// Outlets that a prefecture can number with four digits.
const OUTLETS_PER_PREFECTURE_MAX: u32 = 9_999;
/// Every tenth outlet has a second terminal.
const TWO_TERMINALS_EVERY: u32 = 10;

/// What a world is made from. Two equal plans give the same world, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The root of everything random.
    #[serde(with = "seed_number")]
    pub seed: Seed,
    /// Terminals, ≥ 1.
    pub terminal_count: u32,
    /// Nodes, 1..=11.
    pub node_count: u16,
    /// Codes of the games on sale.
    pub game_codes: Vec<String>,
}

/// An outlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlet {
    /// Eight digits.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Nine digits.
    pub township: u32,
    /// The node that serves it.
    pub node: u16,
    /// 1 or 2.
    pub terminal_count: u8,
}

/// A device and who works at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terminal {
    /// Ten digits.
    pub id: String,
    /// Index of its outlet.
    pub outlet: usize,
    /// Ten digits: who logs in here.
    pub operator_id: String,
    /// The owner at the first terminal, a clerk at the second.
    pub role: Role,
}

/// A node and the prefectures that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// From 1.
    pub id: u16,
    /// Display name.
    pub name: String,
    /// GB/T 2260 codes.
    pub prefectures: Vec<u16>,
}

/// Everything that exists before the day begins.
#[derive(Debug, Clone)]
pub struct World {
    /// What it was made from.
    pub plan: Plan,
    /// Prefectures by code.
    pub prefectures: BTreeMap<u16, String>,
    /// In the order of their ids.
    pub nodes: Vec<Node>,
    /// Neighbours in the list lie anywhere in the province, so that a slice of it loads all nodes.
    pub outlets: Vec<Outlet>,
    /// The two of one outlet are neighbours.
    pub terminals: Vec<Terminal>,
    /// The games on sale.
    pub games: Vec<Game>,
    /// Packs on their way to the outlets.
    pub stock: Stock,
}

impl World {
    /// Makes the world of a plan.
    pub fn make(plan: &Plan) -> Result<Self> {
        ensure!(plan.terminal_count > 0, "a world needs at least one terminal: --terminals 1");
        ensure!(plan.node_count > 0, "a world needs at least one node: --nodes 1");
        let prefectures = place::prefectures()?;
        ensure!(
            usize::from(plan.node_count) <= prefectures.len(),
            "{} nodes are more than the {} prefectures of the province: a prefecture is served by one node, since outlets \
             cannot move between nodes yet (that comes later); choose --nodes {} or fewer",
            plan.node_count,
            prefectures.len(),
            prefectures.len()
        );
        let games = choose_games(&plan.game_codes)?;
        let nodes = assign_nodes(plan.node_count, &prefectures);
        let outlets = place_outlets(plan, &nodes)?;
        let terminals = install_terminals(&outlets);
        let stock = Stock::deal(outlets.len(), &games)?;
        Ok(World { plan: plan.clone(), prefectures, nodes, outlets, terminals, games, stock })
    }

    /// Indices of the terminals of one slice. An outlet lies whole in the slice of its first terminal.
    pub fn slice(&self, from: usize, to: usize) -> std::ops::Range<usize> {
        let start_of_outlet = |index: usize| {
            let splits = index > 0
                && index < self.terminals.len()
                && self.terminals[index].outlet == self.terminals[index - 1].outlet;
            (index + usize::from(splits)).min(self.terminals.len())
        };
        start_of_outlet(from)..start_of_outlet(to)
    }
}

/// Prefectures to nodes, round robin.
fn assign_nodes(node_count: u16, prefectures: &BTreeMap<u16, String>) -> Vec<Node> {
    let mut nodes: Vec<Node> =
        (1..=node_count).map(|id| Node { id, name: String::new(), prefectures: Vec::new() }).collect();
    for (index, (&code, name)) in prefectures.iter().enumerate() {
        let node = &mut nodes[index % usize::from(node_count)];
        if node.prefectures.is_empty() {
            node.name = name.clone();
        }
        node.prefectures.push(code);
    }
    nodes
}

/// Places outlets in townships, one township after the other in a random order, so that a prefecture gets outlets in
/// proportion to its townships.
fn place_outlets(plan: &Plan, nodes: &[Node]) -> Result<Vec<Outlet>> {
    let mut townships = place::townships()?;
    plan.seed.dice("townships", "").shuffle(&mut townships);
    let node_by_prefecture: BTreeMap<u16, u16> =
        nodes.iter().flat_map(|node| node.prefectures.iter().map(|&code| (code, node.id))).collect();
    let mut serials: BTreeMap<u16, u32> = BTreeMap::new();
    let mut outlets: Vec<Outlet> = Vec::new();
    let mut terminals_left = plan.terminal_count;
    for township in townships.iter().cycle() {
        if terminals_left == 0 {
            break;
        }
        let prefecture = township.prefecture();
        let node =
            *node_by_prefecture.get(&prefecture).with_context(|| format!("no node serves prefecture {prefecture}"))?;
        let serial = serials.entry(prefecture).or_default();
        *serial += 1;
        ensure!(*serial <= OUTLETS_PER_PREFECTURE_MAX, "prefecture {prefecture} is full: choose fewer terminals");
        let has_two = (outlets.len() as u32 + 1).is_multiple_of(TWO_TERMINALS_EVERY) && terminals_left >= 2;
        let terminal_count = if has_two { 2 } else { 1 };
        terminals_left -= u32::from(terminal_count);
        outlets.push(Outlet {
            id: format!("{prefecture}{:04}", *serial),
            name: format!("{}{:04}站", township.name, *serial),
            township: township.code,
            node,
            terminal_count,
        });
    }
    Ok(outlets)
}

/// One terminal an outlet, or two; the owner works at the first.
fn install_terminals(outlets: &[Outlet]) -> Vec<Terminal> {
    let mut terminals = Vec::new();
    for (index, outlet) in outlets.iter().enumerate() {
        for number in 1..=outlet.terminal_count {
            let id = format!("{}{number:02}", outlet.id);
            let role = if number == 1 { Role::Owner } else { Role::Clerk };
            terminals.push(Terminal { operator_id: id.clone(), id, outlet: index, role });
        }
    }
    terminals
}

/// The seed as a plain number.
mod seed_number {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::seed::Seed;

    pub(super) fn serialize<S: Serializer>(seed: &Seed, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(seed.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Seed, D::Error> {
        u64::deserialize(from).map(Seed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn plan(terminal_count: u32, node_count: u16) -> Plan {
        Plan { seed: Seed(1), terminal_count, node_count, game_codes: vec!["G0201".to_owned(), "J2001".to_owned()] }
    }

    #[test]
    fn a_plan_makes_one_world_and_another_seed_another() {
        let world = World::make(&plan(500, 11)).unwrap();
        assert_eq!(world.outlets, World::make(&plan(500, 11)).unwrap().outlets);
        let other = World::make(&Plan { seed: Seed(2), ..plan(500, 11) }).unwrap();
        assert_ne!(world.outlets, other.outlets);
    }

    #[test]
    fn twenty_thousand_terminals_stand_in_eighteen_thousand_outlets() {
        let world = World::make(&plan(20_000, 11)).unwrap();
        assert_eq!((world.terminals.len(), world.outlets.len()), (20_000, 18_182));
        let ids: HashSet<&str> = world.terminals.iter().map(|terminal| terminal.id.as_str()).collect();
        assert_eq!(ids.len(), 20_000);
        assert!(world.terminals.iter().all(|terminal| terminal.id.len() == 10));
        assert!(
            world
                .outlets
                .iter()
                .all(|outlet| outlet.id.len() == 8 && outlet.id[..4] == outlet.township.to_string()[..4])
        );
    }

    #[test]
    fn outlets_lie_in_prefectures_in_proportion_to_their_townships() {
        let world = World::make(&plan(20_000, 11)).unwrap();
        let townships = place::townships().unwrap();
        for &prefecture in world.prefectures.keys() {
            let there = townships.iter().filter(|township| township.prefecture() == prefecture).count() as f64 / 2365.0;
            let outlets = world.outlets.iter().filter(|outlet| outlet.id.starts_with(&prefecture.to_string())).count();
            let share = outlets as f64 / world.outlets.len() as f64;
            assert!((share - there).abs() < 0.01, "{prefecture}: {share} of outlets, {there} of townships");
        }
    }

    #[test]
    fn three_nodes_share_the_prefectures_and_twelve_are_refused() {
        let world = World::make(&plan(100, 3)).unwrap();
        assert_eq!(world.nodes.iter().map(|node| node.prefectures.len()).collect::<Vec<_>>(), [4, 4, 3]);
        let refusal = World::make(&plan(100, 12)).unwrap_err().to_string();
        assert!(refusal.contains("--nodes 11"), "{refusal}");
    }

    #[test]
    fn slices_cover_all_terminals_once_and_never_split_an_outlet() {
        let world = World::make(&plan(503, 11)).unwrap();
        for parts in 1..9 {
            let bounds: Vec<_> =
                (0..parts).map(|part| world.slice(503 * part / parts, 503 * (part + 1) / parts)).collect();
            assert_eq!(bounds[0].start, 0);
            assert_eq!(bounds[parts - 1].end, 503);
            for pair in bounds.windows(2) {
                assert_eq!(pair[0].end, pair[1].start);
                assert_ne!(world.terminals[pair[0].end].outlet, world.terminals[pair[0].end - 1].outlet);
            }
        }
    }
}
