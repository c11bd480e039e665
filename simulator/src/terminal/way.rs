//! How a terminal gets to the node that serves its outlet: the node it was told last, and the directory for when that one does
//! not answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::client::{Directory, Endpoint, Reply};
use crate::seed::Dice;

/// Connections that must fail in a row before another node is asked: a restart takes as long.
const MISSED_MIN: u32 = 3;
/// Shortest time between two times that others are asked, once they told that the node which does not answer is the right one.
const ASK_EVERY: Duration = Duration::from_secs(5);
/// The same as long as none of them could tell, for the first time; doubles each time.
const ASK_AGAIN_FIRST: Duration = Duration::from_secs(1);
/// Others that are asked at a time.
const OTHERS_MAX: usize = 2;

/// A terminal's way to its node.
pub struct Way {
    node: u16,
    endpoint: Endpoint,
    directory: Option<Arc<Directory>>,
    missed: u32,
    /// The node said itself that it is of no use.
    is_given_up: bool,
    asked_at: Option<Instant>,
    /// How long others are left alone behind that.
    ask_again: Duration,
}

impl Way {
    /// The way to a node, without others to fall back to.
    pub fn new(node: u16, endpoint: Endpoint) -> Self {
        Way {
            node,
            endpoint,
            directory: None,
            missed: 0,
            is_given_up: false,
            asked_at: None,
            ask_again: Duration::ZERO,
        }
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
        if opened {
            (self.missed, self.is_given_up, self.ask_again) = (0, false, Duration::ZERO);
        } else {
            self.missed = self.missed.saturating_add(1);
        }
    }

    /// The node said itself that it is out of use, or cannot tell where the outlet is: others are asked as if it did not answer.
    pub fn give_up(&mut self) {
        self.is_given_up = true;
    }

    /// Whether the last connection that was tried did not open.
    pub fn is_missed(&self) -> bool {
        self.missed > 0
    }

    /// The others that are to be asked now; none while the own node may come back by itself. Each time that none of them can tell, they are
    /// left alone for longer.
    pub fn others(&mut self, now: Instant, dice: &mut Dice) -> Vec<(u16, Endpoint)> {
        let is_due = self.asked_at.is_none_or(|asked_at| now.duration_since(asked_at) >= self.ask_again);
        let is_lost = self.missed >= MISSED_MIN || self.is_given_up;
        let Some(directory) = self.directory.as_ref().filter(|_| is_lost && is_due) else {
            return Vec::new();
        };
        self.asked_at = Some(now);
        self.ask_again = (self.ask_again * 2).clamp(ASK_AGAIN_FIRST, ASK_EVERY);
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
        (self.node, self.endpoint, self.missed, self.is_given_up) = (node, endpoint, 0, false);
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
            (self.missed, self.is_given_up) = (0, false);
        } else {
            self.ask_again = ASK_EVERY;
        }
        Some(is_other)
    }
}

/// How long a node that sent the terminal on wants it to wait: `retry_after_ms` of the answer, or else `Retry-After`.
pub fn pause_of(reply: &Reply, first_ms: u64, max_ms: u64) -> Duration {
    let told_ms = reply.json()["retry_after_ms"].as_u64().or(reply.retry_after_s.map(|s| s.saturating_mul(1_000)));
    Duration::from_millis(told_ms.unwrap_or(first_ms).min(max_ms))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::client::of_two_nodes;
    use crate::seed::Seed;

    fn reply(body: &serde_json::Value) -> Reply {
        let body = body.to_string().into();
        Reply { status: 421, retry_after_s: None, directory_version: None, body }
    }

    /// The times at which others are asked within 20 s, at a look each 100 ms. Milliseconds.
    fn asked_at_ms(way: &mut Way, mut answer: impl FnMut(&mut Way)) -> Vec<u64> {
        let (begin, mut dice) = (Instant::now(), Seed(1).dice("way", "1"));
        let mut asked = Vec::new();
        for at_ms in (0..20_000).step_by(100) {
            way.note(false);
            if !way.others(begin + Duration::from_millis(at_ms), &mut dice).is_empty() {
                asked.push(at_ms);
                answer(way);
            }
        }
        asked
    }

    #[test]
    fn others_are_asked_after_three_misses_and_less_often_while_none_can_tell() {
        let directory = Arc::new(of_two_nodes());
        let way = || Way::new(1, directory.way_to(1).unwrap());
        assert!(asked_at_ms(&mut way(), |_| {}).is_empty(), "nobody is known");
        let mut way = way().with_directory(directory.clone());
        assert_eq!(asked_at_ms(&mut way, |_| {}), [200, 1_200, 3_200, 7_200, 12_200, 17_200]);
        way.note(true);
        assert_eq!(asked_at_ms(&mut way, |_| {})[..2], [200, 1_200], "one that has been reached is missed anew");
        way.note(true);
        way.give_up();
        assert_eq!(asked_at_ms(&mut way, |_| {})[..2], [0, 1_000], "one that said that it is of no use");
    }

    #[test]
    fn others_are_left_alone_who_told_that_the_node_is_the_right_one() {
        let directory = Arc::new(of_two_nodes());
        let mut way = Way::new(1, directory.way_to(1).unwrap()).with_directory(directory);
        let same = reply(&json!({ "node": 1, "addresses": ["10.0.0.1:1"] }));
        let told = |way: &mut Way| assert_eq!(way.follow(&same), Some(false));
        assert_eq!(asked_at_ms(&mut way, told), [200, 5_200, 10_200, 15_200]);
    }
}
