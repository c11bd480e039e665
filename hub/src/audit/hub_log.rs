//! The hub's log and, beside it, the feeds: each must be that log filtered by audience, under a chain of its own.

use std::collections::{BTreeMap, BTreeSet};

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::event::{Audience, Event, EventBody, MasterEvent};
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension, Row, Rows};

use super::chain::{ChainName, Flaw, SignedHead, StoredHead, VerifiedChain, Walk};
use super::range::{Range, Span};
use super::{AuditError, SignedHeads};

const ALL: i64 = -1;
const HUB_ONLY: i64 = -2;
const HEADS: &str = "feed_head";

const HUB_ROWS: &str = "SELECT seq, bytes, hash, audience FROM hub_log WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq";
const FEED_ROWS: &str = "SELECT seq, hub_seq, hash FROM down_feed WHERE node = ?1 AND seq > ?2 ORDER BY seq";

/// A row of a feed.
struct FeedRow {
    seq: i64,
    hub_seq: i64,
    hash: ChainHash,
}

/// A feed while the hub's log is walked.
struct Feed<'rows> {
    walk: Walk<'rows>,
    rows: Rows<'rows>,
    next: Option<FeedRow>,
}

/// Walks the hub's log once, and all feeds with it. The hub's chain comes first.
pub(super) fn verify(
    store: &Connection,
    range: &Range,
    signed: &SignedHeads,
) -> Result<Vec<VerifiedChain>, AuditError> {
    let heads = heads(store)?;
    let end = heads.get(&0).map_or(0, |head| head.seq.max(0) as u64);
    let span = range.span(end, |seq| stamp(store, seq))?;
    let nodes = nodes(store, &heads, signed)?;
    let mut statements = nodes.iter().map(|_| store.prepare(FEED_ROWS)).collect::<Result<Vec<_>, _>>()?;
    let mut feeds = BTreeMap::new();
    for (node, statement) in nodes.iter().zip(&mut statements) {
        let (seq, hash) = feed_before(store, *node, &span)?;
        let walk = Walk::behind(ChainName::Feed(*node), seq, hash, signed.of(ChainName::Feed(*node)));
        // From the beginning: also rows before it, where there may be none.
        let after = if seq == 0 { i64::MIN } else { seq as i64 };
        let mut feed = Feed { walk, rows: statement.query((*node, after))?, next: None };
        feed.read_next();
        feeds.insert(*node, feed);
    }
    let hub = HubWalk::new(store, &span, signed.of(ChainName::Hub))?.run(store, &span, &mut feeds)?;
    let mut chains = vec![finish(hub.walk, HEADS, heads.get(&0), &span)];
    for node in hub.defined.iter().filter(|node| !feeds.contains_key(node)) {
        let gone = Walk::behind(ChainName::Feed(*node), 0, ChainHash::GENESIS, &[]);
        chains.push(finish(gone, HEADS, None, &span));
    }
    for (node, mut feed) in feeds {
        feed.end(&span);
        chains.push(finish(feed.walk, HEADS, heads.get(&node), &span));
    }
    Ok(chains)
}

/// Ends a chain that must have a head, which is compared where the range reaches it.
pub(super) fn finish(mut walk: Walk<'_>, table: &'static str, head: Option<&StoredHead>, span: &Span) -> VerifiedChain {
    if head.is_none() {
        walk.stop_at(walk.seq().max(1), Flaw::NoHead(table));
    }
    walk.finish(head.copied().filter(|_| span.last.is_none()))
}

/// The hub's own chain.
struct HubWalk<'a> {
    walk: Walk<'a>,
    at_ms: Option<TimeMs>,
    /// Nodes defined so far, so that a feed that was removed whole is missed.
    defined: BTreeSet<i64>,
}

impl<'a> HubWalk<'a> {
    fn new(store: &Connection, span: &Span, signed: &'a [SignedHead]) -> Result<Self, AuditError> {
        let before = span.first - 1;
        let hash: Option<[u8; 32]> =
            store.query_row("SELECT hash FROM hub_log WHERE seq = ?1", [before as i64], |row| row.get(0)).optional()?;
        let hash = hash.map_or(ChainHash::GENESIS, ChainHash::from_bytes);
        Ok(HubWalk { walk: Walk::behind(ChainName::Hub, before, hash, signed), at_ms: None, defined: BTreeSet::new() })
    }

    fn run(mut self, store: &Connection, span: &Span, feeds: &mut BTreeMap<i64, Feed<'_>>) -> Result<Self, AuditError> {
        let first = if span.first == 1 { i64::MIN } else { span.first as i64 };
        let last = span.last.map_or(i64::MAX, |last| last as i64);
        let mut statement = store.prepare(HUB_ROWS)?;
        let mut rows = statement.query((first, last))?;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(error) => {
                    self.walk.stop(Flaw::Storage(error.to_string()));
                    break;
                }
            };
            if let Err(error) = self.pass_row(row, feeds) {
                self.walk.stop(Flaw::Storage(error.to_string()));
            }
        }
        Ok(self)
    }

    fn pass_row(&mut self, row: &Row<'_>, feeds: &mut BTreeMap<i64, Feed<'_>>) -> Result<(), rusqlite::Error> {
        let (seq, stored_audience): (i64, i64) = (row.get(0)?, row.get(3)?);
        let bytes = row.get_ref(1)?.as_blob()?;
        self.walk.step(seq, bytes, hash_of(row, 2)?);
        let event = codec::decode_event(bytes);
        if !self.walk.is_broken() {
            match &event {
                Ok(event) => self.check(seq, event, stored_audience),
                Err(error) => self.walk.stop_at(seq as u64, Flaw::Unreadable(error.to_string())),
            }
        }
        // Behind a break the feeds go on, each to its own first flaw.
        let audience = event.as_ref().map_or(stored_audience, |event| audience_number(event.body.audience()));
        match audience {
            HUB_ONLY => {}
            ALL => feeds.values_mut().for_each(|feed| feed.take(seq, bytes)),
            node => feeds.get_mut(&node).into_iter().for_each(|feed| feed.take(seq, bytes)),
        }
        Ok(())
    }

    /// What the event says of itself.
    fn check(&mut self, seq: i64, event: &Event, stored: i64) {
        let (at, own) = (seq as u64, audience_number(event.body.audience()));
        let (origin, before) = (event.key.origin, self.at_ms.replace(event.at_ms));
        if !origin.is_hub() || event.key.seq != at {
            self.walk.stop_at(at, Flaw::OtherPlace { origin: origin.get(), seq: event.key.seq });
        } else if own != stored {
            self.walk.stop_at(at, Flaw::Audience { stored, own });
        } else if let Some(before) = before
            && event.at_ms < before
        {
            self.walk.stop_at(at, Flaw::Time { at_ms: event.at_ms.ms(), before_ms: before.ms() });
        }
        if let EventBody::Master(MasterEvent::NodeDefined { node, .. }) = &event.body {
            self.defined.insert(i64::from(node.get()));
        }
    }
}

impl Feed<'_> {
    fn read_next(&mut self) {
        let read = |row: &Row<'_>| Ok(FeedRow { seq: row.get(0)?, hub_seq: row.get(1)?, hash: hash_of(row, 2)? });
        let next = self.rows.next().and_then(|row| row.map(read).transpose());
        self.next = next.unwrap_or_else(|error: rusqlite::Error| {
            self.walk.stop(Flaw::Storage(error.to_string()));
            None
        });
    }

    /// The hub's next event that is for this node.
    fn take(&mut self, hub_seq: i64, bytes: &[u8]) {
        if self.walk.is_broken() {
            return;
        }
        match &self.next {
            Some(row) if row.hub_seq == hub_seq => {
                self.walk.step(row.seq, bytes, row.hash);
                self.read_next();
            }
            Some(row) if !self.walk.expects(row.seq) => {}
            Some(row) if row.hub_seq < hub_seq => self.walk.stop(Flaw::NotForIt { hub_seq: row.hub_seq }),
            _ => self.walk.stop(Flaw::NotFed { hub_seq }),
        }
    }

    /// Nothing may be left.
    fn end(&mut self, span: &Span) {
        let last = span.last.map_or(i64::MAX, |last| last as i64);
        if let Some(row) = &self.next
            && row.hub_seq <= last
        {
            self.walk.stop(Flaw::NotForIt { hub_seq: row.hub_seq });
        }
    }
}

/// Every feed that has a head, rows or a signed head.
fn nodes(
    store: &Connection,
    heads: &BTreeMap<i64, StoredHead>,
    signed: &SignedHeads,
) -> Result<BTreeSet<i64>, AuditError> {
    let mut nodes: BTreeSet<i64> = heads.keys().copied().filter(|node| *node != 0).collect();
    nodes.extend(signed.names().filter_map(|name| if let ChainName::Feed(node) = name { Some(node) } else { None }));
    let mut statement = store.prepare("SELECT min(node) FROM down_feed WHERE node >= ?1")?;
    let mut from = i64::MIN;
    while let Some(node) = statement.query_row([from], |row| row.get::<_, Option<i64>>(0))? {
        nodes.insert(node);
        let Some(next) = node.checked_add(1) else { break };
        from = next;
    }
    Ok(nodes)
}

fn heads(store: &Connection) -> Result<BTreeMap<i64, StoredHead>, AuditError> {
    let mut statement = store.prepare("SELECT node, seq, hash FROM feed_head ORDER BY node")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get(0)?, StoredHead { table: HEADS, seq: row.get(1)?, hash: hash_of(row, 2)? }))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Where a feed stands before the range.
fn feed_before(store: &Connection, node: i64, span: &Span) -> Result<(u64, ChainHash), AuditError> {
    let sql = "SELECT seq, hash FROM down_feed WHERE node = ?1 AND hub_seq < ?2 AND ?2 > 1 ORDER BY seq DESC LIMIT 1";
    let found = store
        .query_row(sql, (node, span.first as i64), |row| Ok((row.get::<_, i64>(0)?.max(0) as u64, hash_of(row, 1)?)))
        .optional()?;
    Ok(found.unwrap_or((0, ChainHash::GENESIS)))
}

/// When an event of the hub was decided.
pub(super) fn stamp(store: &Connection, seq: u64) -> Result<Option<TimeMs>, AuditError> {
    let bytes: Option<Vec<u8>> = store
        .prepare_cached("SELECT bytes FROM hub_log WHERE seq = ?1")?
        .query_row([seq as i64], |row| row.get(0))
        .optional()?;
    Ok(bytes.and_then(|bytes| codec::decode_event(&bytes).ok()).map(|event| event.at_ms))
}

/// Reads 32 bytes of a row.
pub(super) fn hash_of(row: &Row<'_>, column: usize) -> Result<ChainHash, rusqlite::Error> {
    row.get(column).map(ChainHash::from_bytes)
}

const fn audience_number(audience: Audience) -> i64 {
    match audience {
        Audience::All => ALL,
        Audience::HubOnly => HUB_ONLY,
        Audience::Node(node) => node.get() as i64,
    }
}
