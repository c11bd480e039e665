//! How fast the hub takes in what nodes decided: claims on random tickets through the machine, with rollups, beside a bare
//! loop that writes the same rows and knows nothing. Run with `cargo bench -p jikai-hub`, or `… -- --quick`.
//!
//! Both work on copies of one prepared state, transaction by transaction in turns, so that a machine that grows slow for a
//! while favours neither.

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
/// One entry of the log, as [`machine::commit`] takes it.
type Entry = [(LogPosition, Vec<Proposal>); 1];

/// Least share of the bare loop's speed, per cent.
const GOAL_PERCENT: u128 = 60;

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let dir = tempfile::tempdir().context("make a directory for the stores")?;
    let world = World::prepare(dir.path(), quick)?;
    println!(
        "{} claims in batches of {BATCH_EVENTS} from {} nodes; {} packs, {} accounts",
        world.claims.len(),
        world::NODES,
        world.pack_count,
        world.outlet_count
    );
    println!("events/tx   product events/s   bare loop events/s   ratio");
    for events in TRANSACTION_EVENTS {
        let (product, bare) = race(dir.path(), &world, events)?;
        report(events, world.claims.len(), product, bare);
    }
    Ok(())
}

/// Runs both contenders on copies of the prepared state, transaction by transaction in turns, and checks that each did the
/// work. Gives the time of each.
fn race(dir: &Path, world: &World, transaction_events: usize) -> Result<(Duration, Duration)> {
    let mut product = copy(dir, world, "product")?;
    let mut bare = copy(dir, world, "bare")?;
    let entries = entries(&product, world, transaction_events)?;
    let mut catalog = Catalog::default();
    let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
    for (entry, batches) in entries.iter().zip(world.batches.chunks(transaction_events / BATCH_EVENTS)) {
        let began = Instant::now();
        let (outcomes, _) = machine::commit(&mut product, &mut catalog, entry)?;
        ours += began.elapsed();
        let taken_in = |outcome: &Outcome| matches!(outcome, Outcome::Ingested { quarantined: 0, .. });
        ensure!(outcomes.iter().all(taken_in), "{outcomes:?}");
        let began = Instant::now();
        bare::commit(&mut bare, world, batches, entry[0].0)?;
        theirs += began.elapsed();
    }
    for store in [&product, &bare] {
        let claims: i64 = store.query_row("SELECT sum(claims) FROM outlet_day", [], |row| row.get(0))?;
        let sum: i64 = store.query_row("SELECT sum(balance_fen) FROM account", [], |row| row.get(0))?;
        ensure!(claims as usize == world.claims.len() && sum == 0, "{claims} claims counted, balances sum to {sum}");
    }
    Ok((ours, theirs))
}

/// A contender's own copy of the prepared state.
fn copy(dir: &Path, world: &World, name: &str) -> Result<Connection> {
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.join(format!("{name}.db{suffix}")));
    }
    let path = dir.join(format!("{name}.db"));
    std::fs::copy(&world.state, &path).context("copy the prepared state")?;
    Ok(open_writer(&path, Durability::Replayable)?)
}

/// As the sequencer makes them: several batches an entry, an entry a transaction.
fn entries(store: &Connection, world: &World, transaction_events: usize) -> Result<Vec<Entry>> {
    let applied = machine::applied_position(store)?;
    let chunks = world.batches.chunks(transaction_events / BATCH_EVENTS);
    let positions = std::iter::successors(Some(applied.next()), |position| Some(position.next()));
    let proposals = |chunk: &[world::Batch]| chunk.iter().map(|batch| world::proposal(batch.command.clone())).collect();
    Ok(positions.zip(chunks).map(|(position, chunk)| [(position, proposals(chunk))]).collect())
}

fn report(transaction_events: usize, events: usize, product: Duration, bare: Duration) {
    let rate = |time: Duration| events as u128 * 1_000_000 / time.as_micros().max(1);
    let (product, bare) = (rate(product), rate(bare));
    let percent = product * 100 / bare.max(1);
    let verdict = if percent >= GOAL_PERCENT { "" } else { "  below the goal of 60 %" };
    println!("{transaction_events:>9} {product:>18} {bare:>20} {percent:>5} %{verdict}");
}
