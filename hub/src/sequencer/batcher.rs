//! The task that gathers proposals into entries.

use std::sync::Arc;

use jikai_schema::codec;
use jikai_schema::command::{Command, ENTRY_BYTES_MAX, Outcome, Proposal, encode_entry};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::{ENTRY_COMMANDS_MAX, ENTRY_EVERY, ENTRY_WEIGHT_MAX, ENTRY_WEIGHT_WORTH, ProposeError, Task};
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
        let mut until = Instant::now();
        while let Some(first) = queue.recv().await {
            let Gathered { proposals, answers, .. } = gather(first, &mut queue, until).await;
            until = Instant::now() + ENTRY_EVERY;
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

/// Proposals of one entry.
#[derive(Default)]
struct Gathered {
    proposals: Vec<Proposal>,
    answers: Vec<Answer>,
    weight: usize,
    /// Somebody waits for one of them.
    is_urgent: bool,
}

impl Gathered {
    fn take(&mut self, task: Task) {
        self.weight += task.weight;
        self.is_urgent |= !matches!(task.proposal.command, Command::IngestEvents(_));
        self.proposals.push(task.proposal);
        self.answers.push(task.answer);
    }

    /// Takes what has queued, bounded by count and weight.
    fn fill(&mut self, queue: &mut mpsc::Receiver<Task>) {
        while self.proposals.len() < ENTRY_COMMANDS_MAX && self.weight < ENTRY_WEIGHT_MAX {
            let Ok(task) = queue.try_recv() else { break };
            self.take(task);
        }
    }

    fn may_wait(&self) -> bool {
        !self.is_urgent && self.weight < ENTRY_WEIGHT_WORTH && self.proposals.len() < ENTRY_COMMANDS_MAX
    }
}

/// Takes what has queued; where that is little, and only from nodes, what comes until then too.
async fn gather(first: Task, queue: &mut mpsc::Receiver<Task>, until: Instant) -> Gathered {
    let mut gathered = Gathered::default();
    gathered.take(first);
    gathered.fill(queue);
    while gathered.may_wait() {
        let Ok(Some(task)) = timeout_at(until, queue.recv()).await else { break };
        gathered.take(task);
        gathered.fill(queue);
    }
    gathered
}

#[cfg(test)]
mod tests {
    use jikai_schema::event::{Actor, RequestId, RequestKey};
    use jikai_schema::time::TimeMs;
    use tokio::sync::Semaphore;
    use tokio::time::timeout;

    use super::*;
    use crate::province::{LONG, NodeLog, check_in, define_division};

    fn task(command: Command, weight: usize) -> Task {
        let key = RequestKey::of_command(RequestId([0; 16]), &[]);
        let proposal = Proposal { at_ms: TimeMs::from_ms(0), actor: Actor::System, request: Some(key), command };
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        Task { proposal, weight, answer: oneshot::channel().0, _room: room }
    }

    fn of_node(weight: usize) -> Task {
        task(Command::IngestEvents(NodeLog::new(1).batch(vec![check_in(1, 13_010_001)])), weight)
    }

    fn of_staff() -> Task {
        task(Command::DefineMaster(vec![define_division(130_000, 0)]), 1)
    }

    #[tokio::test]
    async fn what_nodes_send_gathers_until_an_entry_is_due() {
        let (tasks, mut queue) = mpsc::channel(8);
        let until = Instant::now() + ENTRY_EVERY;
        let late = async { tasks.send(of_node(1)).await.unwrap() };
        let (gathered, ()) = tokio::join!(gather(of_node(1), &mut queue, until), late);
        assert_eq!(gathered.proposals.len(), 2);
        assert!(Instant::now() >= until);
        tasks.send(of_node(1)).await.unwrap();
        assert_eq!(
            gather(of_node(1), &mut queue, until).await.proposals.len(),
            2,
            "it is due, and takes what has queued"
        );
    }

    #[tokio::test]
    async fn what_somebody_waits_for_and_what_is_worth_an_entry_goes_at_once_with_what_has_queued() {
        for last in [of_staff(), of_node(ENTRY_WEIGHT_WORTH)] {
            let (tasks, mut queue) = mpsc::channel(8);
            tasks.send(last).await.unwrap();
            let gathered = timeout(LONG, gather(of_node(1), &mut queue, Instant::now() + 2 * LONG)).await;
            assert_eq!(gathered.expect("it does not wait").proposals.len(), 2);
        }
    }

    #[tokio::test]
    async fn what_comes_while_an_entry_gathers_may_end_the_waiting() {
        let (tasks, mut queue) = mpsc::channel(8);
        let late = async { tasks.send(of_staff()).await.unwrap() };
        let waiting = timeout(LONG, gather(of_node(1), &mut queue, Instant::now() + 2 * LONG));
        let (gathered, ()) = tokio::join!(waiting, late);
        assert_eq!(gathered.expect("it waits no longer").proposals.len(), 2);
    }

    #[tokio::test]
    async fn a_queue_that_ends_ends_the_gathering() {
        let (tasks, mut queue) = mpsc::channel(8);
        drop(tasks);
        let gathered = timeout(LONG, gather(of_node(1), &mut queue, Instant::now() + 2 * LONG)).await;
        assert_eq!(gathered.expect("nothing more comes").proposals.len(), 1);
    }
}
