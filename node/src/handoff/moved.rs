//! Where the outlets are that this node served before, in memory.

use std::collections::HashMap;

use jikai_schema::event::HandoffEvent;
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
        let left =
            "SELECT outlet, to_node FROM outlet_moved WHERE node = ?1 AND outlet NOT IN (SELECT outlet FROM outlet)";
        read(store, left, node, &mut moved.0.write())?;
        moved.read_released(store, node)?;
        Ok(moved)
    }

    /// Reads those that were let go of since. What the hub says meanwhile waits: what came back must not be sent on by an older view of
    /// the store. As many as are on their way at once, so nobody waits long.
    pub fn read_released(&self, store: &Connection, node: NodeId) -> Result<(), rusqlite::Error> {
        let mut moved = self.0.write();
        // Where both nodes are the same, the outlet is about to arrive here.
        let released = "SELECT outlet, to_node FROM handoff WHERE node = ?1 AND to_node <> ?1 AND released = 1";
        read(store, released, node, &mut moved)
    }

    /// Who serves the outlet instead, if it was let go of.
    pub fn find(&self, outlet: OutletId) -> Option<NodeId> {
        self.0.read().get(&outlet).copied()
    }

    /// Follows a fact of the hub.
    pub fn follow(&self, fact: &HandoffEvent) {
        match fact {
            HandoffEvent::Left { outlet, to, .. } => {
                self.0.write().insert(*outlet, *to);
            }
            HandoffEvent::Arrived { outlet, .. } | HandoffEvent::Returned { outlet, .. } => {
                self.0.write().remove(outlet);
            }
            _ => {}
        }
    }
}

fn read(
    store: &Connection,
    sql: &str,
    node: NodeId,
    found: &mut HashMap<OutletId, NodeId>,
) -> Result<(), rusqlite::Error> {
    let mut statement = store.prepare_cached(sql)?;
    let mut rows = statement.query([node.get()])?;
    while let Some(row) = rows.next()? {
        if let (Ok(outlet), Ok(to)) = (OutletId::new(row.get(0)?), NodeId::new(row.get(1)?)) {
            found.insert(outlet, to);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use jikai_schema::money::Money;
    use jikai_schema::store::{MIGRATIONS, migrate};

    use super::*;

    #[test]
    fn what_came_back_is_not_sent_on_by_an_older_view_of_the_store() {
        let (outlet, other) = (OutletId::new(13_010_001).unwrap(), OutletId::new(13_010_002).unwrap());
        let [here, there] = [1, 2].map(|number| NodeId::new(number).unwrap());
        let mut store = Connection::open_in_memory().unwrap();
        migrate(&mut store, "projection", MIGRATIONS).unwrap();
        store.execute("INSERT INTO outlet_moved VALUES (?1, 1, 2, 5)", [outlet.get()]).unwrap();
        let moved = Moved::load(&store, here).unwrap();
        assert_eq!(moved.find(outlet), Some(there));
        // It arrives while another one is let go of; the view of the store that is read has not seen it yet.
        let (handoff, balance) = (7, Money::ZERO);
        let arrived = HandoffEvent::Arrived { handoff, outlet, from: there, to: here, balance };
        moved.follow(&arrived);
        store.execute("INSERT INTO handoff VALUES (?1, 8, 1, 2, 1)", [other.get()]).unwrap();
        moved.read_released(&store, here).unwrap();
        assert_eq!((moved.find(outlet), moved.find(other)), (None, Some(there)));
    }

    #[test]
    fn an_outlet_that_is_about_to_arrive_is_not_sent_on_to_the_node_itself() {
        let (outlet, here) = (OutletId::new(13_010_001).unwrap(), NodeId::new(1).unwrap());
        let mut store = Connection::open_in_memory().unwrap();
        migrate(&mut store, "projection", MIGRATIONS).unwrap();
        store.execute("INSERT INTO handoff VALUES (?1, 7, 1, 1, 1)", [outlet.get()]).unwrap();
        assert_eq!(Moved::load(&store, here).unwrap().find(outlet), None);
    }
}
