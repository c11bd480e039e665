//! The task that gathers proposals into entries.

use std::sync::Arc;

use jikai_schema::codec;
use jikai_schema::command::{ENTRY_BYTES_MAX, Outcome, Proposal, encode_entry};
use tokio::sync::{mpsc, oneshot, watch};

use super::{ENTRY_COMMANDS_MAX, ENTRY_WEIGHT_MAX, ProposeError, Task};
use crate::log::{DiskRoom, LogError, ReplicatedLog};

/// How often an entry is sent whose answer got lost.
const ATTEMPTS_MAX: u32 = 3;

pub(super) struct Batcher {
    pub(super) log: Arc<dyn ReplicatedLog>,
    pub(super) room: Arc<DiskRoom>,
    pub(super) failed: watch::Sender<Option<String>>,
}

type Answer = oneshot::Sender<Result<Outcome, ProposeError>>;

impl Batcher {
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Task>) {
        while let Some(first) = queue.recv().await {
            let (proposals, answers) = gather(first, &mut queue);
            match self.commit(&proposals).await {
                Ok(outcomes) => {
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        // Whoever asked may have gone; the command is committed all the same.
                        let _ = answer.send(Ok(outcome));
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, commands = proposals.len(), "an entry was not answered");
                    metrics::counter!("jikai_log_refused_total").increment(1);
                    let error =
                        if matches!(error, LogError::Stopped(_)) { ProposeError::Stopped } else { error.into() };
                    answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone()))));
                }
            }
        }
    }

    async fn commit(&self, proposals: &[Proposal]) -> Result<Vec<Outcome>, LogError> {
        self.room.check()?;
        let stopped = |error: codec::CodecError| LogError::Stopped(error.to_string());
        let entry = encode_entry(proposals).map_err(stopped)?;
        let mut attempt = 1;
        let answer = loop {
            if let Some(why) = self.failed.borrow().clone() {
                return Err(LogError::Stopped(why));
            }
            match self.log.commit(entry.clone()).await {
                // Sent again: what was applied meanwhile is answered, not applied again.
                Err(LogError::Unknown) if attempt < ATTEMPTS_MAX => attempt += 1,
                answer => break answer?,
            }
        };
        metrics::counter!("jikai_log_entries_total").increment(1);
        let outcomes: Vec<Outcome> = codec::decode(&answer, ENTRY_BYTES_MAX).map_err(stopped)?;
        match outcomes.len() == proposals.len() {
            true => Ok(outcomes),
            false => Err(LogError::Stopped(format!("{} outcomes of {} commands", outcomes.len(), proposals.len()))),
        }
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
