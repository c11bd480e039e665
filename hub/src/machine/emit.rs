//! Events of the hub: stamped, chained, kept, fed to their audience, and projected.

use std::collections::{BTreeMap, BTreeSet};

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::event::{Audience, Event, EventBody, EventKey, MasterEvent};
use jikai_schema::id::NodeId;
use rusqlite::Connection;

use super::{Machine, RetiredRow, Stamp, StorageError};

const ALL: i64 = -1;
const HUB_ONLY: i64 = -2;

/// Newest position of a log or feed, and the chain after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    seq: u64,
    hash: ChainHash,
}

/// Heads of the hub's log and of every registered node's feed.
pub(super) struct Feeds {
    heads: BTreeMap<NodeId, Head>,
    grown: BTreeSet<NodeId>,
    /// Nodes that are none any more. Their feeds go on, as the log filtered by audience, so that every chain follows one rule.
    retired: BTreeSet<NodeId>,
}

impl Feeds {
    pub(super) fn load(store: &Connection) -> Result<Self, StorageError> {
        let mut statement = store.prepare_cached("SELECT node, seq, hash FROM feed_head ORDER BY node")?;
        let mut rows = statement.query([])?;
        let mut heads = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let number: u16 = row.get(0)?;
            let damaged = || StorageError::Damaged { table: "feed_head", key: i64::from(number) };
            let node = NodeId::new(number).map_err(|_| damaged())?;
            let head = Head { seq: row.get::<_, i64>(1)? as u64, hash: ChainHash::from_bytes(row.get(2)?) };
            heads.insert(node, head);
        }
        let retired = RetiredRow::all(store)?.into_iter().map(|row| row.node).collect();
        Ok(Feeds { heads, grown: BTreeSet::new(), retired })
    }

    /// Writes the heads that moved; gives those of the nodes.
    pub(super) fn save(&self, store: &Connection) -> Result<Vec<(NodeId, u64)>, StorageError> {
        let mut statement = store.prepare_cached(
            "INSERT INTO feed_head VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
        )?;
        let mut nodes = Vec::new();
        for node in &self.grown {
            let head = &self.heads[node];
            statement.execute((node.get(), head.seq as i64, head.hash.as_bytes()))?;
            if !node.is_hub() {
                nodes.push((*node, head.seq));
            }
        }
        Ok(nodes)
    }

    pub(super) fn is_registered(&self, node: NodeId) -> bool {
        !node.is_hub() && self.heads.contains_key(&node) && !self.retired.contains(&node)
    }

    /// All nodes that ever had a feed.
    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.heads.keys().copied().filter(|node| !node.is_hub())
    }

    pub(super) fn retire(&mut self, node: NodeId) {
        self.retired.insert(node);
    }

    fn grow(&mut self, node: NodeId, bytes: &[u8]) -> Head {
        let head = self.heads.entry(node).or_insert(Head { seq: 0, hash: ChainHash::GENESIS });
        *head = Head { seq: head.seq + 1, hash: head.hash.next(bytes) };
        self.grown.insert(node);
        *head
    }
}

impl Machine<'_> {
    /// Decides one event. What it needs was checked: from here on only the store can fail.
    pub(super) fn emit(&mut self, stamp: Stamp<'_>, body: EventBody) -> Result<(), StorageError> {
        let at_ms = stamp.at_ms.clamp_to(self.at_ms);
        let seq = self.feeds.heads.get(&NodeId::HUB).map_or(0, |head| head.seq) + 1;
        let key = EventKey { origin: NodeId::HUB, seq };
        let event = Event { key, at_ms, actor: stamp.actor.clone(), request: stamp.request, body };
        let bytes = codec::encode_event(&event)?;
        self.projection.apply(&event)?;
        self.note_redefined(&event.body)?;
        self.at_ms = at_ms;
        self.append(&event, &bytes)
    }

    /// Appends an event that comes next to the hub's log, and feeds it to its audience.
    pub(super) fn append(&mut self, event: &Event, bytes: &[u8]) -> Result<(), StorageError> {
        let (seq, audience) = (event.key.seq, event.body.audience());
        if let EventBody::Master(MasterEvent::NodeDefined { node, .. }) = &event.body
            && !self.feeds.is_registered(*node)
        {
            self.open_feed(*node)?;
        }
        let head = self.feeds.grow(NodeId::HUB, bytes);
        let number = match audience {
            Audience::All => ALL,
            Audience::HubOnly => HUB_ONLY,
            Audience::Node(node) => i64::from(node.get()),
        };
        self.tx.prepare_cached("INSERT INTO hub_log VALUES (?1, ?2, ?3, ?4)")?.execute((
            seq as i64,
            bytes,
            head.hash.as_bytes(),
            number,
        ))?;
        self.feed(audience, seq, bytes)
    }

    fn feed(&mut self, audience: Audience, hub_seq: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let receivers: Vec<NodeId> = match audience {
            Audience::All => self.feeds.heads.keys().copied().filter(|node| !node.is_hub()).collect(),
            Audience::Node(node) => vec![node],
            Audience::HubOnly => Vec::new(),
        };
        for node in receivers {
            self.feed_one(node, hub_seq, bytes)?;
        }
        Ok(())
    }

    fn feed_one(&mut self, node: NodeId, hub_seq: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let head = self.feeds.grow(node, bytes);
        self.tx.prepare_cached("INSERT INTO down_feed VALUES (?1, ?2, ?3, ?4)")?.execute((
            node.get(),
            head.seq as i64,
            hub_seq as i64,
            head.hash.as_bytes(),
        ))?;
        Ok(())
    }

    /// Feeds a new node everything that was for everybody before it came.
    fn open_feed(&mut self, node: NodeId) -> Result<(), StorageError> {
        self.feeds.heads.insert(node, Head { seq: 0, hash: ChainHash::GENESIS });
        self.feeds.grown.insert(node);
        let mut statement =
            self.tx.prepare_cached("SELECT seq, bytes FROM hub_log WHERE audience = -1 ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(1)?;
            self.feed_one(node, row.get::<_, i64>(0)? as u64, &bytes)?;
        }
        Ok(())
    }
}
