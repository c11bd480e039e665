//! What the auditor counts and lists.

use serde::{Deserialize, Serialize};

use super::salvage::LocalTail;

/// Violations that are listed in words for each property; all are counted.
const LISTED_MAX: usize = 20;

/// A property that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Property {
    /// Everything acknowledged is there, with the amounts told.
    AckedLost,
    /// A ticket is paid at most once in the province.
    TicketsPaidTwice,
    /// The ledger sums to zero and every balance is what the events make of it.
    LedgerSum,
    /// No outlet's balance is ever below zero.
    AccountsOverdrawn,
    /// Every pack is in exactly one place, and events about it follow its life.
    PacksMisplaced,
    /// A request delivered many times has the effect of one.
    RequestsAppliedTwice,
    /// Node tables equal the hub's slice.
    SlicesDiffer,
    /// Every log is a whole chain, and both sides hold the same.
    ChainBreaks,
}

impl Property {
    /// The name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Property::AckedLost => "acked_lost",
            Property::TicketsPaidTwice => "tickets_paid_twice",
            Property::LedgerSum => "ledger_sum_fen",
            Property::AccountsOverdrawn => "accounts_overdrawn",
            Property::PacksMisplaced => "packs_misplaced",
            Property::RequestsAppliedTwice => "requests_applied_twice",
            Property::SlicesDiffer => "slices_differ",
            Property::ChainBreaks => "chain_breaks",
        }
    }
}

/// How often each property was violated. The names are those of the report.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invariants {
    /// See [`Property::AckedLost`].
    pub acked_lost: u64,
    /// See [`Property::TicketsPaidTwice`].
    pub tickets_paid_twice: u64,
    /// Fen by which the ledger is off: its sum, and differences between own and exported balances.
    pub ledger_sum_fen: u64,
    /// See [`Property::AccountsOverdrawn`].
    pub accounts_overdrawn: u64,
    /// See [`Property::PacksMisplaced`].
    pub packs_misplaced: u64,
    /// See [`Property::RequestsAppliedTwice`].
    pub requests_applied_twice: u64,
    /// Tables whose digests differ.
    pub slices_differ: u64,
    /// See [`Property::ChainBreaks`].
    pub chain_breaks: u64,
}

impl Invariants {
    /// Names and counts, in the order of the report.
    pub fn named(&self) -> [(&'static str, u64); 8] {
        [
            (Property::AckedLost.name(), self.acked_lost),
            (Property::TicketsPaidTwice.name(), self.tickets_paid_twice),
            (Property::LedgerSum.name(), self.ledger_sum_fen),
            (Property::AccountsOverdrawn.name(), self.accounts_overdrawn),
            (Property::PacksMisplaced.name(), self.packs_misplaced),
            (Property::RequestsAppliedTwice.name(), self.requests_applied_twice),
            (Property::SlicesDiffer.name(), self.slices_differ),
            (Property::ChainBreaks.name(), self.chain_breaks),
        ]
    }

    /// Whether every property holds.
    pub fn hold(&self) -> bool {
        self.named().iter().all(|(_, count)| *count == 0)
    }

    fn counter(&mut self, property: Property) -> &mut u64 {
        match property {
            Property::AckedLost => &mut self.acked_lost,
            Property::TicketsPaidTwice => &mut self.tickets_paid_twice,
            Property::LedgerSum => &mut self.ledger_sum_fen,
            Property::AccountsOverdrawn => &mut self.accounts_overdrawn,
            Property::PacksMisplaced => &mut self.packs_misplaced,
            Property::RequestsAppliedTwice => &mut self.requests_applied_twice,
            Property::SlicesDiffer => &mut self.slices_differ,
            Property::ChainBreaks => &mut self.chain_breaks,
        }
    }
}

/// One violation, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// What does not hold.
    pub property: Property,
    /// About what: a ticket, a pack, an account, a request, a log.
    pub subject: String,
    /// Where it was seen: `node 3`, `hub`, `journal`.
    pub source: String,
    /// What is wrong.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(to, "{}: {} ({}): {}", self.property.name(), self.subject, self.source, self.what)
    }
}

/// All counts, and the first violations of each property.
#[derive(Debug, Clone, Default)]
pub struct Findings {
    /// The counts.
    pub invariants: Invariants,
    /// The first of each property.
    pub violations: Vec<Violation>,
    /// What replaced nodes had acknowledged alone: no violation.
    pub local_tails: Vec<LocalTail>,
}

impl Findings {
    /// Counts one violation.
    pub fn add(&mut self, property: Property, subject: impl ToString, source: impl ToString, what: impl ToString) {
        self.add_weighted(property, 1, subject, source, what);
    }

    /// Counts a violation that weighs more than one, such as an amount.
    pub fn add_weighted(
        &mut self,
        property: Property,
        weight: u64,
        subject: impl ToString,
        source: impl ToString,
        what: impl ToString,
    ) {
        let counter = self.invariants.counter(property);
        *counter = counter.saturating_add(weight);
        if self.violations.iter().filter(|violation| violation.property == property).count() < LISTED_MAX {
            let (subject, source, what) = (subject.to_string(), source.to_string(), what.to_string());
            self.violations.push(Violation { property, subject, source, what });
        }
    }
}
