//! A value on a thread of its own, worked on in the order of the calls.
//!
//! Not `spawn_blocking`: that pool is shared with everything else that blocks, so that a burst of reads could delay a
//! vote; and openraft requires its writes in the order it asked for them, which one thread gives for free.

use std::io;

use tokio::sync::{mpsc, oneshot, watch};

/// Calls that may wait; whoever calls more waits for room. openraft itself has one write under way at a time.
const CALLS_MAX: usize = 64;

type Call<T> = Box<dyn FnOnce(&mut T) + Send>;

/// The thread has ended: its value panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread that owns it has ended")]
pub struct Ended;

/// Calls a value that lives on its own thread; the thread ends when every clone is gone.
pub struct Worker<T> {
    calls: mpsc::Sender<Call<T>>,
    ended: watch::Receiver<()>,
}

impl<T> Clone for Worker<T> {
    fn clone(&self) -> Self {
        Worker { calls: self.calls.clone(), ended: self.ended.clone() }
    }
}

impl<T: Send + 'static> Worker<T> {
    /// Starts the thread.
    pub fn start(name: &str, value: T) -> io::Result<Self> {
        Worker::start_until(name, value, drop)
    }

    /// Starts the thread, which ends by giving the value to `end`.
    pub fn start_until(name: &str, mut value: T, end: impl FnOnce(T) + Send + 'static) -> io::Result<Self> {
        let (calls, mut queue) = mpsc::channel::<Call<T>>(CALLS_MAX);
        let (running, ended) = watch::channel(());
        std::thread::Builder::new().name(name.into()).spawn(move || {
            let _running = running;
            while let Some(call) = queue.blocking_recv() {
                call(&mut value);
            }
            // Before the mark of the end: who waits for it may open the same file again.
            end(value);
        })?;
        Ok(Worker { calls, ended })
    }

    /// Calls the value and waits. Once queued, the call happens even if the caller stops waiting.
    pub async fn call<R: Send + 'static>(&self, call: impl FnOnce(&mut T) -> R + Send + 'static) -> Result<R, Ended> {
        let (send, receive) = oneshot::channel();
        let call: Call<T> = Box::new(move |value| {
            // Nobody waits any more: the effect counts, not the answer.
            let _ = send.send(call(value));
        });
        self.calls.send(call).await.map_err(|_| Ended)?;
        receive.await.map_err(|_| Ended)
    }

    /// Resolves its `changed` with an error when the thread has ended and the value is gone.
    pub fn ended(&self) -> watch::Receiver<()> {
        self.ended.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn calls_happen_in_order_and_the_end_is_seen() {
        let worker = Worker::start("test", Vec::new()).unwrap();
        for number in 0..10 {
            worker.call(move |numbers: &mut Vec<i32>| numbers.push(number)).await.unwrap();
        }
        assert_eq!(worker.call(|numbers| numbers.clone()).await, Ok((0..10).collect::<Vec<_>>()));
        let mut ended = worker.ended();
        drop(worker);
        assert!(ended.changed().await.is_err());
    }

    #[tokio::test]
    async fn a_call_that_panics_ends_the_worker_and_not_the_caller() {
        let worker = Worker::start("test", ()).unwrap();
        assert_eq!(worker.call(|()| panic!("on purpose")).await, Err(Ended));
        assert_eq!(worker.call(|()| 1).await, Err(Ended));
    }
}
