//! The options that make a world.

use clap::Args;

use super::Plan;
use crate::seed::Seed;

/// From this many terminals on all games are on sale; below only the one with the fewest packs.
const ALL_GAMES_FROM_TERMINALS: u32 = 2_000;

/// Options that make a world; equal options make equal worlds.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct PlanArgs {
    /// The root of everything random; the same seed prints the same tickets
    #[arg(long, default_value_t = 1, value_name = "NUMBER")]
    pub seed: u64,
    /// Terminals in the province
    #[arg(long, default_value_t = 20_000, value_name = "COUNT")]
    pub terminals: u32,
    /// Nodes, 1 to 11 (the prefectures are dealt to them)
    #[arg(long, default_value_t = 11, value_name = "COUNT")]
    pub nodes: u16,
    /// Games on sale, by code [default: G0201 below 2,000 terminals, otherwise G0201,G0501,J1001,J2001]
    #[arg(long, value_delimiter = ',', value_name = "CODES")]
    pub games: Vec<String>,
}

impl PlanArgs {
    /// The plan, with the default games filled in.
    pub fn plan(&self) -> Plan {
        let defaults: &[&str] = match self.terminals < ALL_GAMES_FROM_TERMINALS {
            true => &["G0201"],
            false => &["G0201", "G0501", "J1001", "J2001"],
        };
        let game_codes = match self.games.is_empty() {
            true => defaults.iter().map(|&code| code.to_owned()).collect(),
            false => self.games.clone(),
        };
        Plan { seed: Seed(self.seed), terminal_count: self.terminals, node_count: self.nodes, game_codes }
    }
}

impl Plan {
    /// The options that make this world again.
    pub fn to_options(&self) -> Vec<String> {
        let options = [
            ("--seed", self.seed.0.to_string()),
            ("--terminals", self.terminal_count.to_string()),
            ("--nodes", self.node_count.to_string()),
            ("--games", self.game_codes.join(",")),
        ];
        options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}
