//! The printer: games, pools and the signed files that it delivers with a print run.

mod files;
mod game;
mod pool;

pub use files::{print_batch, printer_key};
pub use game::{GAMES_CSV, Game, PrizeLevel, choose_games, parse_games};
pub use pool::{BATCH, CODE_LETTERS, Pool, Pools, Position, mark_of_level};

#[cfg(test)]
pub use game::tiny_game;
