//! One running binary: started, found ready, killed at the end.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use crate::province::binaries;

/// Nothing that a test waits for takes so long, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is killed when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    addresses: HashMap<String, SocketAddr>,
}

impl Process {
    /// Runs `jikai-NAME run` on a data directory until it says that it is ready.
    ///
    /// # Panics
    /// When it ends without saying so.
    pub fn run(name: &str, data: &Path) -> Process {
        let log = data.with_extension("log");
        let errors = File::options().create(true).append(true).open(&log).expect("a log can be written");
        let mut child = Command::new(binaries().join(name))
            .args(["run", "--data"])
            .arg(data)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .expect("the binary can be started");
        let output = child.stdout.take().expect("its output is read here");
        let ready = BufReader::new(output).lines().map_while(Result::ok).find(|line| line.starts_with("ready "));
        let mut process = Process { child, log, addresses: HashMap::new() };
        let ready = ready.unwrap_or_else(|| panic!("{name} did not become ready:\n{}", process.log()));
        let pairs = ready.split_whitespace().filter_map(|pair| pair.split_once('='));
        process.addresses = pairs.filter_map(|(key, value)| Some((key.to_string(), value.parse().ok()?))).collect();
        process
    }

    /// The address that it announced under this name.
    ///
    /// # Panics
    /// When it announced none.
    pub fn address(&self, name: &str) -> SocketAddr {
        *self.addresses.get(name).unwrap_or_else(|| panic!("no address {name} was announced"))
    }

    /// All that it has written to its log.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Waits until its log holds a text.
    ///
    /// # Panics
    /// When that does not happen.
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("`{text}` in the log"), || self.log().contains(text));
    }

    /// Halts it where it is (SIGSTOP) until [`Process::resume`]; returns once all of its threads stand.
    ///
    /// # Panics
    /// When it has ended.
    pub fn pause(&self) {
        self.send(Signal::STOP);
        waitpid(Some(Pid::from_child(&self.child)), WaitOptions::UNTRACED).expect("it is a child of this test");
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Panics
    /// When it has ended.
    pub fn resume(&self) {
        self.send(Signal::CONT);
    }

    fn send(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Kills it (SIGKILL).
    pub fn kill(&mut self) {
        // One that has ended by itself is as dead.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks again and again until it is so.
///
/// # Panics
/// When it does not become so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// Runs a binary to its end and gives its output.
///
/// # Panics
/// When it fails.
pub fn done(name: &str, arguments: &[&str]) -> String {
    let output = Command::new(binaries().join(name)).args(arguments).output().expect("the binary can be started");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name} {arguments:?}: {errors}");
    String::from_utf8(output.stdout).expect("it prints text")
}
