//! Compares the states of all machines of the hub, table by table.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::Instant;

use super::program::at_hub;
use super::{Machine, Machines};
use crate::demo::cluster::run;

/// Time for all machines to have applied the same: what still differs then differs.
const EQUAL_LIMIT: Duration = Duration::from_secs(30);
/// Time between two comparisons.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// A table that a machine has otherwise than the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The machine.
    pub machine: u16,
    /// The table.
    pub table: String,
}

impl Machines {
    /// Tables in which machines differ once nothing happens any more. A job of the hub may still write something between two
    /// digests, so they are taken again for a while before they count.
    pub async fn differences(&self) -> Result<Vec<Difference>> {
        let deadline = Instant::now() + EQUAL_LIMIT;
        if self.list.len() < 2 {
            return Ok(Vec::new());
        }
        loop {
            let mut digests = Vec::new();
            for machine in &self.list {
                digests.push((machine.number, self.digest(machine).await?));
            }
            let found = compare(&digests);
            if found.is_empty() || Instant::now() > deadline {
                return Ok(found);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn digest(&self, machine: &Machine) -> Result<BTreeMap<String, String>> {
        let mut digest = at_hub(&self.binary, "digest", &machine.data);
        digest.arg("--all");
        let printed = run(digest).await.with_context(|| format!("take the digests of machine {}", machine.number))?;
        Ok(tables(&printed))
    }
}

/// Lines by their first word.
fn tables(printed: &str) -> BTreeMap<String, String> {
    let lines = printed.lines().filter_map(|line| line.trim().split_once(char::is_whitespace));
    lines.map(|(table, rest)| (table.to_owned(), rest.trim().to_owned())).collect()
}

/// What others have otherwise than the first. No digest at all is a difference too.
fn compare(digests: &[(u16, BTreeMap<String, String>)]) -> Vec<Difference> {
    let Some(((_, first), others)) = digests.split_first() else { return Vec::new() };
    let mut found = Vec::new();
    for (machine, digest) in others {
        let tables: std::collections::BTreeSet<&String> = first.keys().chain(digest.keys()).collect();
        let different = tables.iter().filter(|table| first.get(**table) != digest.get(**table));
        found.extend(different.map(|table| Difference { machine: *machine, table: (*table).clone() }));
        if tables.is_empty() {
            found.push(Difference { machine: *machine, table: "none".to_owned() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_differs_or_is_missing_or_no_table_at_all_is_a_difference() {
        let machine = |number: u16, printed: &str| (number, tables(printed));
        let found = |digests: &[(u16, BTreeMap<String, String>)]| {
            compare(digests).iter().map(|found| format!("{} {}", found.machine, found.table)).collect::<Vec<_>>()
        };
        let first = machine(1, "pack 12 aa\nclaim 3 bb\n");
        assert_eq!(found(&[first.clone(), machine(2, "pack 12 aa\nclaim 3 bb\n")]), Vec::<String>::new());
        assert_eq!(found(&[first.clone(), machine(2, "pack 12 ab\nclaim 3 bb\n")]), ["2 pack"]);
        assert_eq!(found(&[first, machine(2, "pack 12 aa\nclaim 3 bb\n"), machine(3, "pack 12 aa\n")]), ["3 claim"]);
        assert_eq!(found(&[machine(1, ""), machine(2, "")]), ["2 none"]);
    }
}
