//! A printed pool: which ticket wins what, and every ticket's codes.
//!
//! Winners are drawn without replacement from exactly the prize list. Security codes are a keyed hash of the position,
//! so a load worker recomputes any of them without reading the printer's files.

use anyhow::{Result, ensure};
use sha2::{Digest, Sha256};

use super::Game;
use crate::seed::Seed;

/// The print run that the simulator prints of each game.
pub const BATCH: &str = "26001";
/// Lot number in the logistics code.
const LOT: &str = "260115";
/// The only pool of a print run.
const POOL: u16 = 1;
/// Day of printing in a case's code.
const PRINTED_ON: &str = "260115";
/// Packs that travel in one box.
const PACKS_PER_BOX: u16 = 10;
/// Letters in a security code.
pub const CODE_LETTERS: usize = 16;

/// One ticket of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// From 1.
    pub pack: u32,
    /// From 0.
    pub ticket: u16,
}

/// A pool as printed.
#[derive(Debug, Clone)]
pub struct Pool {
    /// What was printed.
    pub game: Game,
    code_key: [u8; 32],
    level_by_ticket: Vec<u8>,
}

impl Pool {
    /// Draws the winners and derives the code key.
    pub fn print(seed: Seed, game: &Game) -> Result<Self> {
        game.verify()?;
        ensure!(game.pack_count() <= 9_999_999, "game {}: pack numbers have seven digits", game.code);
        let winner_count: usize = game.levels.iter().map(|entry| entry.ticket_count as usize).sum();
        let mut order: Vec<u32> = (0..game.ticket_count).collect();
        seed.dice("winners", &game.code).draw(&mut order, winner_count);
        let mut level_by_ticket = vec![0; game.ticket_count as usize];
        let mut drawn = order.into_iter();
        for entry in &game.levels {
            for index in drawn.by_ref().take(entry.ticket_count as usize) {
                level_by_ticket[index as usize] = entry.level;
            }
        }
        Ok(Pool { game: game.clone(), code_key: seed.derive("codes", &game.code), level_by_ticket })
    }

    /// Prize level of a ticket; 0 loses. Also 0 for a position outside the pool.
    pub fn level(&self, at: Position) -> u8 {
        if at.pack == 0 || at.ticket >= self.game.tickets_per_pack {
            return 0;
        }
        let index = (at.pack as usize - 1) * usize::from(self.game.tickets_per_pack) + usize::from(at.ticket);
        self.level_by_ticket.get(index).copied().unwrap_or(0)
    }

    /// Prize of a ticket in fen; 0 for a loser.
    pub fn prize_fen(&self, at: Position) -> i64 {
        self.game.prize_fen(self.level(at))
    }

    /// All positions, ascending.
    pub fn positions(&self) -> impl Iterator<Item = Position> + use<> {
        let tickets_per_pack = self.game.tickets_per_pack;
        (1..=self.game.pack_count())
            .flat_map(move |pack| (0..tickets_per_pack).map(move |ticket| Position { pack, ticket }))
    }

    /// The sixteen letters under the latex.
    pub fn code(&self, at: Position) -> [u8; CODE_LETTERS] {
        letters(&self.digest(at))
    }

    /// The mark printed in clear. A winner's mark is that of its level; a loser's is any, so it proves nothing.
    pub fn mark(&self, at: Position) -> String {
        let level = match self.level(at) {
            0 => 1 + self.digest(at)[16] % self.game.levels.len().clamp(1, 255) as u8,
            level => level,
        };
        mark_of_level(level)
    }

    /// The 41 characters that the scanner reads after the latex is gone.
    pub fn security_barcode(&self, at: Position) -> String {
        let code = self.code(at);
        format!("{}{BATCH}{:07}{:03}{}{}", self.game.code, at.pack, at.ticket, ascii(&code), self.mark(at))
    }

    /// The same with a mistyped code: one letter off.
    pub fn mistyped_barcode(&self, at: Position, letter: usize) -> String {
        let mut code = self.code(at);
        let letter = letter % CODE_LETTERS;
        code[letter] = b'A' + (code[letter] - b'A' + 1) % 26;
        format!("{}{BATCH}{:07}{:03}{}{}", self.game.code, at.pack, at.ticket, ascii(&code), self.mark(at))
    }

    /// The 29 characters outside of the ticket.
    pub fn logistics_barcode(&self, at: Position) -> String {
        format!("{}{BATCH}{LOT}{:07}{:03}{:03}", self.game.code, at.pack, at.ticket, self.game.tickets_per_pack % 1000)
    }

    /// The 63 characters on a case, from 1.
    pub fn case_barcode(&self, case: u32) -> String {
        let Game { code, packs_per_case, tickets_per_pack, .. } = &self.game;
        let (tickets, cases) = (tickets_per_pack % 1000, self.case_count() % 10_000);
        let first_pack = (case - 1) * u32::from(*packs_per_case) + 1;
        let weight = u32::from(*tickets_per_pack) * u32::from(*packs_per_case) / 100 % 10_000;
        format!(
            "{code}{BATCH}{case:05}{packs_per_case:03}{tickets:03}{POOL:04}{cases:04}00001{LOT}{PRINTED_ON}{first_pack:07}{weight:04}000000"
        )
    }

    /// The 33 characters on a box of a case; boxes count from 0, and the last one may hold fewer packs.
    pub fn box_barcode(&self, case: u32, number: u16) -> String {
        let Game { code, packs_per_case, tickets_per_pack, .. } = &self.game;
        let (boxes, tickets) = (self.boxes_per_case(), tickets_per_pack % 1000);
        let before = (case - 1) * u32::from(*packs_per_case);
        let first = before + u32::from(number * PACKS_PER_BOX) + 1;
        let last = before + u32::from(((number + 1) * PACKS_PER_BOX).min(*packs_per_case));
        format!("{code}{BATCH}{boxes:03}{packs_per_case:03}{tickets:03}{first:07}{last:07}")
    }

    /// Cases of the batch.
    pub fn case_count(&self) -> u32 {
        self.game.pack_count().div_ceil(u32::from(self.game.packs_per_case).max(1))
    }

    /// Boxes in a case.
    pub fn boxes_per_case(&self) -> u16 {
        self.game.packs_per_case.div_ceil(PACKS_PER_BOX)
    }

    /// The id of a pack in the APIs.
    pub fn pack_id(&self, pack: u32) -> String {
        format!("{}-{BATCH}-{pack:07}", self.game.code)
    }

    /// The id of a ticket in the APIs.
    pub fn ticket_id(&self, at: Position) -> String {
        format!("{}-{BATCH}-{:07}-{:03}", self.game.code, at.pack, at.ticket)
    }

    fn digest(&self, at: Position) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.code_key);
        hash.update(at.pack.to_be_bytes());
        hash.update(at.ticket.to_be_bytes());
        hash.finalize().into()
    }
}

/// The pools of a run, in the order of the game list.
#[derive(Debug, Clone)]
pub struct Pools(pub Vec<Pool>);

impl Pools {
    /// Prints all of them.
    pub fn print(seed: Seed, games: &[Game]) -> Result<Self> {
        Ok(Pools(games.iter().map(|game| Pool::print(seed, game)).collect::<Result<_>>()?))
    }

    /// The pool of a game code.
    pub fn by_code(&self, code: &str) -> Option<&Pool> {
        self.0.iter().find(|pool| pool.game.code == code)
    }

    /// Finds the pool and pack number of `G0201-26001-0000123`.
    pub fn find_pack(&self, pack_id: &str) -> Option<(&Pool, u32)> {
        let mut parts = pack_id.split('-');
        let (code, batch, pack) = (parts.next()?, parts.next()?, parts.next()?);
        let pool = self.by_code(code).filter(|_| batch == BATCH && parts.next().is_none())?;
        let pack = pack.parse().ok().filter(|pack| (1..=pool.game.pack_count()).contains(pack))?;
        Some((pool, pack))
    }

    /// Finds the pool and position of `G0201-26001-0000123-045`.
    pub fn find_ticket(&self, ticket_id: &str) -> Option<(&Pool, Position)> {
        let (pack_id, ticket) = ticket_id.rsplit_once('-')?;
        let (pool, pack) = self.find_pack(pack_id)?;
        let ticket = ticket.parse().ok().filter(|&ticket| ticket < pool.game.tickets_per_pack)?;
        Some((pool, Position { pack, ticket }))
    }
}

/// The mark of a prize level.
pub fn mark_of_level(level: u8) -> String {
    format!("AG{level:03}")
}

/// Letters as text.
pub fn ascii(code: &[u8; CODE_LETTERS]) -> &str {
    std::str::from_utf8(code).unwrap_or("????????????????")
}

/// Sixteen letters out of 128 bits: 26^16 is about 2^75, so the remainder's bias is below 2^-50.
fn letters(digest: &[u8; 32]) -> [u8; CODE_LETTERS] {
    let mut rest = digest.iter().take(16).fold(0u128, |number, &byte| number << 8 | u128::from(byte));
    std::array::from_fn(|_| {
        let letter = b'A' + (rest % 26) as u8;
        rest /= 26;
        letter
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::game::tiny_game;
    use super::*;

    #[test]
    fn a_pool_holds_exactly_the_prize_list() {
        for game in super::super::parse_games(super::super::GAMES_CSV).unwrap().iter().chain([&tiny_game()]) {
            let pool = Pool::print(Seed(1), game).unwrap();
            let mut counts = vec![0u32; game.levels.len() + 1];
            let mut prizes_fen = 0;
            for at in pool.positions() {
                counts[usize::from(pool.level(at))] += 1;
                prizes_fen += pool.prize_fen(at);
            }
            assert_eq!(counts[1..].to_vec(), game.levels.iter().map(|entry| entry.ticket_count).collect::<Vec<_>>());
            assert_eq!(prizes_fen * 100, game.price_fen() * i64::from(game.ticket_count) * 65, "{}", game.code);
        }
    }

    #[test]
    fn codes_are_unique_letters() {
        let pool = Pool::print(Seed(1), &tiny_game()).unwrap();
        let codes: HashSet<_> = pool.positions().map(|at| pool.code(at)).collect();
        assert_eq!(codes.len(), 1000);
        assert!(codes.iter().flatten().all(u8::is_ascii_uppercase));
    }

    #[test]
    fn one_seed_prints_one_pool_and_another_seed_another() {
        let barcodes = |seed| {
            let pool = Pool::print(Seed(seed), &tiny_game()).unwrap();
            pool.positions().map(|at| (pool.level(at), pool.security_barcode(at))).collect::<Vec<_>>()
        };
        assert_eq!(barcodes(3), barcodes(3));
        assert_ne!(barcodes(3), barcodes(4));
    }

    #[test]
    fn barcodes_have_the_widths_of_the_profile() {
        let pool = Pool::print(Seed(1), &tiny_game()).unwrap();
        let at = Position { pack: 12, ticket: 7 };
        let barcode = pool.security_barcode(at);
        assert_eq!((barcode.len(), &barcode[..20]), (41, "G9901260010000012007"));
        assert_eq!(pool.logistics_barcode(at), "G9901260012601150000012007025");
        for case in 1..=pool.case_count() {
            assert_eq!(pool.case_barcode(case).len(), 63);
            let boxes: Vec<String> = (0..pool.boxes_per_case()).map(|number| pool.box_barcode(case, number)).collect();
            assert!(boxes.iter().all(|code| code.len() == 33), "{boxes:?}");
            let pack = |code: &String, at: usize| code[at..at + 7].parse::<u32>().unwrap();
            assert!(boxes.windows(2).all(|two| pack(&two[1], 19) == pack(&two[0], 26) + 1), "packs follow each other");
            assert_eq!(format!("{:07}", pack(&boxes[0], 19)), pool.case_barcode(case)[46..53]);
        }
        let wrong = pool.mistyped_barcode(at, 3);
        assert_eq!(wrong.len(), 41);
        assert_eq!(barcode.bytes().zip(wrong.bytes()).filter(|(a, b)| a != b).count(), 1);
    }

    #[test]
    fn a_loser_may_carry_the_mark_of_a_winner() {
        let pool = Pool::print(Seed(1), &tiny_game()).unwrap();
        let marks: HashSet<String> =
            pool.positions().filter(|&at| pool.level(at) == 0).map(|at| pool.mark(at)).collect();
        assert_eq!(marks.len(), 3);
    }

    #[test]
    fn ids_are_found_again_and_nonsense_is_not() {
        let pools = Pools::print(Seed(1), &[tiny_game()]).unwrap();
        let at = Position { pack: 40, ticket: 24 };
        let id = pools.0[0].ticket_id(at);
        assert_eq!(pools.find_ticket(&id).unwrap().1, at);
        for nonsense in ["G9901-26001-0000041-000", "G9901-26001-0000001-025", "G9901-26002-0000001-001", "", "G9901"] {
            assert!(pools.find_ticket(nonsense).is_none(), "{nonsense}");
        }
    }
}
