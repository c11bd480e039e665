//! How each node's link stands. In memory: a hub that has just started knows nothing until the nodes report.

use std::collections::BTreeMap;

use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::wire::Hello;
use parking_lot::Mutex;

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
    heard_at_ms: TimeMs,
    refused: Option<String>,
    feed_stopped: Option<String>,
}

/// One link as reports show it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkView {
    /// Whether a session is open.
    pub connected: bool,
    /// Newest position of its feed that the node has applied.
    pub down_acked: u64,
    /// 0 when everything that the node claims to have was taken in; else the age of what came last.
    pub lag_ms: i64,
    /// The last reason that was given for refusing or ending a session, since one was opened.
    pub refused: Option<String>,
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

    /// The version of a node's tables, as it told in its greeting. `None` for a node that has no session with this machine: it may have
    /// greeted another one of the hub since, with newer ones.
    pub fn schema_version(&self, node: NodeId) -> Option<u32> {
        let links = self.links.lock();
        links.get(&node).filter(|link| link.connected).map(|link| link.schema_version)
    }

    /// A node has greeted this machine, and was admitted, with its log known up to `up_next`.
    pub(super) fn connected(&self, hello: &Hello, up_next: u64, now_ms: TimeMs) {
        let (node, schema_version) = (hello.node, hello.schema_version);
        let (up_head_claimed, down_acked) = (hello.up_head.next_seq - 1, hello.down.next_seq - 1);
        let mut links = self.links.lock();
        let link = links.entry(node).or_default();
        let newest_at_ms = link.newest_at_ms;
        *link = Link {
            connected: true,
            schema_version,
            up_next,
            up_head_claimed,
            newest_at_ms,
            down_acked,
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
        let link = links.entry(node).or_default();
        link.up_next = up_next;
        link.up_head_claimed = link.up_head_claimed.max(up_head_claimed);
        link.newest_at_ms = newest_at_ms.or(link.newest_at_ms);
        link.heard_at_ms = now_ms;
    }

    pub(super) fn down_acked(&self, node: NodeId, acked: u64, now_ms: TimeMs) {
        let mut links = self.links.lock();
        let link = links.entry(node).or_default();
        link.down_acked = link.down_acked.max(acked);
        link.heard_at_ms = now_ms;
    }

    pub(super) fn disconnected(&self, node: NodeId, refused: Option<String>, now_ms: TimeMs) {
        let mut links = self.links.lock();
        let link = links.entry(node).or_default();
        link.connected = false;
        // A connection that breaks gives no reason: the last one that was given still stands.
        link.refused = refused.or(link.refused.take());
        link.heard_at_ms = now_ms;
    }

    /// The node cannot read what its feed goes on with. It shows until the node opens the next session.
    pub(super) fn feed_stopped(&self, node: NodeId, why: String) {
        self.links.lock().entry(node).or_default().feed_stopped = Some(why);
    }

    /// The nodes whose feed is stopped, and why.
    pub fn stopped(&self) -> Vec<(NodeId, String)> {
        let links = self.links.lock();
        links.iter().filter_map(|(node, link)| Some((*node, link.feed_stopped.clone()?))).collect()
    }

    /// A session was refused beside the one that may be open. It shows until the node opens the next one.
    pub(super) fn refused(&self, node: NodeId, refused: String) {
        self.links.lock().entry(node).or_default().refused = Some(refused);
    }

    /// A node's link now. One that is not connected may hold anything: its lag is the time since it was heard.
    pub fn view(&self, node: NodeId, now_ms: TimeMs) -> LinkView {
        let links = self.links.lock();
        let since = |at_ms: TimeMs| (now_ms.ms() - at_ms.ms()).max(0);
        let Some(link) = links.get(&node) else {
            return LinkView { lag_ms: since(self.started_at_ms), ..LinkView::default() };
        };
        let caught_up = link.up_next > link.up_head_claimed;
        let lag_ms = match (link.connected, caught_up) {
            (false, _) => since(link.heard_at_ms),
            (true, true) => 0,
            (true, false) => since(link.newest_at_ms.unwrap_or(link.heard_at_ms)),
        };
        let Link { connected, down_acked, refused, feed_stopped, .. } = link.clone();
        LinkView { connected, down_acked, lag_ms, refused, feed_stopped }
    }
}
