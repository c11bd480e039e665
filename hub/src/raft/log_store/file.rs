//! The log file: everything that is written, each call one transaction.

use std::path::Path;
use std::sync::Arc;

use jikai_schema::store::{Checkpointer, Durability, StoreFiles};
use openraft::LogState;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::error::SCHEMA_VERSION;
use super::row::{self, EntryRow};
use super::{LogError, read};
use crate::raft::types::{InstanceId, LogId, Types, Vote};

/// Purged entries that an append sweeps out for each one that it brings. More than one, so that the sweep gains on the log; few, because the
/// appends behind wait for it: they are old, and their pages come from the disk where memory has dropped them.
const SWEPT_PER_ENTRY: usize = 2;

/// What of SQLite's log is moved into the file at once: its pages are different ones.
const MOVED_EACH_BYTES: i64 = 2 * 1024 * 1024;

/// The log file, opened for writing. Lives on one thread.
pub(super) struct LogFile {
    /// Before the connection, which closes last.
    _checkpointer: Checkpointer,
    connection: Connection,
    /// Place of the newest entry, or the purged one where there is none.
    last: Option<LogId>,
    purged: Option<LogId>,
    /// Written along with the next transaction that is written anyway: a stale one only costs time at the next start,
    /// a flush of its own would cost every entry a second one.
    committed: Option<LogId>,
    committed_unsaved: bool,
}

impl LogFile {
    /// Opens the file of machine `node`, making it where it is missing.
    pub fn open(path: &Path, node: u64) -> Result<(Self, InstanceId), LogError> {
        let mut connection = Connection::open(path)?;
        // Pages of 16 KiB: an entry is tens of KiB, and each page of it is a step of a linked list.
        connection.execute_batch(
            "PRAGMA page_size = 16384; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA busy_timeout = 30000; PRAGMA journal_size_limit = 67108864;",
        )?;
        create(&mut connection, node)?;
        let (owner, instance) =
            connection.query_row("SELECT node, instance FROM identity", [], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let owner = row::number(owner)?;
        if owner != node {
            return Err(LogError::OtherMachine { owner, node });
        }
        let purged = read::position(&connection, "purged")?;
        let committed = read::position(&connection, "committed")?;
        let last = read::newest(&connection, purged)?.or(purged);
        read::check_no_hole(&connection, purged)?;
        let files = Arc::new(StoreFiles::of(path)?);
        let _checkpointer = Checkpointer::start(&files, &connection, Durability::Full, MOVED_EACH_BYTES)?;
        let file = LogFile { _checkpointer, connection, last, purged, committed, committed_unsaved: false };
        Ok((file, InstanceId(instance)))
    }

    pub fn state(&self) -> LogState<Types> {
        LogState { last_purged_log_id: self.purged, last_log_id: self.last }
    }

    /// Appends entries; on disk when it returns. Entries up to the purged one are left out: a snapshot has them (only
    /// openraft's own tests append such).
    pub fn append(&mut self, rows: &[EntryRow]) -> Result<(), LogError> {
        let covered = |row: &&EntryRow| self.purged.is_some_and(|purged| row.id.index <= purged.index);
        let rows = &rows[rows.iter().take_while(covered).count()..];
        let mut last = self.last;
        for row in rows {
            if let Some(before) = last
                && row.id.index != before.index + 1
            {
                return Err(LogError::Hole { expected: before.index + 1, found: row.id.index });
            }
            last = Some(row.id);
        }
        let (committed, sweeps_to) = (self.unsaved_committed(), self.sweeps_to());
        let transaction = immediate(&mut self.connection)?;
        {
            let mut insert = transaction.prepare_cached("INSERT INTO entry VALUES (?1, ?2, ?3, ?4, ?5)")?;
            for row in rows {
                let [index, term, leader] = row::columns(&row.id)?;
                insert.execute(params![index, term, leader, row.kind, row.payload])?;
            }
        }
        if let Some(upto) = sweeps_to {
            let mut sweep = transaction.prepare_cached(
                "DELETE FROM entry WHERE log_index IN
                 (SELECT log_index FROM entry WHERE log_index <= ?1 ORDER BY log_index LIMIT ?2)",
            )?;
            let most = i64::try_from(rows.len() * SWEPT_PER_ENTRY).unwrap_or(i64::MAX);
            sweep.execute([row::column(upto)?, most])?;
        }
        finish(transaction, committed)?;
        self.last = last;
        self.committed_unsaved = false;
        Ok(())
    }

    /// Saves the vote; on disk when it returns.
    pub fn save_vote(&mut self, vote: &Vote) -> Result<(), LogError> {
        let committed = self.unsaved_committed();
        let transaction = immediate(&mut self.connection)?;
        transaction.prepare_cached("INSERT OR REPLACE INTO vote VALUES (1, ?1, ?2, ?3)")?.execute(params![
            row::column(vote.leader_id.term)?,
            row::column(vote.leader_id.node_id)?,
            vote.committed
        ])?;
        finish(transaction, committed)?;
        self.committed_unsaved = false;
        Ok(())
    }

    pub fn vote(&self) -> Result<Option<Vote>, LogError> {
        let mut statement = self.connection.prepare_cached("SELECT leader_term, leader_node, committed FROM vote")?;
        let vote = statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
        let Some((term, leader, committed)) = vote else { return Ok(None) };
        let (term, leader) = (row::number(term)?, row::number(leader)?);
        Ok(Some(if committed { Vote::new_committed(term, leader) } else { Vote::new(term, leader) }))
    }

    pub fn set_committed(&mut self, committed: Option<LogId>) {
        self.committed_unsaved |= committed != self.committed;
        self.committed = committed;
    }

    pub fn committed(&self) -> Option<LogId> {
        self.committed
    }

    /// Deletes entries from `since` on: a new leader has others in their place.
    pub fn truncate(&mut self, since: u64) -> Result<(), LogError> {
        if let Some(committed) = self.committed.filter(|committed| committed.index >= since) {
            return Err(LogError::Committed { since, committed });
        }
        let committed = self.unsaved_committed();
        let transaction = immediate(&mut self.connection)?;
        transaction.prepare_cached("DELETE FROM entry WHERE log_index >= ?1")?.execute([row::column(since)?])?;
        finish(transaction, committed)?;
        self.committed_unsaved = false;
        self.last = read::newest(&self.connection, self.purged)?.or(self.purged);
        Ok(())
    }

    /// Marks entries up to `upto` as no longer needed; the appends that follow sweep them out.
    pub fn purge(&mut self, upto: &LogId) -> Result<(), LogError> {
        let committed = self.unsaved_committed();
        let transaction = immediate(&mut self.connection)?;
        save_position(&transaction, "purged", upto)?;
        finish(transaction, committed)?;
        self.committed_unsaved = false;
        self.purged = Some(*upto);
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(*upto);
        }
        Ok(())
    }

    /// Up to where entries may be deleted: what was purged, which is only marked by it. The one place that decides it: a backup that reads
    /// entries from this file keeps those that it has not archived by bounding it here, whatever the engine has let go.
    fn sweeps_to(&self) -> Option<u64> {
        self.purged.map(|purged| purged.index)
    }

    /// Lets the file grow to so many pages at most, as on a disk that is full.
    #[cfg(test)]
    pub fn limit_pages(&mut self, pages: i64) -> Result<(), LogError> {
        // SQLite answers with the limit in force, which is never below the present size.
        Ok(self.connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?)
    }

    fn unsaved_committed(&self) -> Option<LogId> {
        self.committed.filter(|_| self.committed_unsaved)
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if let Some(committed) = self.unsaved_committed()
            && let Err(error) = immediate(&mut self.connection).and_then(|started| finish(started, Some(committed)))
        {
            // The next start applies a few entries later than it could have.
            tracing::warn!(%error, "the committed position could not be saved");
        }
    }
}

fn create(connection: &mut Connection, node: u64) -> Result<(), LogError> {
    let transaction = immediate(connection)?;
    match transaction.query_row("PRAGMA user_version", [], |row| row.get(0))? {
        0 => {
            transaction.execute_batch(include_str!("schema.sql"))?;
            transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
            let instance: [u8; 16] = rand::random();
            transaction.execute("INSERT INTO identity VALUES (1, ?1, ?2)", params![row::column(node)?, instance])?;
        }
        SCHEMA_VERSION => {}
        other => return Err(LogError::Version(other)),
    }
    Ok(transaction.commit()?)
}

fn immediate(connection: &mut Connection) -> Result<Transaction<'_>, LogError> {
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
}

fn finish(transaction: Transaction<'_>, committed: Option<LogId>) -> Result<(), LogError> {
    if let Some(committed) = committed {
        save_position(&transaction, "committed", &committed)?;
    }
    Ok(transaction.commit()?)
}

fn save_position(transaction: &Transaction<'_>, name: &str, id: &LogId) -> Result<(), LogError> {
    let [index, term, leader] = row::columns(id)?;
    let mut replace = transaction.prepare_cached("INSERT OR REPLACE INTO position VALUES (?1, ?2, ?3, ?4)")?;
    replace.execute(params![name, index, term, leader])?;
    Ok(())
}
