//! Entries and places as rows.

use openraft::{CommittedLeaderId, EntryPayload};
use rusqlite::Row;

use super::LogError;
use crate::raft::types::{Entry, EntryBytes, LogId};

const BLANK: i64 = 0;
const COMMANDS: i64 = 1;
const MEMBERSHIP: i64 = 2;

/// An entry ready to be written.
pub(super) struct EntryRow {
    pub id: LogId,
    pub kind: i64,
    pub payload: Vec<u8>,
}

impl EntryRow {
    pub fn new(entry: Entry) -> Result<Self, LogError> {
        let (kind, payload) = match entry.payload {
            EntryPayload::Blank => (BLANK, Vec::new()),
            EntryPayload::Normal(EntryBytes(bytes)) => (COMMANDS, bytes),
            EntryPayload::Membership(membership) => (MEMBERSHIP, postcard::to_stdvec(&membership)?),
        };
        Ok(EntryRow { id: entry.log_id, kind, payload })
    }
}

/// Reads `log_index, leader_term, leader_node, kind, payload`.
pub(super) fn entry(row: &Row<'_>) -> Result<Entry, LogError> {
    let payload = match row.get(3)? {
        BLANK => EntryPayload::Blank,
        COMMANDS => EntryPayload::Normal(EntryBytes(row.get(4)?)),
        MEMBERSHIP => {
            EntryPayload::Membership(postcard::from_bytes(row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?)?)
        }
        _ => return Err(LogError::Impossible("kind of entry")),
    };
    Ok(Entry { log_id: log_id(row)?, payload })
}

/// Reads `log_index, leader_term, leader_node`.
pub(super) fn log_id(row: &Row<'_>) -> Result<LogId, LogError> {
    Ok(LogId::new(CommittedLeaderId::new(number(row.get(1)?)?, number(row.get(2)?)?), number(row.get(0)?)?))
}

/// The columns `log_index, leader_term, leader_node`.
pub(super) fn columns(id: &LogId) -> Result<[i64; 3], LogError> {
    Ok([column(id.index)?, column(id.leader_id.term)?, column(id.leader_id.node_id)?])
}

pub(super) fn column(number: u64) -> Result<i64, LogError> {
    i64::try_from(number).map_err(|_| LogError::Impossible("number"))
}

pub(super) fn number(column: i64) -> Result<u64, LogError> {
    u64::try_from(column).map_err(|_| LogError::Impossible("number"))
}
