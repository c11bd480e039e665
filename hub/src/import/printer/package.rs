//! PACKAGE and SIGNATURE: 15 lines of facts, signed.

use std::fmt::Display;
use std::path::Path;
use std::str::FromStr;

use ed25519_dalek::{Signature, VerifyingKey};
use jikai_schema::id::{BatchCode, GameCode, PackId};
use jikai_schema::money::Money;
use jikai_schema::time::BusinessDay;
use sha2::{Digest, Sha256};

use super::{PrinterError, check, line, read};

const FILE: &str = "PACKAGE";
const BYTES_MAX: u64 = 4 * 1024;
const FORMAT: &str = "jikai-printer/1";
/// The lines, in this order.
const KEYS: [&str; 15] = [
    "format",
    "game_code",
    "game_name",
    "batch",
    "price_yuan",
    "tickets_per_pack",
    "packs_per_case",
    "cases",
    "packs",
    "tickets",
    "pool",
    "printer",
    "print_completed_on",
    "sha256_map_reward",
    "sha256_codes",
];

/// The signed facts of a batch.
pub(super) struct Package {
    pub(super) game: GameCode,
    pub(super) code: BatchCode,
    pub(super) price: Money,
    pub(super) tickets_per_pack: u16,
    pub(super) packs_per_case: u16,
    pub(super) packs: u32,
    pub(super) tickets: u64,
    pub(super) print_completed_on: BusinessDay,
    pub(super) sha256_map_reward: [u8; 32],
    pub(super) sha256_codes: [u8; 32],
    /// SHA-256 of the file itself.
    pub(super) hash: [u8; 32],
}

impl Package {
    /// Reads the file, checks the signature before believing a word, then the lines and their arithmetic.
    pub(super) fn read(directory: &Path, trusted: &[VerifyingKey]) -> Result<Self, PrinterError> {
        let bytes = read(directory, FILE, BYTES_MAX)?;
        check_signature(directory, &bytes, trusted)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| check(FILE, "is not UTF-8"))?;
        let values = values(text)?;
        let number = |at: usize| parse::<u64>(&values, at);
        if values[0] != FORMAT {
            return Err(line(FILE, 1, format!("format `{}` is not known, expected {FORMAT}", values[0])));
        }
        if values[10] != "1" {
            return Err(line(FILE, 11, "pool is 1: one pool a directory"));
        }
        let (cases, tickets) = (number(7)?, number(9)?);
        let package = Package {
            game: parse(&values, 1)?,
            code: parse(&values, 3)?,
            price: parse(&values, 4)?,
            tickets_per_pack: parse(&values, 5)?,
            packs_per_case: parse(&values, 6)?,
            packs: parse(&values, 8)?,
            tickets,
            print_completed_on: parse(&values, 12)?,
            sha256_map_reward: hash(&values, 13)?,
            sha256_codes: hash(&values, 14)?,
            hash: Sha256::digest(&bytes).into(),
        };
        package.check_sizes(cases)?;
        Ok(package)
    }

    fn check_sizes(&self, cases: u64) -> Result<(), PrinterError> {
        if !self.price.is_positive() || self.price.fen() % 100 != 0 {
            return Err(line(FILE, 5, "price_yuan is a whole number above 0"));
        }
        if !(1..=1_000).contains(&self.tickets_per_pack) {
            return Err(line(FILE, 6, "tickets_per_pack is from 1 to 1000"));
        }
        if !(1..=PackId::NUMBER_MAX).contains(&self.packs) {
            return Err(line(FILE, 9, "packs is from 1 to 9999999"));
        }
        if cases.checked_mul(u64::from(self.packs_per_case)) != Some(u64::from(self.packs)) {
            return Err(line(FILE, 9, "packs is not cases × packs_per_case"));
        }
        if self.tickets != u64::from(self.packs) * u64::from(self.tickets_per_pack) {
            return Err(line(FILE, 10, "tickets is not packs × tickets_per_pack"));
        }
        Ok(())
    }
}

fn check_signature(directory: &Path, package: &[u8], trusted: &[VerifyingKey]) -> Result<(), PrinterError> {
    let refuse = |problem: &str| check("SIGNATURE", problem);
    let text = read(directory, "SIGNATURE", 1024)?;
    let mut bytes = [0; Signature::BYTE_SIZE];
    let text = std::str::from_utf8(&text).map_err(|_| refuse("is not hex"))?;
    hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| refuse("is not an Ed25519 signature in hex"))?;
    let signature = Signature::from_bytes(&bytes);
    if trusted.is_empty() {
        return Err(refuse(
            "no printer is trusted: add its public key to printer_keys in hub.toml and start the hub again",
        ));
    }
    if trusted.iter().any(|key| key.verify_strict(package, &signature).is_ok()) {
        return Ok(());
    }
    Err(refuse("no trusted printer has signed PACKAGE as it is"))
}

fn values<'text>(text: &'text str) -> Result<Vec<&'text str>, PrinterError> {
    let lines: Vec<&'text str> = text.split_terminator('\n').collect();
    if lines.len() != KEYS.len() || !text.ends_with('\n') {
        return Err(check(FILE, format!("has {} lines, expected {}", lines.len(), KEYS.len())));
    }
    let value = |(at, text): (usize, &&'text str)| match text.split_once('=') {
        Some((key, value)) if key == KEYS[at] => Ok(value),
        _ => Err(line(FILE, at as u64 + 1, format!("must be {}=…", KEYS[at]))),
    };
    lines.iter().enumerate().map(value).collect()
}

fn parse<T>(values: &[&str], at: usize) -> Result<T, PrinterError>
where
    T: FromStr,
    T::Err: Display,
{
    values[at].parse().map_err(|error: T::Err| line(FILE, at as u64 + 1, format!("{}: {error}", KEYS[at])))
}

fn hash(values: &[&str], at: usize) -> Result<[u8; 32], PrinterError> {
    let mut bytes = [0; 32];
    let refuse = |_| line(FILE, at as u64 + 1, format!("{} is not a SHA-256 in hex", KEYS[at]));
    hex::decode_to_slice(values[at], &mut bytes).map_err(refuse)?;
    Ok(bytes)
}
