//! Which packs travel to which outlet, and how much money each outlet has paid in.

use anyhow::{Result, ensure};

use super::World;
use crate::printer::Game;

/// Packs sent to an outlet where there are enough.
const PACKS_PER_OUTLET_MAX: u32 = 3;
/// Outlets out of a thousand whose deposit does not pay for one pack.
const POOR_PER_MILLE: u32 = 30;
/// Outlets out of a thousand whose deposit pays for two packs.
const MODEST_PER_MILLE: u32 = 300;
/// Deposit of a poor outlet. Yuan.
const POOR_YUAN: u32 = 300;
/// Deposit of a modest outlet. Yuan: two packs of 600.
const MODEST_YUAN: u32 = 1_200;
/// Deposit of all others. Yuan: three packs of 600 and some change.
const USUAL_YUAN: u32 = 2_000;

/// One pack on its way to an outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consigned {
    /// Index into the chosen games.
    pub game: usize,
    /// Number of the pack.
    pub pack: u32,
    /// The consignment.
    pub shipment: u64,
}

/// All packs, dealt.
#[derive(Debug, Clone)]
pub struct Stock {
    /// Packs of every outlet, in the order of the outlets.
    packs: Vec<(usize, u32)>,
    outlet_count: usize,
    packs_per_outlet: usize,
}

impl Stock {
    /// Deals packs of all games evenly: after any number of packs each game has given about the same share of its pool.
    pub fn deal(outlet_count: usize, games: &[Game]) -> Result<Self> {
        let available: u32 = games.iter().map(Game::pack_count).sum();
        let packs_per_outlet = (available / (outlet_count as u32).max(1)).min(PACKS_PER_OUTLET_MAX) as usize;
        ensure!(
            packs_per_outlet > 0,
            "{available} packs are not enough for {outlet_count} outlets: choose more games with --games"
        );
        let mut packs: Vec<(f64, usize, u32)> = Vec::with_capacity(available as usize);
        for (index, game) in games.iter().enumerate() {
            let count = game.pack_count();
            packs.extend((1..=count).map(|pack| ((f64::from(pack) - 0.5) / f64::from(count), index, pack)));
        }
        packs.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        packs.truncate(outlet_count * packs_per_outlet);
        let packs = packs.into_iter().map(|(_, game, pack)| (game, pack)).collect();
        Ok(Stock { packs, outlet_count, packs_per_outlet })
    }

    /// Packs sent to one outlet. The last one travels in a second consignment.
    pub fn of_outlet(&self, outlet: usize) -> Vec<Consigned> {
        let first_shipment = outlet as u64 * 2 + 1;
        let in_first = self.packs_per_outlet.div_ceil(2);
        let places = (0..self.packs_per_outlet).map(|slot| (slot, slot * self.outlet_count + outlet));
        places
            .filter_map(|(slot, place)| {
                let &(game, pack) = self.packs.get(place)?;
                Some(Consigned { game, pack, shipment: first_shipment + u64::from(slot >= in_first) })
            })
            .collect()
    }

    /// Packs sent altogether.
    pub fn pack_count(&self) -> usize {
        self.packs.len()
    }
}

/// What the outlet paid in before the day began. Yuan.
pub fn deposit_yuan(world: &World, outlet: usize) -> u32 {
    let mut dice = world.plan.seed.dice("deposit", &outlet.to_string());
    match dice.below(1000) as u32 {
        drawn if drawn < POOR_PER_MILLE => POOR_YUAN,
        drawn if drawn < POOR_PER_MILLE + MODEST_PER_MILLE => MODEST_YUAN,
        _ => USUAL_YUAN,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::printer::{GAMES_CSV, parse_games, tiny_game};

    #[test]
    fn no_pack_is_dealt_twice_and_each_outlet_gets_its_share() {
        let games = parse_games(GAMES_CSV).unwrap();
        let stock = Stock::deal(18_182, &games).unwrap();
        assert_eq!(stock.pack_count(), 54_546);
        let mut seen = HashSet::new();
        for outlet in 0..18_182 {
            let packs = stock.of_outlet(outlet);
            assert_eq!(packs.len(), 3);
            assert_eq!(packs[0].shipment, packs[1].shipment);
            assert_ne!(packs[1].shipment, packs[2].shipment);
            assert!(packs.iter().all(|pack| seen.insert((pack.game, pack.pack))));
        }
        let of_game = |game| seen.iter().filter(|(dealt, _)| *dealt == game).count();
        assert!((3_600..3_680).contains(&of_game(0)), "{}", of_game(0));
    }

    #[test]
    fn more_outlets_than_packs_is_refused() {
        assert_eq!(Stock::deal(40, &[tiny_game()]).unwrap().of_outlet(39).len(), 1);
        assert!(Stock::deal(41, &[tiny_game()]).unwrap_err().to_string().contains("--games"));
    }
}
