//! How a terminal gets to the node that serves its outlet: the node it was told last, and the directory for when that one does
//! not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::client::{Directory, Endpoint, Reply};
use crate::seed::Dice;

/// Connections that must fail in a row before another node is asked: a restart takes as long.
const MISSED_MIN: u32 = 3;
/// Shortest time between two times that others are asked.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// Others that are asked at a time.
const OTHERS_MAX: usize = 2;

/// A terminal's way to its node.
pub struct Way {
    node: u16,
    endpoint: Endpoint,
    directory: Option<Arc<Directory>>,
    missed: u32,
    asked_at: Option<Instant>,
}

impl Way {
    /// The way to a node, without others to fall back to.
    pub fn new(node: u16, endpoint: Endpoint) -> Self {
        Way { node, endpoint, directory: None, missed: 0, asked_at: None }
    }

    /// The same, with this directory.
    pub fn with_directory(self, directory: Arc<Directory>) -> Self {
        Way { directory: Some(directory), ..self }
    }

    /// The node that serves the outlet, as far as is known.
    pub fn node(&self) -> u16 {
        self.node
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The directory, if there is one.
    pub fn directory(&self) -> Option<&Directory> {
        self.directory.as_deref()
    }

    /// Takes the directory that came with a login.
    pub fn learn(&self, view: &serde_json::Value) -> Result<()> {
        match &self.directory {
            Some(directory) if view.is_object() => directory.take(view).context("take the directory of a login"),
            _ => Ok(()),
        }
    }

    /// A connection was opened, or was not.
    pub fn note(&mut self, opened: bool) {
        self.missed = if opened { 0 } else { self.missed.saturating_add(1) };
    }

    /// Whether the last connection that was tried did not open.
    pub fn is_missed(&self) -> bool {
        self.missed > 0
    }

    /// The others that are to be asked now; none while the own node may come back by itself.
    pub fn others(&mut self, dice: &mut Dice) -> Vec<(u16, Endpoint)> {
        let is_due = self.asked_at.is_none_or(|asked_at| asked_at.elapsed() >= ASK_EVERY);
        let Some(directory) = self.directory.as_ref().filter(|_| self.missed >= MISSED_MIN && is_due) else {
            return Vec::new();
        };
        self.asked_at = Some(Instant::now());
        let mut others = directory.others(self.node);
        if !others.is_empty() {
            let first = dice.below(others.len() as u64) as usize;
            others.rotate_left(first);
        }
        others.truncate(OTHERS_MAX);
        others
    }

    /// Goes to a node that answered.
    pub fn go(&mut self, node: u16, endpoint: Endpoint) {
        (self.node, self.endpoint, self.missed) = (node, endpoint, 0);
    }

    /// Goes where a node sent the terminal (421); whether that is another node, or `None` where the answer names none that could
    /// be reached.
    pub fn follow(&mut self, reply: &Reply) -> Option<bool> {
        let directory = self.directory.as_ref()?;
        let told = reply.json();
        let node = u16::try_from(told["node"].as_u64()?).ok()?;
        let addresses = told["addresses"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named = addresses.iter().filter_map(|address| directory.endpoint(node, address.as_str()?).ok()).next();
        let endpoint = named.or_else(|| directory.way_to(node))?;
        let is_other = node != self.node;
        (self.node, self.endpoint) = (node, endpoint);
        if is_other {
            self.missed = 0;
        }
        Some(is_other)
    }
}

/// How long a node that sent the terminal on wants it to wait: `retry_after_ms` of the answer, or else `Retry-After`.
pub fn pause_of(reply: &Reply, first_ms: u64, max_ms: u64) -> Duration {
    let told_ms = reply.json()["retry_after_ms"].as_u64().or(reply.retry_after_s.map(|s| s.saturating_mul(1_000)));
    Duration::from_millis(told_ms.unwrap_or(first_ms).min(max_ms))
}
