//! A node's log as the hub holds it: batches of raw events with one hash a batch.

use std::collections::BTreeSet;
use std::path::Path;

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension, Row};

use super::chain::{ChainName, Flaw, StoredHead, VerifiedChain, Walk};
use super::hub_log::{finish, hash_of};
use super::range::{Range, Span};
use super::witness::Witness;
use super::{AuditError, SignedHeads};
use crate::machine::NodeHistory;

/// Bits of the sequence in a row's key.
const SEQ_BITS: u32 = 48;
const HEADS: &str = "node_cursor";

const ROWS: &str = "SELECT node_batch, event_count, last_hash, bytes FROM node_batch \
                    WHERE node_batch BETWEEN ?1 AND ?2 ORDER BY node_batch";

/// Every node whose log has rows, a cursor or a signed head.
pub(super) fn nodes(store: &Connection, signed: &SignedHeads) -> Result<BTreeSet<i64>, AuditError> {
    let mut statement = store.prepare("SELECT node FROM node_cursor ORDER BY node")?;
    let mut nodes: BTreeSet<i64> = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    nodes.extend(signed.names().filter_map(|name| if let ChainName::Node(node) = name { Some(node) } else { None }));
    let mut statement = store.prepare("SELECT min(node_batch) FROM node_batch WHERE node_batch >= ?1")?;
    let mut from = i64::MIN;
    while let Some(key) = statement.query_row([from], |row| row.get::<_, Option<i64>>(0))? {
        nodes.insert(key >> SEQ_BITS);
        let Some(next) = last_key(key >> SEQ_BITS).checked_add(1) else { break };
        from = next;
    }
    Ok(nodes)
}

/// Walks one node's log.
pub(super) fn verify(
    data: &Path,
    store: &Connection,
    node: i64,
    range: &Range,
    signed: &SignedHeads,
) -> Result<VerifiedChain, AuditError> {
    let name = ChainName::Node(node);
    let head = head(store, node)?;
    let end = head.map_or(0, |head| head.seq.max(0) as u64);
    let span = range.span(end, |seq| stamp(store, node, seq))?;
    let (before, hash) = before(store, node, &span)?;
    let mut walk = Walk::behind(name, before, hash, signed.of(name));
    let last = span.last.map_or(last_key(node), |last| key(node, last));
    let mut statement = store.prepare(ROWS)?;
    let mut rows = statement.query((key(node, 0).saturating_add(before as i64), last))?;
    while !walk.is_broken() {
        let passed = match rows.next() {
            Ok(Some(row)) => pass_batch(data, node, row, &mut walk),
            Ok(None) => break,
            Err(error) => Err(error),
        };
        if let Err(error) = passed {
            walk.stop(Flaw::Storage(error.to_string()));
        }
    }
    if !walk.is_broken() {
        check_quarantine(store, node, &span, &mut walk)?;
    }
    Ok(finish(walk, HEADS, head.as_ref(), &span))
}

/// Goes over one row. Nothing is copied: the events are hashed where SQLite holds them.
fn pass_batch(data: &Path, node: i64, row: &Row<'_>, walk: &mut Walk<'_>) -> Result<(), rusqlite::Error> {
    let first = row.get::<_, i64>(0)? & ((1 << SEQ_BITS) - 1);
    let (count, stored): (i64, _) = (row.get(1)?, hash_of(row, 2)?);
    let bytes = row.get_ref(3)?.as_blob()?;
    if !walk.expects(first) {
        return Ok(());
    }
    let (mut computed, mut counted) = (walk.hash(), 0);
    let mut frames = Frames(bytes);
    for event in &mut frames {
        computed = computed.next(event);
        counted += 1;
    }
    if !frames.0.is_empty() || counted != count {
        let place = Witness::new(node, first as u64, count).first_difference(data, Frames(bytes));
        walk.stop_at(place.unwrap_or(first as u64), Flaw::Framing { count });
    } else if computed != stored {
        stop_in_batch(data, node, bytes, walk, (count as u64, computed, stored));
    } else if walk.signs_within(count as u64) {
        for event in Frames(bytes) {
            let hash = walk.hash().next(event);
            walk.advance(1, hash);
        }
    } else {
        walk.advance(count as u64, computed);
    }
    Ok(())
}

/// Names the event that was altered, as far as the command log or the events themselves tell.
fn stop_in_batch(
    data: &Path,
    node: i64,
    bytes: &[u8],
    walk: &mut Walk<'_>,
    (count, computed, stored): (u64, ChainHash, ChainHash),
) {
    let first = walk.seq() + 1;
    let last = walk.seq() + count;
    let witness = Witness::new(node, first, count as i64);
    match witness.first_difference(data, Frames(bytes)) {
        Some(seq) if seq > last => walk.stop_at(first, Flaw::HashAltered { first, last }),
        Some(seq) => walk.stop_at(seq, Flaw::Altered { computed, stored }),
        None => walk.stop_at(first, Flaw::BatchAltered { first, last, computed, stored }),
    }
}

/// The copies in quarantine must be the events.
fn check_quarantine(store: &Connection, node: i64, span: &Span, walk: &mut Walk<'_>) -> Result<(), AuditError> {
    let Some(id) = u16::try_from(node).ok().and_then(|node| NodeId::new(node).ok()) else { return Ok(()) };
    let mut statement =
        store.prepare("SELECT seq, bytes FROM quarantine WHERE node = ?1 AND seq >= ?2 ORDER BY seq")?;
    let mut rows = statement.query((node, span.first as i64))?;
    while let Some(row) = rows.next()? {
        let (seq, copy): (i64, _) = (row.get(0)?, row.get_ref(1)?.as_bytes().unwrap_or_default());
        let seq = seq.max(0) as u64;
        if span.last.is_some_and(|last| seq > last) {
            break;
        }
        let kept = NodeHistory::new(store, id).events_after(seq.saturating_sub(1), 1, 1)?;
        if kept.first().is_none_or(|event| event.seq != seq || event.bytes != copy) {
            walk.stop_at(seq, Flaw::Quarantine);
            break;
        }
    }
    Ok(())
}

/// The events of a batch; what is left of it when they end early does not add up.
pub(super) struct Frames<'row>(pub &'row [u8]);

impl<'row> Iterator for Frames<'row> {
    type Item = &'row [u8];
    fn next(&mut self) -> Option<&'row [u8]> {
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        let (event, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(event)
    }
}

fn head(store: &Connection, node: i64) -> Result<Option<StoredHead>, AuditError> {
    let sql = "SELECT next_seq, hash FROM node_cursor WHERE node = ?1";
    let read = |row: &Row<'_>| {
        Ok(StoredHead { table: HEADS, seq: row.get::<_, i64>(0)?.saturating_sub(1), hash: hash_of(row, 1)? })
    };
    Ok(store.query_row(sql, [node], read).optional()?)
}

/// Where the log stands before the batch in which the range begins.
fn before(store: &Connection, node: i64, span: &Span) -> Result<(u64, ChainHash), AuditError> {
    let sql = "SELECT node_batch, last_hash FROM node_batch WHERE node_batch BETWEEN ?1 AND ?2 \
               ORDER BY node_batch DESC LIMIT 2";
    let mut statement = store.prepare(sql)?;
    let mut rows = statement.query((key(node, 0), key(node, span.first)))?;
    let Some(first) = rows.next()?.map(|row| row.get::<_, i64>(0)).transpose()? else {
        return Ok((0, ChainHash::GENESIS));
    };
    Ok(match rows.next()? {
        Some(row) => ((first - key(node, 0)) as u64 - 1, hash_of(row, 1)?),
        None => (0, ChainHash::GENESIS),
    })
}

/// When an event of a node was decided.
pub(super) fn stamp(store: &Connection, node: i64, seq: u64) -> Result<Option<TimeMs>, AuditError> {
    let sql = "SELECT node_batch, bytes FROM node_batch WHERE node_batch BETWEEN ?1 AND ?2 \
               ORDER BY node_batch DESC LIMIT 1";
    let row: Option<(i64, Vec<u8>)> = store
        .prepare_cached(sql)?
        .query_row((key(node, 0), key(node, seq)), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((batch, bytes)) = row else { return Ok(None) };
    let event = Frames(&bytes).nth((key(node, seq) - batch) as usize);
    Ok(event.and_then(|event| codec::decode_event(event).ok()).map(|event| event.at_ms))
}

const fn key(node: i64, seq: u64) -> i64 {
    (node << SEQ_BITS).saturating_add(if seq < 1 << SEQ_BITS { seq as i64 } else { (1 << SEQ_BITS) - 1 })
}

const fn last_key(node: i64) -> i64 {
    key(node, (1 << SEQ_BITS) - 1)
}
