//! The auditor: an account of its own, from what terminals were told, against what nodes and hub hold.
//!
//! Evidence is gathered through public interfaces only ([`gather`]); [`judge`] is pure and runs in tests on small
//! histories. Every check runs on both sides: the nodes' own exports, and the hub's copies.

mod acks;
mod books;
mod findings;
mod gather;
mod history;
mod moves;
mod places;
mod record;
mod reports;
mod salvage;

#[cfg(test)]
mod tests;

pub use findings::{Findings, Invariants, Property, Violation};
pub use gather::{Sources, gather};
pub use history::{Digests, Evidence, ExportedPack, History};
pub use record::{Fact, LogReader, Record};
pub use reports::{Axis, HubReports};
pub use salvage::{KeptSalvage, LocalTail, Salvage};

use crate::journal::Entry;
use crate::printer::Pools;

/// Judges the evidence. Adds to what was already found while it was read (broken chains).
pub fn judge(journal: &[Entry], evidence: &Evidence, pools: &Pools, findings: &mut Findings) {
    acks::check_journal(journal, findings);
    history::compare_logs(evidence, findings);
    history::compare_digests(evidence, findings);
    let excuses = salvage::check_salvages(journal, evidence, pools, findings);
    for side in [&evidence.nodes, &evidence.hub] {
        history::check_writers(evidence, side, findings);
        acks::check_acks(journal, side, &excuses, pools, findings);
        acks::check_claims(side, pools, findings);
        books::check_books(&evidence.hub_log, side, pools, findings);
        reports::check_reports(evidence, side, pools, findings);
    }
    places::check_places(&evidence.hub_log, &evidence.nodes, &evidence.packs, pools, findings);
    places::check_lives(&evidence.hub_log, &evidence.hub, pools, findings);
}
