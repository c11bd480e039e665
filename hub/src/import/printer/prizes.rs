//! MAP and REWARD: the prize levels, and which tickets win.

use std::path::Path;

use jikai_schema::event::PrizeLevel;
use jikai_schema::money::{Money, RatePpm};
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use super::package::Package;
use super::{PrinterError, check, line, read};

const MAP_BYTES_MAX: u64 = 64 * 1024;
/// A line a winner; a run of 10 million tickets has about 2 million.
const REWARD_BYTES_MAX: u64 = 256 << 20;
/// `pack7 TAB ticket3 TAB code16 mark5 LF`.
const REWARD_LINE_BYTES: usize = 7 + 1 + 3 + 1 + 16 + 5 + 1;
/// Prizes take 65 % of the sales of a batch (DOMAIN §3).
const PRIZE_SHARE_PPM: u32 = 650_000;

/// A winning ticket.
#[derive(Clone, Copy, PartialEq, Eq, Default, Zeroize)]
pub(super) struct Winner {
    pub(super) pack: u32,
    pub(super) ticket: u16,
    pub(super) level: u8,
}

/// The prize list and the winners, ascending. Lives only while the batch is imported.
pub(super) struct Prizes {
    pub(super) levels: Vec<PrizeLevel>,
    pub(super) winners: Zeroizing<Vec<Winner>>,
    pub(super) codes: Zeroizing<Vec<[u8; 16]>>,
}

/// A line of MAP.
struct Level {
    prize: PrizeLevel,
    mark: [u8; 5],
}

impl Prizes {
    /// Reads both files and checks: hash, lines, Σ counts = winners, per level too, Σ amount × count = 65 % of the sales,
    /// positions ascend, no code twice.
    pub(super) fn read(directory: &Path, package: &Package) -> Result<Self, PrinterError> {
        let map = read(directory, "MAP", MAP_BYTES_MAX)?;
        let reward = Zeroizing::new(read(directory, "REWARD", REWARD_BYTES_MAX)?);
        let hash = Sha256::new().chain_update(&map).chain_update(reward.as_slice()).finalize();
        if hash.as_slice() != package.sha256_map_reward {
            return Err(check("MAP", "MAP and REWARD do not have the hash that PACKAGE states"));
        }
        let levels = read_levels(&map)?;
        check_amounts(&levels, package)?;
        let prizes = read_winners(&reward, &levels, package)?;
        check_counts(&levels, &prizes.winners)?;
        check_codes(&prizes.codes)?;
        Ok(prizes)
    }
}

fn read_levels(map: &[u8]) -> Result<Vec<Level>, PrinterError> {
    let text = std::str::from_utf8(map).map_err(|_| check("MAP", "is not UTF-8"))?;
    let mut levels: Vec<Level> = Vec::new();
    for (at, row) in text.split_terminator('\n').enumerate() {
        let refuse = |problem: &str| line("MAP", at as u64 + 1, problem);
        let fields: Vec<&str> = row.split('\t').collect();
        let [level, mark, amount, count] = fields[..] else {
            return Err(refuse("a line is level, mark, amount and count with tabs between"));
        };
        let mark: [u8; 5] = mark.as_bytes().try_into().map_err(|_| refuse("a mark has 5 characters"))?;
        let level: u8 = level.parse().map_err(|_| refuse("the level is no number from 1 to 255"))?;
        let amount: Money = amount.parse().map_err(|_| refuse("the amount is not in yuan"))?;
        let ticket_count: u32 = count.parse().map_err(|_| refuse("the count is no number"))?;
        if usize::from(level) != at + 1 {
            return Err(refuse("levels ascend from 1"));
        }
        if !amount.is_positive() || ticket_count == 0 {
            return Err(refuse("amount and count are above 0"));
        }
        if levels.iter().any(|other| other.mark == mark) {
            return Err(refuse("the mark stands for another level"));
        }
        levels.push(Level { prize: PrizeLevel { level, amount, ticket_count }, mark });
    }
    Ok(levels)
}

fn check_amounts(levels: &[Level], package: &Package) -> Result<(), PrinterError> {
    let add = |sum: Money, level: &Level| {
        level.prize.amount.checked_mul(i64::from(level.prize.ticket_count)).and_then(|prizes| sum.checked_add(prizes))
    };
    let prizes = levels.iter().try_fold(Money::ZERO, add);
    let sales = i64::try_from(package.tickets).ok().and_then(|tickets| package.price.checked_mul(tickets).ok());
    let share = sales.zip(RatePpm::new(PRIZE_SHARE_PPM)).and_then(|(sales, rate)| rate.truncated(sales).ok());
    let exact = sales.is_some_and(|sales| sales.fen().checked_mul(65).is_some_and(|product| product % 100 == 0));
    match (prizes.ok(), share) {
        (Some(prizes), Some(share)) if prizes == share && exact => Ok(()),
        (Some(prizes), Some(share)) => {
            Err(check("MAP", format!("the prizes add up to {prizes} yuan, 65 % of the sales are {share}")))
        }
        _ => Err(check("MAP", "the prizes or the sales do not fit")),
    }
}

fn read_winners(reward: &[u8], levels: &[Level], package: &Package) -> Result<Prizes, PrinterError> {
    let refuse = |at: usize, problem: &str| line("REWARD", at as u64 + 1, problem);
    let count = reward.len() / REWARD_LINE_BYTES;
    let mut winners: Zeroizing<Vec<Winner>> = Zeroizing::new(Vec::with_capacity(count));
    let mut codes = Zeroizing::new(Vec::with_capacity(count));
    for (at, row) in reward.chunks(REWARD_LINE_BYTES).enumerate() {
        let shaped = row.len() == REWARD_LINE_BYTES && row[7] == b'\t' && row[11] == b'\t' && row[33] == b'\n';
        let (pack, ticket) = match shaped {
            true => (number(&row[..7]), number(&row[8..11])),
            false => (None, None),
        };
        let (Some(pack), Some(ticket)) = (pack, ticket) else {
            return Err(refuse(at, "a line is pack7, ticket3 and code16mark5 with tabs between"));
        };
        if pack == 0 || pack > package.packs || ticket >= u32::from(package.tickets_per_pack) {
            return Err(refuse(at, "the batch has no such ticket"));
        }
        let mark = &row[28..33];
        let level = levels.iter().find(|level| level.mark == mark).map(|level| level.prize.level);
        let level = level.ok_or_else(|| refuse(at, "MAP has no such mark"))?;
        let winner = Winner { pack, ticket: ticket as u16, level };
        if let Some(last) = winners.last()
            && (last.pack, last.ticket) >= (pack, winner.ticket)
        {
            return Err(refuse(at, "positions do not ascend, or one stands twice"));
        }
        winners.push(winner);
        let mut code = [0; 16];
        code.copy_from_slice(&row[12..28]);
        codes.push(code);
    }
    let levels = levels.iter().map(|level| level.prize).collect();
    Ok(Prizes { levels, winners, codes })
}

fn check_counts(levels: &[Level], winners: &[Winner]) -> Result<(), PrinterError> {
    let sum: u64 = levels.iter().map(|level| u64::from(level.prize.ticket_count)).sum();
    if sum != winners.len() as u64 {
        return Err(check("REWARD", format!("has {} lines, the counts in MAP add up to {sum}", winners.len())));
    }
    for level in levels {
        let found = winners.iter().filter(|winner| winner.level == level.prize.level).count();
        if found != level.prize.ticket_count as usize {
            let problem =
                format!("level {} has {found} lines, MAP says {}", level.prize.level, level.prize.ticket_count);
            return Err(check("REWARD", problem));
        }
    }
    Ok(())
}

fn check_codes(codes: &[[u8; 16]]) -> Result<(), PrinterError> {
    let mut sorted = Zeroizing::new(codes.to_vec());
    sorted.sort_unstable();
    match sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        true => Err(check("REWARD", "a code stands on two winning tickets")),
        false => Ok(()),
    }
}

/// Decimal digits as a number.
pub(super) fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number: u32, digit| match digit {
        b'0'..=b'9' => Some(number * 10 + u32::from(digit - b'0')),
        _ => None,
    })
}
