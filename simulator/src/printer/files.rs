//! The printer's directory of one batch: PACKAGE, SIGNATURE, MAP, REWARD, CODES, and LABELS. Streamed, never held in memory.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest, Sha256};

use super::pool::{BATCH, Pool, ascii, mark_of_level};
use crate::seed::Seed;

/// Day on which the run was completed. The first two digits of [`BATCH`] are its year.
const PRINT_COMPLETED_ON: &str = "2026-01-15";

/// The key with which the printer signs.
pub fn printer_key(seed: Seed) -> SigningKey {
    SigningKey::from_bytes(&seed.derive("printer key", ""))
}

/// Writes a batch into `directory`, which is made.
pub fn print_batch(directory: &Path, pool: &Pool, key: &SigningKey) -> Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("make the printer's directory {}", directory.display()))?;
    let map = map_text(pool);
    write_file(directory, "MAP", map.as_bytes())?;
    let reward_hash = write_rewards(directory, pool, Sha256::new_with_prefix(&map))?;
    let codes_hash = write_codes(directory, pool)?;
    write_labels(directory, pool)?;
    let package = package_text(pool, &reward_hash, &codes_hash);
    write_file(directory, "PACKAGE", package.as_bytes())?;
    let signature = hex::encode(key.sign(package.as_bytes()).to_bytes());
    write_file(directory, "SIGNATURE", signature.as_bytes())
}

fn package_text(pool: &Pool, reward_hash: &str, codes_hash: &str) -> String {
    let game = &pool.game;
    let lines: [(&str, String); 15] = [
        ("format", "jikai-printer/1".to_owned()),
        ("game_code", game.code.clone()),
        ("game_name", game.name.clone()),
        ("batch", BATCH.to_owned()),
        ("price_yuan", game.price_yuan.to_string()),
        ("tickets_per_pack", game.tickets_per_pack.to_string()),
        ("packs_per_case", game.packs_per_case.to_string()),
        ("cases", (game.pack_count() / u32::from(game.packs_per_case)).to_string()),
        ("packs", game.pack_count().to_string()),
        ("tickets", game.ticket_count.to_string()),
        ("pool", "1".to_owned()),
        ("printer", "模拟印刷厂".to_owned()),
        ("print_completed_on", PRINT_COMPLETED_ON.to_owned()),
        ("sha256_map_reward", reward_hash.to_owned()),
        ("sha256_codes", codes_hash.to_owned()),
    ];
    lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

fn map_text(pool: &Pool) -> String {
    let lines = pool.game.levels.iter();
    lines
        .map(|entry| {
            format!("{}\t{}\t{}\t{}\n", entry.level, mark_of_level(entry.level), entry.prize_yuan, entry.ticket_count)
        })
        .collect()
}

/// One line a winning ticket. Returns the hash over MAP and REWARD.
fn write_rewards(directory: &Path, pool: &Pool, map_hash: Sha256) -> Result<String> {
    let mut file = Hashed::create(directory, "REWARD", map_hash)?;
    for at in pool.positions().filter(|&at| pool.level(at) > 0) {
        let code = pool.code(at);
        file.line(format_args!("{:07}\t{:03}\t{}{}\n", at.pack, at.ticket, ascii(&code), pool.mark(at)))?;
    }
    file.finish()
}

/// One line a ticket, winner or not.
fn write_codes(directory: &Path, pool: &Pool) -> Result<String> {
    let mut file = Hashed::create(directory, "CODES", Sha256::new())?;
    for at in pool.positions() {
        let code = pool.code(at);
        file.line(format_args!("{:07}{:03}{}\n", at.pack, at.ticket, ascii(&code)))?;
    }
    file.finish()
}

/// What stands on the cases and the boxes inside: a line for a case, then its boxes. The hub does not read it; the warehouse scans it.
fn write_labels(directory: &Path, pool: &Pool) -> Result<()> {
    let mut file = Hashed::create(directory, "LABELS", Sha256::new())?;
    for case in 1..=pool.case_count() {
        file.line(format_args!("{}\n", pool.case_barcode(case)))?;
        for number in 0..pool.boxes_per_case() {
            file.line(format_args!("{}\n", pool.box_barcode(case, number)))?;
        }
    }
    file.finish().map(drop)
}

fn write_file(directory: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let path = directory.join(name);
    std::fs::write(&path, bytes).with_context(|| format!("write {}; is the disk full?", path.display()))
}

/// A file that is hashed while it is written.
struct Hashed {
    writer: BufWriter<File>,
    hash: Sha256,
    line: Vec<u8>,
    name: &'static str,
}

impl Hashed {
    fn create(directory: &Path, name: &'static str, hash: Sha256) -> Result<Self> {
        let path = directory.join(name);
        let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        Ok(Hashed { writer: BufWriter::with_capacity(256 * 1024, file), hash, line: Vec::with_capacity(64), name })
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) -> Result<()> {
        self.line.clear();
        self.line.write_fmt(text)?;
        self.hash.update(&self.line);
        self.writer.write_all(&self.line).with_context(|| format!("write {}; is the disk full?", self.name))
    }

    fn finish(mut self) -> Result<String> {
        self.writer.flush().with_context(|| format!("write {}; is the disk full?", self.name))?;
        Ok(hex::encode(self.hash.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use ed25519_dalek::{Signature, VerifyingKey};

    use super::super::game::tiny_game;
    use super::*;

    struct Printed {
        directory: tempfile::TempDir,
        facts: HashMap<String, String>,
    }

    fn printed() -> Printed {
        let directory = tempfile::tempdir().unwrap();
        let pool = Pool::print(Seed(5), &tiny_game()).unwrap();
        print_batch(directory.path(), &pool, &printer_key(Seed(5))).unwrap();
        let package = std::fs::read_to_string(directory.path().join("PACKAGE")).unwrap();
        let facts =
            package.lines().map(|line| line.split_once('=').unwrap()).map(|(k, v)| (k.to_owned(), v.to_owned()));
        Printed { facts: facts.collect(), directory }
    }

    impl Printed {
        fn text(&self, name: &str) -> String {
            std::fs::read_to_string(self.directory.path().join(name)).unwrap()
        }

        fn number(&self, key: &str) -> u64 {
            self.facts[key].parse().unwrap()
        }
    }

    #[test]
    fn the_package_has_fifteen_lines_and_its_signature_holds() {
        let printed = printed();
        let package = printed.text("PACKAGE");
        assert_eq!(package.lines().count(), 15);
        let signature =
            Signature::from_bytes(&hex::decode(printed.text("SIGNATURE").trim()).unwrap().try_into().unwrap());
        let key: VerifyingKey = printer_key(Seed(5)).verifying_key();
        key.verify_strict(package.as_bytes(), &signature).unwrap();
        assert!(key.verify_strict(package.replace("price_yuan=10", "price_yuan=20").as_bytes(), &signature).is_err());
    }

    #[test]
    fn the_hashes_are_those_of_the_files() {
        let printed = printed();
        let map_reward = printed.text("MAP") + &printed.text("REWARD");
        assert_eq!(printed.facts["sha256_map_reward"], hex::encode(Sha256::digest(map_reward)));
        assert_eq!(printed.facts["sha256_codes"], hex::encode(Sha256::digest(printed.text("CODES"))));
    }

    #[test]
    fn sizes_and_prizes_add_up() {
        let printed = printed();
        assert_eq!(printed.number("cases") * printed.number("packs_per_case"), printed.number("packs"));
        assert_eq!(printed.number("packs") * printed.number("tickets_per_pack"), printed.number("tickets"));
        let map = printed.text("MAP");
        let rows: Vec<Vec<&str>> = map.lines().map(|line| line.split('\t').collect()).collect();
        let count: u64 = rows.iter().map(|row| row[3].parse::<u64>().unwrap()).sum();
        let paid: u64 = rows.iter().map(|row| row[2].parse::<u64>().unwrap() * row[3].parse::<u64>().unwrap()).sum();
        assert_eq!(count, printed.text("REWARD").lines().count() as u64);
        assert_eq!(paid * 100, printed.number("price_yuan") * printed.number("tickets") * 65);
    }

    #[test]
    fn rewards_ascend_without_duplicates_and_agree_with_the_codes() {
        let printed = printed();
        let codes = printed.text("CODES");
        let codes: HashMap<&str, &str> = codes.lines().map(|line| line.split_at(10)).collect();
        assert_eq!(codes.len() as u64, printed.number("tickets"));
        let rewards = printed.text("REWARD");
        let mut seen = HashSet::new();
        let mut previous = String::new();
        for row in rewards.lines().map(|line| line.split('\t').collect::<Vec<_>>()) {
            let position = format!("{}{}", row[0], row[1]);
            assert!(position > previous);
            assert_eq!(codes[position.as_str()], &row[2][..16]);
            assert!(seen.insert(row[2][..16].to_owned()));
            previous = position;
        }
    }
}
