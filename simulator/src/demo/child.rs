//! Processes of the demo: started, watched, measured, stopped.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};

/// Lines of a log that are shown when its process died.
const LOG_LINES_SHOWN: usize = 15;
/// Time for a server to say that it is ready: a node in the place of a lost one receives its slice before.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// Time for a process to stop by itself.
const STOP_LIMIT: Duration = Duration::from_secs(15);
/// Ticks of /proc/PID/stat in a second: 100 on every Linux that user programs see.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process of the demo.
pub struct Child {
    /// `hub`, `node-3`, `load-1`.
    pub name: String,
    process: tokio::process::Child,
    pid: u32,
    log: PathBuf,
    end: End,
    /// What it had used when it was told that it may end.
    used: Usage,
}

/// How a process may end by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Never,
    WithSuccess,
    Somehow,
}

/// What a process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Most memory ever resident. MiB.
    pub memory_mib: f64,
    /// User and system time. Seconds.
    pub cpu_seconds: f64,
}

impl Child {
    /// Starts a process; its standard error goes to the log.
    pub fn start(name: &str, mut command: Command, logs: &Path) -> Result<Self> {
        let log = logs.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("create the log {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file).kill_on_drop(true);
        let process = command.spawn().with_context(|| format!("start {name}: {:?}", command.as_std()))?;
        let pid = process.id().with_context(|| format!("{name} ended at once"))?;
        Ok(Child { name: name.to_owned(), process, pid, log, end: End::Never, used: Usage::default() })
    }

    /// Its standard input, once.
    pub fn take_stdin(&mut self) -> Result<ChildStdin> {
        self.process.stdin.take().with_context(|| format!("{} has no input", self.name))
    }

    /// The lines that it prints, once.
    pub fn take_lines(&mut self) -> Result<Lines<BufReader<ChildStdout>>> {
        let output = self.process.stdout.take().with_context(|| format!("{} has no output", self.name))?;
        Ok(BufReader::with_capacity(64 * 1024, output).lines())
    }

    /// Waits for the line `ready key=value …` and returns its values by key.
    pub async fn wait_ready(&mut self) -> Result<Vec<(String, String)>> {
        let mut lines = self.take_lines()?;
        let ready = async {
            while let Some(line) = lines.next_line().await? {
                if let Some(rest) = line.strip_prefix("ready") {
                    let pairs = rest.split_whitespace().filter_map(|pair| pair.split_once('='));
                    return Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect());
                }
            }
            bail!("it ended without saying `ready`")
        };
        let waited = tokio::time::timeout(READY_LIMIT, ready).await;
        let answer: Result<Vec<_>> =
            waited.unwrap_or_else(|_| Err(anyhow::anyhow!("not ready within {READY_LIMIT:?}")));
        // What it prints later is read and dropped, so that it never blocks.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        answer.with_context(|| format!("start {}; its log ends with:\n{}", self.name, self.log_tail()))
    }

    /// From now on it may end by itself.
    pub fn allow_end(&mut self) {
        self.end = End::WithSuccess;
    }

    /// From now on it may end by itself, with any exit code: what it did is told elsewhere.
    pub fn allow_any_end(&mut self) {
        (self.end, self.used) = (End::Somehow, self.usage());
    }

    /// Complains if it has died.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.process.try_wait().with_context(|| format!("look after {}", self.name))? {
            Some(status) if self.end == End::Never || self.end == End::WithSuccess && !status.success() => {
                bail!(
                    "{} died unexpectedly ({status}); its log {} ends with:\n{}",
                    self.name,
                    self.log.display(),
                    self.log_tail()
                )
            }
            _ => Ok(()),
        }
    }

    /// Memory and time so far; zero once it is gone.
    pub fn usage(&self) -> Usage {
        usage_of(&self.pid.to_string())
    }

    fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].iter().map(|line| format!("  {line}\n")).collect()
    }

    /// Asks it to stop (SIGTERM), and kills it when it does not.
    async fn stop(&mut self) {
        drop(self.process.stdin.take());
        if matches!(self.process.try_wait(), Ok(Some(_))) {
            return;
        }
        // One that was paused hears nothing else.
        self.signal("CONT").await;
        self.signal("TERM").await;
        if tokio::time::timeout(STOP_LIMIT, self.process.wait()).await.is_err() {
            eprintln!("{} did not stop within {STOP_LIMIT:?} and is killed", self.name);
            let _ = self.process.kill().await;
        }
    }

    /// Sends a signal by its name; one that ended hears nothing. The shell's own `kill`: no program and no unsafe code is
    /// needed for it.
    async fn signal(&self, name: &str) {
        let words = format!("kill -{name} {}", self.pid);
        let _ = Command::new("sh").arg("-c").arg(words).stderr(Stdio::null()).status().await;
    }
}

/// Usage of a process by its id, or of this one by `self`.
pub fn usage_of(pid: &str) -> Usage {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    Usage { memory_mib: peak_memory_mib(&status), cpu_seconds: cpu_seconds(&stat) }
}

fn peak_memory_mib(status: &str) -> f64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: f64 = line.trim().trim_end_matches("kB").trim().parse().unwrap_or(0.0);
    kib / 1024.0
}

/// Fields 14 and 15 of /proc/PID/stat; the name in field 2 may hold spaces, so counting begins behind it.
fn cpu_seconds(stat: &str) -> f64 {
    ticks_from(stat, 11)
}

/// Fields 16 and 17: children that have ended and were waited for.
pub fn children_cpu_seconds(stat: &str) -> f64 {
    ticks_from(stat, 13)
}

fn ticks_from(stat: &str, skipped: usize) -> f64 {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields = behind_name.split_whitespace().skip(skipped).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

/// All processes of a run.
pub struct Family {
    children: Vec<Child>,
    /// What processes had used that were killed on purpose.
    killed: Vec<(String, Usage)>,
    logs: PathBuf,
}

impl Family {
    /// None yet.
    pub fn new(logs: PathBuf) -> Self {
        Family { children: Vec::new(), killed: Vec::new(), logs }
    }

    /// Starts one more and keeps it.
    pub fn start(&mut self, name: &str, command: Command) -> Result<&mut Child> {
        self.children.push(Child::start(name, command, &self.logs)?);
        self.children.last_mut().context("no child")
    }

    /// Complains about the first that has died.
    pub fn check_alive(&mut self) -> Result<()> {
        self.children.iter_mut().try_for_each(Child::check_alive)
    }

    /// One that runs.
    pub fn child(&mut self, name: &str) -> Result<&mut Child> {
        let found = self.children.iter_mut().find(|child| child.name == name);
        found.with_context(|| format!("no process is called {name}"))
    }

    /// Kills one at once (SIGKILL), as a power cut would, and forgets it.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        let mut child = self.forget(name)?;
        child.process.kill().await.with_context(|| format!("kill {name}"))
    }

    /// Stops one for good, which may have ended by itself, and forgets it.
    pub async fn retire(&mut self, name: &str) -> Result<()> {
        self.forget(name)?.stop().await;
        Ok(())
    }

    /// Sends one a signal, by its name: STOP, CONT.
    pub async fn signal(&mut self, name: &str, signal: &str) -> Result<()> {
        self.child(name)?.signal(signal).await;
        Ok(())
    }

    fn forget(&mut self, name: &str) -> Result<Child> {
        let at = self.children.iter().position(|child| child.name == name);
        let child = self.children.remove(at.with_context(|| format!("no process is called {name}"))?);
        let (now, before) = (child.usage(), child.used);
        let most = |now: f64, before: f64| now.max(before);
        let usage = Usage {
            memory_mib: most(now.memory_mib, before.memory_mib),
            cpu_seconds: most(now.cpu_seconds, before.cpu_seconds),
        };
        self.killed.push((child.name.clone(), usage));
        Ok(child)
    }

    /// CPU time so far of one that runs. Seconds.
    pub fn cpu_seconds(&self, name: &str) -> f64 {
        let found = self.children.iter().find(|child| child.name == name);
        found.map_or(0.0, |child| child.usage().cpu_seconds)
    }

    /// Usage of all whose name begins so, also of those that were killed.
    pub fn usage(&self, name: &str) -> Vec<Usage> {
        let alive = self.children.iter().filter(|child| child.name.starts_with(name)).map(Child::usage);
        let killed = self.killed.iter().filter(|(killed, _)| killed.starts_with(name)).map(|(_, usage)| *usage);
        alive.chain(killed).collect()
    }

    /// CPU time of those that were killed. Seconds.
    pub fn killed_cpu_seconds(&self) -> f64 {
        self.killed.iter().map(|(_, usage)| usage.cpu_seconds).sum()
    }

    /// Stops all: terminals first, then the nodes together, then the hub.
    pub async fn stop(&mut self) {
        for name in ["load", "node", "hub"] {
            let group = self.children.iter_mut().filter(|child| child.name.starts_with(name));
            let mut stopping = Vec::new();
            for child in group {
                stopping.push(child.stop());
            }
            join_all(stopping).await;
        }
        self.children.clear();
    }
}

/// Drives futures together; each borrows its own child.
async fn join_all(futures: Vec<impl Future<Output = ()>>) {
    let mut pending: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|context| {
        pending.retain_mut(|future| future.as_mut().poll(context).is_pending());
        match pending.is_empty() {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_read_also_with_odd_names() {
        assert_eq!(peak_memory_mib("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1 kB\n"), 2.0);
        assert_eq!(peak_memory_mib(""), 0.0);
        let stat = "42 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat), 2.0);
    }

    #[tokio::test]
    async fn a_dead_child_is_reported_with_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.arg("-c").arg("echo something broke >&2; exit 3");
        let mut child = Child::start("node-1", command, folder.path()).unwrap();
        child.process.wait().await.unwrap();
        let message = child.check_alive().unwrap_err().to_string();
        assert!(message.contains("node-1 died") && message.contains("something broke"), "{message}");
    }

    #[tokio::test]
    async fn one_that_may_end_somehow_is_not_missed_and_can_be_retired() {
        let folder = tempfile::tempdir().unwrap();
        let mut family = Family::new(folder.path().to_owned());
        let mut command = Command::new("sh");
        command.arg("-c").arg("exit 3");
        let child = family.start("hub-1", command).unwrap();
        child.allow_any_end();
        child.process.wait().await.unwrap();
        family.check_alive().unwrap();
        family.retire("hub-1").await.unwrap();
        assert!(family.retire("hub-1").await.unwrap_err().to_string().contains("hub-1"));
        assert_eq!(family.usage("hub").len(), 1);
    }

    #[tokio::test]
    async fn a_family_stops_all_its_children() {
        let folder = tempfile::tempdir().unwrap();
        let mut family = Family::new(folder.path().to_owned());
        for name in ["hub", "node-1", "node-2", "load-1"] {
            let mut command = Command::new("sh");
            command.arg("-c").arg("echo ready http=127.0.0.1:1; exec sleep 600");
            let child = family.start(name, command).unwrap();
            assert_eq!(child.wait_ready().await.unwrap(), [("http".to_owned(), "127.0.0.1:1".to_owned())]);
        }
        family.check_alive().unwrap();
        assert_eq!(family.usage("node").len(), 2);
        family.kill("node-2").await.unwrap();
        assert_eq!(family.usage("node").len(), 2);
        family.signal("node-1", "STOP").await.unwrap();
        let pids: Vec<u32> = family.children.iter().map(|child| child.pid).collect();
        family.stop().await;
        for pid in pids {
            assert!(!Path::new(&format!("/proc/{pid}")).exists());
        }
    }
}
