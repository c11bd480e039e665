//! What replication costs: the same entries of 512 events of nodes through one voter, through three, and into a bare log beside the
//! state, as before the log was replicated. Run with `cargo bench -p jikai-hub --bench replication`, or `… -- --quick`.
//!
//! All three in turns, a round of entries each, so that a machine that grows slow for a while favours none. The three voters are
//! members in this process: own files, own threads, QUIC with certificates between them; on few cores they share what three machines
//! would each have.

#[path = "../ingest/world.rs"]
#[allow(dead_code, reason = "the bench of taking in uses the rest")]
mod world;

mod bare;
mod cpu;
mod voters;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jikai_hub::store;
use jikai_schema::command::{Outcome, Proposal};

use bare::BareLog;
use voters::Voters;
use world::{BATCH_EVENTS, World};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events of one entry.
const ENTRY_EVENTS: usize = 512;
/// Rounds of each contender.
const ROUNDS: usize = 8;
/// How much slower one voter may be than the bare log. Per cent of its speed that must be left.
const GOAL_PERCENT: f64 = 85.0;

/// One entry of the log before it is encoded.
type Entry = Vec<Proposal>;

/// Who takes entries, one at a time, and answers when each is durable and applied.
trait Contender {
    fn commit(&mut self, entries: &[Entry]) -> Result<Vec<Outcome>>;
    /// Waits for what is still being done behind the answers.
    fn settle(&mut self) -> Result<()>;
}

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let dir = tempfile::tempdir().context("make a directory for the stores")?;
    let world = World::prepare(dir.path(), quick)?;
    let entries: Vec<Entry> = world
        .batches
        .chunks(ENTRY_EVENTS / BATCH_EVENTS)
        .map(|batches| batches.iter().map(|batch| world::proposal(batch.command.clone())).collect())
        .collect();
    println!(
        "{} entries of {ENTRY_EVENTS} events in {ROUNDS} rounds; {} nodes, {} packs, {} accounts",
        entries.len(),
        world::NODES,
        world.pack_count,
        world.outlet_count
    );
    let mut one = Voters::start(dir.path(), &world, 1)?;
    let mut three = Voters::start(dir.path(), &world, 3)?;
    let mut bare = BareLog::start(dir.path(), &world)?;
    let mut times: [Vec<Duration>; 3] = Default::default();
    let per_round = entries.len() / ROUNDS;
    for (number, round) in entries.chunks_exact(per_round).enumerate() {
        let contenders: [&mut dyn Contender; 3] = [&mut bare, &mut one, &mut three];
        let mut turns: Vec<_> = contenders.into_iter().zip(&mut times).collect();
        // Who comes first has the caches cold: not always the same.
        turns.rotate_left(number % 3);
        for (contender, times) in turns {
            let began = Instant::now();
            let outcomes = contender.commit(round)?;
            times.push(began.elapsed());
            let taken_in = |outcome: &Outcome| matches!(outcome, Outcome::Ingested { quarantined: 0, .. });
            ensure!(outcomes.iter().all(taken_in), "{outcomes:?}");
            contender.settle()?;
        }
    }
    report(&times, per_round);
    let per_entry = |time: Duration| time.as_secs_f64() * 1e3 / (times[0].len() * per_round) as f64;
    println!("CPU of an entry: local log {:.2} ms, one voter {:.2} ms", per_entry(bare.cpu()), per_entry(one.cpu().0));
    let (leader, others) = three.cpu();
    let share = 100.0 * leader.as_secs_f64() / (leader + others).as_secs_f64().max(f64::EPSILON);
    println!(
        "CPU of three voters: leader {leader:.2?}, both followers {others:.2?}; the leader's share is {share:.0} %"
    );
    three.check_agreement()
}

/// Prints medians over the rounds, and the ratios of each round's neighbours.
fn report(times: &[Vec<Duration>; 3], entries: usize) {
    let events = (entries * ENTRY_EVENTS) as f64;
    println!("contender      commands/s   events/s   ms/entry (median of {} rounds)", times[0].len());
    for (name, times) in ["local log", "one voter", "three voters"].into_iter().zip(times) {
        let seconds = median(times.iter().map(Duration::as_secs_f64).collect());
        let (commands, milliseconds) = (events / BATCH_EVENTS as f64 / seconds, seconds * 1e3 / entries as f64);
        println!("{name:<14} {commands:>10.0} {:>10.0} {milliseconds:>10.2}", events / seconds);
    }
    let ratio = |of: &[Duration], to: &[Duration]| {
        100.0 * median(to.iter().zip(of).map(|(to, of)| to.as_secs_f64() / of.as_secs_f64()).collect())
    };
    let one = ratio(&times[1], &times[0]);
    let verdict = if one >= GOAL_PERCENT { "" } else { "  below the goal of 85 %" };
    println!("one voter / local log = {one:.0} %{verdict}");
    println!("three voters / one voter = {:.0} %", ratio(&times[2], &times[1]));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A contender's own directory with the prepared state, whose log begins with the first entry.
fn directory(dir: &std::path::Path, world: &World, name: &str) -> Result<std::path::PathBuf> {
    let data = dir.join(name);
    std::fs::create_dir(&data).context("make a contender's directory")?;
    std::fs::copy(&world.state, data.join(store::STATE_FILE)).context("copy the prepared state")?;
    let state = store::open(&data)?;
    state.execute("UPDATE applied SET position = 0", [])?;
    Ok(data)
}
