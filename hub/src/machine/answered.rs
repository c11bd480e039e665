//! What was answered: a command that its proposer sends again, because the answer got lost on its way, is answered again and
//! not applied again. Events of nodes need no such memory: their cursor knows them for ever.

use jikai_schema::codec;
use jikai_schema::command::Outcome;
use jikai_schema::event::RequestKey;
use rusqlite::OptionalExtension;

use super::{Machine, StorageError};

/// How long answers are remembered. A proposer gives up after seconds. Milliseconds.
const REMEMBERED_MS: i64 = 86_400_000;
/// Longest encoded outcome. Bytes.
const OUTCOME_BYTES_MAX: usize = 4 * 1024;

impl Machine<'_> {
    /// What became of this very command when it was applied before.
    pub(super) fn answered(&self, request: &RequestKey) -> Result<Option<Outcome>, StorageError> {
        let mut statement = self.tx.prepare_cached("SELECT outcome FROM answered WHERE request = ?1")?;
        let outcome: Option<Vec<u8>> = statement.query_row([key(request)], |row| row.get(0)).optional()?;
        Ok(outcome.map(|bytes| codec::decode(&bytes, OUTCOME_BYTES_MAX)).transpose()?)
    }

    /// Remembers what became of a command. A refused one changed nothing: it may as well be tried again.
    pub(super) fn remember(&self, request: &RequestKey, outcome: &Outcome) -> Result<(), StorageError> {
        if matches!(outcome, Outcome::Refused(_)) {
            return Ok(());
        }
        let at_ms = self.at_ms.ms();
        self.tx.prepare_cached("DELETE FROM answered WHERE at_ms < ?1")?.execute([at_ms - REMEMBERED_MS])?;
        let bytes = codec::encode(outcome, OUTCOME_BYTES_MAX)?;
        let mut insert = self.tx.prepare_cached("INSERT INTO answered VALUES (?1, ?2, ?3)")?;
        insert.execute((key(request), at_ms, bytes))?;
        Ok(())
    }
}

fn key(request: &RequestKey) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(&request.id);
    key[16..].copy_from_slice(&request.body_hash);
    key
}
