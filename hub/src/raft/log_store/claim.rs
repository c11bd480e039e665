//! Making a stopped machine the only voter, because the others are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use openraft::EntryPayload;

use super::file::LogFile;
use super::row::EntryRow;
use super::{LOG_FILE, LogError};
use crate::raft::types::{Entry, EntryBytes, Machine, Membership, Vote, log_id};

/// Appends an entry after which machine `node` is the only voter, of a term above any that it has seen, and behind it `entry`, to the
/// log of the stopped machine in `data`: both or none. Whoever calls this has made sure that the others are gone: they were not asked. Blocks.
pub fn claim_alone(data: &Path, node: u64, entry: Vec<u8>) -> Result<(), LogError> {
    let (mut file, instance) = LogFile::open(&data.join(LOG_FILE), node)?;
    let state = file.state();
    let last = state.last_log_id.ok_or(LogError::Impossible("take-over: it never belonged to a hub"))?;
    let term = file.vote()?.map_or(0, |vote| vote.leader_id.term).max(last.leader_id.term) + 1;
    // Where it is reached it tells again once it runs.
    let machine = Machine { instance, ..Machine::default() };
    let membership = Membership::new(vec![BTreeSet::from([node])], BTreeMap::from([(node, machine)]));
    let membership =
        Entry { log_id: log_id(term, node, last.index + 1), payload: EntryPayload::Membership(membership) };
    let commands =
        Entry { log_id: log_id(term, node, last.index + 2), payload: EntryPayload::Normal(EntryBytes(entry)) };
    file.save_vote(&Vote::new(term, node))?;
    file.append(&[EntryRow::new(membership)?, EntryRow::new(commands)?])
}
