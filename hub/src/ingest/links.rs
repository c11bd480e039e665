//! How each node's link stands. In memory: a hub that has just started knows nothing until the nodes report.

use std::collections::BTreeMap;

use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::wire::Hello;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// State of one link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Link {
    connected: bool,
    /// Version of the node's tables.
    schema_version: u32,
    /// Next position expected of the node's log.
    up_next: u64,
    /// Newest position that the node itself claims to have.
    up_head_claimed: u64,
    /// When the newest event taken in was decided.
    newest_at_ms: Option<TimeMs>,
    down_acked: u64,
    /// When the session was opened last.
    opened_at_ms: TimeMs,
    heard_at_ms: TimeMs,
    /// Why, and when that was said.
    refused: Option<(String, TimeMs)>,
    feed_stopped: Option<String>,
}

/// One link as reports show it, and as machines of the hub tell each other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkView {
    /// Whether a session is open.
    pub connected: bool,
    /// How long ago it was opened; without one, how long ago the node was heard.
    pub since_ms: i64,
    /// The version of its tables, as the node told in its greeting. `None` while no session is open: it may have greeted another machine
    /// of the hub since, with newer ones.
    pub schema_version: Option<u32>,
    /// Newest position of its feed that the node has applied.
    pub down_acked: u64,
    /// 0 when everything that the node claims to have was taken in; else the age of what came last.
    pub lag_ms: i64,
    /// The last reason that was given for refusing or ending a session, since one was opened.
    pub refused: Option<String>,
    /// How long ago that was.
    pub refused_ms: Option<i64>,
    /// Why nothing more of its feed is sent to it, until it opens the next session.
    pub feed_stopped: Option<String>,
}

/// The links of all nodes.
pub struct Links {
    started_at_ms: TimeMs,
    links: Mutex<BTreeMap<NodeId, Link>>,
}

impl Links {
    /// Nobody was heard yet.
    pub fn new(started_at_ms: TimeMs) -> Self {
        Links { started_at_ms, links: Mutex::default() }
    }

    /// A node has greeted this machine, and was admitted, with its log known up to `up_next`.
    pub(super) fn connected(&self, hello: &Hello, up_next: u64, now_ms: TimeMs) {
        let (node, schema_version) = (hello.node, hello.schema_version);
        let (up_head_claimed, down_acked) = (hello.up_head.next_seq - 1, hello.down.next_seq - 1);
        let mut links = self.links.lock();
        let link = self.link_of(&mut links, node);
        let newest_at_ms = link.newest_at_ms;
        *link = Link {
            connected: true,
            schema_version,
            up_next,
            up_head_claimed,
            newest_at_ms,
            down_acked,
            opened_at_ms: now_ms,
            heard_at_ms: now_ms,
            refused: None,
            feed_stopped: None,
        };
    }

    pub(super) fn ingested(
        &self,
        node: NodeId,
        up_next: u64,
        up_head_claimed: u64,
        newest_at_ms: Option<TimeMs>,
        now_ms: TimeMs,
    ) {
        let mut links = self.links.lock();
        let link = self.link_of(&mut links, node);
        link.up_next = up_next;
        link.up_head_claimed = link.up_head_claimed.max(up_head_claimed);
        link.newest_at_ms = newest_at_ms.or(link.newest_at_ms);
        link.heard_at_ms = now_ms;
    }

    pub(super) fn down_acked(&self, node: NodeId, acked: u64, now_ms: TimeMs) {
        let mut links = self.links.lock();
        let link = self.link_of(&mut links, node);
        link.down_acked = link.down_acked.max(acked);
        link.heard_at_ms = now_ms;
    }

    pub(super) fn disconnected(&self, node: NodeId, refused: Option<String>, now_ms: TimeMs) {
        let mut links = self.links.lock();
        let link = self.link_of(&mut links, node);
        link.connected = false;
        // A connection that breaks gives no reason: the last one that was given still stands.
        link.refused = refused.map(|refused| (refused, now_ms)).or(link.refused.take());
        link.heard_at_ms = now_ms;
    }

    /// The node cannot read what its feed goes on with. It shows until the node opens the next session.
    pub(super) fn feed_stopped(&self, node: NodeId, why: String) {
        self.link_of(&mut self.links.lock(), node).feed_stopped = Some(why);
    }

    /// The nodes whose feed is stopped, and why.
    pub fn stopped(&self) -> Vec<(NodeId, String)> {
        let links = self.links.lock();
        links.iter().filter_map(|(node, link)| Some((*node, link.feed_stopped.clone()?))).collect()
    }

    /// A session was refused beside the one that may be open. It shows until the node opens the next one.
    pub(super) fn refused(&self, node: NodeId, refused: String, now_ms: TimeMs) {
        self.link_of(&mut self.links.lock(), node).refused = Some((refused, now_ms));
    }

    /// One that is new was heard never: no longer ago than this machine could have.
    fn link_of<'a>(&self, links: &'a mut BTreeMap<NodeId, Link>, node: NodeId) -> &'a mut Link {
        let heard_at_ms = self.started_at_ms;
        links.entry(node).or_insert_with(|| Link { heard_at_ms, ..Link::default() })
    }

    /// A node's link now. One that is not connected may hold anything: its lag is the time since it was heard.
    pub fn view(&self, node: NodeId, now_ms: TimeMs) -> LinkView {
        match self.links.lock().get(&node) {
            Some(link) => link.view(now_ms),
            None => Link { heard_at_ms: self.started_at_ms, ..Link::default() }.view(now_ms),
        }
    }

    /// The links of all nodes that were heard since the start.
    pub fn views(&self, now_ms: TimeMs) -> Vec<(NodeId, LinkView)> {
        self.links.lock().iter().map(|(node, link)| (*node, link.view(now_ms))).collect()
    }
}

impl LinkView {
    /// Takes over what another machine refused the node with, if that came behind the session and behind the own reason.
    pub fn heed(&mut self, other: LinkView) {
        let LinkView { refused, refused_ms: Some(refused_ms), .. } = other else { return };
        let is_over = self.connected && self.since_ms <= refused_ms;
        if !is_over && self.refused_ms.is_none_or(|own_ms| refused_ms < own_ms) {
            (self.refused, self.refused_ms) = (refused, Some(refused_ms));
        }
    }
}

impl Link {
    fn view(&self, now_ms: TimeMs) -> LinkView {
        let caught_up = self.up_next > self.up_head_claimed;
        let lag_ms = match (self.connected, caught_up) {
            (false, _) => since(self.heard_at_ms, now_ms),
            (true, true) => 0,
            (true, false) => since(self.newest_at_ms.unwrap_or(self.heard_at_ms), now_ms),
        };
        let Link { connected, schema_version, down_acked, refused, feed_stopped, .. } = self.clone();
        let since_ms = since(if connected { self.opened_at_ms } else { self.heard_at_ms }, now_ms);
        let schema_version = connected.then_some(schema_version);
        let (refused, refused_ms) = refused.map(|(why, at_ms)| (why, since(at_ms, now_ms))).unzip();
        LinkView { connected, since_ms, schema_version, down_acked, lag_ms, refused, refused_ms, feed_stopped }
    }
}

fn since(at_ms: TimeMs, now_ms: TimeMs) -> i64 {
    (now_ms.ms() - at_ms.ms()).max(0)
}
