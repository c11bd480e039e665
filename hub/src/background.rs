//! Work on the whole state that may wait for everything else: its digests, its copies and their checksums.
//!
//! Each piece has a thread of its own at a low priority: all machines do theirs at the same entries of the log, for seconds, and what
//! nodes and terminals wait for is done first wherever the cores do not suffice for both. Not in the pool of blocking threads: a thread
//! may lower its priority, but needs a privilege to raise it again, and the next one to use it may be a request.

use std::io;
use std::thread::{self, JoinHandle, Scope, ScopedJoinHandle};

use thread_priority::ThreadPriority;
use thread_priority::unix::{
    NormalThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
    thread_schedule_policy,
};
use tokio::sync::oneshot;

/// Priority of the threads below that of the process, as `nice` counts it: a tenth of the time of one that serves, while cores are short.
/// Not the lowest there is: as long as a state is read, SQLite's log beside it cannot shrink.
const STEP: i32 = 10;
/// Linux knows none lower.
const NICENESS_MAX: i32 = 19;

/// The work panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the thread of a background work has ended")]
pub struct Ended;

/// Starts the work on a thread with this name.
pub fn start<R: Send + 'static>(name: &str, work: impl FnOnce() -> R + Send + 'static) -> io::Result<JoinHandle<R>> {
    named(name).spawn(move || {
        step_back();
        work()
    })
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

/// The same for what holds references, blocking.
pub fn run_here<R: Send>(name: &str, work: impl FnOnce() -> R + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let stepping_back = move || {
            step_back();
            work()
        };
        named(name).spawn_scoped(scope, stepping_back)?.join().map_err(|_| io::Error::other(Ended))
    })
}

/// Starts the work on a thread that gets what nobody else wants of the cores, and gives a core up as soon as anybody does. Where the cores
/// never suffice it does not come to its end: nobody else may wait for what it holds for long, and its caller bounds it.
pub fn start_aside<'scope, R: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    work: impl FnOnce() -> R + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, R>> {
    named(name).spawn_scoped(scope, move || {
        step_aside();
        work()
    })
}

fn named(name: &str) -> thread::Builder {
    thread::Builder::new().name(name.into())
}

/// Linux reads and sets the priority of one thread alone: of the calling one where none is named, of the first where the process is.
fn step_back() {
    let own = rustix::process::getpriority_process(Some(rustix::process::getpid()));
    let lowered = own.map(|own| (own + STEP).min(NICENESS_MAX));
    if let Err(error) = lowered.and_then(|lowered| rustix::process::setpriority_process(None, lowered)) {
        tracing::debug!(%error, "a background work keeps the priority of what serves");
    }
}

/// Setting the policy sets a niceness too, which the policy leaves without a meaning and which may need a privilege.
fn step_aside() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    if thread_schedule_policy() != Ok(idle) {
        tracing::debug!(?set, "a work that may wait for all others keeps its priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[tokio::test]
    async fn background_work_steps_back_and_leaves_the_priority_of_its_caller() {
        let before = niceness();
        let lowered = (before + STEP).min(NICENESS_MAX);
        assert_eq!(start("test", niceness).unwrap().join().unwrap(), lowered);
        assert_eq!(run("test", || Ok::<_, io::Error>(niceness())).await.unwrap(), lowered);
        let mut seen = before;
        run_here("test", || seen = niceness()).unwrap();
        assert_eq!((seen, niceness()), (lowered, before));
    }

    #[test]
    fn work_that_steps_aside_gives_way_to_all_others() {
        // Field 41 of a thread's state is its policy: 5 where it gets only what nobody else wants.
        let policy = || {
            let state = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, fields) = state.rsplit_once(')').unwrap();
            fields.split_whitespace().nth(38).unwrap().parse::<u32>().unwrap()
        };
        let before = policy();
        let aside = thread::scope(|scope| start_aside(scope, "test", policy).unwrap().join().unwrap());
        assert_eq!((aside, policy()), (5, before));
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_for_who_waits_for_it() {
        let told = run("test", || -> io::Result<()> { panic!("on purpose") }).await;
        assert_eq!(told.unwrap_err().to_string(), Ended.to_string());
        assert!(run_here("test", || panic!("on purpose")).is_err());
    }
}
