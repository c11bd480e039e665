//! Entries of the log into one committed transaction.

use std::collections::BTreeMap;

use jikai_schema::command::{Outcome, Proposal};
use jikai_schema::event::EventKey;
use jikai_schema::projection::Catalog;
use rusqlite::{Connection, TransactionBehavior};

use super::{Applied, Machine, StorageError};
use crate::log::LogPosition;

/// Events of nodes that a table refused, and why.
pub(super) type Poison = BTreeMap<EventKey, String>;

/// Applies entries in one transaction and commits it; gives the outcomes of all their commands.
///
/// An event of a node that breaks a table's rule may have had half its effect by then: everything is rolled back and run
/// again with that event in quarantine. Whether a table refuses it depends on the log alone, so every replica does the same.
/// `catalog` is carried from one call to the next, and is empty after a failure.
pub fn commit(
    state: &mut Connection,
    catalog: &mut Catalog,
    entries: &[(LogPosition, Vec<Proposal>)],
) -> Result<(Vec<Outcome>, Applied), StorageError> {
    commit_beside(state, catalog, entries, &|_| Ok(()))
}

/// The same; `beside` writes what the replication has to remember, in the same transaction.
pub fn commit_beside(
    state: &mut Connection,
    catalog: &mut Catalog,
    entries: &[(LogPosition, Vec<Proposal>)],
    beside: &dyn Fn(&Connection) -> rusqlite::Result<()>,
) -> Result<(Vec<Outcome>, Applied), StorageError> {
    let mut poison = Poison::new();
    loop {
        match run(state, catalog, entries, beside, &poison) {
            Err(StorageError::HalfApplied { key, reason }) => poison.insert(key, reason),
            finished => return finished,
        };
    }
}

fn run(
    state: &mut Connection,
    catalog: &mut Catalog,
    entries: &[(LogPosition, Vec<Proposal>)],
    beside: &dyn Fn(&Connection) -> rusqlite::Result<()>,
    poison: &Poison,
) -> Result<(Vec<Outcome>, Applied), StorageError> {
    let tx = state.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut machine = Machine::begin(&tx, std::mem::take(catalog))?;
    machine.poison.clone_from(poison);
    let mut outcomes = Vec::with_capacity(entries.len());
    for (at, proposals) in entries {
        machine.enter(*at)?;
        for proposal in proposals {
            outcomes.push(machine.apply(proposal)?);
        }
    }
    let (applied, known) = machine.finish()?;
    beside(&tx)?;
    tx.commit()?;
    *catalog = known;
    Ok((outcomes, applied))
}
