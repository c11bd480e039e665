//! Where terminals reach a node, as it tells, and where an outlet is served, as it asks.

use jikai_schema::command::{Command, DirectoryCommand, Outcome};
use jikai_schema::directory::addresses_of;
use jikai_schema::event::Actor;
use jikai_schema::id::{NodeId, OutletId};
use jikai_schema::peer::HubReply;
use rusqlite::{Connection, OptionalExtension};

use super::NodeGate;

/// Notes where terminals reach a node. Told with each session, so what is known already is not proposed again.
pub(super) async fn reached(gate: &NodeGate, node: NodeId, addresses: Vec<String>) -> Result<HubReply, String> {
    let known = gate.read(move |store| addresses_of(store, node)).await.map_err(|error| error.to_string())?;
    if known == addresses {
        return Ok(HubReply::Noted);
    }
    let command = Command::Directory(DirectoryCommand::Reach { node, addresses });
    match gate.sequencer.propose(Actor::System, command).await.map_err(|error| error.to_string())? {
        Outcome::Refused(refusal) => Err(refusal.to_string()),
        _ => Ok(HubReply::Noted),
    }
}

/// Which node serves an outlet. Told to every node: it sends terminals on, and the directory tells them the rest anyway. To the node to
/// which it was ordered: that one. Who asks there was sent by the old node, whose release may not have come here yet, and would be sent in a
/// circle.
pub(super) async fn where_is(gate: &NodeGate, asking: NodeId, outlet: OutletId) -> Result<HubReply, String> {
    let node = gate.read(move |store| node_of(store, asking, outlet)).await.map_err(|error| error.to_string())?;
    Ok(HubReply::OutletAt(node))
}

fn node_of(store: &Connection, asking: NodeId, outlet: OutletId) -> Result<Option<NodeId>, rusqlite::Error> {
    let sql = "SELECT EXISTS (SELECT 1 FROM handoff WHERE outlet = ?1 AND to_node = ?2)";
    if store.prepare_cached(sql)?.query_row((outlet.get(), asking.get()), |row| row.get(0))? {
        return Ok(Some(asking));
    }
    let mut statement = store.prepare_cached("SELECT node FROM outlet WHERE outlet = ?1")?;
    let node: Option<u16> = statement.query_row([outlet.get()], |row| row.get(0)).optional()?;
    Ok(node.and_then(|node| NodeId::new(node).ok()))
}
