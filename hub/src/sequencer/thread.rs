//! The thread that appends and applies.

use jikai_schema::command::{Outcome, Proposal, encode_entry};
use jikai_schema::projection::Catalog;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::{ENTRY_COMMANDS_MAX, ENTRY_WEIGHT_MAX, FeedHeads, ProposeError, Task};
use crate::log::{CommandLog, LogError, LogPosition};
use crate::machine::{self, StorageError};

pub(super) struct SequencerThread {
    pub(super) log: Box<dyn CommandLog>,
    pub(super) state: Connection,
    /// Master data as of the last commit.
    pub(super) catalog: Catalog,
    pub(super) applied: watch::Sender<LogPosition>,
    pub(super) heads: FeedHeads,
    pub(super) revocations: watch::Sender<u64>,
    pub(super) failed: watch::Sender<Option<String>>,
}

/// Why the thread ends: the log has, or may have, an entry that the state has not.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    State(#[from] StorageError),
}

impl Failure {
    fn is_disk_full(&self) -> bool {
        matches!(self, Failure::State(error) if error.is_disk_full())
    }
}

type Answer = oneshot::Sender<Result<Outcome, ProposeError>>;

impl SequencerThread {
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Task>) {
        while let Some(first) = queue.blocking_recv() {
            let (proposals, answers) = gather(first, &mut queue);
            if let Err(error) = self.commit(proposals, answers) {
                let hint = if error.is_disk_full() {
                    "make room on its disk, then start the hub again"
                } else {
                    "start the hub again"
                };
                tracing::error!(%error, hint, "the hub stops: the log wins, and what the state is behind is applied at the next start");
                return;
            }
        }
    }

    /// `Err` when the entry is in the log, or may be, and not in the state.
    fn commit(&mut self, proposals: Vec<Proposal>, answers: Vec<Answer>) -> Result<(), Failure> {
        let at = match self.append(&proposals) {
            Ok(at) => at,
            Err(error @ LogError::Storage(_)) => {
                // Told before the answers are dropped: whoever learns that the hub is stopping finds it not ready.
                self.failed.send_replace(Some(error.to_string()));
                return Err(error.into());
            }
            Err(error) => {
                tracing::warn!(%error, commands = proposals.len(), "the command log refused an entry; nothing was changed");
                metrics::counter!("jikai_log_refused_total").increment(1);
                answers.into_iter().for_each(|answer| drop(answer.send(Err(ProposeError::Log(error.clone())))));
                return Ok(());
            }
        };
        let command_count = proposals.len() as u64;
        let committed = machine::commit(&mut self.state, &mut self.catalog, &[(at, proposals)]);
        let (outcomes, applied) = committed.inspect_err(|error| {
            // Told before the answers are dropped: whoever learns that the hub is stopping finds it not ready.
            self.failed.send_replace(Some(error.to_string()));
        })?;
        self.applied.send_replace(applied.position);
        for (node, head_seq) in applied.feed_heads {
            self.heads.publish(node, head_seq);
        }
        if applied.revoked {
            self.revocations.send_modify(|count| *count += 1);
        }
        metrics::counter!("jikai_commands_total").increment(command_count);
        metrics::counter!("jikai_log_entries_total").increment(1);
        for (answer, outcome) in answers.into_iter().zip(outcomes) {
            // Whoever asked may have gone; the command is committed all the same.
            let _ = answer.send(Ok(outcome));
        }
        Ok(())
    }

    fn append(&mut self, proposals: &[Proposal]) -> Result<LogPosition, LogError> {
        let entry = encode_entry(proposals).map_err(|error| LogError::Storage(error.to_string()))?;
        self.log.append(&entry)
    }
}

/// Takes what has queued, bounded by count and weight.
fn gather(first: Task, queue: &mut mpsc::Receiver<Task>) -> (Vec<Proposal>, Vec<Answer>) {
    let mut weight = first.weight;
    let (mut proposals, mut answers) = (vec![first.proposal], vec![first.answer]);
    while proposals.len() < ENTRY_COMMANDS_MAX && weight < ENTRY_WEIGHT_MAX {
        let Ok(task) = queue.try_recv() else { break };
        weight += task.weight;
        proposals.push(task.proposal);
        answers.push(task.answer);
    }
    (proposals, answers)
}
