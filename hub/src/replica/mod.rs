//! The state of this machine as the replicated log builds it: entries in, outcomes out, one transaction for all that came together.
//!
//! Every machine of the hub applies the same entries to the same tables. Here also stands what the rest of the machine follows: the
//! applied place, the nodes' feeds, revocations, and that the state cannot follow any more.

mod digester;
mod feeds;
mod place;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jikai_schema::codec;
use jikai_schema::command::{ENTRY_BYTES_MAX, Outcome, Proposal, decode_entry};
use jikai_schema::event::MachineState;
use jikai_schema::projection::Catalog;
use jikai_schema::store::{Checkpointer, Durability, StoreFiles};
use rusqlite::Connection;
use tokio::sync::watch;

use crate::log::LogPosition;
use crate::machine::{self, Applied as Committed, MachineRow, applied_position};
use crate::raft::digests::Digests;
use crate::raft::state::{Applied, Payload, State, StateError, View};
use crate::raft::types::{Answer, LogId};
use crate::store::{self, STATE_FILE};

use digester::Digester;
pub use feeds::FeedHeads;
use place::Place;

/// What of SQLite's log is moved into the state at once: its pages are mostly different ones.
const MOVED_EACH_BYTES: i64 = 2 * 1024 * 1024;

/// The tables, and who follows them.
pub struct Replica {
    files: Arc<StoreFiles>,
    /// This and the next before the state: whose connection closes last takes SQLite's log away.
    digester: Digester,
    _checkpointer: Checkpointer,
    state: Connection,
    /// Master data as of the last commit.
    catalog: Catalog,
    place: Place,
    applied: watch::Sender<LogPosition>,
    heads: FeedHeads,
    revocations: watch::Sender<u64>,
    machines: watch::Sender<u64>,
    failed: watch::Sender<Option<String>>,
    digests: Digests,
}

/// What the rest of the machine follows. Cheap to clone.
#[derive(Clone)]
pub struct Followed {
    /// Place up to which the log is applied and committed.
    pub applied: watch::Receiver<LogPosition>,
    /// Newest positions of the nodes' feeds.
    pub heads: FeedHeads,
    /// Changes whenever a certificate was revoked.
    pub revocations: watch::Receiver<u64>,
    /// Changes whenever something about the machines of the hub may have changed.
    pub machines: watch::Receiver<u64>,
    /// Becomes `Some` with the reason when this machine can no longer follow the log: the process must end.
    pub failed: watch::Sender<Option<String>>,
    /// Digests of the state, and whether the other machines have the same.
    pub digests: Digests,
}

impl Replica {
    /// Opens the state in `data`, making it where it is missing. It is digested every `digest_entries` entries of the log; 0: never.
    pub fn open(data: &Path, digest_entries: u64) -> Result<(Replica, Followed), StateError> {
        let state = store::open(data).map_err(StateError::storage)?;
        let place = Place::read(&state)?;
        let position = applied_position(&state).map_err(StateError::storage)?;
        let heads = FeedHeads::load(&state).map_err(StateError::storage)?;
        let (applied, watch_applied) = watch::channel(position);
        let (revocations, watch_revocations) = watch::channel(0);
        let (machines, watch_machines) = watch::channel(0);
        let failed = watch::Sender::new(None);
        let followed = Followed {
            applied: watch_applied,
            heads: heads.clone(),
            revocations: watch_revocations,
            machines: watch_machines,
            failed: failed.clone(),
            digests: Digests::default(),
        };
        let files = Arc::new(StoreFiles::of(&data.join(STATE_FILE))?);
        let _checkpointer = Checkpointer::start(&files, &state, Durability::Replayable, MOVED_EACH_BYTES)
            .map_err(StateError::storage)?;
        let catalog = Catalog::default();
        let digests = followed.digests.clone();
        let digester = Digester::new(digest_entries, digests.clone());
        let replica = Replica {
            files,
            digester,
            _checkpointer,
            state,
            catalog,
            place,
            applied,
            heads,
            revocations,
            machines,
            failed,
            digests,
        };
        Ok((replica, followed))
    }

    /// Divides the entries where the state is to be digested: a digest is of one place, however the entries came together.
    fn apply_in_parts(&mut self, mut entries: Vec<(LogId, Payload)>) -> Result<Vec<Answer>, StateError> {
        let mut answers = Vec::with_capacity(entries.len());
        while !entries.is_empty() {
            let due = entries.iter().position(|(id, _)| self.digester.is_due(id.index));
            let rest = entries.split_off(due.map_or(entries.len(), |due| due + 1));
            answers.append(&mut self.apply_all(std::mem::replace(&mut entries, rest))?);
            if due.is_some() {
                self.digester.begin(self.files.path());
            }
        }
        Ok(answers)
    }

    fn apply_all(&mut self, entries: Vec<(LogId, Payload)>) -> Result<Vec<Answer>, StateError> {
        let mut place = self.place.clone();
        let mut decoded: Vec<(LogPosition, Vec<Proposal>)> = Vec::with_capacity(entries.len());
        for (id, payload) in entries {
            let proposals = match payload {
                Payload::Blank => Vec::new(),
                Payload::Commands(bytes) => decode_entry(&bytes).map_err(StateError::storage)?,
                Payload::Membership(membership) => {
                    place.join(id, membership);
                    Vec::new()
                }
            };
            place.last = Some(id);
            decoded.push((position_of(id.index), proposals));
        }
        let beside = |tx: &Connection| place.write(tx);
        let (outcomes, committed) = machine::commit_beside(&mut self.state, &mut self.catalog, &decoded, &beside)
            .map_err(StateError::storage)?;
        self.place = place;
        self.tell(committed, decoded.iter().map(|(_, proposals)| proposals.len()).sum());
        let mut outcomes = outcomes.into_iter();
        decoded.iter().map(|(_, proposals)| encode(outcomes.by_ref().take(proposals.len()).collect())).collect()
    }

    fn tell(&self, committed: Committed, commands: usize) {
        self.applied.send_replace(committed.position);
        for (node, head_seq) in committed.feed_heads {
            self.heads.publish(node, head_seq);
        }
        if committed.revoked {
            self.revocations.send_modify(|count| *count += 1);
        }
        if committed.machines_changed {
            self.machines.send_modify(|count| *count += 1);
        }
        metrics::counter!("jikai_commands_total").increment(commands as u64);
    }

    /// Told before the answers are dropped: whoever learns that the machine is stopping finds it not ready.
    fn noting<T>(&self, done: Result<T, StateError>) -> Result<T, StateError> {
        done.inspect_err(|error| {
            let text = error.to_string();
            let hint = error_hint(&text);
            tracing::error!(error = text, hint, "the state cannot follow the log: this machine stops");
            self.failed.send_replace(Some(format!("the state cannot follow the log: {text}. Now {hint}")));
        })
    }
}

impl State for Replica {
    fn applied(&mut self) -> Result<Applied, StateError> {
        Ok(self.place.applied())
    }

    fn apply(&mut self, entries: Vec<(LogId, Payload)>) -> Result<Vec<Answer>, StateError> {
        let applied = self.apply_in_parts(entries);
        self.noting(applied)
    }

    fn set_digesting(&mut self, digesting: bool) {
        self.digester.set_digesting(digesting);
    }

    fn turned_away(&mut self) -> Result<BTreeSet<u64>, StateError> {
        let rows = MachineRow::list(&self.state).map_err(StateError::storage)?;
        let retired = rows.into_iter().filter(|row| row.state == Some(MachineState::Retired));
        Ok(retired.map(|row| u64::from(row.machine)).collect())
    }

    fn view(&mut self) -> Result<Box<dyn View>, StateError> {
        let frozen = snapshot::freeze(self.files.path());
        Ok(Box::new(self.noting(frozen)?))
    }

    fn install(&mut self, from: &Path) -> Result<(), StateError> {
        let (files, state) = (&*self.files, &mut self.state);
        let installed = snapshot::install(from, files, state);
        self.noting(installed)?;
        self.place = Place::read(&self.state)?;
        self.catalog = Catalog::default();
        self.heads.reload(&self.state).map_err(StateError::storage)?;
        // Whatever was revoked in between.
        self.revocations.send_modify(|count| *count += 1);
        self.machines.send_modify(|count| *count += 1);
        self.applied.send_replace(applied_position(&self.state).map_err(StateError::storage)?);
        Ok(())
    }

    fn digests(&self) -> Digests {
        self.digests.clone()
    }
}

/// The log's first entry has index 0; position 0 is before it.
pub fn position_of(index: u64) -> LogPosition {
    LogPosition::new(index).next()
}

fn encode(outcomes: Vec<Outcome>) -> Result<Answer, StateError> {
    codec::encode(&outcomes, ENTRY_BYTES_MAX).map(Answer).map_err(StateError::storage)
}

/// The outcomes of an entry's commands, in their order.
pub fn decode_outcomes(answer: &Answer) -> Result<Vec<Outcome>, codec::CodecError> {
    codec::decode(&answer.0, ENTRY_BYTES_MAX)
}

fn error_hint(text: &str) -> &'static str {
    match text.contains("full") {
        true => "make room on its disk, then start the hub again: the log wins",
        false => "start the hub again: the log wins, and what the state is behind is applied",
    }
}
