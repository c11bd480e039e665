//! Digests of the whole state at fixed places of the log, made beside the applying of entries.

use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::InterruptHandle;

use super::snapshot::{self, Frozen};
use crate::background;
use crate::raft::digests::{Digests, StateDigest, TableSum};
use crate::raft::state::StateError;
use crate::store::{TABLES_VERSION, digest_all};

/// How often a state is taken hold of before its place is left out.
const FREEZE_TRIES: u32 = 3;
/// Pause between two attempts to stop a digest: an interruption reaches only the statement that runs.
const INTERRUPT_EVERY: Duration = Duration::from_millis(1);

/// Makes one digest at a time. Dropped, it gives up the one under way and waits for its connection to be closed.
pub(super) struct Digester {
    /// 0: never.
    every_entries: u64,
    is_digesting: bool,
    digests: Digests,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    thread: JoinHandle<()>,
    interrupt: InterruptHandle,
}

impl Digester {
    pub(super) fn new(every_entries: u64, digests: Digests) -> Self {
        Digester { every_entries, is_digesting: true, digests, under_way: None }
    }

    /// Whether places are digested from now on.
    pub(super) fn set_digesting(&mut self, digesting: bool) {
        self.is_digesting = digesting;
    }

    /// Whether a digest is made behind this entry. It depends on the place alone, unless this machine is far from it: every other one makes its
    /// own there.
    pub(super) fn is_due(&self, index: u64) -> bool {
        self.is_digesting && index > 0 && self.every_entries > 0 && index.is_multiple_of(self.every_entries)
    }

    /// Begins to digest the state at this path as it is now. Never an error: a machine that cannot compare itself still follows the log.
    pub(super) fn begin(&mut self, state: &Path) {
        if self.under_way.as_ref().is_some_and(|under_way| !under_way.thread.is_finished()) {
            metrics::counter!("jikai_replica_digests_skipped_total").increment(1);
            return tracing::warn!("the last digest of the state is not finished: this place is left out");
        }
        // A store under load may turn a new connection away for a moment.
        let frozen = (1..FREEZE_TRIES).find_map(|_| snapshot::freeze(state).ok());
        let begun = frozen.map_or_else(|| snapshot::freeze(state), Ok).and_then(|frozen| {
            let (interrupt, digests) = (frozen.interrupt(), self.digests.clone());
            let thread = background::start("state-digested", move || make(frozen, &digests))?;
            Ok(UnderWay { thread, interrupt })
        });
        match begun {
            Ok(under_way) => self.under_way = Some(under_way),
            Err(error) => failed(&error),
        }
    }
}

#[cfg(test)]
impl Digester {
    /// Waits until the digest under way is made.
    pub(super) fn wait(&mut self) {
        if let Some(under_way) = self.under_way.take() {
            under_way.thread.join().unwrap();
        }
    }
}

impl Drop for Digester {
    fn drop(&mut self) {
        let Some(UnderWay { thread, interrupt }) = self.under_way.take() else { return };
        while !thread.is_finished() {
            interrupt.interrupt();
            std::thread::sleep(INTERRUPT_EVERY);
        }
        // A panic was printed by its own thread.
        let _ = thread.join();
    }
}

fn make(mut frozen: Frozen, digests: &Digests) {
    let started = Instant::now();
    let Some(last) = frozen.applied.last else { return };
    let digested = frozen.read("state-digest", |state| digest_all(state));
    // Before anybody compares: the write-ahead log may shrink again.
    drop(frozen);
    let tables = match digested {
        Ok(tables) => tables,
        Err(error) => return failed(&error),
    };
    let sum = |digest: jikai_schema::digest::TableDigest| TableSum {
        table: digest.table.to_owned(),
        rows: digest.rows,
        hash: digest.hash,
    };
    metrics::histogram!("jikai_replica_digest_ms").record(started.elapsed().as_secs_f64() * 1e3);
    metrics::gauge!("jikai_replica_digest_index").set(last.index as f64);
    let tables = tables.into_iter().map(sum).collect();
    digests.keep(StateDigest { index: last.index, version: TABLES_VERSION, tables });
}

fn failed(error: &StateError) {
    metrics::counter!("jikai_replica_digests_skipped_total").increment(1);
    tracing::error!(%error, "the state could not be digested: it is not compared with the others at this place");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_is_due_unless_none_is_to_be_digested() {
        let mut digester = Digester::new(8, Digests::default());
        let due = |digester: &Digester| (0..=16).filter(|&index| digester.is_due(index)).collect::<Vec<_>>();
        assert_eq!(due(&digester), [8, 16]);
        digester.set_digesting(false);
        assert_eq!(due(&digester), [0; 0]);
        digester.set_digesting(true);
        assert_eq!(due(&digester), [8, 16]);
        assert_eq!(due(&Digester::new(0, Digests::default())), [0; 0], "never");
    }
}
