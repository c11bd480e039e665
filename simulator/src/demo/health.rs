//! Watches the health of every node, four times a second.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use super::cluster::Cluster;
use crate::client::{Endpoint, Service};
use crate::terminal::{latencies, locked};
use crate::world::World;

/// Time between two looks at one node.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Time for one answer.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Heads that are remembered: an hour of looks.
const HEADS_MAX: usize = 4 * 3_600;

/// What a node said last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Whether the last look was answered.
    pub is_known: bool,
    /// Terminal sessions.
    pub sessions: u64,
    /// Events that the node has decided.
    pub head_seq: u64,
    /// Of them, those that the hub has.
    pub acked_seq: u64,
    /// Age of the oldest event that the hub does not have.
    pub lag_ms: u64,
    /// Whether the node sees the hub.
    pub connected: bool,
}

impl Pulse {
    /// Reads the reply of `/health/ready`.
    fn read(value: &Value) -> Option<Pulse> {
        let up = &value["up"];
        Some(Pulse {
            is_known: true,
            sessions: value["sessions"].as_u64().unwrap_or(0),
            head_seq: up["head_seq"].as_u64()?,
            acked_seq: up["acked_seq"].as_u64()?,
            lag_ms: up["lag_ms"].as_u64()?,
            connected: value["connected"].as_bool()?,
        })
    }

    /// Whether the hub has all that the node decided.
    pub fn is_drained(&self) -> bool {
        self.is_known && self.connected && self.head_seq == self.acked_seq
    }
}

struct Shared {
    pulses: Mutex<BTreeMap<u16, Pulse>>,
    lags_ms: Mutex<Histogram<u64>>,
    is_recording: AtomicBool,
}

/// Looks at every node once, now.
pub async fn look_at_all(services: &mut BTreeMap<u16, Service>) -> BTreeMap<u16, Pulse> {
    let mut pulses = BTreeMap::new();
    for (&node, service) in services {
        let reply = service.once("/health/ready").await.ok();
        pulses.insert(node, reply.and_then(|reply| Pulse::read(&reply.json())).unwrap_or_default());
    }
    pulses
}

/// Terminals that are connected by both ends' word. A session too many at one node makes up for none at another.
pub fn confirmed_by_nodes(open: u64, sessions: &BTreeMap<u16, u64>, world: &World) -> u64 {
    let mut expected: BTreeMap<u16, u64> = BTreeMap::new();
    for terminal in &world.terminals {
        *expected.entry(world.outlets[terminal.outlet].node).or_default() += 1;
    }
    let held = |(node, &wanted): (&u16, &u64)| sessions.get(node).copied().unwrap_or(0).min(wanted);
    open.min(expected.iter().map(held).sum())
}

/// A client for the health of every node.
pub fn services(cluster: &Cluster) -> Result<BTreeMap<u16, Service>> {
    let service = |(&node, &address): (&u16, &SocketAddr)| {
        Ok((node, Service::new(Endpoint::of_node(node, address, cluster.tls.clone())?, None, LOOK_LIMIT)))
    };
    cluster.nodes.iter().map(service).collect()
}

/// The watch over all nodes; ends when dropped.
pub struct Watch {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl Watch {
    /// Begins to watch.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let shared = Arc::new(Shared {
            pulses: Mutex::new(cluster.nodes.keys().map(|&node| (node, Pulse::default())).collect()),
            lags_ms: Mutex::new(latencies()?),
            is_recording: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        for (node, service) in services(cluster)? {
            tasks.spawn(look_at(node, service, shared.clone()));
        }
        Ok(Watch { shared, _tasks: tasks })
    }

    /// What all nodes said last.
    pub fn pulses(&self) -> BTreeMap<u16, Pulse> {
        locked(&self.shared.pulses).clone()
    }

    /// Whether samples of the lag are kept.
    pub fn record(&self, is_recording: bool) {
        self.shared.is_recording.store(is_recording, Ordering::Relaxed);
    }

    /// The samples. Milliseconds.
    pub fn lags_ms(&self) -> Histogram<u64> {
        locked(&self.shared.lags_ms).clone()
    }
}

/// When each head of a node's log was seen first: the watch's own measure of the lag, for a node stamps its events with a
/// clock that runs ahead when it is busy, and then claims too little.
#[derive(Debug, Clone, Default)]
pub(super) struct Heads(VecDeque<(Instant, u64)>);

impl Heads {
    /// Notes a look. A head that went back is that of another store, in the place of a lost one. Returns for how long at least the hub has been missing something that was seen. Milliseconds.
    pub fn note(&mut self, seen: Instant, head_seq: u64, acked_seq: u64) -> u64 {
        if self.0.back().is_some_and(|&(_, last)| head_seq < last) {
            self.0.clear();
        }
        if self.0.back().is_none_or(|&(_, last)| last < head_seq) && self.0.len() < HEADS_MAX {
            self.0.push_back((seen, head_seq));
        }
        while self.0.front().is_some_and(|&(_, head)| head <= acked_seq) {
            self.0.pop_front();
        }
        self.0.front().map_or(0, |&(first, _)| (seen - first).as_millis() as u64)
    }
}

/// Looks again and again. A look that is not answered counts with the time it took: a silent node has no small lag.
async fn look_at(node: u16, mut service: Service, shared: Arc<Shared>) {
    let mut beat = tokio::time::interval(LOOK_EVERY);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heads = Heads::default();
    loop {
        beat.tick().await;
        let asked = Instant::now();
        let reply = service.once("/health/ready").await.ok();
        let mut pulse = reply.and_then(|reply| Pulse::read(&reply.json()));
        if let Some(pulse) = &mut pulse {
            pulse.lag_ms = pulse.lag_ms.max(heads.note(asked, pulse.head_seq, pulse.acked_seq));
        }
        let waited_ms = asked.elapsed().as_millis() as u64;
        let sample_ms = pulse.as_ref().map_or(waited_ms.max(1), |pulse| pulse.lag_ms);
        if shared.is_recording.load(Ordering::Relaxed) {
            locked(&shared.lags_ms).saturating_record(sample_ms);
        }
        let mut pulses = locked(&shared.pulses);
        match pulse {
            Some(pulse) => drop(pulses.insert(node, pulse)),
            None => pulses.entry(node).or_default().is_known = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::seed::Seed;
    use crate::world::Plan;

    #[test]
    fn a_node_is_drained_only_when_the_hub_has_its_head() {
        let ready = |acked: u64, connected: bool| {
            let up = json!({ "head_seq": 9, "acked_seq": acked, "lag_ms": 4 });
            Pulse::read(&json!({ "status": "ready", "sessions": 2, "up": up, "connected": connected })).unwrap()
        };
        assert!(ready(9, true).is_drained());
        assert!(!ready(8, true).is_drained());
        assert!(!ready(9, false).is_drained());
        assert!(!Pulse::default().is_drained());
        assert_eq!(Pulse::read(&json!({ "status": "ready" })), None);
    }

    #[test]
    fn the_lag_is_measured_from_the_first_sight_of_what_the_hub_misses() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut heads = Heads::default();
        assert_eq!(heads.note(at(0), 10, 10), 0);
        assert_eq!(heads.note(at(250), 15, 10), 0);
        assert_eq!(heads.note(at(500), 20, 12), 250);
        assert_eq!(heads.note(at(750), 20, 15), 250);
        assert_eq!(heads.note(at(1_000), 30, 19), 500);
        assert_eq!(heads.note(at(1_250), 30, 30), 0);
        assert_eq!(heads.note(at(1_500), 40, 30), 0);
        assert_eq!(heads.note(at(1_750), 40, 30), 250);
        assert_eq!(heads.note(at(2_000), 31, 30), 0, "a store that took the place of another");
        assert_eq!(heads.note(at(2_250), 32, 31), 0);
    }

    #[test]
    fn a_line_that_is_closed_or_a_session_that_a_node_lacks_is_no_connected_terminal() {
        let plan = Plan { seed: Seed(1), terminal_count: 40, node_count: 2, game_codes: vec!["G0201".to_owned()] };
        let world = World::make(&plan).unwrap();
        let of_first =
            world.terminals.iter().filter(|terminal| world.outlets[terminal.outlet].node == 1).count() as u64;
        let sessions = BTreeMap::from([(1, of_first), (2, 40 - of_first)]);
        assert_eq!(confirmed_by_nodes(40, &sessions, &world), 40);
        assert_eq!(confirmed_by_nodes(39, &sessions, &world), 39);
        let moved = BTreeMap::from([(1, of_first - 1), (2, 41 - of_first)]);
        assert_eq!(confirmed_by_nodes(40, &moved, &world), 39);
        let silent = BTreeMap::from([(1, of_first)]);
        assert_eq!(confirmed_by_nodes(40, &silent, &world), of_first);
    }
}
