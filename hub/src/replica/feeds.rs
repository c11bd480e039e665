//! Newest positions of the nodes' feeds, to be watched by their sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use jikai_schema::id::NodeId;
use parking_lot::RwLock;
use rusqlite::Connection;
use tokio::sync::watch;

/// A watched number per registered node.
#[derive(Clone, Default)]
pub struct FeedHeads(Arc<RwLock<BTreeMap<NodeId, watch::Sender<u64>>>>);

impl FeedHeads {
    /// Reads the committed heads.
    pub fn load(state: &Connection) -> Result<Self, rusqlite::Error> {
        let heads = FeedHeads::default();
        heads.reload(state)?;
        Ok(heads)
    }

    /// Reads the committed heads again, after another machine's state took the place of this one's.
    pub(super) fn reload(&self, state: &Connection) -> Result<(), rusqlite::Error> {
        let mut statement = state.prepare("SELECT node, seq FROM feed_head WHERE node > 0 ORDER BY node")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Ok(node) = NodeId::new(row.get(0)?) {
                self.publish(node, row.get::<_, i64>(1)? as u64);
            }
        }
        Ok(())
    }

    /// Follows a node's feed; `None` for a node that is not registered.
    pub fn watch(&self, node: NodeId) -> Option<watch::Receiver<u64>> {
        self.0.read().get(&node).map(watch::Sender::subscribe)
    }

    /// Newest position of a node's feed now; 0 for a node that is not registered.
    pub fn head(&self, node: NodeId) -> u64 {
        self.0.read().get(&node).map_or(0, |sender| *sender.borrow())
    }

    pub(super) fn publish(&self, node: NodeId, head_seq: u64) {
        if let Some(sender) = self.0.read().get(&node) {
            sender.send_replace(head_seq);
            return;
        }
        self.0.write().insert(node, watch::channel(head_seq).0);
    }
}
