//! Whether somebody would serve what is moved.

use std::collections::BTreeSet;

use jikai_schema::command::OutletMove;
use jikai_schema::id::NodeId;
use jikai_schema::store::SCHEMA_VERSION;
use rusqlite::Connection;

/// The first node to which outlets are to move and that no store has ever reported for: what is moved there is served by nobody until
/// one comes. Also the builds that do not tell their runs apart have written something once they serve.
pub fn never_came(state: &Connection, moves: &[OutletMove]) -> Result<Option<NodeId>, rusqlite::Error> {
    let targets: BTreeSet<NodeId> = moves.iter().map(|a_move| a_move.to).collect();
    let sql = "SELECT EXISTS (SELECT 1 FROM node_run WHERE node = ?1) OR \
               EXISTS (SELECT 1 FROM node_cursor WHERE node = ?1 AND next_seq > 1) OR \
               NOT EXISTS (SELECT 1 FROM node WHERE node = ?1)";
    let mut statement = state.prepare_cached(sql)?;
    for node in targets {
        // One that is not registered is refused by the machine.
        if !statement.query_row([node.get()], |row| row.get::<_, bool>(0))? {
            return Ok(Some(node));
        }
    }
    Ok(None)
}

/// The first node to which outlets are to move whose tables are not those of this build, and their version: what is moved there would wait
/// until it is upgraded. `told` is the version in a node's last greeting; one that greeted another machine of the hub is not known here, and
/// its feed stops in front of what it cannot write.
pub fn outdated(moves: &[OutletMove], told: impl Fn(NodeId) -> Option<u32>) -> Option<(NodeId, u32)> {
    let targets: BTreeSet<NodeId> = moves.iter().map(|a_move| a_move.to).collect();
    let versions = targets.into_iter().filter_map(|node| Some((node, told(node)?)));
    versions.into_iter().find(|(_, version)| *version != SCHEMA_VERSION)
}

#[cfg(test)]
mod tests {
    use jikai_schema::command::{Command, NodeCommand};

    use super::*;
    use crate::province::*;

    #[test]
    fn outlets_go_to_nodes_that_have_come_or_are_none() {
        let mut hub = Hub::set_up();
        let to = |number| [OutletMove { outlet: outlet(13_010_001), to: node(number) }];
        let waits = |hub: &Hub, number| never_came(&hub.state, &to(number)).unwrap();
        assert_eq!(waits(&hub, 2), Some(node(2)));
        hub.ask(Command::IngestEvents(NodeLog::new(2).batch(vec![check_in(3, 13_020_001)])));
        assert_eq!((waits(&hub, 2), waits(&hub, 9)), (None, None));
        let (name, prefectures, incarnation) = ("node 3".into(), Vec::new(), [3; 16]);
        hub.ask(Command::Node(NodeCommand::Add { node: node(3), name, prefectures, incarnation }));
        assert_eq!(waits(&hub, 3), Some(node(3)), "it is invited");
        let (node, run) = (node(3), [1; 16]);
        hub.ask(Command::Node(NodeCommand::BeginRun { node, incarnation, after: None, run }));
        assert_eq!(waits(&hub, 3), None);
    }

    #[test]
    fn outlets_go_to_no_node_of_another_version_as_far_as_is_known() {
        let to = |number| OutletMove { outlet: outlet(13_010_001), to: node(number) };
        let told = |of: NodeId| match of.get() {
            2 => Some(SCHEMA_VERSION),
            3 => Some(SCHEMA_VERSION - 1),
            _ => None,
        };
        assert_eq!(outdated(&[to(2), to(9)], told), None);
        assert_eq!(outdated(&[to(2), to(3)], told), Some((node(3), SCHEMA_VERSION - 1)));
    }
}
