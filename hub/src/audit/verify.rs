//! All chains of a data directory, verified side by side.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::chain::{Break, ChainName, SignedHead, VerifiedChain};
use super::range::Range;
use super::{AuditError, hub_log, node_log};
use crate::store::open_reader;

/// Heads that checkpoints signed, by chain.
#[derive(Debug, Clone, Default)]
pub struct SignedHeads(BTreeMap<ChainName, Vec<SignedHead>>);

impl SignedHeads {
    /// Adds a head; those of one chain may come in any order.
    pub fn add(&mut self, chain: ChainName, head: SignedHead) {
        let heads = self.0.entry(chain).or_default();
        let at = heads.partition_point(|other| other.seq <= head.seq);
        heads.insert(at, head);
    }

    /// Those of one chain, by position.
    pub(super) fn of(&self, chain: ChainName) -> &[SignedHead] {
        self.0.get(&chain).map_or(&[], Vec::as_slice)
    }

    /// Chains that have one.
    pub(super) fn names(&self) -> impl Iterator<Item = ChainName> {
        self.0.keys().copied()
    }
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Report {
    /// Every chain, the hub's first.
    pub chains: Vec<VerifiedChain>,
    /// Threads that worked.
    pub threads: usize,
    /// Time from the first to the last event.
    pub elapsed: Duration,
    /// Sum of the threads' working times.
    pub busy: Duration,
}

impl Report {
    /// The first break of each broken chain.
    pub fn breaks(&self) -> impl Iterator<Item = &Break> {
        self.chains.iter().filter_map(|chain| chain.broken.as_ref())
    }

    /// Events whose hashes were recomputed; one that is fed to eleven nodes counts twelve times.
    pub fn events(&self) -> u64 {
        self.chains.iter().map(|chain| chain.events).sum()
    }

    /// Signed heads that were met and agreed.
    pub fn signed(&self) -> u64 {
        self.chains.iter().map(|chain| chain.signed).sum()
    }

    /// Events a second of one core.
    pub fn events_per_second(&self) -> u64 {
        (u128::from(self.events()) * 1_000_000 / self.busy.as_micros().max(1)) as u64
    }
}

/// Chains that one thread walks together.
#[derive(Clone, Copy)]
enum Group {
    HubAndFeeds,
    Node(i64),
}

/// Recomputes every chain in `data`, one group a thread, and compares with what is stored and what was signed.
pub fn verify(data: &Path, range: &Range, signed: &SignedHeads) -> Result<Report, AuditError> {
    let began = Instant::now();
    let nodes = node_log::nodes(&open_reader(data)?, signed)?;
    let groups: Vec<Group> = nodes.into_iter().map(Group::Node).chain([Group::HubAndFeeds]).collect();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(groups.len());
    let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || -> Result<Duration, AuditError> {
        let began = Instant::now();
        while let Some(group) = groups.get(next.fetch_add(1, Ordering::Relaxed)) {
            let chains = verify_group(data, *group, range, signed)?;
            found.lock().map_err(|_| AuditError::Thread)?.extend(chains);
        }
        Ok(began.elapsed())
    };
    let times: Vec<_> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().map(|worker| worker.join().unwrap_or(Err(AuditError::Thread))).collect()
    });
    let mut busy = Duration::ZERO;
    for time in times {
        busy += time?;
    }
    let mut chains = found.into_inner().map_err(|_| AuditError::Thread)?;
    chains.sort_by_key(|chain: &VerifiedChain| chain.name);
    Ok(Report { chains, threads, elapsed: began.elapsed(), busy })
}

/// One group on a connection of its own, in one transaction: rows and heads are of one moment, also beside a running hub.
fn verify_group(
    data: &Path,
    group: Group,
    range: &Range,
    signed: &SignedHeads,
) -> Result<Vec<VerifiedChain>, AuditError> {
    let mut store: Connection = open_reader(data)?;
    let store = store.transaction()?;
    match group {
        Group::HubAndFeeds => hub_log::verify(&store, range, signed),
        Group::Node(node) => Ok(vec![node_log::verify(data, &store, node, range, signed)?]),
    }
}
