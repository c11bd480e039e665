//! Where the outlets are that this node served before, in memory.

use std::collections::HashMap;

use jikai_schema::event::{EventBody, HandoffEvent};
use jikai_schema::id::{NodeId, OutletId};
use parking_lot::RwLock;
use rusqlite::Connection;

/// Outlets that were let go of, and who serves them or is about to. Bounded by the outlets that were ever here.
#[derive(Debug, Default)]
pub struct Moved(RwLock<HashMap<OutletId, NodeId>>);

impl Moved {
    /// Reads them from the store of `node`.
    pub fn load(store: &Connection, node: NodeId) -> Result<Self, rusqlite::Error> {
        let moved = Moved::default();
        moved.read(store, node)?;
        Ok(moved)
    }

    /// Reads those that were let go of since.
    pub fn read(&self, store: &Connection, node: NodeId) -> Result<(), rusqlite::Error> {
        let sql = "SELECT outlet, to_node FROM outlet_moved WHERE node = ?1 AND outlet NOT IN (SELECT outlet FROM outlet) \
                   UNION ALL SELECT outlet, to_node FROM handoff WHERE node = ?1 AND released = 1";
        let mut statement = store.prepare_cached(sql)?;
        let mut rows = statement.query([node.get()])?;
        let mut found = HashMap::new();
        while let Some(row) = rows.next()? {
            if let (Ok(outlet), Ok(to)) = (OutletId::new(row.get(0)?), NodeId::new(row.get(1)?)) {
                found.insert(outlet, to);
            }
        }
        *self.0.write() = found;
        Ok(())
    }

    /// Who serves the outlet instead, if it was let go of.
    pub fn find(&self, outlet: OutletId) -> Option<NodeId> {
        self.0.read().get(&outlet).copied()
    }

    /// Follows a fact of the hub. `true` when an outlet is here from now on.
    pub fn follow(&self, fact: &EventBody) -> bool {
        match fact {
            EventBody::Handoff(HandoffEvent::Left { outlet, to, .. }) => {
                self.0.write().insert(*outlet, *to);
                false
            }
            EventBody::Handoff(HandoffEvent::Arrived { outlet, .. } | HandoffEvent::Returned { outlet, .. }) => {
                self.0.write().remove(outlet);
                true
            }
            _ => false,
        }
    }
}
