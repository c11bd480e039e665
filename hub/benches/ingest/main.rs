//! How fast the hub takes in what nodes decided: claims on random tickets through the machine, with rollups, beside a bare
//! loop that writes the same rows and knows nothing. Run with `cargo bench -p jikai-hub`, or `… -- --quick`.
//!
//! Both work on copies of one prepared state, in turns, so that a machine that grows warm or slow favours neither.

mod bare;
mod world;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jikai_hub::log::LogPosition;
use jikai_hub::machine;
use jikai_schema::command::{Outcome, Proposal};
use jikai_schema::projection::Catalog;
use jikai_schema::store::{Durability, open_writer};
use rusqlite::Connection;

use world::{BATCH_EVENTS, World};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events that share a transaction.
const TRANSACTION_EVENTS: [usize; 3] = [256, 2_048, 8_192];
/// Turns of each contender.
const ROUNDS: usize = 3;
/// Least share of the bare loop's speed, per cent.
const GOAL_PERCENT: u128 = 60;

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let dir = tempfile::tempdir().context("make a directory for the stores")?;
    let world = World::prepare(dir.path(), quick)?;
    println!(
        "{} claims in batches of {BATCH_EVENTS} from {} nodes; {} packs, {} accounts; {ROUNDS} rounds in turns",
        world.claims.len(),
        world::NODES,
        world.pack_count,
        world.outlet_count
    );
    println!("events/tx        product events/s (min · median · max)       bare loop (min · median · max)    ratio");
    for events in TRANSACTION_EVENTS {
        let (mut product, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            product.push(timed(dir.path(), &world, |store| run_product(store, &world, events))?);
            bare.push(timed(dir.path(), &world, |store| bare::run(store, &world, events))?);
        }
        report(events, world.claims.len(), &mut product, &mut bare);
    }
    Ok(())
}

/// Runs one contender on a fresh copy and checks that it did the work.
fn timed(dir: &Path, world: &World, run: impl FnOnce(&mut Connection) -> Result<Duration>) -> Result<Duration> {
    let copy = dir.join("copy.db");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.join(format!("copy.db{suffix}")));
    }
    std::fs::copy(&world.state, &copy).context("copy the prepared state")?;
    let mut store = open_writer(&copy, Durability::Replayable)?;
    let took = run(&mut store)?;
    let claims: i64 = store.query_row("SELECT sum(claims) FROM outlet_day", [], |row| row.get(0))?;
    let sum: i64 = store.query_row("SELECT sum(balance_fen) FROM account", [], |row| row.get(0))?;
    ensure!(claims as usize == world.claims.len() && sum == 0, "{claims} claims counted, balances sum to {sum}");
    Ok(took)
}

/// As the sequencer does it: several batches an entry, an entry a transaction.
fn run_product(store: &mut Connection, world: &World, transaction_events: usize) -> Result<Duration> {
    let proposals: Vec<Proposal> = world.batches.iter().map(|batch| world::proposal(batch.command.clone())).collect();
    let mut position =
        LogPosition::new(store.query_row("SELECT position FROM applied", [], |row| row.get::<_, i64>(0))? as u64);
    let mut entries = Vec::new();
    for entry in proposals.chunks(transaction_events / BATCH_EVENTS) {
        position = position.next();
        entries.push([(position, entry.to_vec())]);
    }
    let mut catalog = Catalog::default();
    let began = Instant::now();
    for entry in &entries {
        let (outcomes, _) = machine::commit(store, &mut catalog, entry)?;
        let taken_in = |outcome: &Outcome| matches!(outcome, Outcome::Ingested { quarantined: 0, .. });
        ensure!(outcomes.iter().all(taken_in), "{outcomes:?}");
    }
    Ok(began.elapsed())
}

fn report(transaction_events: usize, events: usize, product: &mut [Duration], bare: &mut [Duration]) {
    let rates = |times: &mut [Duration]| -> [u128; 3] {
        times.sort_unstable();
        let rate = |time: Duration| events as u128 * 1_000_000 / time.as_micros().max(1);
        [rate(times[ROUNDS - 1]), rate(times[ROUNDS / 2]), rate(times[0])]
    };
    let (product, bare) = (rates(product), rates(bare));
    let percent = product[1] * 100 / bare[1].max(1);
    let verdict = if percent >= GOAL_PERCENT { "" } else { "  below the goal of 60 %" };
    let shown = |[min, median, max]: [u128; 3]| format!("{min:>8} · {median:>8} · {max:>8}");
    println!("{transaction_events:>9}        {:<40}   {:<36}  {percent:>3} %{verdict}", shown(product), shown(bare));
}
