//! CODES: every ticket in order, with its code. Fixed lines, so any chunk is found by arithmetic.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::package::Package;
use super::prizes::{Prizes, number};
use super::{PrinterError, check, line, open};

const FILE: &str = "CODES";
/// `pack7 ticket3 code16 LF`.
pub(super) const LINE_BYTES: usize = 7 + 3 + 16 + 1;
/// Bytes of sealed records in one command.
const CHUNK_RECORD_BYTES: usize = 512 * 1024;

/// A checked file: how it is divided, and the hash of each chunk.
pub(super) struct Codes {
    pub(super) packs_per_chunk: u32,
    chunk_bytes: usize,
    chunk_hashes: Vec<[u8; 32]>,
}

impl Codes {
    /// Checks length, order, letters, the codes of the winners, and the hash of the whole file.
    pub(super) fn check(directory: &Path, package: &Package, prizes: &Prizes) -> Result<Self, PrinterError> {
        let mut file = open(directory, FILE)?;
        let length = file.metadata().map_err(failed)?.len();
        if length != package.tickets * LINE_BYTES as u64 {
            return Err(check(FILE, format!("has {length} bytes, {} tickets need {LINE_BYTES} each", package.tickets)));
        }
        let record_bytes = usize::from(package.tickets_per_pack) * jikai_schema::seal::RECORD_BYTES;
        let packs_per_chunk = (CHUNK_RECORD_BYTES / record_bytes).max(1);
        let chunk_bytes = packs_per_chunk * usize::from(package.tickets_per_pack) * LINE_BYTES;
        let mut whole = Sha256::new();
        let mut chunk_hashes = Vec::new();
        let mut order = Order { tickets_per_pack: package.tickets_per_pack, ticket: 0, winner: 0 };
        let mut buffer = Zeroizing::new(vec![0; chunk_bytes]);
        let mut rest = length as usize;
        while rest > 0 {
            let chunk = &mut buffer[..rest.min(chunk_bytes)];
            file.read_exact(chunk).map_err(failed)?;
            rest -= chunk.len();
            whole.update(&*chunk);
            chunk_hashes.push(Sha256::digest(&*chunk).into());
            for row in chunk.chunks_exact(LINE_BYTES) {
                order.check(row, prizes)?;
            }
        }
        if whole.finalize().as_slice() != package.sha256_codes {
            return Err(check(FILE, "does not have the hash that PACKAGE states"));
        }
        Ok(Codes { packs_per_chunk: packs_per_chunk as u32, chunk_bytes, chunk_hashes })
    }

    pub(super) fn chunk_count(&self) -> usize {
        self.chunk_hashes.len()
    }

    /// Reads one chunk again; refused when it is not what was checked.
    pub(super) fn read_chunk(&self, file: &File, at: usize, buffer: &mut Vec<u8>) -> Result<(), PrinterError> {
        let offset = (at * self.chunk_bytes) as u64;
        let length = file.metadata().map_err(failed)?.len();
        buffer.resize((length.saturating_sub(offset) as usize).min(self.chunk_bytes), 0);
        file.read_exact_at(buffer, offset).map_err(failed)?;
        if <[u8; 32]>::from(Sha256::digest(&*buffer)) != self.chunk_hashes[at] {
            return Err(check(FILE, "was changed while it was imported"));
        }
        Ok(())
    }
}

/// Walks over tickets and winners together.
struct Order {
    tickets_per_pack: u16,
    /// Tickets seen.
    ticket: u64,
    /// Winners seen.
    winner: usize,
}

impl Order {
    fn check(&mut self, row: &[u8], prizes: &Prizes) -> Result<(), PrinterError> {
        let refuse = |problem: &str| line(FILE, self.ticket + 1, problem);
        let pack = (self.ticket / u64::from(self.tickets_per_pack)) as u32 + 1;
        let ticket = (self.ticket % u64::from(self.tickets_per_pack)) as u32;
        if (number(&row[..7]), number(&row[7..10])) != (Some(pack), Some(ticket)) || row[26] != b'\n' {
            return Err(refuse("a line is pack7ticket3code16, every ticket in order"));
        }
        let code = &row[10..26];
        if !code.iter().all(u8::is_ascii_uppercase) {
            return Err(refuse("a code has 16 letters A to Z"));
        }
        if let Some(winner) = prizes.winners.get(self.winner)
            && (winner.pack, u32::from(winner.ticket)) == (pack, ticket)
        {
            if prizes.codes[self.winner] != code {
                return Err(refuse("REWARD has another code for this ticket"));
            }
            self.winner += 1;
        }
        self.ticket += 1;
        Ok(())
    }
}

fn failed(source: std::io::Error) -> PrinterError {
    PrinterError::File { file: FILE, source }
}
