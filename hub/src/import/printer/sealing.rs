//! Sealing: each ticket's code and level into one record, chunk by chunk, on all cores, straight into the warehouse.

use std::collections::VecDeque;

use jikai_schema::barcode::SecurityCode;
use jikai_schema::command::{By, Command, Outcome};
use jikai_schema::id::{BatchNo, PackId};
use jikai_schema::seal::{self, BatchKey, RECORD_BYTES};
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use super::codes::LINE_BYTES;
use super::{Printed, PrinterError, check, open};
use crate::sequencer::{Pending, Sequencer};

/// Threads that seal at once.
const THREADS_MAX: usize = 8;
/// Commands on their way per thread.
const IN_FLIGHT_MAX: usize = 4;

/// What every sealing thread works with.
struct Work<'a> {
    printed: &'a Printed,
    batch: BatchNo,
    key: &'a BatchKey,
    sequencer: &'a Sequencer,
    by: &'a By,
    runtime: &'a Handle,
}

/// Seals and stocks all packs; gives how many were there already.
pub(super) fn seal_all(
    printed: &Printed,
    batch: BatchNo,
    key: &BatchKey,
    sequencer: &Sequencer,
    by: &By,
    runtime: &Handle,
) -> Result<u64, PrinterError> {
    let work = Work { printed, batch, key, sequencer, by, runtime };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|first| scope.spawn(move || work.seal_every(first, threads))).collect();
        let mut existing = 0;
        for thread in running {
            let sealed = thread.join().map_err(|_| PrinterError::Internal("a sealing thread panicked".into()))?;
            existing += sealed?;
        }
        Ok(existing)
    })
}

impl Work<'_> {
    /// Seals the chunks `first`, `first + step`, …
    fn seal_every(&self, first: usize, step: usize) -> Result<u64, PrinterError> {
        let file = open(&self.printed.directory, "CODES")?;
        let mut buffer = Zeroizing::new(Vec::new());
        let mut in_flight: VecDeque<Pending> = VecDeque::new();
        let mut existing = 0;
        for at in (first..self.printed.codes.chunk_count()).step_by(step) {
            self.printed.codes.read_chunk(&file, at, &mut buffer)?;
            let packs = self.seal_chunk(at, &buffer)?;
            if in_flight.len() == IN_FLIGHT_MAX {
                existing += self.settle(in_flight.pop_front())?;
            }
            let command = Command::StockPacks { batch: self.batch, packs };
            in_flight.push_back(self.runtime.block_on(self.sequencer.submit(self.by.clone(), command))?);
        }
        while !in_flight.is_empty() {
            existing += self.settle(in_flight.pop_front())?;
        }
        Ok(existing)
    }

    fn settle(&self, pending: Option<Pending>) -> Result<u64, PrinterError> {
        let Some(pending) = pending else { return Ok(0) };
        match self.runtime.block_on(pending.outcome())? {
            Outcome::Done { existing, .. } => Ok(existing),
            Outcome::Refused(refusal) => Err(refusal.into()),
            other => Err(PrinterError::Internal(format!("unexpected outcome {other:?}"))),
        }
    }

    fn seal_chunk(&self, at: usize, lines: &[u8]) -> Result<Vec<(u32, Vec<u8>)>, PrinterError> {
        let Printed { package, prizes, codes, .. } = self.printed;
        let tickets_per_pack = usize::from(package.tickets_per_pack);
        let first_pack = at as u32 * codes.packs_per_chunk + 1;
        let mut winners =
            prizes.winners[prizes.winners.partition_point(|winner| winner.pack < first_pack)..].iter().peekable();
        let mut packs = Vec::with_capacity(codes.packs_per_chunk as usize);
        for (number, lines) in (first_pack..).zip(lines.chunks_exact(tickets_per_pack * LINE_BYTES)) {
            let pack = PackId::new(self.batch, number).map_err(|error| check("CODES", error.to_string()))?;
            let mut records = Vec::with_capacity(tickets_per_pack * RECORD_BYTES);
            for (ticket, line) in (0u16..).zip(lines.chunks_exact(LINE_BYTES)) {
                let won = winners.next_if(|winner| (winner.pack, winner.ticket) == (number, ticket));
                let level = won.map_or(0, |winner| winner.level);
                let ticket = pack.ticket(ticket).map_err(|error| check("CODES", error.to_string()))?;
                let code = std::str::from_utf8(&line[10..26]).ok().and_then(|letters| SecurityCode::new(letters).ok());
                let code = code.ok_or_else(|| check("CODES", "a code has 16 letters A to Z"))?;
                records.extend_from_slice(&seal::seal(self.key, ticket, &code, level));
            }
            packs.push((number, records));
        }
        Ok(packs)
    }
}
