//! Work on a whole store that nobody waits for.

use std::io;
use std::thread;

/// Priority of a thread that steps back below that of the process, as `nice` counts it: a tenth of the time of one that serves, while cores
/// are short. Not the lowest there is: as long as a store is read, SQLite's log beside it cannot shrink.
const STEP: i32 = 10;
/// Linux knows none lower.
const NICENESS_MAX: i32 = 19;

/// Does work on a thread with this name that steps back, blocking; it may hold references. An error: the thread could not be started, or the
/// work panicked. Not for work that writes new files: a thread that waits for a core inside the filesystem keeps its locks meanwhile, and the
/// flushes of other files wait behind it.
pub fn step_back<R: Send>(name: &str, work: impl FnOnce() -> R + Send) -> io::Result<R> {
    thread::scope(|scope| {
        let stepping_back = move || {
            lower_priority();
            work()
        };
        let working = thread::Builder::new().name(name.into()).spawn_scoped(scope, stepping_back)?;
        working.join().map_err(|_| io::Error::other("the thread of a work that stepped back has ended"))
    })
}

/// Linux reads and sets the priority of one thread alone: of the calling one where none is named, of the first where the process is.
fn lower_priority() {
    let own = rustix::process::getpriority_process(Some(rustix::process::getpid()));
    let lowered = own.map(|own| (own + STEP).min(NICENESS_MAX));
    if let Err(error) = lowered.and_then(|lowered| rustix::process::setpriority_process(None, lowered)) {
        tracing::debug!(%error, "work on a whole store keeps the priority of what serves");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn niceness() -> i32 {
        rustix::process::getpriority_process(None).unwrap()
    }

    #[test]
    fn work_that_steps_back_leaves_the_priority_of_its_caller_and_its_panic_is_an_error() {
        let before = niceness();
        let mut seen = before;
        step_back("test", || seen = niceness()).unwrap();
        assert_eq!((seen, niceness()), ((before + STEP).min(NICENESS_MAX), before));
        assert!(step_back("test", || panic!("on purpose")).is_err());
    }
}
