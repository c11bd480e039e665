//! `jikai-sim generate`: writes a world's import files and nothing else.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::printer::Pools;
use crate::world::{PlanArgs, World, write_world};

/// Options of `generate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  jikai-sim generate --terminals 100 --nodes 3 --out /tmp/world\n  \
    jikai-hub import --data DIR outlets /tmp/world/outlets.csv\n  \
    jikai-hub import --data DIR batch /tmp/world/batches/G0201-26001")]
pub struct GenerateArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Folder for the files; made if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Writes the files and says what to do with them.
pub fn generate(args: &GenerateArgs) -> Result<()> {
    let world = World::make(&args.plan.plan())?;
    let pools = Pools::print(world.plan.seed, &world.games)?;
    let files = write_world(&args.out, &world, &pools)?;
    let tickets: u64 = world.games.iter().map(|game| u64::from(game.ticket_count)).sum();
    println!(
        "{}: {} outlets, {} terminals, {} packs on their way, {tickets} tickets in {} batches",
        args.out.display(),
        world.outlets.len(),
        world.terminals.len(),
        world.stock.pack_count(),
        files.batches.len()
    );
    for node in &world.nodes {
        let prefectures: Vec<String> = node.prefectures.iter().map(u16::to_string).collect();
        println!(
            "jikai-hub import --data HUB node --id {} --name {} --prefectures {}",
            node.id,
            node.name,
            prefectures.join(",")
        );
    }
    for kind in ["divisions", "townships", "games", "outlets", "terminals", "operators"] {
        println!("jikai-hub import --data HUB {kind} {}", files.csv(kind).display());
    }
    for batch in &files.batches {
        println!("jikai-hub import --data HUB batch {}", batch.display());
    }
    for kind in ["openings", "shipments", "deposits"] {
        println!("jikai-hub import --data HUB {kind} {}", files.csv(kind).display());
    }
    Ok(())
}
