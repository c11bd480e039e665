//! The world as import files for the hub.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use csv::Writer;

use super::{World, deposit_yuan, place, staff};
use crate::printer::{BATCH, GAMES_CSV, Pools, print_batch, printer_key};

/// Day of the public notice of every game: sales may open ten days later.
const NOTICE_DAY: &str = "2026-02-01";

/// Where the files of a world lie.
#[derive(Debug, Clone)]
pub struct WorldFiles {
    /// The folder of all.
    pub directory: PathBuf,
    /// Hex Ed25519 public key of the printer.
    pub printer_key: PathBuf,
    /// The printer's directories, one a batch.
    pub batches: Vec<PathBuf>,
}

impl WorldFiles {
    /// The import file of one kind, such as `outlets`.
    pub fn csv(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{kind}.csv"))
    }
}

/// Writes all import files and prints all pools, several at once.
pub fn write_world(directory: &Path, world: &World, pools: &Pools) -> Result<WorldFiles> {
    std::fs::create_dir_all(directory).with_context(|| format!("make the folder {}", directory.display()))?;
    let batch_directory = |code: &str| directory.join("batches").join(format!("{code}-{BATCH}"));
    let files = WorldFiles {
        directory: directory.to_owned(),
        printer_key: directory.join("printer.pub"),
        batches: pools.0.iter().map(|pool| batch_directory(&pool.game.code)).collect(),
    };
    let key = printer_key(world.plan.seed);
    write(&files.printer_key, &hex::encode(key.verifying_key().to_bytes()))?;
    std::thread::scope(|scope| -> Result<()> {
        let printers: Vec<_> = pools
            .0
            .iter()
            .zip(&files.batches)
            .map(|(pool, directory)| scope.spawn(|| print_batch(directory, pool, &key)))
            .collect();
        write_master_data(&files, world)?;
        write_stock(&files, world)?;
        for printer in printers {
            printer.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a printing thread panicked")))?;
        }
        Ok(())
    })?;
    Ok(files)
}

fn write_master_data(files: &WorldFiles, world: &World) -> Result<()> {
    write(&files.csv("divisions"), place::DIVISIONS_CSV)?;
    write(&files.csv("townships"), place::TOWNSHIPS_CSV)?;
    write(&files.csv("games"), &chosen_games(world))?;
    let outlets =
        world.outlets.iter().map(|outlet| [outlet.id.clone(), outlet.name.clone(), outlet.township.to_string()]);
    write_rows(&files.csv("outlets"), ["outlet_id", "name", "township_code"], outlets)?;
    let seed = world.plan.seed;
    let terminals = world.terminals.iter().map(|terminal| {
        let public_key = hex::encode(staff::terminal_key(seed, &terminal.id).verifying_key().to_bytes());
        let outlet = &world.outlets[terminal.outlet];
        [terminal.id.clone(), outlet.id.clone(), kind_of(&terminal.id).to_owned(), public_key]
    });
    write_rows(&files.csv("terminals"), ["terminal_id", "outlet_id", "kind", "public_key_hex"], terminals)?;
    let operator_ids: Vec<String> = world.terminals.iter().map(|terminal| terminal.operator_id.clone()).collect();
    let hashes = staff::hash_passwords(seed, &operator_ids)?;
    let operators = world.terminals.iter().zip(hashes).map(|(terminal, hash)| {
        let id = terminal.operator_id.clone();
        let name = staff::person_name(seed, &id);
        [id, world.outlets[terminal.outlet].id.clone(), name, terminal.role.as_str().to_owned(), hash]
    });
    write_rows(&files.csv("operators"), ["operator_id", "outlet_id", "name", "role", "password_hash"], operators)
}

fn write_stock(files: &WorldFiles, world: &World) -> Result<()> {
    let outlets = || world.outlets.iter().enumerate();
    let shipments = outlets().flat_map(|(index, outlet)| {
        world.stock.of_outlet(index).into_iter().map(|pack| {
            let number = pack.pack.to_string();
            let game = world.games[pack.game].code.clone();
            [pack.shipment.to_string(), outlet.id.clone(), game, BATCH.to_owned(), number.clone(), number]
        })
    });
    let header = ["shipment_id", "outlet_id", "game_code", "batch", "first_pack", "last_pack"];
    write_rows(&files.csv("shipments"), header, shipments)?;
    let deposits = outlets().map(|(index, outlet)| {
        [(index + 1).to_string(), outlet.id.clone(), format!("{}.00", deposit_yuan(world, index))]
    });
    write_rows(&files.csv("deposits"), ["deposit_id", "outlet_id", "amount_yuan"], deposits)?;
    let openings = world.games.iter().enumerate().map(|(index, game)| {
        [game.code.clone(), BATCH.to_owned(), format!("DEMO-2026-{:04}", index + 1), NOTICE_DAY.to_owned()]
    });
    write_rows(&files.csv("openings"), ["game_code", "batch", "approval_number", "notice_day"], openings)
}

/// The given game list, only the chosen games.
fn chosen_games(world: &World) -> String {
    let chosen = |line: &str| world.games.iter().any(|game| line.starts_with(&game.code));
    let lines = GAMES_CSV.lines().enumerate().filter(|(number, line)| *number == 0 || chosen(line));
    lines.map(|(_, line)| format!("{line}\n")).collect()
}

/// Seven of ten terminals are dedicated, two are scan guns, one is a phone.
fn kind_of(terminal_id: &str) -> &'static str {
    match terminal_id.as_bytes().get(7) {
        Some(b'0') => "phone",
        Some(b'1' | b'2') => "gun",
        _ => "dedicated",
    }
}

fn write_rows<const N: usize>(path: &Path, header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Result<()> {
    let mut writer = Writer::from_path(path).with_context(|| format!("create {}", path.display()))?;
    writer.write_record(header)?;
    for row in rows {
        writer.write_record(&row)?;
    }
    writer.flush().with_context(|| format!("write {}; is the disk full?", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}; is the disk full?", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::Plan;
    use super::*;
    use crate::seed::Seed;

    #[test]
    fn the_files_have_the_headers_and_rows_of_the_world_and_are_the_same_twice() {
        let plan = Plan { seed: Seed(1), terminal_count: 22, node_count: 2, game_codes: vec!["G0201".to_owned()] };
        let world = World::make(&plan).unwrap();
        let pools = Pools(Vec::new());
        let read = || {
            let directory = tempfile::tempdir().unwrap();
            let files = write_world(directory.path(), &world, &pools).unwrap();
            let kinds = [
                "divisions",
                "townships",
                "games",
                "outlets",
                "terminals",
                "operators",
                "shipments",
                "deposits",
                "openings",
            ];
            kinds.map(|kind| std::fs::read_to_string(files.csv(kind)).unwrap())
        };
        let texts = read();
        let counts = texts.each_ref().map(|text| text.lines().count() - 1);
        assert_eq!(counts, [190, 2365, 9, 20, 22, 22, 60, 20, 1]);
        assert!(texts[5].lines().nth(1).unwrap().contains(",owner,\"$argon2id$v=19$m=1024,t=1,p=1$"));
        assert!(texts[6].starts_with("shipment_id,outlet_id,game_code,batch,first_pack,last_pack\n"));
        assert_eq!(texts, read());
    }
}
