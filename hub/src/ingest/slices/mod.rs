//! Slices for new stores: read in one read transaction beside everything else, handed out part by part as the node asks.
//!
//! The reading thread stays a few parts ahead and waits while nobody asks. A transfer that nobody asks for any more, or whose session
//! goes on at another machine of the hub, is dropped; the node begins anew.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::event::{AccessEvent, EventBody, HandoffEvent, MasterEvent};
use jikai_schema::id::NodeId;
use jikai_schema::peer::{HubReply, SliceHead};
use jikai_schema::slice::{PART_BYTES, SliceError, SlicePart, export};
use jikai_schema::store::SCHEMA_VERSION;
use jikai_schema::time::TimeMs;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::NodeGate;
use crate::machine::{NodeCursor, NodeHistory};

/// Transfers at once: each holds a reading connection and keeps old pages of the state from being reused.
const TRANSFERS_MAX: usize = 2;
/// Parts that are read ahead.
const PARTS_AHEAD: usize = 4;
/// How long a part may take before the node is told to ask again: less than an answer may take.
const PART_WAIT: Duration = Duration::from_secs(3);
/// A transfer that nobody asked for so long is dropped.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// Longest transfer: hundreds of gigabytes; meanwhile the write-ahead log of the state grows.
const TRANSFER_MAX: Duration = Duration::from_secs(6 * 60 * 60);
/// Time between two looks at that.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Age up to which events of the feed go along with the slice, by the newest one: as long as a node keeps them where nothing else is set.
const FEED_AGE_MAX_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// So many of the newest go along whatever their age.
const FEED_EVENTS_MIN: u64 = 10_000;
/// Events of a node's log that are read at once.
const RUN_EVENTS: usize = 1_024;

type Part = Result<Vec<u8>, String>;

/// The transfers of all nodes.
pub(super) struct Slices {
    running: Arc<Semaphore>,
    transfers: Mutex<BTreeMap<NodeId, Arc<Transfer>>>,
}

impl Default for Slices {
    fn default() -> Self {
        Slices { running: Arc::new(Semaphore::new(TRANSFERS_MAX)), transfers: Mutex::default() }
    }
}

/// One slice on its way.
struct Transfer {
    number: u64,
    began_at: Instant,
    asked_at: Mutex<Instant>,
    parts: tokio::sync::Mutex<Parts>,
}

struct Parts {
    source: mpsc::Receiver<Part>,
    /// Number of the part that comes next.
    next: u64,
    /// The part before it, in case its answer was lost.
    last: Option<Vec<u8>>,
}

/// Begins to read a node's slice, with its feed or without, and tells where it stands.
pub(super) async fn open(gate: &NodeGate, node: NodeId, with_feed: bool) -> Result<HubReply, String> {
    // The one before is of no use any more, and its place is needed.
    gate.slices.transfers.lock().remove(&node);
    let permit = tokio::time::timeout(PART_WAIT, gate.slices.running.clone().acquire_owned()).await;
    let permit = permit.map_err(|_| "other nodes are receiving their slices: ask again later")?;
    let permit = permit.map_err(|error| error.to_string())?;
    let number = rand::random();
    let (head, told) = tokio::sync::oneshot::channel();
    let (sink, source) = mpsc::channel(PARTS_AHEAD);
    let pool = gate.pool.clone();
    tokio::spawn(async move {
        let read = pool.read(move |store| read_slice(store, (node, with_feed), number, head, &sink)).await;
        drop(permit);
        match read {
            Ok(Ok(())) => tracing::info!(%node, "a slice was read to its end"),
            Ok(Err(error)) => tracing::warn!(%node, %error, "a slice was not read to its end"),
            Err(error) => tracing::warn!(%node, %error, "a slice was not read to its end"),
        }
    });
    let head = tokio::time::timeout(PART_WAIT, told).await.map_err(|_| "the hub is busy: ask again later")?;
    let head = head.map_err(|_| "the slice cannot be read: see the hub's log")?;
    let (began_at, asked_at) = (Instant::now(), Mutex::new(Instant::now()));
    let parts = tokio::sync::Mutex::new(Parts { source, next: 0, last: None });
    let transfer = Arc::new(Transfer { number, began_at, asked_at, parts });
    gate.slices.transfers.lock().insert(node, transfer.clone());
    tokio::spawn(drop_when_idle(gate.slices.clone(), node, Arc::downgrade(&transfer)));
    tracing::info!(%node, "a new store receives its slice");
    Ok(HubReply::SliceOpened(head))
}

/// A part of the slice that was opened last.
pub(super) async fn part(gate: &NodeGate, node: NodeId, number: u64, part: u64) -> Result<HubReply, String> {
    let transfer = gate.slices.transfers.lock().get(&node).filter(|transfer| transfer.number == number).cloned();
    let transfer = transfer.ok_or("this transfer is over, or is of another machine of the hub: begin anew")?;
    *transfer.asked_at.lock() = Instant::now();
    let mut parts = transfer.parts.lock().await;
    if part.checked_add(1) == Some(parts.next)
        && let Some(last) = &parts.last
    {
        return Ok(HubReply::SlicePart(last.clone()));
    }
    if part != parts.next {
        return Err(format!("part {} is next, not {part}", parts.next));
    }
    match tokio::time::timeout(PART_WAIT, parts.source.recv()).await {
        Err(_) => Ok(HubReply::SlicePending),
        Ok(None) => Err("the slice was not read to its end: begin anew".into()),
        Ok(Some(Err(error))) => Err(error),
        Ok(Some(Ok(bytes))) => {
            parts.next += 1;
            parts.last = Some(bytes.clone());
            Ok(HubReply::SlicePart(bytes))
        }
    }
}

/// Dropping the receiver ends the reading thread.
async fn drop_when_idle(slices: Arc<Slices>, node: NodeId, transfer: Weak<Transfer>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        // Gone: another one has taken its place.
        let Some(transfer) = transfer.upgrade() else { return };
        let idle = transfer.asked_at.lock().elapsed() > IDLE_MAX;
        if idle || transfer.began_at.elapsed() > TRANSFER_MAX {
            tracing::info!(%node, "a slice that nobody takes any more is dropped");
            let mut transfers = slices.transfers.lock();
            if transfers.get(&node).is_some_and(|now| Arc::ptr_eq(now, &transfer)) {
                transfers.remove(&node);
            }
            return;
        }
    }
}

fn read_slice(
    store: &mut Connection,
    of: (NodeId, bool),
    number: u64,
    head: tokio::sync::oneshot::Sender<SliceHead>,
    sink: &mpsc::Sender<Part>,
) -> Result<(), SliceError> {
    let sent = read_all(store, of, number, head, sink);
    if let Err(error) = &sent {
        let _ = sink.blocking_send(Err(error.to_string()));
    }
    sent
}

fn read_all(
    store: &mut Connection,
    (node, with_feed): (NodeId, bool),
    number: u64,
    head: tokio::sync::oneshot::Sender<SliceHead>,
    sink: &mpsc::Sender<Part>,
) -> Result<(), SliceError> {
    // All of it, and the head, as the state is in this moment.
    let moment = store.transaction()?;
    head.send(read_head(&moment, node, number)?).map_err(|_| SliceError::Gone)?;
    let mut send = |part: SlicePart| sink.blocking_send(Ok(part.encode()?)).map_err(|_| SliceError::Gone);
    export(&moment, node, &mut send)?;
    export_log(&moment, node, &mut send)?;
    export_facts(&moment, node, &mut send)?;
    if with_feed {
        export_feed(&moment, node, &mut send)?;
    }
    send(SlicePart::End)
}

fn read_head(store: &Connection, node: NodeId, transfer: u64) -> Result<SliceHead, SliceError> {
    let up = NodeCursor::load(store, node)?.map_or((1, ChainHash::GENESIS), |up| (up.next_seq, up.hash));
    let sql = "SELECT seq, hash FROM feed_head WHERE node = ?1";
    let feed: Option<(i64, [u8; 32])> =
        store.query_row(sql, [node.get()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let down = feed.map_or((1, ChainHash::GENESIS), |(seq, hash)| (seq as u64 + 1, ChainHash::from_bytes(hash)));
    let mut down_at_ms = TimeMs::from_ms(0);
    each_fact(store, node, |at_ms, _, _| {
        down_at_ms = at_ms;
        Ok(false)
    })?;
    Ok(SliceHead { transfer, schema_version: SCHEMA_VERSION, up, down, down_at_ms })
}

/// The node's own log, so that it goes on being the node's own: repeated requests are recognised for ever.
fn export_log(
    store: &Connection,
    node: NodeId,
    send: &mut dyn FnMut(SlicePart) -> Result<(), SliceError>,
) -> Result<(), SliceError> {
    let history = NodeHistory::new(store, node);
    let mut next_seq = 1;
    loop {
        let run = history.events_after(next_seq - 1, RUN_EVENTS, PART_BYTES);
        let run = run.map_err(|_| SliceError::Malformed("the node's log at the hub is damaged"))?;
        let Some(last) = run.last() else { return Ok(()) };
        let first_seq = next_seq;
        next_seq = last.seq + 1;
        send(SlicePart::Log { first_seq, events: run.into_iter().map(|event| event.bytes).collect() })?;
    }
}

/// Facts since the oldest session was opened that may have ended some: the tables show a session as its node wrote it. And, however
/// old, which requests of outlets that moved here were answered before: only the feed tells.
fn export_facts(
    store: &Connection,
    node: NodeId,
    send: &mut dyn FnMut(SlicePart) -> Result<(), SliceError>,
) -> Result<(), SliceError> {
    let sql = "SELECT min(opened_at_ms) FROM session WHERE closed_at_ms IS NULL \
               AND terminal IN (SELECT terminal FROM terminal WHERE node = ?1)";
    let oldest: Option<i64> = store.query_row(sql, [node.get()], |row| row.get(0))?;
    let sql = "SELECT EXISTS (SELECT 1 FROM outlet_moved WHERE to_node = ?1) \
               OR EXISTS (SELECT 1 FROM handoff WHERE to_node = ?1)";
    let outlets_came: bool = store.query_row(sql, [node.get()], |row| row.get(0))?;
    let (mut events, mut bytes_gathered) = (Vec::new(), 0);
    each_fact(store, node, |at_ms, body, bytes| {
        let may_end_sessions = oldest.is_some_and(|oldest| at_ms.ms() >= oldest);
        if !may_end_sessions && !outlets_came {
            return Ok(false);
        }
        if (may_end_sessions && ends_sessions(body)) || brings_requests(body) {
            bytes_gathered += bytes.len();
            events.push(bytes);
        }
        if bytes_gathered >= PART_BYTES {
            bytes_gathered = 0;
            send(SlicePart::Facts { events: std::mem::take(&mut events) })?;
        }
        Ok(true)
    })?;
    send(SlicePart::Facts { events })
}

/// The newest part of the feed, as much as a node keeps of it: see [`FEED_AGE_MAX_MS`].
fn export_feed(
    store: &Connection,
    node: NodeId,
    send: &mut dyn FnMut(SlicePart) -> Result<(), SliceError>,
) -> Result<(), SliceError> {
    let (mut count, mut newest_ms) = (0u64, None);
    each_fact(store, node, |at_ms, _, _| {
        let oldest_ms = newest_ms.get_or_insert(at_ms.ms()).saturating_sub(FEED_AGE_MAX_MS);
        let is_kept = at_ms.ms() >= oldest_ms || count < FEED_EVENTS_MIN;
        count += u64::from(is_kept);
        Ok(is_kept)
    })?;
    let sql = "SELECT down_feed.seq, hub_log.bytes FROM down_feed JOIN hub_log ON hub_log.seq = down_feed.hub_seq \
               WHERE node = ?1 AND down_feed.seq > (SELECT seq FROM feed_head WHERE node = ?1) - ?2 ORDER BY down_feed.seq";
    let mut statement = store.prepare(sql)?;
    let mut rows = statement.query((node.get(), count as i64))?;
    let (mut first_seq, mut events, mut bytes_gathered) = (0, Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let (seq, bytes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        if events.is_empty() {
            first_seq = seq as u64;
        }
        bytes_gathered += bytes.len();
        events.push(bytes);
        if bytes_gathered >= PART_BYTES {
            bytes_gathered = 0;
            send(SlicePart::Feed { first_seq, events: std::mem::take(&mut events) })?;
        }
    }
    match events.is_empty() {
        true => Ok(()),
        false => send(SlicePart::Feed { first_seq, events }),
    }
}

fn ends_sessions(body: &EventBody) -> bool {
    matches!(
        body,
        EventBody::Master(MasterEvent::TerminalDefined { .. } | MasterEvent::OperatorDefined { .. })
            | EventBody::Access(AccessEvent::TerminalRevoked { .. } | AccessEvent::OperatorDisabled { .. })
    )
}

fn brings_requests(body: &EventBody) -> bool {
    matches!(body, EventBody::Handoff(HandoffEvent::RequestsMoved { .. }))
}

/// Looks at the node's feed from its newest event on, until `look` has seen enough.
fn each_fact(
    store: &Connection,
    node: NodeId,
    mut look: impl FnMut(TimeMs, &EventBody, Vec<u8>) -> Result<bool, SliceError>,
) -> Result<(), SliceError> {
    let sql = "SELECT hub_log.bytes FROM down_feed JOIN hub_log ON hub_log.seq = down_feed.hub_seq \
               WHERE node = ?1 ORDER BY down_feed.seq DESC";
    let mut statement = store.prepare(sql)?;
    let mut rows = statement.query([node.get()])?;
    while let Some(row) = rows.next()? {
        let bytes: Vec<u8> = row.get(0)?;
        let event = codec::decode_event(&bytes)?;
        if !look(event.at_ms, &event.body, bytes)? {
            break;
        }
    }
    Ok(())
}
