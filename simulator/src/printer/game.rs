//! The games of the demo province, with full finite prize lists.

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// The given game list.
pub const GAMES_CSV: &str = include_str!("../../data/games.csv");

/// One prize level of a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrizeLevel {
    /// 1 is the highest.
    pub level: u8,
    /// Prize of one ticket. Yuan, > 0.
    pub prize_yuan: u32,
    /// Winning tickets in the pool. > 0.
    pub ticket_count: u32,
}

/// A game and its one pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Game {
    /// Five characters.
    pub code: String,
    /// Display name.
    pub name: String,
    /// Price of one ticket. Yuan, > 0.
    pub price_yuan: u32,
    /// Tickets in a pack.
    pub tickets_per_pack: u16,
    /// Packs in a case.
    pub packs_per_case: u16,
    /// Tickets in the pool.
    pub ticket_count: u32,
    /// Ascending from level 1.
    pub levels: Vec<PrizeLevel>,
}

#[derive(Deserialize)]
struct Row {
    game_code: String,
    game_name: String,
    price_yuan: u32,
    tickets_per_pack: u16,
    packs_per_case: u16,
    tickets_per_pool: u32,
    prize_level: u8,
    prize_yuan: u32,
    prize_count: u32,
}

impl Game {
    /// Packs in the pool.
    pub fn pack_count(&self) -> u32 {
        self.ticket_count / u32::from(self.tickets_per_pack)
    }

    /// Price of a ticket in fen.
    pub fn price_fen(&self) -> i64 {
        i64::from(self.price_yuan) * 100
    }

    /// Face value of a pack in fen.
    pub fn face_fen(&self) -> i64 {
        self.price_fen() * i64::from(self.tickets_per_pack)
    }

    /// Commission on a pack: 8 % of the face value, truncated to the fen.
    pub fn commission_fen(&self) -> i64 {
        self.face_fen() * 8 / 100
    }

    /// Share of a pack for the prize fund: 65 %.
    pub fn prize_fund_fen(&self) -> i64 {
        self.face_fen() * 65 / 100
    }

    /// Share of a pack for the welfare fund: 20 %.
    pub fn welfare_fund_fen(&self) -> i64 {
        self.face_fen() * 20 / 100
    }

    /// Share of a pack for the issue fee: the rest, 15 %.
    pub fn issue_fee_fen(&self) -> i64 {
        self.face_fen() - self.prize_fund_fen() - self.welfare_fund_fen()
    }

    /// Prize of a level in fen; 0 for level 0, which is a loser.
    pub fn prize_fen(&self, level: u8) -> i64 {
        self.levels.iter().find(|entry| entry.level == level).map_or(0, |entry| i64::from(entry.prize_yuan) * 100)
    }

    /// The prize list must pay exactly 65 % and the sizes must fit.
    pub fn verify(&self) -> Result<()> {
        let code = &self.code;
        ensure!(code.len() == 5, "game code {code:?} does not have five characters");
        ensure!(
            self.price_yuan > 0 && self.tickets_per_pack > 0 && self.packs_per_case > 0,
            "game {code} has a size of zero"
        );
        ensure!(self.tickets_per_pack <= 1000, "game {code}: ticket numbers have three digits");
        let case_tickets = u32::from(self.tickets_per_pack) * u32::from(self.packs_per_case);
        ensure!(self.ticket_count.is_multiple_of(case_tickets), "game {code}: the pool is not made of whole cases");
        let numbers_ascend = self.levels.iter().zip(1u8..).all(|(entry, number)| entry.level == number);
        ensure!(numbers_ascend, "game {code}: prize levels do not ascend from 1");
        let prizes_yuan: u64 =
            self.levels.iter().map(|entry| u64::from(entry.prize_yuan) * u64::from(entry.ticket_count)).sum();
        let sales_yuan = u64::from(self.price_yuan) * u64::from(self.ticket_count);
        ensure!(
            prizes_yuan * 100 == sales_yuan * 65,
            "game {code} pays {prizes_yuan} of {sales_yuan} yuan, which is not 65 %"
        );
        Ok(())
    }
}

/// Reads a game list in the form of `games.csv`.
pub fn parse_games(text: &str) -> Result<Vec<Game>> {
    let mut games: Vec<Game> = Vec::new();
    for row in csv::Reader::from_reader(text.as_bytes()).deserialize() {
        let row: Row = row.context("read the game list; its header names the columns")?;
        if games.last().is_none_or(|game| game.code != row.game_code) {
            games.push(Game {
                code: row.game_code,
                name: row.game_name,
                price_yuan: row.price_yuan,
                tickets_per_pack: row.tickets_per_pack,
                packs_per_case: row.packs_per_case,
                ticket_count: row.tickets_per_pool,
                levels: Vec::new(),
            });
        }
        if let Some(game) = games.last_mut() {
            game.levels.push(PrizeLevel {
                level: row.prize_level,
                prize_yuan: row.prize_yuan,
                ticket_count: row.prize_count,
            });
        }
    }
    games.iter().try_for_each(Game::verify)?;
    Ok(games)
}

/// The chosen games of the demo province, in the order of the list.
pub fn choose_games(codes: &[String]) -> Result<Vec<Game>> {
    let games = parse_games(GAMES_CSV)?;
    for code in codes {
        let known: Vec<&str> = games.iter().map(|game| game.code.as_str()).collect();
        ensure!(known.contains(&code.as_str()), "there is no game {code}; choose among {}", known.join(","));
    }
    let chosen: Vec<Game> = games.into_iter().filter(|game| codes.contains(&game.code)).collect();
    ensure!(!chosen.is_empty(), "no game chosen; give for example --games G0201");
    Ok(chosen)
}

/// A tiny game for tests: 40 packs of 25 tickets, 65 % paid.
#[cfg(test)]
pub fn tiny_game() -> Game {
    let level = |level, prize_yuan, ticket_count| PrizeLevel { level, prize_yuan, ticket_count };
    Game {
        code: "G9901".to_owned(),
        name: "试验".to_owned(),
        price_yuan: 10,
        tickets_per_pack: 25,
        packs_per_case: 20,
        ticket_count: 1000,
        levels: vec![level(1, 1000, 2), level(2, 100, 20), level(3, 10, 250)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_given_game_pays_65_percent() {
        let games = parse_games(GAMES_CSV).unwrap();
        assert_eq!(
            games.iter().map(|game| game.code.as_str()).collect::<Vec<_>>(),
            ["G0201", "G0501", "J1001", "J2001"]
        );
        assert_eq!(games.iter().map(Game::pack_count).collect::<Vec<_>>(), [5_000, 10_000, 20_000, 40_000]);
        tiny_game().verify().unwrap();
    }

    #[test]
    fn a_prize_list_off_by_one_yuan_is_refused() {
        let mut game = tiny_game();
        game.levels[2].ticket_count += 1;
        assert!(game.verify().unwrap_err().to_string().contains("65 %"));
    }

    #[test]
    fn the_parts_of_a_pack_add_up_to_its_face_value() {
        for game in parse_games(GAMES_CSV).unwrap() {
            assert_eq!(game.prize_fund_fen() + game.welfare_fund_fen() + game.issue_fee_fen(), game.face_fen());
            assert_eq!(game.commission_fen(), 4_800);
        }
    }

    #[test]
    fn an_unknown_game_is_refused_with_the_known_ones() {
        let message = choose_games(&["X0001".to_owned()]).unwrap_err().to_string();
        assert!(message.contains("G0201"), "{message}");
    }
}
