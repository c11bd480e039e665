//! Prefectures and townships of the province.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::Deserialize;

/// County-level divisions as given.
pub const DIVISIONS_CSV: &str = include_str!("../../data/hebei_divisions.csv");
/// Townships as given.
pub const TOWNSHIPS_CSV: &str = include_str!("../../data/hebei_townships.csv");

/// A township, where outlets are placed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Township {
    /// Nine digits; the first four are the prefecture.
    pub code: u32,
    /// Name in Chinese.
    pub name: String,
    /// Six digits.
    pub county_code: u32,
}

impl Township {
    /// GB/T 2260 code of its prefecture, four digits.
    pub fn prefecture(&self) -> u16 {
        (self.county_code / 100) as u16
    }
}

#[derive(Deserialize)]
struct Division {
    prefecture_code: u16,
    prefecture_name: String,
}

/// Prefectures by code.
pub fn prefectures() -> Result<BTreeMap<u16, String>> {
    let mut found = BTreeMap::new();
    for row in csv::Reader::from_reader(DIVISIONS_CSV.as_bytes()).deserialize() {
        let row: Division = row.context("read the list of divisions")?;
        found.insert(row.prefecture_code, row.prefecture_name);
    }
    Ok(found)
}

/// All townships, in the order of the list.
pub fn townships() -> Result<Vec<Township>> {
    let rows = csv::Reader::from_reader(TOWNSHIPS_CSV.as_bytes()).into_deserialize().collect::<Result<_, _>>();
    rows.context("read the list of townships")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hebei_has_eleven_prefectures_and_every_township_lies_in_one() {
        let prefectures = prefectures().unwrap();
        assert_eq!(prefectures.len(), 11);
        assert_eq!(prefectures[&1301], "石家庄市");
        let townships = townships().unwrap();
        assert_eq!(townships.len(), 2365);
        assert!(townships.iter().all(|township| prefectures.contains_key(&township.prefecture())));
    }
}
