//! Which events answered a request, for ever, without a random page write per request.
//!
//! New entries lie in memory. Once [`MERGE_AT`] have gathered they are written to `request_index` in key order, in the
//! transaction of a batch: many entries share a page, where one write per request would dirty a page each. After a
//! restart the unmerged tail is read back from the log, where every event names its request.

use std::collections::BTreeMap;

use jikai_schema::codec;
use jikai_schema::event::{Event, MovedRequest, RequestKey};
use jikai_schema::id::{NodeId, OutletId};
use jikai_schema::store::Statements;
use rusqlite::{Connection, OptionalExtension, params};

use super::{OwnLog, StoredEvent};

/// Entries kept in memory before they are merged. At 200 requests a second: one merge in about three minutes.
const MERGE_AT: usize = 32_768;
/// Events read back at start, in runs of so many.
const REPLAY_RUN: usize = 1_024;

/// A request in the index: its outlet (0: of no terminal) and the first 8 bytes of its id.
type Entry = (u32, i64);

/// The index: what is merged lies in the table, what is newer in memory. In memory are only requests of the own log.
#[derive(Debug)]
pub struct RequestIndex {
    node: NodeId,
    recent: BTreeMap<Entry, u64>,
    /// Entries of the running transaction; forgotten when it is rolled back.
    uncommitted: Vec<Entry>,
    merged_in_transaction: Option<BTreeMap<Entry, u64>>,
}

impl RequestIndex {
    /// Reads back what was not merged before the last stop of this node.
    pub fn load(store: &Connection, node: NodeId) -> Result<Self, rusqlite::Error> {
        let merged: i64 = store.query_row("SELECT seq FROM request_merged", [], |row| row.get(0))?;
        let (recent, uncommitted) = (BTreeMap::new(), Vec::new());
        let mut index = RequestIndex { node, recent, uncommitted, merged_in_transaction: None };
        let last_merged = request_at(store, merged as u64)?;
        let mut from_seq = merged as u64 + 1;
        loop {
            let run = OwnLog(store).read(from_seq, REPLAY_RUN, usize::MAX)?;
            let Some(last) = run.last() else { return Ok(index) };
            from_seq = last.seq + 1;
            for stored in &run {
                let Ok(event) = codec::decode_event(&stored.bytes) else { continue };
                // The last merged request may have further events here: its entry stays that of the first.
                if let Some(request) = event.request.filter(|request| Some(*request) != last_merged) {
                    index.recent.entry(entry_of(outlet_of_event(&event), &request)).or_insert(stored.seq);
                }
            }
        }
    }

    /// Where the first event is that answered this request. The caller compares the full id there.
    pub fn find(
        &self,
        statements: &Statements<'_>,
        outlet: Option<OutletId>,
        request: &RequestKey,
    ) -> Result<Option<(NodeId, u64)>, rusqlite::Error> {
        let (outlet, request) = entry_of(outlet, request);
        let in_memory = |entries: &BTreeMap<Entry, u64>| entries.get(&(outlet, request)).copied();
        if let Some(seq) = in_memory(&self.recent).or_else(|| self.merged_in_transaction.as_ref().and_then(in_memory)) {
            return Ok(Some((self.node, seq)));
        }
        let found: Option<(u16, i64)> = statements
            .get("SELECT origin, seq FROM request_index WHERE outlet = ?1 AND request = ?2")?
            .query_row((outlet, request), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        Ok(found.and_then(|(origin, seq)| Some((NodeId::new(origin).ok()?, seq as u64))))
    }

    /// Notes the first event of a request, as part of the running transaction.
    pub fn note(&mut self, outlet: Option<OutletId>, request: &RequestKey, seq: u64) {
        let entry = entry_of(outlet, request);
        if self.recent.insert(entry, seq).is_none() {
            self.uncommitted.push(entry);
        }
    }

    /// All requests of an outlet that were answered, here or where it was before.
    pub fn of_outlet(&self, store: &Connection, outlet: OutletId) -> Result<Vec<MovedRequest>, rusqlite::Error> {
        let mut statement = store
            .prepare_cached("SELECT request, origin, seq FROM request_index WHERE outlet = ?1 ORDER BY request")?;
        let mut rows = statement.query([outlet.get()])?;
        let mut found = BTreeMap::new();
        while let Some(row) = rows.next()? {
            if let Ok(origin) = NodeId::new(row.get(1)?) {
                found.insert(row.get::<_, i64>(0)?, (origin, row.get::<_, i64>(2)? as u64));
            }
        }
        let newer = [Some(&self.recent), self.merged_in_transaction.as_ref()];
        for entries in newer.into_iter().flatten() {
            let of_outlet = entries.range((outlet.get(), i64::MIN)..=(outlet.get(), i64::MAX));
            found.extend(of_outlet.map(|((_, request), seq)| (*request, (self.node, *seq))));
        }
        Ok(found.into_iter().map(|(index, (origin, seq))| MovedRequest { index, origin, seq }).collect())
    }

    /// Writes the gathered entries into the running transaction when there are enough of them.
    pub fn merge_when_due(&mut self, store: &Connection) -> Result<(), rusqlite::Error> {
        if self.recent.len() < MERGE_AT {
            return Ok(());
        }
        let mut insert = store.prepare_cached("INSERT OR IGNORE INTO request_index VALUES (?1, ?2, ?3, ?4)")?;
        for ((outlet, request), seq) in &self.recent {
            insert.execute(params![outlet, request, self.node.get(), *seq as i64])?;
        }
        let last = self.recent.values().max().copied().unwrap_or(0);
        store.prepare_cached("UPDATE request_merged SET seq = ?1")?.execute([last as i64])?;
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
        for entry in self.uncommitted.drain(..) {
            self.recent.remove(&entry);
        }
    }
}

/// Takes in what an outlet brought along from its former node.
pub fn take_moved(store: &Connection, outlet: OutletId, requests: &[MovedRequest]) -> Result<(), rusqlite::Error> {
    let mut insert = store.prepare_cached("INSERT OR IGNORE INTO request_index VALUES (?1, ?2, ?3, ?4)")?;
    for request in requests {
        insert.execute(params![outlet.get(), request.index, request.origin.get(), request.seq as i64])?;
    }
    Ok(())
}

/// The outlet whose terminal asked for an event.
pub fn outlet_of_event(event: &Event) -> Option<OutletId> {
    event.actor.terminal().map(|(terminal, _)| terminal.outlet())
}

/// Facts that are noted once are no outlet's, whoever's terminal led to them.
fn entry_of(outlet: Option<OutletId>, request: &RequestKey) -> Entry {
    let outlet = outlet.filter(|_| !request.is_fact()).map_or(0, OutletId::get);
    (outlet, request.index_key())
}

fn request_at(store: &Connection, seq: u64) -> Result<Option<RequestKey>, rusqlite::Error> {
    let stored = OwnLog(store).read(seq, 1, usize::MAX)?;
    Ok(stored.first().filter(|stored| stored.seq == seq).and_then(request_of))
}

fn request_of(stored: &StoredEvent) -> Option<RequestKey> {
    codec::decode_event(&stored.bytes).ok().and_then(|event| event.request)
}
