//! Taking in what a node decided. Facts are not requests: nothing is refused for what it says.

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::command::{NodeBatch, Outcome, Refusal};
use jikai_schema::event::{Event, EventKey};
use jikai_schema::id::NodeId;
use jikai_schema::projection::ProjectionError;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::error::Stop;
use super::{Machine, NodeHistory, StorageError, rule, unknown};

const CONSTRAINT: ErrorCode = ErrorCode::ConstraintViolation;

/// How far a node's log was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeCursor {
    /// The store that wrote it.
    pub incarnation: [u8; 16],
    /// Position expected next, from 1.
    pub next_seq: u64,
    /// Chain before it.
    pub hash: ChainHash,
}

impl NodeCursor {
    /// Reads the cursor; `None` before the node's first contact.
    pub fn load(store: &Connection, node: NodeId) -> Result<Option<Self>, rusqlite::Error> {
        store
            .prepare_cached("SELECT incarnation, next_seq, hash FROM node_cursor WHERE node = ?1")?
            .query_row([node.get()], |row| {
                let hash = ChainHash::from_bytes(row.get(2)?);
                Ok(NodeCursor { incarnation: row.get(0)?, next_seq: row.get::<_, i64>(1)? as u64, hash })
            })
            .optional()
    }

    pub(super) fn save(&self, store: &Connection, node: NodeId) -> Result<(), StorageError> {
        store
            .prepare_cached(
                "INSERT INTO node_cursor VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET incarnation = excluded.incarnation, \
                 next_seq = excluded.next_seq, hash = excluded.hash",
            )?
            .execute((node.get(), self.incarnation, self.next_seq as i64, self.hash.as_bytes()))?;
        Ok(())
    }
}

impl Machine<'_> {
    /// Checks, in this order: the node is registered; its store is the one known (the first contact registers it); the
    /// batch begins where the log ends, or lies in what is known already and agrees with it; no event is of a newer
    /// version, which would be missing for ever if it were skipped.
    pub(super) fn ingest_events(&mut self, at_ms: TimeMs, batch: &NodeBatch) -> Result<Outcome, Stop> {
        let node = batch.node;
        if !self.feeds.is_registered(node) {
            return Err(unknown("node", node).into());
        }
        let known = self.cursor(node)?;
        let first = NodeCursor { incarnation: batch.incarnation, next_seq: 1, hash: ChainHash::GENESIS };
        let cursor = known.unwrap_or(first);
        if cursor.incarnation != batch.incarnation {
            return Err(Refusal::Incarnation { node }.into());
        }
        if batch.first_seq > cursor.next_seq {
            return Err(Refusal::Gap { node, next_seq: cursor.next_seq, first_seq: batch.first_seq }.into());
        }
        let known_count = self.known_part(&cursor, batch)?;
        if batch.events.iter().any(|event| codec::is_too_new(event)) {
            return Err(
                rule("event_too_new", "the events were written by a newer version: upgrade the hub first").into()
            );
        }
        let fresh = batch.events.get(known_count..).unwrap_or_default();
        // After this point the command must succeed.
        let quarantined = self.take_in(node, cursor.next_seq, fresh, at_ms)?;
        let next = if fresh.is_empty() {
            cursor
        } else {
            NodeHistory::new(self.tx, node).keep(cursor.next_seq, fresh, batch.last_hash)?;
            let next_seq = cursor.next_seq + fresh.len() as u64;
            NodeCursor { next_seq, hash: batch.last_hash, ..cursor }
        };
        self.cursors.insert(node, Some(next));
        Ok(Outcome::Ingested { next_seq: next.next_seq, hash: next.hash, quarantined })
    }

    /// How many events of the batch are known already. Refused as a fork unless both chains agree where the batch
    /// begins, and where the shorter of log and batch ends.
    fn known_part(&self, cursor: &NodeCursor, batch: &NodeBatch) -> Result<usize, Stop> {
        let fork = |next_seq| Stop::from(Refusal::Fork { node: batch.node, next_seq });
        let chain_before = |seq| match seq == cursor.next_seq {
            true => Ok(Some(cursor.hash)),
            false => NodeHistory::new(self.tx, batch.node).chain_before(seq),
        };
        if chain_before(batch.first_seq)? != Some(batch.prev_hash) {
            return Err(fork(batch.first_seq));
        }
        let known_count = (cursor.next_seq - batch.first_seq).min(batch.events.len() as u64);
        if known_count > 0 {
            let known = &batch.events[..known_count as usize];
            let theirs = known.iter().fold(batch.prev_hash, |hash, event| hash.next(event));
            let end = batch.first_seq + known_count;
            if chain_before(end)? != Some(theirs) {
                return Err(fork(end));
            }
        }
        Ok(known_count as usize)
    }

    /// Applies events; one that cannot be applied waits in quarantine and stops nothing.
    fn take_in(
        &mut self,
        node: NodeId,
        first_seq: u64,
        events: &[Vec<u8>],
        at_ms: TimeMs,
    ) -> Result<u64, StorageError> {
        let mut quarantined = 0;
        for (seq, bytes) in (first_seq..).zip(events) {
            if let Some(reason) = self.take_in_one(EventKey { origin: node, seq }, bytes, at_ms)? {
                quarantined += 1;
                self.tx.prepare_cached("INSERT INTO quarantine VALUES (?1, ?2, ?3, ?4)")?.execute((
                    node.get(),
                    seq as i64,
                    reason,
                    bytes,
                ))?;
            }
        }
        Ok(quarantined)
    }

    /// `Some` with the reason where the event is poison.
    fn take_in_one(&mut self, key: EventKey, bytes: &[u8], at_ms: TimeMs) -> Result<Option<String>, StorageError> {
        let event = match codec::decode_event(bytes) {
            Ok(event) if event.key == key => event,
            Ok(event) => {
                let (origin, seq) = (event.key.origin, event.key.seq);
                return Ok(Some(format!("the event says that it is event {seq} of log {origin}")));
            }
            Err(error) => return Ok(Some(error.to_string())),
        };
        let is_awaited = self.is_awaited(&event)?;
        match self.project(&event)? {
            None => self.follow_handoff(&event, is_awaited, at_ms).map(|()| None),
            poison => Ok(poison),
        }
    }

    /// Applies an event to the tables; `Some` with the reason where it is poison.
    pub(super) fn project(&mut self, event: &Event) -> Result<Option<String>, StorageError> {
        let key = event.key;
        if let Some(reason) = self.poison.get(&key) {
            return Ok(Some(reason.clone()));
        }
        match self.projection.apply(event) {
            Ok(()) => Ok(None),
            Err(error) if error.is_poison() => Ok(Some(error.to_string())),
            Err(ProjectionError::Storage(error)) if error.sqlite_error_code() == Some(CONSTRAINT) => {
                Err(StorageError::HalfApplied { key, reason: error.to_string() })
            }
            Err(error) => Err(error.into()),
        }
    }
}
