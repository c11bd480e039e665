//! Both ends of a session under a virtual clock: connections cut at any byte, partitions, repeated frames, streams that
//! overtake each other, commits that come late or only after their session is gone, growing logs. (Within a stream QUIC
//! keeps the order.)
//!
//! One seed decides everything. A failure prints how to run it again.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::VecDeque;

use jikai_schema::chain::ChainHash;
use jikai_schema::codec::EVENT_VERSION;
use jikai_schema::id::NodeId;
use jikai_sync::session::{Action, HubSession, LogRecord, NodeSession, Stream, VerifiedBatch};
use jikai_sync::wire::{Cursor, Hello, RefusalV1, Welcome};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SEEDS: u64 = 150;
const STEPS: usize = 400;

/// A log of random records, and what the other side has made durable of it.
#[derive(Default)]
struct Log {
    records: Vec<LogRecord>,
    hashes: Vec<ChainHash>,
    received: Vec<Vec<u8>>,
}

impl Log {
    fn grow(&mut self, random: &mut StdRng) {
        let length = random.random_range(0..3_000);
        let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
        let hash = self.hash_at(self.records.len() as u64).next(&bytes);
        self.records.push(LogRecord { seq: self.records.len() as u64 + 1, bytes });
        self.hashes.push(hash);
    }

    fn hash_at(&self, seq: u64) -> ChainHash {
        if seq == 0 { ChainHash::GENESIS } else { self.hashes[seq as usize - 1] }
    }

    fn head(&self) -> Cursor {
        let seq = self.records.len() as u64;
        Cursor { next_seq: seq + 1, hash: self.hash_at(seq) }
    }

    fn durable(&self) -> Cursor {
        let seq = self.received.len() as u64;
        Cursor { next_seq: seq + 1, hash: self.hash_at(seq) }
    }

    fn read(&self, from_seq: u64, events_max: usize) -> Vec<LogRecord> {
        self.records.iter().skip(from_seq as usize - 1).take(events_max).cloned().collect()
    }

    /// Takes a batch in as a store does: what it has already is skipped.
    fn take(&mut self, batch: &VerifiedBatch) -> Cursor {
        let next_seq = self.received.len() as u64 + 1;
        assert!(batch.first_seq <= next_seq, "a batch behind a gap was delivered");
        let had = (next_seq - batch.first_seq) as usize;
        self.received.extend(batch.events.iter().skip(had).cloned());
        self.durable()
    }

    fn check_prefix(&self) {
        let sent = self.records.iter().map(|record| &record.bytes);
        assert!(self.received.len() <= self.records.len() && sent.zip(&self.received).all(|(a, b)| a == b));
    }
}

/// A connection: bytes on their way, and batches that wait for their commit.
struct Link {
    node: NodeSession,
    hub: HubSession,
    to_hub: [VecDeque<u8>; 2],
    to_node: [VecDeque<u8>; 2],
    /// At the hub, of the node's log.
    committing: VecDeque<VerifiedBatch>,
    /// At the node, of the feed.
    applying: VecDeque<VerifiedBatch>,
}

struct World {
    random: StdRng,
    now_ms: i64,
    growing: bool,
    /// How fast the hub commits in this world.
    commit_chance: f64,
    up: Log,
    down: Log,
    link: Option<Link>,
    /// Nothing arrives until then.
    parted_until_ms: i64,
    /// One stream waits until then, while the other one runs ahead.
    held: (Stream, i64),
    /// Batches of sessions that are gone, on their way into the hub all the same.
    late: VecDeque<VerifiedBatch>,
    /// The same at the node.
    late_feed: VecDeque<VerifiedBatch>,
    trace: Vec<usize>,
    ended: Vec<RefusalV1>,
    seen: Seen,
}

/// What happened at least once: a test that meets no fault proves nothing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Seen {
    cut: bool,
    silent: bool,
    repeated: bool,
    feed_repeated: bool,
    reordered: bool,
    committed_late: bool,
    applied_late: bool,
    overtaken: bool,
}

fn node() -> NodeId {
    NodeId::new(1).unwrap()
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let commit_chance = if random.random_bool(0.5) { 0.7 } else { 0.1 };
        World {
            random,
            now_ms: 0,
            growing: true,
            commit_chance,
            up: Log::default(),
            down: Log::default(),
            link: None,
            parted_until_ms: 0,
            held: (Stream::Up, 0),
            late: VecDeque::new(),
            late_feed: VecDeque::new(),
            trace: Vec::new(),
            ended: Vec::new(),
            seen: Seen::default(),
        }
    }

    fn connect(&mut self) {
        let (up_head, down) = (self.up.head(), self.down.durable());
        let hello = Hello {
            event_version: EVENT_VERSION,
            environment: "test".into(),
            node: node(),
            incarnation: [1; 16],
            epoch: 1,
            schema_version: 1,
            up_head,
            down,
        };
        let (node, hub) = (NodeSession::new(hello, self.now_ms), HubSession::new(self.now_ms));
        let empty = || [VecDeque::new(), VecDeque::new()];
        self.link = Some(Link {
            node,
            hub,
            to_hub: empty(),
            to_node: empty(),
            committing: VecDeque::new(),
            applying: VecDeque::new(),
        });
    }

    fn step(&mut self, faults: bool) {
        let parted = self.now_ms < self.parted_until_ms;
        self.now_ms += self.random.random_range(0..if parted { 2_000 } else { 200 });
        match self.random.random_range(0..100) {
            0..20 if self.growing => self.up.grow(&mut self.random),
            20..30 if self.growing => self.down.grow(&mut self.random),
            30 if faults => {
                self.seen.cut = true;
                self.hang_up();
            }
            31 if faults => self.parted_until_ms = self.now_ms + self.random.random_range(0..40_000),
            32..36 if faults => {
                let stream = if self.random.random_bool(0.5) { Stream::Up } else { Stream::Down };
                self.held = (stream, self.now_ms + self.random.random_range(0..5_000));
            }
            _ => {}
        }
        if self.link.is_none() {
            self.connect();
        }
        let (up_head, down_head) = (self.up.records.len() as u64, self.down.records.len() as u64);
        let link = self.link.as_mut().unwrap();
        link.node.log_grew(up_head);
        link.hub.feed_grew(down_head);
        link.node.tick(self.now_ms);
        link.hub.tick(self.now_ms);
        if !parted {
            self.carry();
        }
        self.commit();
        self.apply();
        if self.perform(faults) {
            self.hang_up();
        }
        self.up.check_prefix();
        self.down.check_prefix();
        self.trace.push(self.up.received.len() * 100_000 + self.down.received.len());
    }

    /// The connection is gone. The batch that is being committed may still get in, before the next session is admitted as
    /// the hub's driver sees to it, or even beside it.
    fn hang_up(&mut self) {
        let Some(link) = self.link.take() else { return };
        if self.random.random_bool(0.5) {
            self.late.extend(link.committing.into_iter().next());
        }
        if self.random.random_bool(0.5) {
            self.late_feed.extend(link.applying.into_iter().next());
        }
        if self.random.random_bool(0.3) {
            self.commit_late();
        }
    }

    fn commit_late(&mut self) {
        for batch in self.late.drain(..) {
            self.seen.committed_late = true;
            self.up.take(&batch);
        }
        for batch in self.late_feed.drain(..) {
            self.seen.applied_late = true;
            self.down.take(&batch);
        }
    }

    /// Moves some bytes of each stream, cut anywhere; one stream may stand still meanwhile.
    fn carry(&mut self) {
        let link = self.link.as_mut().unwrap();
        for (at, stream) in [Stream::Up, Stream::Down].into_iter().enumerate() {
            if self.held.0 == stream && self.now_ms < self.held.1 {
                let waits = !link.to_hub[at].is_empty() || !link.to_node[at].is_empty();
                let runs_ahead = !link.to_hub[1 - at].is_empty() || !link.to_node[1 - at].is_empty();
                self.seen.reordered |= waits && runs_ahead;
                continue;
            }
            let count = self.random.random_range(0..60_000).min(link.to_hub[at].len());
            let bytes: Vec<u8> = link.to_hub[at].drain(..count).collect();
            link.hub.on_bytes(stream, &bytes, self.now_ms);
            let count = self.random.random_range(0..60_000).min(link.to_node[at].len());
            let bytes: Vec<u8> = link.to_node[at].drain(..count).collect();
            link.node.on_bytes(stream, &bytes, self.now_ms);
        }
    }

    /// Both ends commit what waits, sometimes later.
    fn commit(&mut self) {
        if self.random.random_bool(0.15) {
            self.commit_late();
        }
        let link = self.link.as_mut().unwrap();
        while self.random.random_bool(self.commit_chance) {
            let Some(batch) = link.committing.pop_front() else { return };
            let cursor = self.up.take(&batch);
            link.hub.delivered(cursor, self.now_ms);
        }
    }

    fn apply(&mut self) {
        let link = self.link.as_mut().unwrap();
        while self.random.random_bool(self.commit_chance) {
            let Some(batch) = link.applying.pop_front() else { return };
            let cursor = self.down.take(&batch);
            link.node.delivered(cursor, self.now_ms);
        }
    }

    /// Performs what both ends want; `true` when the session has ended.
    fn perform(&mut self, faults: bool) -> bool {
        self.perform_node(faults) || self.perform_hub(faults)
    }

    fn perform_node(&mut self, faults: bool) -> bool {
        let link = self.link.as_mut().unwrap();
        while let Some(action) = link.node.poll() {
            match action {
                Action::Send(stream, bytes) => {
                    if faults && is_batch(&bytes) && self.random.random_bool(0.1) {
                        self.seen.repeated = true;
                        link.to_hub[stream as usize].extend(&bytes);
                    }
                    link.to_hub[stream as usize].extend(bytes);
                }
                Action::LocateUp(welcome) => {
                    link.node.located(Some(self.up.hash_at(welcome.up.next_seq - 1)), self.now_ms)
                }
                Action::ReadLog { from_seq, events_max, .. } => {
                    let events_max = events_max.min(self.random.random_range(1..8));
                    link.node.log_read(&self.up.read(from_seq, events_max), self.now_ms)
                }
                Action::Deliver(batch) => link.applying.push_back(batch),
                Action::Close(refusal) => {
                    self.ended.push(refusal);
                    return true;
                }
                Action::Acked(_) | Action::Agreed | Action::FeedStopped(_) | Action::Admit(..) => {}
            }
        }
        false
    }

    fn perform_hub(&mut self, faults: bool) -> bool {
        let link = self.link.as_mut().unwrap();
        while let Some(action) = link.hub.poll() {
            match action {
                Action::Send(stream, bytes) => {
                    if faults && is_batch(&bytes) && self.random.random_bool(0.1) {
                        self.seen.feed_repeated = true;
                        link.to_node[stream as usize].extend(&bytes);
                    }
                    link.to_node[stream as usize].extend(bytes);
                }
                Action::Admit(..) => {
                    let welcome = Welcome { up: self.up.durable(), hub_generation: 1, endpoints: Vec::new() };
                    link.hub.admitted(welcome, self.down.records.len() as u64, self.now_ms);
                }
                Action::ReadLog { from_seq, events_max, .. } => {
                    let events_max = events_max.min(self.random.random_range(1..8));
                    link.hub.log_read(&self.down.read(from_seq, events_max), self.now_ms)
                }
                Action::Deliver(batch) => link.committing.push_back(batch),
                Action::Close(refusal) => {
                    self.ended.push(refusal);
                    return true;
                }
                Action::Acked(_) | Action::Agreed | Action::FeedStopped(_) | Action::LocateUp(_) => {}
            }
        }
        false
    }

    fn is_settled(&self) -> bool {
        self.late.is_empty()
            && self.late_feed.is_empty()
            && self.up.received.len() == self.up.records.len()
            && self.down.received.len() == self.down.records.len()
    }
}

/// Whether an encoded frame, behind its length and version, is a batch.
fn is_batch(frame: &[u8]) -> bool {
    frame[5] == 3
}

fn play(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step(true);
    }
    // Faults stop, and the logs stop growing: they must settle, and a bound on steps is a bound on time.
    world.growing = false;
    for _ in 0..STEPS * 10 {
        if world.is_settled() {
            break;
        }
        world.step(false);
    }
    for refusal in &world.ended {
        world.seen.silent |= matches!(refusal, RefusalV1::Silent { .. });
        world.seen.overtaken |= matches!(refusal, RefusalV1::Unavailable { .. });
    }
    world
}

fn seeds() -> Vec<u64> {
    match std::env::var("JIKAI_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..SEEDS).collect(),
    }
}

#[test]
fn what_is_received_is_a_prefix_of_what_was_sent_and_in_the_end_all_of_it() {
    let mut seen = Vec::new();
    for seed in seeds() {
        println!("REPRODUCE WITH: JIKAI_SEED={seed} cargo test -p jikai-sync --test convergence");
        let world = play(seed);
        assert!(world.up.received.len() > 20 && world.down.received.len() > 10, "seed {seed}: too little was received");
        let passing = world.ended.iter().all(RefusalV1::is_passing);
        assert!(passing, "seed {seed}: an honest session was refused: {:?}", world.ended);
        assert!(world.is_settled(), "seed {seed}: events are stuck");
        seen.push(world.seen);
    }
    if seen.len() > 1 {
        let met = |fault: fn(&Seen) -> bool| seen.iter().any(fault);
        assert!(met(|seen| seen.cut) && met(|seen| seen.silent) && met(|seen| seen.repeated), "a fault was never met");
        assert!(met(|seen| seen.feed_repeated) && met(|seen| seen.reordered), "a fault was never met");
        assert!(met(|seen| seen.committed_late && seen.applied_late), "no commit came after its session");
        assert!(met(|seen| seen.overtaken), "no commit came beside the next session");
    }
}

#[test]
fn one_seed_gives_one_trace() {
    for seed in [3, 77] {
        let (first, again) = (play(seed), play(seed));
        assert_eq!(first.trace, again.trace, "seed {seed}");
        assert_eq!((first.ended, first.seen), (again.ended, again.seen), "seed {seed}");
    }
}

#[test]
fn a_node_whose_log_was_rewound_or_rewritten_is_refused_by_itself() {
    let refusal = |claimed: Cursor, located: Option<ChainHash>| {
        let mut world = World::new(5);
        (0..5).for_each(|_| world.up.grow(&mut StdRng::seed_from_u64(1)));
        let hello = Hello {
            event_version: EVENT_VERSION,
            environment: "test".into(),
            node: node(),
            incarnation: [1; 16],
            epoch: 1,
            schema_version: 1,
            up_head: claimed,
            down: Cursor::START,
        };
        let mut session = NodeSession::new(hello, 0);
        let mut hub = HubSession::new(0);
        while let Some(action) = session.poll() {
            if let Action::Send(stream, bytes) = action {
                hub.on_bytes(stream, &bytes, 0);
            }
        }
        hub.admitted(Welcome { up: world.up.head(), hub_generation: 1, endpoints: Vec::new() }, 0, 0);
        while let Some(action) = hub.poll() {
            if let Action::Send(stream, bytes) = action {
                session.on_bytes(stream, &bytes, 0);
            }
        }
        session.located(located, 0);
        std::iter::from_fn(|| session.poll()).find_map(|action| match action {
            Action::Close(refusal) => Some(refusal),
            _ => None,
        })
    };
    let six = Cursor { next_seq: 6, hash: ChainHash::GENESIS };
    assert_eq!(refusal(Cursor { next_seq: 3, ..six }, None), Some(RefusalV1::Rewound { ours: 6, theirs: 3 }));
    assert_eq!(refusal(six, Some(ChainHash::GENESIS)), Some(RefusalV1::Fork { at: 6 }));
    assert_eq!(refusal(six, None), Some(RefusalV1::Fork { at: 6 }));
}
