//! Work on the whole state, on threads of its own: its digests, its copies and their checksums. All machines do theirs at the same entries of
//! the log, for seconds.
//!
//! All of it rests between its pieces: the disk knows no priority. What only reads and reckons also steps back by the priority of its
//! thread: what nodes and terminals wait for is done first wherever the cores do not suffice for both. What writes files does not: a thread
//! that waits for a core inside the filesystem keeps its locks meanwhile, and the flushes of other files wait behind it. Not in the pool of
//! blocking threads: a thread may lower its priority, but needs a privilege to raise it again, and the next one to use it may be a request.

use std::io;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

/// Priority of a thread that steps back below that of the process, as `nice` counts it: a tenth of the time of one that serves, while cores
/// are short. Not the lowest there is: as long as a state is read, SQLite's log beside it cannot shrink.
const STEP: i32 = 10;
/// Linux knows none lower.
const NICENESS_MAX: i32 = 19;

/// The work panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread of a background work has ended")]
pub struct Ended;

/// Starts the work on a thread with this name.
pub fn start<R: Send + 'static>(name: &str, work: impl FnOnce() -> R + Send + 'static) -> io::Result<JoinHandle<R>> {
    named(name).spawn(work)
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

/// Does work that writes no files on a thread with this name that steps back, blocking. It may hold references.
pub fn step_back<R: Send>(name: &str, work: impl FnOnce() -> R + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let stepping_back = move || {
            lower_priority();
            work()
        };
        named(name).spawn_scoped(scope, stepping_back)?.join().map_err(|_| io::Error::other(Ended))
    })
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.into())
}

/// Linux reads and sets the priority of one thread alone: of the calling one where none is named, of the first where the process is.
fn lower_priority() {
    let own = rustix::process::getpriority_process(Some(rustix::process::getpid()));
    let lowered = own.map(|own| (own + STEP).min(NICENESS_MAX));
    if let Err(error) = lowered.and_then(|lowered| rustix::process::setpriority_process(None, lowered)) {
        tracing::debug!(%error, "a background work keeps the priority of what serves");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[tokio::test]
    async fn work_that_steps_back_leaves_the_priority_of_its_caller_and_other_work_keeps_that() {
        let before = niceness();
        let mut seen = before;
        step_back("test", || seen = niceness()).unwrap();
        assert_eq!((seen, niceness()), ((before + STEP).min(NICENESS_MAX), before));
        assert_eq!(start("test", niceness).unwrap().join().unwrap(), before);
        assert_eq!(run("test", || Ok::<_, io::Error>(niceness())).await.unwrap(), before);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_for_who_waits_for_it() {
        let told = run("test", || -> io::Result<()> { panic!("on purpose") }).await;
        assert_eq!(told.unwrap_err().to_string(), Ended.to_string());
        assert!(step_back("test", || panic!("on purpose")).is_err());
    }
}
