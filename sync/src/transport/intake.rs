//! Received batches on their way into a store, beside the session loop that verifies the next ones.

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::session::{VerifiedBatch, WINDOW_BATCHES};
use crate::wire::Cursor;

/// Makes batches durable one after the other, in the order they came.
pub(super) struct Intake<E> {
    batches: mpsc::Sender<VerifiedBatch>,
    outcomes: mpsc::Receiver<Result<Cursor, E>>,
    working: JoinHandle<()>,
    /// Batches whose outcome is out.
    committing: usize,
}

impl<E: Send + 'static> Intake<E> {
    /// Starts with what takes one batch in; the first failure is the last outcome.
    pub(super) fn start<F>(take: impl Fn(VerifiedBatch) -> F + Send + 'static) -> Self
    where
        F: Future<Output = Result<Cursor, E>> + Send,
    {
        let (batches, mut queue) = mpsc::channel::<VerifiedBatch>(WINDOW_BATCHES);
        let (outcome, outcomes) = mpsc::channel(WINDOW_BATCHES);
        let working = tokio::spawn(async move {
            while let Some(batch) = queue.recv().await {
                // What the session no longer waits for comes again in the next one.
                if outcome.is_closed() {
                    return;
                }
                let taken = take(batch).await;
                let failed = taken.is_err();
                if outcome.send(taken).await.is_err() || failed {
                    return;
                }
            }
        });
        Intake { batches, outcomes, working, committing: 0 }
    }

    /// Hands a batch over. The session's window keeps this from waiting; after a failure, its outcome tells.
    pub(super) async fn put(&mut self, batch: VerifiedBatch) {
        self.committing += 1;
        let _ = self.batches.send(batch).await;
    }

    /// The outcome of the next batch; `None` after a failure.
    pub(super) async fn next_outcome(&mut self) -> Option<Result<Cursor, E>> {
        let outcome = self.outcomes.recv().await;
        self.committing = self.committing.saturating_sub(1);
        outcome
    }

    /// Whether the outcome of some batch is out.
    pub(super) fn is_committing(&self) -> bool {
        self.committing > 0
    }

    /// Drops what waits, and returns when the batch on its way is in: the store stands still from then on.
    pub(super) async fn stop(self) {
        let Intake { batches, outcomes, working, .. } = self;
        drop((batches, outcomes));
        let _ = working.await;
    }
}
