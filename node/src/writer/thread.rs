//! The thread: takes what has queued, commits it, answers.

use tokio::sync::{mpsc, oneshot, watch};

use super::{BATCH_MAX, Core, Reply, Request, Task, WriteError};
use crate::store::LogHead;

type Waiting = (Box<Request>, oneshot::Sender<Result<Reply, WriteError>>);

/// Works until every sender of the queue is gone.
pub(super) fn run(mut core: Core, mut queue: mpsc::Receiver<Task>, published: &watch::Sender<LogHead>) {
    let mut requests: Vec<Waiting> = Vec::with_capacity(BATCH_MAX);
    let measured = BatchMetrics::new();
    while let Some(task) = queue.blocking_recv() {
        let mut next = Some(task);
        while let Some(task) = next.take() {
            match task {
                Task::Request(request, reply) => requests.push((request, reply)),
                Task::Down(batch, reply) => {
                    commit_requests(&mut core, &mut requests, published, &measured);
                    let _ = reply.send(core.commit_down(&batch));
                }
                Task::Note(body, key, reply) => {
                    commit_requests(&mut core, &mut requests, published, &measured);
                    let noted = core.note(*body, key);
                    publish(&core, published);
                    let _ = reply.send(noted);
                }
                Task::Release(outlets, reply) => {
                    commit_requests(&mut core, &mut requests, published, &measured);
                    let released = core.release(&outlets);
                    publish(&core, published);
                    let _ = reply.send(released);
                }
                Task::Key(batch, key, reply) => {
                    let kept = core.keys.keep(&core.store, batch, key);
                    let _ = reply.send(kept.map_err(WriteError::from));
                }
            }
            if requests.len() < BATCH_MAX {
                next = queue.try_recv().ok();
            }
        }
        commit_requests(&mut core, &mut requests, published, &measured);
    }
}

/// What is measured of each batch; looked up once.
struct BatchMetrics {
    batch_requests: metrics::Histogram,
    commit_ms: metrics::Histogram,
}

impl BatchMetrics {
    fn new() -> Self {
        BatchMetrics {
            batch_requests: metrics::histogram!("jikai_writer_batch_requests"),
            commit_ms: metrics::histogram!("jikai_writer_commit_ms"),
        }
    }
}

/// Commits what has gathered and answers it; one by one when the common transaction failed.
fn commit_requests(
    core: &mut Core,
    requests: &mut Vec<Waiting>,
    published: &watch::Sender<LogHead>,
    measured: &BatchMetrics,
) {
    if requests.is_empty() {
        return;
    }
    let started = std::time::Instant::now();
    let batch: Vec<&Request> = requests.iter().map(|(request, _)| request.as_ref()).collect();
    measured.batch_requests.record(batch.len() as f64);
    let replies = match core.commit(&batch) {
        Ok(replies) => replies,
        Err(error) if batch.len() == 1 => vec![Err(error)],
        Err(error) => {
            tracing::warn!(%error, requests = batch.len(), "a batch was rolled back; its requests run one by one");
            batch.iter().map(|request| commit_alone(core, request)).collect()
        }
    };
    measured.commit_ms.record(started.elapsed().as_secs_f64() * 1e3);
    publish(core, published);
    // A terminal that hung up before its answer will ask again with the same key.
    for ((_, reply), outcome) in requests.drain(..).zip(replies) {
        let _ = reply.send(outcome);
    }
}

fn publish(core: &Core, published: &watch::Sender<LogHead>) {
    if published.borrow().seq != core.head.seq {
        published.send_replace(core.head);
    }
}

fn commit_alone(core: &mut Core, request: &Request) -> Result<Reply, WriteError> {
    core.commit(&[request])?.pop().unwrap_or(Err(WriteError::Closed))
}
