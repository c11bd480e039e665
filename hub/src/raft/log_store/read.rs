//! Reading the log file.

use rusqlite::{Connection, OptionalExtension};

use super::LogError;
use super::row;
use crate::raft::types::{Entry, LogId};

/// Entries from `start` on and before `end`, in order, while they fit into `bytes_max`; at least one where there is one.
pub(super) fn entries(connection: &Connection, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, LogError> {
    // Rows up to the purged place may still be there: they are not part of the log.
    let mut statement = connection.prepare_cached(
        "SELECT log_index, leader_term, leader_node, kind, payload FROM entry
         WHERE log_index >= max(?1, (SELECT coalesce(max(log_index) + 1, 0) FROM position WHERE name = 'purged'))
         AND log_index < ?2 ORDER BY log_index",
    )?;
    let last = i64::MAX as u64;
    let mut rows = statement.query([row::column(start.min(last))?, row::column(end.min(last))?])?;
    let (mut entries, mut gathered_bytes) = (Vec::new(), 0usize);
    while let Some(found) = rows.next()? {
        let payload = found.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
        gathered_bytes = gathered_bytes.saturating_add(payload.len());
        if gathered_bytes > bytes_max && !entries.is_empty() {
            break;
        }
        entries.push(row::entry(found)?);
    }
    Ok(entries)
}

/// Place of the newest entry behind the purged one.
pub(super) fn newest(connection: &Connection, purged: Option<LogId>) -> Result<Option<LogId>, LogError> {
    let mut statement = connection.prepare_cached(
        "SELECT log_index, leader_term, leader_node FROM entry WHERE log_index >= ?1 ORDER BY log_index DESC LIMIT 1",
    )?;
    let from = row::column(purged.map_or(0, |purged| purged.index + 1))?;
    statement.query_row([from], |found| Ok(row::log_id(found))).optional()?.transpose()
}

pub(super) fn position(connection: &Connection, name: &str) -> Result<Option<LogId>, LogError> {
    let mut statement =
        connection.prepare_cached("SELECT log_index, leader_term, leader_node FROM position WHERE name = ?1")?;
    statement.query_row([name], |found| Ok(row::log_id(found))).optional()?.transpose()
}

/// A log with a hole would be taken for a whole one: openraft only looks at its end.
pub(super) fn check_no_hole(connection: &Connection, purged: Option<LogId>) -> Result<(), LogError> {
    let from = purged.map_or(0, |purged| purged.index + 1);
    let (first, last, count): (Option<i64>, Option<i64>, i64) = connection.query_row(
        "SELECT min(log_index), max(log_index), count(*) FROM entry WHERE log_index >= ?1",
        [row::column(from)?],
        |found| Ok((found.get(0)?, found.get(1)?, found.get(2)?)),
    )?;
    let (Some(first), Some(last)) = (first, last) else { return Ok(()) };
    let (first, last, count) = (row::number(first)?, row::number(last)?, row::number(count)?);
    if purged.is_some() && first != from {
        return Err(LogError::Hole { expected: from, found: first });
    }
    if last - first + 1 != count {
        return Err(LogError::Hole { expected: last - first + 1, found: count });
    }
    Ok(())
}
