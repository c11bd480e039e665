//! What machines tell each other of the contents of their states: the same log must have led to the same tables.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// Digests that a machine keeps; a peer that lags further behind is compared at a later place.
const KEPT_MAX: usize = 4;

/// The state of a machine at one entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDigest {
    /// Index of the newest entry that the state held.
    pub index: u64,
    /// Versions of its tables. States of different versions cannot be compared.
    pub version: [u32; 2],
    /// Every table, in an order that all machines of one version share.
    pub tables: Vec<TableSum>,
}

/// One table of a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSum {
    /// Its name.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// Hash over them, in the order of their keys.
    pub hash: [u8; 32],
}

impl StateDigest {
    /// Tables that another state at the same entry has otherwise, or has not.
    pub fn differing(&self, other: &StateDigest) -> Vec<String> {
        let lacks = |state: &StateDigest, sum: &TableSum| !state.tables.contains(sum);
        let own = self.tables.iter().filter(|sum| lacks(other, sum));
        let others = other.tables.iter().filter(|sum| !self.tables.iter().any(|own| own.table == sum.table));
        own.chain(others).map(|sum| sum.table.clone()).collect()
    }
}

/// What comparing the newest digest of a machine with those of its peers led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agreement {
    /// Index of the entry.
    pub index: u64,
    /// Whether this machine has what the others have; `None` where too few of them told.
    pub agrees: Option<bool>,
    /// Tables that differ.
    pub tables: Vec<String>,
    /// Whether this machine is the one that gives way: it is not ready until they agree again, or is removed.
    pub yields: bool,
}

/// What a machine tells when it is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its last few digests, oldest first. None after a start until the next place where digests are made.
    pub kept: VecDeque<StateDigest>,
    /// What its last comparison led to.
    pub agreement: Option<Agreement>,
}

impl Told {
    /// The newest digest.
    pub fn newest(&self) -> Option<&StateDigest> {
        self.kept.back()
    }

    /// The digest at this entry.
    pub fn at(&self, index: u64) -> Option<&StateDigest> {
        self.kept.iter().find(|digest| digest.index == index)
    }
}

/// The digests of this machine: its state fills them in, whoever compares them concludes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Digests(Arc<watch::Sender<Told>>);

impl Digests {
    /// Adds the newest digest.
    pub fn keep(&self, digest: StateDigest) {
        self.0.send_modify(|told| {
            told.kept.push_back(digest);
            while told.kept.len() > KEPT_MAX {
                told.kept.pop_front();
            }
        });
    }

    /// Notes what comparing led to.
    pub fn conclude(&self, agreement: Agreement) {
        self.0.send_modify(|told| told.agreement = Some(agreement));
    }

    /// What the last comparison led to.
    pub fn agreement(&self) -> Option<Agreement> {
        self.0.borrow().agreement.clone()
    }

    /// All of it now.
    pub fn told(&self) -> Told {
        self.0.borrow().clone()
    }

    /// Follows it.
    pub fn subscribe(&self) -> watch::Receiver<Told> {
        self.0.subscribe()
    }
}
