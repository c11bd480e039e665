//! Rows into commands of bounded size, several on their way at once, in the order of the file.

use std::collections::VecDeque;

use jikai_schema::command::{By, Command, Outcome};
use jikai_schema::event::MasterEvent;

use super::{ImportError, Imported, Piece, Row};
use crate::sequencer::{Pending, ProposeError, Sequencer};

/// Most rows in one command.
const CHUNK_ROWS_MAX: usize = 512;
/// Commands on their way.
const IN_FLIGHT_MAX: usize = 64;

/// Proposes all rows. On a refusal the rows of its command are proposed one by one, to name the line; nothing further is
/// proposed, and what was on its way is waited for. Deposits go one command at a time: behind a refused one none is credited.
pub(super) async fn propose_all(sequencer: &Sequencer, by: &By, rows: Vec<Row>) -> Result<Imported, ImportError> {
    let mut in_flight: VecDeque<(Vec<Row>, Pending)> = VecDeque::new();
    let outcome = propose_in_order(sequencer, by, rows, &mut in_flight).await;
    for (_, pending) in in_flight {
        // Its outcome is in the log; the first refusal is what the caller is told.
        let _ = pending.outcome().await;
    }
    outcome
}

async fn propose_in_order(
    sequencer: &Sequencer,
    by: &By,
    rows: Vec<Row>,
    in_flight: &mut VecDeque<(Vec<Row>, Pending)>,
) -> Result<Imported, ImportError> {
    let mut done = Imported::default();
    for chunk in chunks(rows) {
        let is_money = matches!(chunk.first().map(|row| &row.piece), Some(Piece::Deposit(_)));
        while in_flight.len() >= if is_money { 1 } else { IN_FLIGHT_MAX } {
            settle(sequencer, by, in_flight, &mut done).await?;
        }
        let line = chunk.first().map_or(0, |row| row.line);
        let submitted = sequencer.submit(by.clone(), command_of(&chunk)).await;
        let pending = submitted.map_err(|source| ImportError::Propose { line, source })?;
        in_flight.push_back((chunk, pending));
    }
    while !in_flight.is_empty() {
        settle(sequencer, by, in_flight, &mut done).await?;
    }
    Ok(done)
}

/// Waits for the oldest command on its way.
async fn settle(
    sequencer: &Sequencer,
    by: &By,
    in_flight: &mut VecDeque<(Vec<Row>, Pending)>,
    done: &mut Imported,
) -> Result<(), ImportError> {
    let Some((chunk, pending)) = in_flight.pop_front() else { return Ok(()) };
    let line = chunk.first().map_or(0, |row| row.line);
    match pending.outcome().await {
        Ok(Outcome::Refused(_)) => one_by_one(sequencer, by, chunk, done).await,
        outcome => count(line, outcome, done),
    }
}

async fn one_by_one(sequencer: &Sequencer, by: &By, chunk: Vec<Row>, done: &mut Imported) -> Result<(), ImportError> {
    for row in chunk {
        let line = row.line;
        count(line, sequencer.propose(by.clone(), command_of(&[row])).await, done)?;
    }
    Ok(())
}

fn count(line: u64, outcome: Result<Outcome, ProposeError>, done: &mut Imported) -> Result<(), ImportError> {
    match outcome.map_err(|source| ImportError::Propose { line, source })? {
        Outcome::Done { events, existing } => {
            done.events += events;
            done.existing += existing;
            Ok(())
        }
        Outcome::Refused(refusal) => Err(ImportError::Refused { line, refusal }),
        Outcome::Ingested { .. } | Outcome::Batch { .. } | Outcome::Change { .. } => Ok(()),
        Outcome::Invited { .. } | Outcome::Leased { .. } | Outcome::Replaced { .. } => Ok(()),
    }
}

/// Neighbouring rows of one sort share a command.
fn chunks(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let mut chunks: Vec<Vec<Row>> = Vec::new();
    for row in rows {
        let joins = |last: &Vec<Row>| {
            last.len() < CHUNK_ROWS_MAX
                && matches!(
                    (last.first().map(|first| &first.piece), &row.piece),
                    (Some(Piece::Master(_)), Piece::Master(_)) | (Some(Piece::Deposit(_)), Piece::Deposit(_))
                )
        };
        match chunks.last_mut() {
            Some(last) if joins(last) => last.push(row),
            _ => chunks.push(vec![row]),
        }
    }
    chunks
}

fn command_of(chunk: &[Row]) -> Command {
    if let [Row { piece: Piece::Command(command), .. }] = chunk {
        return Command::clone(command);
    }
    let deposits: Vec<_> = chunk
        .iter()
        .filter_map(|row| if let Piece::Deposit(deposit) = &row.piece { Some(*deposit) } else { None })
        .collect();
    if !deposits.is_empty() {
        return Command::CreditDeposits(deposits);
    }
    let definition =
        |row: &Row| if let Piece::Master(event) = &row.piece { Some(MasterEvent::clone(event)) } else { None };
    Command::DefineMaster(chunk.iter().filter_map(definition).collect())
}
