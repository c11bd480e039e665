//! How fast the audit recomputes the chains of a state that the product made. Run with
//! `cargo bench -p jikai-hub --bench audit`, or `… -- --quick`.

#[expect(dead_code, reason = "the bench of the ingest uses more of it")]
#[path = "ingest/world.rs"]
mod world;

use anyhow::{Context, Result, ensure};
use jikai_hub::audit::{Range, SignedHeads, verify};
use jikai_hub::machine;
use jikai_hub::store;
use jikai_schema::projection::Catalog;

use world::World;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Events a second of one core.
const GOAL: u64 = 500_000;
const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let dir = tempfile::tempdir().context("make a directory for the state")?;
    let world = World::prepare(dir.path(), quick)?;
    let mut state = store::open(dir.path())?;
    let (mut position, mut catalog) = (machine::applied_position(&state)?, Catalog::default());
    for batches in world.batches.chunks(32) {
        position = position.next();
        let proposals = batches.iter().map(|batch| world::proposal(batch.command.clone())).collect();
        machine::commit(&mut state, &mut catalog, &[(position, proposals)])?;
    }
    for _ in 0..ROUNDS {
        let report = verify(dir.path(), &Range::default(), &SignedHeads::default())?;
        ensure!(report.breaks().next().is_none(), "a chain is broken");
        let rate = report.events_per_second();
        let verdict = if rate >= GOAL { "" } else { "  below the goal of 500,000" };
        println!(
            "{} events in {} chains, {:.3} s on {} threads: {rate} events/s per core{verdict}",
            report.events(),
            report.chains.len(),
            report.elapsed.as_secs_f64(),
            report.threads
        );
    }
    Ok(())
}
