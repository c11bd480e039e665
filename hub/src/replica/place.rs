//! Up to where the replicated log is applied, kept in the state itself.

use jikai_schema::codec::CodecError;
use rusqlite::{Connection, OptionalExtension};

use crate::raft::state::{Applied, StateError};
use crate::raft::types::{LogId, Membership, StoredMembership, log_id};

/// The place, and who belonged to the cluster there.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    pub(super) last: Option<LogId>,
    membership: StoredMembership,
}

impl Place {
    pub(super) fn read(state: &Connection) -> Result<Self, StateError> {
        let sql = "SELECT log_index, leader_term, leader_node, membership FROM replicated";
        let mut statement = state.prepare_cached(sql).map_err(StateError::storage)?;
        let row = |row: &rusqlite::Row<'_>| {
            let number = |column| row.get::<_, i64>(column).map(|number| number as u64);
            Ok((log_id(number(1)?, number(2)?, number(0)?), row.get::<_, Vec<u8>>(3)?))
        };
        let found = statement.query_row([], row).optional().map_err(StateError::storage)?;
        let Some((last, membership)) = found else { return Ok(Place::default()) };
        Ok(Place { last: Some(last), membership: postcard::from_bytes(&membership)? })
    }

    pub(super) fn write(&self, state: &Connection) -> rusqlite::Result<()> {
        let Some(last) = self.last else { return Ok(()) };
        let membership = postcard::to_stdvec(&self.membership)
            .map_err(|_| rusqlite::Error::ToSqlConversionFailure(Box::new(CodecError::Malformed)))?;
        let (term, node) = (last.leader_id.term as i64, last.leader_id.node_id as i64);
        let mut insert = state.prepare_cached("INSERT OR REPLACE INTO replicated VALUES (1, ?1, ?2, ?3, ?4)")?;
        insert.execute((last.index as i64, term, node, membership))?;
        Ok(())
    }

    pub(super) fn join(&mut self, at: LogId, membership: Membership) {
        self.membership = StoredMembership::new(Some(at), membership);
    }

    pub(super) fn applied(&self) -> Applied {
        Applied { last: self.last, membership: self.membership.clone() }
    }
}
