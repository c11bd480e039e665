//! How the nodes' links stand at the hub: a node has its session with one machine, and only that one knows of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jikai_schema::event::MachineState;
use jikai_schema::id::NodeId;

use super::view::ANSWER_WAIT;
use super::{Machines, MachinesError};
use crate::ingest::{LinkView, Links};
use crate::machine::MachineRow;
use crate::raft::cluster::Cluster;
use crate::sequencer::Clock;

/// First byte of what machines tell each other; one that tells in another form is taken for silent.
const FORM: u8 = 1;

/// A node's link, by the machine whose word counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLink {
    /// The machine that has its session, the youngest one where several say so; of a node that is not connected the one that heard it last.
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

    /// The word of one more machine: that of the one that has the session counts, else that of the one that heard the node last. What it
    /// was refused with elsewhere since is told all the same: a copy of its store may have come there.
    fn take(&mut self, machine: u16, told: Vec<(NodeId, LinkView)>) {
        for (node, view) in told {
            let mut link = NodeLink { machine, view };
            if let Some(mut other) = self.heard.remove(&node) {
                if rank(&other.view) > rank(&link.view) {
                    std::mem::swap(&mut link, &mut other);
                }
                link.view.heed(other.view);
            }
            self.heard.insert(node, link);
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
        let asked = others.iter().map(async |machine| {
            let told = cluster.links_of(u64::from(*machine), ANSWER_WAIT).await;
            (told.map_err(|error| error.to_string()).and_then(|told| decoded(&told)), Instant::now())
        });
        let told = futures_util::future::join_all(asked).await;
        let mut links = NodeLinks::default();
        links.take(self.number, own.views(self.sequencer.now_ms()));
        for (machine, (told, at)) in others.into_iter().zip(told) {
            match told {
                // Others were waited for meanwhile.
                Ok(told) => links.take(machine, aged(told, at.elapsed())),
                Err(why) => {
                    tracing::info!(machine, why, "a machine does not tell of its nodes");
                    links.silent.push(machine);
                }
            }
        }
        Ok(links)
    }
}

/// What was told so long ago.
fn aged(mut told: Vec<(NodeId, LinkView)>, ago: Duration) -> Vec<(NodeId, LinkView)> {
    let ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    for (_, view) in &mut told {
        view.since_ms = view.since_ms.saturating_add(ms);
        view.refused_ms = view.refused_ms.map(|refused_ms| refused_ms.saturating_add(ms));
    }
    told
}

fn rank(view: &LinkView) -> (bool, i64) {
    (view.connected, -view.since_ms)
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
    postcard::to_extend(told, vec![FORM]).unwrap_or_default()
}

fn decoded(told: &[u8]) -> Result<Vec<(NodeId, LinkView)>, String> {
    match told.split_first() {
        Some((&FORM, told)) => postcard::from_bytes(told).map_err(|error| error.to_string()),
        Some((form, _)) => Err(format!("its build tells in form {form}")),
        None => Err("it has nothing to tell".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeId {
        NodeId::new(number).unwrap()
    }

    fn link(connected: bool, since_ms: i64) -> LinkView {
        LinkView { connected, since_ms, ..LinkView::default() }
    }

    fn refused(view: LinkView, why: &str, refused_ms: i64) -> LinkView {
        LinkView { refused: Some(why.to_owned()), refused_ms: Some(refused_ms), ..view }
    }

    #[test]
    fn the_machine_that_has_the_session_is_believed_else_the_one_that_heard_the_node_last() {
        let mut links = NodeLinks::default();
        let one = [link(true, 900), link(false, 500), link(false, 70), link(true, 40)];
        let other = [link(false, 5), link(true, 600), link(false, 80), link(true, 30)];
        for (machine, told) in [(1, one), (2, other)] {
            links.take(machine, (1..).map(node).zip(told).collect());
        }
        let machines: Vec<u16> = (1..=4).filter_map(|number| Some(links.get(node(number))?.machine)).collect();
        assert_eq!(machines, [1, 2, 1, 2], "of two sessions the younger one");
        assert_eq!([1, 3, 5].map(|number| links.is_connected(node(number))), [true, false, false]);
    }

    #[test]
    fn a_refusal_by_another_machine_is_told_unless_the_session_was_opened_since() {
        let told = |here: LinkView, elsewhere: LinkView| {
            let mut links = NodeLinks::default();
            links.take(1, vec![(node(1), here)]);
            links.take(2, vec![(node(1), elsewhere)]);
            links.get(node(1)).and_then(|link| link.view.refused.clone())
        };
        let a_copy = |ms| refused(link(false, 9_000), "a copy", ms);
        assert_eq!(told(link(true, 500), a_copy(400)).as_deref(), Some("a copy"));
        assert_eq!(told(link(true, 500), a_copy(600)), None, "its session came behind it");
        assert_eq!(told(a_copy(600), link(true, 500)), None);
        assert_eq!(told(link(false, 500), a_copy(600)).as_deref(), Some("a copy"));
        assert_eq!(told(refused(link(false, 500), "fenced", 300), a_copy(600)).as_deref(), Some("fenced"));
    }

    #[test]
    fn what_is_told_is_read_and_what_is_not_told_is_an_error() {
        let view = refused(LinkView { schema_version: Some(9), ..link(true, 3) }, "another store", 2);
        let told = vec![(node(7), view)];
        let mut bytes = encoded(&told);
        assert_eq!(decoded(&bytes).unwrap(), told);
        bytes[0] += 1;
        assert!(decoded(&bytes).is_err(), "the form of another build");
        assert!(decoded(&[]).is_err(), "a machine that has nothing to tell serves nobody");
    }
}
