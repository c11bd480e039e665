//! Durable claims through the writer, without HTTP, beside a bare loop of the same row writes in the same run.
//!
//! `cargo bench -p jikai-node` (`-- --quick` for a small store and short rounds). Store: 1 M tickets in 200 k packs at 20 k
//! outlets; every claim is of a random ticket, each ticket once, `synchronous=FULL`. Product and bare loop take turns, batch
//! by batch, so that a change of the machine's speed falls on both.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod bare;
mod world;

// As in the product's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::time::{Duration, Instant};

use world::{Scale, World};

/// Claims in one transaction, and claims in all at the full scale.
const BATCHES: [(usize, usize); 4] = [(1, 15_000), (64, 160_000), (256, 192_000), (1024, 204_800)];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let scale = if quick { Scale::QUICK } else { Scale::FULL };
    println!("durable claims, synchronous=FULL: {} packs, {} outlets", scale.packs, scale.outlets);
    println!("preparing two equal stores …");
    let mut product = World::create(&scale, "product");
    let mut bare = bare::Bare::create(&scale);
    println!("{:>6} {:>14} {:>14} {:>7}   shares of the product's time", "batch", "product op/s", "bare op/s", "ratio");
    let mut target_met = true;
    for (batch, operations) in BATCHES {
        let operations = (operations / scale.divisor).next_multiple_of(batch);
        let requests = product.requests(operations);
        let (mut ours, mut theirs) = (Duration::ZERO, Duration::ZERO);
        for run in requests.chunks(batch) {
            ours += timed(|| product.claim(run));
            theirs += timed(|| bare.claim(batch));
        }
        let (ours, theirs) = (per_second(operations, ours), per_second(operations, theirs));
        let ratio = ours / theirs;
        target_met &= ratio >= 0.6;
        println!(
            "{batch:>6} {ours:>14.0} {theirs:>14.0} {:>6.0}%   {}",
            ratio * 100.0,
            product.shares(batch, ours, operations / 5)
        );
    }
    println!(
        "goal: at least 60 % of the bare loop at every batch size: {}",
        if target_met { "met" } else { "NOT met" }
    );
}

fn timed(run: impl FnOnce()) -> Duration {
    let started = Instant::now();
    run();
    started.elapsed()
}

fn per_second(operations: usize, took: Duration) -> f64 {
    operations as f64 / took.as_secs_f64()
}
