//! Durable claims through the writer, without HTTP, beside a bare loop of the same row writes in the same run.
//!
//! `cargo bench -p jikai-node` (`-- --quick` for a small store and short rounds). Store: 1 M tickets in 200 k packs at 20 k
//! outlets; every claim is of a random ticket, each ticket once, `synchronous=FULL`. Product and bare loop take turns, round
//! by round, so that a change of the machine's speed falls on both; medians and their ratio are printed.

#![expect(clippy::unwrap_used, reason = "a bench may panic")]

mod bare;
mod world;

// As in the product's binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::time::Instant;

use world::{Scale, World};

/// Claims in one transaction, and claims in one round of the full scale.
const BATCHES: [(usize, usize); 4] = [(1, 3_000), (64, 32_000), (256, 38_400), (1024, 40_960)];

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let scale = if quick { Scale::QUICK } else { Scale::FULL };
    println!(
        "durable claims, synchronous=FULL: {} packs, {} outlets, {} rounds each",
        scale.packs, scale.outlets, scale.rounds
    );
    println!("preparing two equal stores …");
    let mut product = World::create(&scale, "product");
    let mut bare = bare::Bare::create(&scale);
    println!("{:>6} {:>14} {:>14} {:>7}   shares of the product's time", "batch", "product op/s", "bare op/s", "ratio");
    let mut target_met = true;
    for (batch, operations) in BATCHES {
        let operations = (operations / scale.divisor).next_multiple_of(batch);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            let requests = product.requests(operations);
            ours.push(per_second(operations, || product.claim(batch, &requests)));
            theirs.push(per_second(operations, || bare.claim(batch, operations)));
        }
        let (ours, theirs) = (median(&mut ours), median(&mut theirs));
        let ratio = ours / theirs;
        target_met &= ratio >= 0.6;
        println!(
            "{batch:>6} {ours:>14.0} {theirs:>14.0} {:>6.0}%   {}",
            ratio * 100.0,
            product.shares(batch, ours, operations)
        );
    }
    println!(
        "goal: at least 60 % of the bare loop at every batch size: {}",
        if target_met { "met" } else { "NOT met" }
    );
}

fn per_second(operations: usize, run: impl FnOnce()) -> f64 {
    let started = Instant::now();
    run();
    operations as f64 / started.elapsed().as_secs_f64()
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
