//! Watches at close range how the hub acknowledges what the nodes decide. Runs only while a fault is on.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, anyhow};
use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::client::Service;
use crate::demo::cluster::Cluster;
use crate::demo::health::{Heads, services};

/// Time between two looks at a node where the time to recover is measured.
pub(super) const CLOSE: Duration = Duration::from_millis(20);
/// The same where latencies are measured beside it: eleven nodes looked at closely answer as many looks as a quarter of the demo's operations.
pub(super) const SELDOM: Duration = Duration::from_millis(250);
/// Nodes answer whatever becomes of the hub.
const MARK_LIMIT: Duration = Duration::from_secs(20);

/// What was seen of a node.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// When the last look that was answered began.
    looked: Option<Instant>,
    head_seq: u64,
    acked_seq: u64,
    heads: Heads,
    /// Longest time for which the hub was seen to miss something. Milliseconds.
    stall_ms: u64,
    /// The same, now. Milliseconds.
    stalled_ms: u64,
}

impl Seen {
    fn note(&mut self, looked: Instant, head_seq: u64, acked_seq: u64) {
        self.stalled_ms = self.heads.note(looked, head_seq, acked_seq);
        self.stall_ms = self.stall_ms.max(self.stalled_ms);
        (self.looked, self.head_seq, self.acked_seq) = (Some(looked), head_seq, acked_seq);
    }
}

type AllSeen = BTreeMap<u16, Seen>;

/// A place in the log of every node.
pub(super) type Marks = BTreeMap<u16, u64>;

/// The watch over the acknowledgements; ends when dropped.
pub(super) struct AckWatch {
    seen: watch::Receiver<AllSeen>,
    _tasks: JoinSet<()>,
}

impl AckWatch {
    /// Begins to look at every node, so often.
    pub fn begin(cluster: &Cluster, every: Duration) -> Result<Self> {
        let all: AllSeen = cluster.nodes.keys().map(|&node| (node, Seen::default())).collect();
        let (sender, seen) = watch::channel(all);
        let mut tasks = JoinSet::new();
        for (node, service) in services(cluster)? {
            tasks.spawn(look_at(node, service, every, sender.clone()));
        }
        Ok(AckWatch { seen, _tasks: tasks })
    }

    /// How far every node has decided now: by a look that begins now.
    pub async fn heads(&self) -> Result<Marks> {
        self.fresh().await.map(|all| all.iter().map(|(&node, seen)| (node, seen.head_seq)).collect())
    }

    /// How far the hub has acknowledged now: by a look that begins now.
    pub async fn acked(&self) -> Result<Marks> {
        self.fresh().await.map(|all| all.iter().map(|(&node, seen)| (node, seen.acked_seq)).collect())
    }

    async fn fresh(&self) -> Result<AllSeen> {
        let from = Instant::now();
        let is_fresh = |seen: &Seen| seen.looked.is_some_and(|looked| looked >= from);
        self.wait_for("a node does not answer", MARK_LIMIT, is_fresh).await
    }

    /// Waits until the hub has acknowledged something behind every mark.
    pub async fn passed(&self, marks: &Marks, limit: Duration) -> Result<()> {
        let waiting =
            |all: &AllSeen| all.iter().all(|(node, seen)| marks.get(node).is_none_or(|&m| seen.acked_seq > m));
        self.wait_for_all("the hub acknowledges nothing new", limit, waiting).await.map(drop)
    }

    /// Waits until the hub has acknowledged something behind one of the marks.
    pub async fn any_passed(&self, marks: &Marks, limit: Duration) -> Result<()> {
        let passed =
            |all: &AllSeen| all.iter().any(|(node, seen)| marks.get(node).is_some_and(|&m| seen.acked_seq > m));
        self.wait_for_all("the hub acknowledges nothing at all", limit, passed).await.map(drop)
    }

    /// Waits until the hub misses nothing that was seen `stall_ms_max` ago.
    pub async fn in_step(&self, stall_ms_max: u64, limit: Duration) -> Result<()> {
        let from = Instant::now();
        let is_so = |seen: &Seen| seen.looked.is_some_and(|looked| looked >= from) && seen.stalled_ms <= stall_ms_max;
        self.wait_for("the hub does not keep up", limit, is_so).await.map(drop)
    }

    /// The longest time for which the hub was seen to miss something of a node.
    pub fn longest_stall(&self) -> Duration {
        Duration::from_millis(self.seen.borrow().values().map(|seen| seen.stall_ms).max().unwrap_or(0))
    }

    async fn wait_for(&self, what: &str, limit: Duration, is_so: impl Fn(&Seen) -> bool) -> Result<AllSeen> {
        self.wait_for_all(what, limit, |all| all.values().all(&is_so)).await
    }

    async fn wait_for_all(&self, what: &str, limit: Duration, is_so: impl Fn(&AllSeen) -> bool) -> Result<AllSeen> {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(limit, seen.wait_for(|all| is_so(all))).await;
        if let Ok(Ok(all)) = waited {
            return Ok(all.clone());
        }
        let now: Vec<String> = self.seen.borrow().iter().map(|(node, seen)| tell(*node, seen)).collect();
        Err(anyhow!("{what} within {limit:?}: {}", now.join(", ")))
    }
}

fn tell(node: u16, seen: &Seen) -> String {
    format!("node {node} acked {} of {}, behind for {} ms", seen.acked_seq, seen.head_seq, seen.stalled_ms)
}

/// Looks again and again; a look that is not answered shows nothing. The health is asked, not the metrics: to render those this often
/// costs a node more than its outlets do.
async fn look_at(node: u16, mut service: Service, every: Duration, seen: watch::Sender<AllSeen>) {
    let mut beat = tokio::time::interval(every);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let looked = Instant::now();
        let Ok(reply) = service.once("/health/ready").await else { continue };
        let Ok(Health { up }) = serde_json::from_slice(&reply.body) else { continue };
        seen.send_modify(|all| all.entry(node).or_default().note(looked, up.head_seq, up.acked_seq));
    }
}

/// What a node says of itself.
#[derive(Debug, PartialEq, Deserialize)]
struct Health {
    up: UpHealth,
}

/// Head and acknowledgement of its log.
#[derive(Debug, PartialEq, Deserialize)]
struct UpHealth {
    head_seq: u64,
    acked_seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn head_and_acknowledgement_are_read_from_the_health_of_a_node_that_serves() {
        let ready = r#"{"status":"ready","node":3,"up":{"head_seq":120,"acked_seq":118,"lag_ms":4},"connected":true}"#;
        let up = UpHealth { head_seq: 120, acked_seq: 118 };
        assert_eq!(serde_json::from_str::<Health>(ready).unwrap(), Health { up });
        assert!(serde_json::from_str::<Health>(r#"{"status":503,"code":"node_fenced"}"#).is_err());
    }

    #[test]
    fn the_longest_stall_is_kept_when_it_is_over() {
        let begin = Instant::now();
        let mut seen = Seen::default();
        for (at_ms, head, acked) in [(0, 5, 5), (20, 6, 5), (520, 9, 5), (540, 9, 9), (560, 10, 9), (580, 10, 10)] {
            seen.note(begin + Duration::from_millis(at_ms), head, acked);
        }
        assert_eq!((seen.stall_ms, seen.stalled_ms, seen.acked_seq), (500, 0, 10));
    }

    #[tokio::test]
    async fn a_mark_is_passed_only_when_every_node_passed_its_own() {
        let seen = |acked_seq| Seen { acked_seq, looked: Some(Instant::now()), ..Seen::default() };
        let (sender, receiver) = watch::channel(AllSeen::from([(1, seen(5)), (2, seen(9))]));
        let watch = AckWatch { seen: receiver, _tasks: JoinSet::new() };
        let marks = Marks::from([(1, 5), (2, 8)]);
        let stuck = watch.passed(&marks, Duration::from_millis(1)).await.unwrap_err().to_string();
        assert!(stuck.contains("node 1 acked 5"), "{stuck}");
        sender.send_modify(|all| all.get_mut(&1).unwrap().acked_seq = 6);
        watch.passed(&marks, Duration::from_secs(20)).await.unwrap();
    }
}
