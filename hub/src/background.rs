//! Work on the whole state, on threads of its own: its digests, its copies and their checksums. All machines do theirs at the same entries of
//! the log, for seconds.
//!
//! All of it rests between its pieces: the disk knows no priority. What only reads and reckons also steps back by the priority of its
//! thread (`step_back` of the stores): what nodes and terminals wait for is done first wherever the cores do not suffice for both. What writes
//! new files does not: a thread that waits for a core inside the filesystem keeps its locks meanwhile, and the flushes of other files wait behind
//! it. Not in the pool of blocking threads: a thread may lower its priority, but needs a privilege to raise it again, and the next one to use
//! it may be a request.

use std::io;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

/// The work panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread of a background work has ended")]
pub struct Ended;

/// Starts the work on a thread with this name.
pub fn start<R: Send + 'static>(name: &str, work: impl FnOnce() -> R + Send + 'static) -> io::Result<JoinHandle<R>> {
    thread::Builder::new().name(name.into()).spawn(work)
}

/// Does the work on a thread with this name, and waits. Once started it ends, even if the caller stops waiting.
pub async fn run<R, E>(name: &str, work: impl FnOnce() -> Result<R, E> + Send + 'static) -> Result<R, E>
where
    R: Send + 'static,
    E: From<io::Error> + Send + 'static,
{
    let (send, receive) = oneshot::channel();
    let work = move || {
        // Nobody waits any more: the effect counts, not the answer.
        let _ = send.send(work());
    };
    start(name, work)?;
    receive.await.map_err(|_| io::Error::other(Ended))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_waited_for() {
        assert_eq!(run("test", || Ok::<_, io::Error>(1)).await.unwrap(), 1);
        assert_eq!(start("test", || 1).unwrap().join().unwrap(), 1);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_for_who_waits_for_it() {
        let told = run("test", || -> io::Result<()> { panic!("on purpose") }).await;
        assert_eq!(told.unwrap_err().to_string(), Ended.to_string());
    }
}
