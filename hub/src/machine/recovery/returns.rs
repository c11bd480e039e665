//! What nodes return, checked against their own feeds.

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::command::{FeedReturn, Outcome, Refusal};
use jikai_schema::event::{Audience, DirectoryEvent, EventBody, HandoffEvent};
use jikai_schema::id::{BatchNo, NodeId};
use jikai_schema::outlet_rows;
use rusqlite::{Connection, OptionalExtension};

use super::{NodeReturn, RecoveryNodeRow, RecoveryRow, RecoveryState, recovering};
use crate::machine::batches::WRAPPED_KEY_BYTES;
use crate::machine::error::Stop;
use crate::machine::{Machine, NodeCursor, rule};

/// Most events that a hub may have made since the copy: every place among them is filled.
const RECOVERED_EVENTS_MAX: u64 = 1_000_000;

/// What a run brings.
struct Returned<'a> {
    /// Events that the copy lacks, by their positions in the hub's log.
    fresh: Vec<(u64, &'a [u8])>,
    /// Nodes that told where they are reached.
    came: Vec<NodeId>,
}

impl Machine<'_> {
    /// Checks: nodes are still awaited; the node answers this very recovery, from the store that is known; the run begins where
    /// the last one ended; each event is the hub's, for this node, and later than the one before; behind the last one the chain
    /// is the node's.
    pub(super) fn take_return(&mut self, row: &RecoveryRow, run: &FeedReturn) -> Result<Outcome, Stop> {
        let node = run.node;
        if row.state != RecoveryState::Awaiting {
            return Err(recovering().into());
        }
        if run.generation != row.generation || node.is_hub() {
            return Err(rule("other_recovery", "the run answers another recovery").into());
        }
        if NodeCursor::load(self.tx, node)?.is_some_and(|cursor| cursor.incarnation != run.incarnation) {
            return Err(Refusal::Incarnation { node }.into());
        }
        let mut place = RecoveryNodeRow::place(self.tx, node)?;
        if place.state == NodeReturn::Returned {
            return Ok(ingested(&place));
        }
        if run.first_seq != place.next_seq {
            return Err(Refusal::Gap { node, next_seq: place.next_seq, first_seq: run.first_seq }.into());
        }
        let Returned { fresh, came } = self.returned_events(row, run)?;
        let hash = run.events.iter().fold(place.hash, |hash, bytes| hash.next(bytes));
        let next_seq = place.next_seq + run.events.len() as u64;
        let agrees = match run.end_seq {
            end if end > next_seq => true,
            end if end == next_seq => hash == run.end_hash,
            // It knows less than the copy.
            end => run.events.is_empty() && self.known_chain(node, end)? == Some(run.end_hash),
        };
        if !agrees {
            return Err(Refusal::Fork { node, next_seq: run.end_seq }.into());
        }
        if run.events.is_empty() && run.end_seq > next_seq {
            return Err(rule("empty_return", "a run has events until the node has returned all").into());
        }
        // After this point the command must succeed.
        let mut insert = self.tx.prepare_cached("INSERT INTO recovery_event VALUES (?1, ?2, ?3)")?;
        for (hub_seq, bytes) in fresh {
            insert.execute((hub_seq as i64, node.get(), bytes))?;
        }
        place.events += run.events.len() as u64;
        (place.next_seq, place.hash) = (next_seq, hash);
        if run.end_seq <= next_seq {
            place.state = NodeReturn::Returned;
        }
        place.save(self.tx)?;
        self.await_late(&came)?;
        Ok(ingested(&place))
    }

    /// A node that came for the first time behind the copy is awaited as well: what is for it alone, such as outlets that moved there,
    /// nobody else has.
    fn await_late(&mut self, came: &[NodeId]) -> Result<(), Stop> {
        let mut of_all = None;
        for node in came {
            if !RecoveryNodeRow::takes_part(self.tx, *node)? {
                RecoveryNodeRow::place_beside(self.tx, *node, &mut of_all)?.save(self.tx)?;
            }
        }
        Ok(())
    }

    /// The events that the copy lacks, with their positions in the hub's log, and whom they show to have come.
    fn returned_events<'a>(&self, row: &RecoveryRow, run: &'a FeedReturn) -> Result<Returned<'a>, Stop> {
        let newest = "SELECT coalesce(max(hub_seq), 0) FROM recovery_event WHERE node = ?1";
        let mut before: i64 = self.tx.prepare_cached(newest)?.query_row([run.node.get()], |row| row.get(0))?;
        let (mut fresh, mut came) = (Vec::new(), Vec::new());
        for bytes in &run.events {
            if codec::is_too_new(bytes) {
                let text = "the events were written by a newer version: run the newest build of the hub";
                return Err(rule("event_too_new", text).into());
            }
            let event = codec::decode_event(bytes).map_err(|error| rule("not_its_feed", error.to_string()))?;
            let seq = event.key.seq;
            if let EventBody::Handoff(HandoffEvent::RowsMoved { rows, .. }) = &event.body
                && !outlet_rows::are_known(self.tx, rows)?
            {
                let text = "the events bring rows of newer tables: run the newest build of the hub";
                return Err(rule("event_too_new", text).into());
            }
            let audience = event.body.audience();
            let is_its = event.key.origin.is_hub()
                && (audience == Audience::All || audience == Audience::Node(run.node))
                && seq > before as u64
                && seq <= row.head_seq.saturating_add(RECOVERED_EVENTS_MAX);
            if !is_its {
                return Err(
                    rule("not_its_feed", format!("event {seq} cannot be in the feed of node {}", run.node)).into()
                );
            }
            before = seq as i64;
            if seq > row.head_seq {
                fresh.push((seq, bytes.as_slice()));
                if let EventBody::Directory(DirectoryEvent::NodeReached { node, .. }) = event.body {
                    came.push(node);
                }
            }
        }
        Ok(Returned { fresh, came })
    }

    /// Chain before a position of a node's feed; also of a node that the copy does not know, whose feed begins with what is for all.
    fn known_chain(&self, node: NodeId, next_seq: u64) -> Result<Option<ChainHash>, Stop> {
        if self.feeds.nodes().any(|known| known == node) {
            return Ok(self.feed_chain(node, next_seq)?);
        }
        let (found, hash) = for_all(self.tx, next_seq)?;
        Ok((found == next_seq).then_some(hash))
    }

    /// Chain of a node's feed before a position, as far as the state holds it.
    pub(super) fn feed_chain(&self, node: NodeId, next_seq: u64) -> Result<Option<ChainHash>, rusqlite::Error> {
        match next_seq {
            0 => Ok(None),
            1 => Ok(Some(ChainHash::GENESIS)),
            _ => self
                .tx
                .prepare_cached("SELECT hash FROM down_feed WHERE node = ?1 AND seq = ?2")?
                .query_row((node.get(), next_seq as i64 - 1), |row| row.get(0).map(ChainHash::from_bytes))
                .optional(),
        }
    }

    /// A batch that was imported since the copy has its key at the nodes alone. A key that is known stays.
    pub(super) fn take_key(&mut self, batch: BatchNo, wrapped_key: &[u8]) -> Result<Outcome, Stop> {
        if wrapped_key.len() != WRAPPED_KEY_BYTES {
            return Err(rule("invalid_batch_key", "the batch key is not wrapped").into());
        }
        // After this point the command must succeed.
        let insert = "INSERT OR IGNORE INTO batch_key VALUES (?1, ?2)";
        let events = self.tx.prepare_cached(insert)?.execute((batch.get(), wrapped_key))? as u64;
        Ok(Outcome::Done { events, existing: 1 - events })
    }
}

/// Position and chain behind what the copy has for every node, or up to this position.
pub(super) fn for_all(store: &Connection, next_seq_max: u64) -> Result<(u64, ChainHash), rusqlite::Error> {
    let sql = "SELECT bytes FROM hub_log WHERE audience = -1 ORDER BY seq LIMIT ?1";
    let mut statement = store.prepare_cached(sql)?;
    let mut rows = statement.query([i64::try_from(next_seq_max.saturating_sub(1)).unwrap_or(i64::MAX)])?;
    let (mut next_seq, mut hash) = (1, ChainHash::GENESIS);
    while let Some(row) = rows.next()? {
        (next_seq, hash) = (next_seq + 1, hash.next(&row.get::<_, Vec<u8>>(0)?));
    }
    Ok((next_seq, hash))
}

fn ingested(place: &RecoveryNodeRow) -> Outcome {
    Outcome::Ingested { next_seq: place.next_seq, hash: place.hash, quarantined: 0 }
}
