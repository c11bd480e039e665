//! CPU time of threads of this process, as Linux counts it.

use std::collections::BTreeSet;
use std::time::Duration;

const TASKS: &str = "/proc/self/task";

/// All threads there are.
pub fn threads() -> BTreeSet<u64> {
    let Ok(found) = std::fs::read_dir(TASKS) else { return BTreeSet::new() };
    found.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Time that a thread has run; zero where it has ended or the system does not say.
pub fn of(thread: u64) -> Duration {
    read(&format!("{TASKS}/{thread}/schedstat"))
}

/// The same of the thread that asks.
pub fn of_this_thread() -> Duration {
    read("/proc/thread-self/schedstat")
}

fn read(path: &str) -> Duration {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let ran = text.split_whitespace().next().and_then(|nanoseconds| nanoseconds.parse().ok());
    Duration::from_nanos(ran.unwrap_or_default())
}
