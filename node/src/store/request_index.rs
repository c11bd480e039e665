//! Which events answered a request, for ever, without a random page write per request.
//!
//! New entries lie in memory. Once [`MERGE_AT`] have gathered they are written to `request_index` in key order, in the
//! transaction of a batch: many entries share a page, where one write per request would dirty a page each. After a
//! restart the unmerged tail is read back from the log, where every event names its request.

use std::collections::BTreeMap;

use jikai_schema::codec;
use jikai_schema::event::RequestKey;
use jikai_schema::store::Statements;
use rusqlite::{Connection, OptionalExtension, params};

use super::{OwnLog, StoredEvent};

/// Entries kept in memory before they are merged. At 200 requests a second: one merge in about three minutes.
const MERGE_AT: usize = 32_768;
/// Events read back at start, in runs of so many.
const REPLAY_RUN: usize = 1_024;

/// The index: what is merged lies in the table, what is newer in memory.
#[derive(Debug, Default)]
pub struct RequestIndex {
    recent: BTreeMap<i64, u64>,
    /// Entries of the running transaction; forgotten when it is rolled back.
    uncommitted: Vec<i64>,
    merged_in_transaction: Option<BTreeMap<i64, u64>>,
}

impl RequestIndex {
    /// Reads back what was not merged before the last stop.
    pub fn load(store: &Connection) -> Result<Self, rusqlite::Error> {
        let merged: i64 = store.query_row("SELECT coalesce(max(seq), 0) FROM request_index", [], |row| row.get(0))?;
        let mut index = RequestIndex::default();
        let last_merged = request_at(store, merged as u64)?;
        let mut from_seq = merged as u64 + 1;
        loop {
            let run = OwnLog(store).read(from_seq, REPLAY_RUN, usize::MAX)?;
            let Some(last) = run.last() else { return Ok(index) };
            from_seq = last.seq + 1;
            for stored in &run {
                // The last merged request may have further events here: its entry stays that of the first.
                let request = request_of(stored).filter(|request| Some(*request) != last_merged);
                if let Some(request) = request {
                    index.recent.entry(request.index_key()).or_insert(stored.seq);
                }
            }
        }
    }

    /// Position of the first event that answered this request. The caller compares the full id there.
    pub fn find(&self, statements: &Statements<'_>, request: &RequestKey) -> Result<Option<u64>, rusqlite::Error> {
        let key = request.index_key();
        if let Some(seq) = self.recent.get(&key) {
            return Ok(Some(*seq));
        }
        if let Some(seq) = self.merged_in_transaction.as_ref().and_then(|merged| merged.get(&key)) {
            return Ok(Some(*seq));
        }
        let seq: Option<i64> = statements
            .get("SELECT seq FROM request_index WHERE request = ?1")?
            .query_row([key], |row| row.get(0))
            .optional()?;
        Ok(seq.map(|seq| seq as u64))
    }

    /// Notes the first event of a request, as part of the running transaction.
    pub fn note(&mut self, request: &RequestKey, seq: u64) {
        let key = request.index_key();
        if self.recent.insert(key, seq).is_none() {
            self.uncommitted.push(key);
        }
    }

    /// Writes the gathered entries into the running transaction when there are enough of them.
    pub fn merge_when_due(&mut self, store: &Connection) -> Result<(), rusqlite::Error> {
        if self.recent.len() < MERGE_AT {
            return Ok(());
        }
        let mut insert = store.prepare_cached("INSERT OR IGNORE INTO request_index VALUES (?1, ?2)")?;
        for (request, seq) in &self.recent {
            insert.execute(params![request, *seq as i64])?;
        }
        self.merged_in_transaction = Some(std::mem::take(&mut self.recent));
        Ok(())
    }

    /// The running transaction was committed.
    pub fn committed(&mut self) {
        self.uncommitted.clear();
        self.merged_in_transaction = None;
    }

    /// The running transaction was rolled back: its entries never were.
    pub fn rolled_back(&mut self) {
        if let Some(merged) = self.merged_in_transaction.take() {
            self.recent.extend(merged);
        }
        for key in self.uncommitted.drain(..) {
            self.recent.remove(&key);
        }
    }
}

fn request_at(store: &Connection, seq: u64) -> Result<Option<RequestKey>, rusqlite::Error> {
    let stored = OwnLog(store).read(seq, 1, usize::MAX)?;
    Ok(stored.first().filter(|stored| stored.seq == seq).and_then(request_of))
}

fn request_of(stored: &StoredEvent) -> Option<RequestKey> {
    codec::decode_event(&stored.bytes).ok().and_then(|event| event.request)
}
