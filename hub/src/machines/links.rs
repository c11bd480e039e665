//! How the nodes' links stand at the hub: a node has its session with one machine, and only that one knows of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jikai_schema::event::MachineState;
use jikai_schema::id::NodeId;

use super::view::ANSWER_WAIT;
use super::{Machines, MachinesError};
use crate::ingest::{LinkView, Links};
use crate::machine::MachineRow;
use crate::raft::cluster::Cluster;
use crate::sequencer::Clock;

/// A node's link, by the machine whose word counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLink {
    /// The machine that has its session; of a node that is not connected the one that heard it last, this one if none did.
    pub machine: u16,
    /// How it stands.
    pub view: LinkView,
}

/// The links of all nodes, by the word of all machines that tell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeLinks {
    heard: BTreeMap<NodeId, NodeLink>,
    /// Machines that serve nodes and did not tell: a node that is not known to be connected may be so to one of them.
    pub silent: Vec<u16>,
}

impl NodeLinks {
    /// A node's link; `None` for one that no machine heard since it started.
    pub fn get(&self, node: NodeId) -> Option<&NodeLink> {
        self.heard.get(&node)
    }

    /// Whether a node is known to be connected.
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.get(node).is_some_and(|link| link.view.connected)
    }

    /// The word of one more machine: that of the one that has the session counts, else that of the one that heard the node last.
    fn take(&mut self, machine: u16, told: Vec<(NodeId, LinkView)>) {
        for (node, view) in told {
            let counts = self
                .heard
                .get(&node)
                .is_none_or(|known| (view.connected, -view.lag_ms) > (known.view.connected, -known.view.lag_ms));
            if counts {
                self.heard.insert(node, NodeLink { machine, view });
            }
        }
    }
}

impl Machines {
    /// Asks all machines that serve nodes; those that do not answer cost a second, all together.
    pub async fn links(&self, own: &Links) -> Result<NodeLinks, MachinesError> {
        let cluster = self.cluster()?;
        let rows: Result<_, rusqlite::Error> = self.pool.read(|store| MachineRow::list(store)).await?;
        let serves = |row: &MachineRow| {
            let is_used = matches!(row.state, Some(MachineState::Serving | MachineState::Draining));
            is_used && !row.voter_only && row.machine != self.number
        };
        let others: Vec<u16> = rows?.into_iter().filter(serves).map(|row| row.machine).collect();
        let asked = others.iter().map(|machine| cluster.links_of(u64::from(*machine), ANSWER_WAIT));
        let told = futures_util::future::join_all(asked).await;
        let mut links = NodeLinks::default();
        links.take(self.number, own.views(self.sequencer.now_ms()));
        for (machine, told) in others.into_iter().zip(told) {
            match told.map_err(|error| error.to_string()).and_then(|told| decoded(&told)) {
                Ok(told) => links.take(machine, told),
                Err(why) => {
                    tracing::info!(machine, why, "a machine does not tell of its nodes");
                    links.silent.push(machine);
                }
            }
        }
        Ok(links)
    }
}

/// The links that this machine has, of which it tells the others when they ask.
pub fn shared_links(cluster: &Cluster, clock: Clock) -> Arc<Links> {
    let links = Arc::new(Links::new(clock()));
    let told = links.clone();
    cluster.tell_links(Box::new(move || encoded(&told.views(clock()))));
    links
}

fn encoded(told: &[(NodeId, LinkView)]) -> Vec<u8> {
    // Plain data: there is nothing in it that cannot be encoded. Nothing would be a machine that does not tell.
    postcard::to_allocvec(told).unwrap_or_default()
}

fn decoded(told: &[u8]) -> Result<Vec<(NodeId, LinkView)>, String> {
    postcard::from_bytes(told).map_err(|error| format!("another build of it tells otherwise: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn link(connected: bool, lag_ms: i64) -> LinkView {
        LinkView { connected, lag_ms, ..LinkView::default() }
    }

    #[test]
    fn the_machine_that_has_the_session_is_believed_else_the_one_that_heard_the_node_last() {
        let mut links = NodeLinks::default();
        links.take(1, vec![(node(1), link(true, 900)), (node(2), link(false, 500)), (node(3), link(false, 70))]);
        links.take(2, vec![(node(1), link(false, 5)), (node(2), link(true, 600)), (node(3), link(false, 80))]);
        let machines: Vec<u16> = (1..=3).filter_map(|number| Some(links.get(node(number))?.machine)).collect();
        assert_eq!(machines, [1, 2, 1]);
        assert_eq!([1, 2, 3, 4].map(|number| links.is_connected(node(number))), [true, true, false, false]);
    }

    #[test]
    fn what_is_told_is_read_and_what_is_not_told_is_an_error() {
        let refused = Some("another store".to_owned());
        let told = vec![(node(7), LinkView { refused, schema_version: Some(9), ..link(true, 3) })];
        assert_eq!(decoded(&encoded(&told)).unwrap(), told);
        assert!(decoded(&[]).is_err(), "a machine that has nothing to tell serves nobody");
    }
}
