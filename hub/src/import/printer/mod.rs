//! The printer's directory of one batch: checked as a whole, then sealed into the warehouse.
//!
//! The codes are read twice. The first pass checks everything and changes nothing; the second seals, with the batch's key,
//! in chunks whose hashes the first pass has noted, so that a file that changes in between is seen.

mod codes;
mod package;
mod prizes;
mod sealing;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use ed25519_dalek::VerifyingKey;
use jikai_schema::command::{By, Command, Outcome, Refusal};
use jikai_schema::event::BatchFacts;
use jikai_schema::id::{BatchNo, GameCode};
use jikai_schema::money::Money;
use jikai_schema::seal::BatchKey;
use rusqlite::{Connection, OptionalExtension};

use crate::ingest::{KeyError, KeyVault};
use crate::sequencer::{ProposeError, Sequencer};
use crate::store::{PoolError, ReadPool};

use codes::Codes;
use package::Package;
use prizes::Prizes;

/// A directory that was not imported.
#[derive(Debug, thiserror::Error)]
pub enum PrinterError {
    /// A file that cannot be read.
    #[error("{file}: {source}")]
    File {
        /// Which.
        file: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A line that is not what the format demands.
    #[error("{file} line {line}: {problem}")]
    Line {
        /// Which file.
        file: &'static str,
        /// Which line, from 1.
        line: u64,
        /// What is wrong.
        problem: String,
    },
    /// A check over whole files.
    #[error("{file}: {problem}")]
    Check {
        /// Which file.
        file: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// The rules say no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The hub could not take it; importing again goes on where it stopped.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The batch's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The state, or a thread.
    #[error("{0}")]
    Internal(String),
}

impl From<PoolError> for PrinterError {
    fn from(error: PoolError) -> Self {
        PrinterError::Internal(error.to_string())
    }
}

fn check(file: &'static str, problem: impl Into<String>) -> PrinterError {
    PrinterError::Check { file, problem: problem.into() }
}

fn line(file: &'static str, line: u64, problem: impl Into<String>) -> PrinterError {
    PrinterError::Line { file, line, problem: problem.into() }
}

/// What an import brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchImported {
    /// The number of the batch.
    pub batch: BatchNo,
    /// Its printed name, such as `G0201-26001`.
    pub name: String,
    /// Packs of the batch.
    pub packs: u64,
    /// Packs that were in the warehouse, or shipped, before.
    pub existing: u64,
    /// Tickets sealed.
    pub tickets: u64,
}

/// Everything that was checked.
struct Printed {
    directory: PathBuf,
    package: Package,
    prizes: Prizes,
    codes: Codes,
}

/// Reads the public keys of trusted printers, hex.
pub fn printer_keys(texts: &[String]) -> anyhow::Result<Vec<VerifyingKey>> {
    let read = |text: &String| -> anyhow::Result<VerifyingKey> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes).with_context(|| format!("`{text}` is not 32 bytes in hex"))?;
        VerifyingKey::from_bytes(&bytes).with_context(|| format!("`{text}` is not an Ed25519 public key"))
    };
    texts.iter().map(read).collect()
}

/// Imports one directory. Importing it again goes on where it stopped.
pub async fn import_batch(
    sequencer: &Sequencer,
    pool: &ReadPool,
    vault: &Arc<KeyVault>,
    trusted: Arc<Vec<VerifyingKey>>,
    by: &By,
    directory: PathBuf,
) -> Result<BatchImported, PrinterError> {
    let printed = blocking(move || Printed::check(directory, &trusted)).await?;
    let (game, price) = (printed.package.game, printed.package.price);
    let known = pool.read(move |state| game_price(state, game)).await?;
    match known.map_err(|error| PrinterError::Internal(error.to_string()))? {
        None => return Err(check("PACKAGE", format!("game {game} is not known: import the games first"))),
        Some(known) if known != price => {
            return Err(check("PACKAGE", format!("the price is {price} yuan, game {game} costs {known}")));
        }
        Some(_) => {}
    }
    let batch = reserve(sequencer, by, &printed.package).await?;
    let key = define(sequencer, pool, vault, by, &printed, batch).await?;
    let (packs, tickets) = (u64::from(printed.package.packs), printed.package.tickets);
    let name = format!("{game}-{}", printed.package.code);
    let (sequencer, by, runtime) = (sequencer.clone(), by.clone(), tokio::runtime::Handle::current());
    let existing = blocking(move || sealing::seal_all(&printed, batch, &key, &sequencer, &by, &runtime)).await?;
    Ok(BatchImported { batch, name, packs, existing, tickets })
}

impl Printed {
    /// All checks that need only the directory.
    fn check(directory: PathBuf, trusted: &[VerifyingKey]) -> Result<Self, PrinterError> {
        let package = Package::read(&directory, trusted)?;
        let prizes = Prizes::read(&directory, &package)?;
        let codes = Codes::check(&directory, &package, &prizes)?;
        Ok(Printed { directory, package, prizes, codes })
    }

    fn facts(&self, batch: BatchNo) -> BatchFacts {
        BatchFacts {
            batch,
            game: self.package.game,
            code: self.package.code,
            tickets_per_pack: self.package.tickets_per_pack,
            packs_per_case: self.package.packs_per_case,
            packs: self.package.packs,
            print_completed_on: self.package.print_completed_on,
            package_hash: self.package.hash,
            levels: self.prizes.levels.clone(),
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PrinterError> + Send + 'static,
) -> Result<T, PrinterError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| PrinterError::Internal(format!("the import was interrupted: {error}")))?
}

fn game_price(state: &Connection, game: GameCode) -> Result<Option<Money>, rusqlite::Error> {
    let sql = "SELECT price_fen FROM game WHERE game = ?1";
    state.prepare_cached(sql)?.query_row([game.packed()], |row| row.get(0).map(Money::from_fen)).optional()
}

async fn reserve(sequencer: &Sequencer, by: &By, package: &Package) -> Result<BatchNo, PrinterError> {
    let command = Command::ReserveBatch { game: package.game, code: package.code };
    match sequencer.propose(by.clone(), command).await? {
        Outcome::Batch { batch } => Ok(batch),
        Outcome::Refused(refusal) => Err(refusal.into()),
        other => Err(PrinterError::Internal(format!("unexpected outcome {other:?}"))),
    }
}

/// Registers the batch with a fresh key, unless it is registered; gives the key in force.
async fn define(
    sequencer: &Sequencer,
    pool: &ReadPool,
    vault: &Arc<KeyVault>,
    by: &By,
    printed: &Printed,
    batch: BatchNo,
) -> Result<BatchKey, PrinterError> {
    let command = Command::ImportBatch { facts: printed.facts(batch), wrapped_key: vault.make(batch)? };
    if let Outcome::Refused(refusal) = sequencer.propose(by.clone(), command).await? {
        return Err(refusal.into());
    }
    let vault = vault.clone();
    let key = pool.read(move |state| vault.read(state, batch)).await??;
    key.ok_or_else(|| PrinterError::Internal(format!("batch {batch} has no key")))
}

/// Opens a regular file of the directory; a link could lead anywhere.
fn open(directory: &Path, file: &'static str) -> Result<std::fs::File, PrinterError> {
    let path = directory.join(file);
    let refuse = |source| PrinterError::File { file, source };
    if !std::fs::symlink_metadata(&path).map_err(refuse)?.is_file() {
        return Err(check(file, "is not a regular file"));
    }
    std::fs::File::open(&path).map_err(refuse)
}

/// Reads a whole file of bounded length.
fn read(directory: &Path, file: &'static str, bytes_max: u64) -> Result<Vec<u8>, PrinterError> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let opened = open(directory, file)?;
    opened.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|source| PrinterError::File { file, source })?;
    if bytes.len() as u64 > bytes_max {
        return Err(check(file, format!("is longer than {bytes_max} bytes")));
    }
    Ok(bytes)
}
