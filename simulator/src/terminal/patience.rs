//! How long a terminal goes on with one operation, and how it waits between its tries.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::tally::Tally;
use super::way::pause_of;
use crate::client::Reply;
use crate::seed::Dice;

/// Tries of one operation.
pub(super) const TRIES_MAX: u32 = 6;
/// Times that a node may say that it has stored an operation and the hub has not confirmed it yet: about 20 minutes.
const PENDING_MAX: u32 = 120;
/// First pause before a repeat; doubles each time, with jitter.
const PAUSE_FIRST_MS: u64 = 100;
/// Longest pause that a server may ask for.
const PAUSE_MAX_MS: u64 = 5_000;
/// Times that nodes may send one operation on to others: the terminal waits 50 ms before it asks another one, else as long as it was told.
const REDIRECTS_MAX: u32 = 100;
/// How long a node may say that the outlet is not whole there yet.
const ARRIVING_MAX: Duration = Duration::from_secs(60);

/// The tries of one operation. What it waits for is counted in the tally as long as it waits.
pub(super) struct Patience {
    tries: u32,
    pending: u32,
    redirects: u32,
    arriving_since: Option<Instant>,
    /// Before the next try.
    pause_ms: u64,
    /// A node asked for a pause, and was not lost since.
    was_put_off: bool,
    /// Since when nobody is there to be asked.
    absent_since: Option<Instant>,
    tally: Arc<Tally>,
}

impl Patience {
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        Patience {
            tries: 0,
            pending: 0,
            redirects: 0,
            arriving_since: None,
            pause_ms: PAUSE_FIRST_MS,
            was_put_off: false,
            absent_since: None,
            tally,
        }
    }

    /// Begins a try, unless there were enough.
    pub(super) fn begins_try(&mut self) -> bool {
        self.tries += 1;
        self.tries <= TRIES_MAX
    }

    /// Whether the terminal goes where the node sends it: what was tried before does not count there.
    pub(super) fn is_sent_on(&mut self, reply: &Reply) -> bool {
        let goes = reply.status == 421 && self.redirects < REDIRECTS_MAX;
        if goes {
            (self.tries, self.redirects) = (0, self.redirects + 1);
        }
        goes
    }

    /// Whether the node has stored the operation, and it is waited until the hub has it as well.
    pub(super) fn awaits_hub(&mut self, reply: &Reply) -> bool {
        let waits = is_pending(reply) && self.pending < PENDING_MAX;
        if waits {
            self.tally.delayed.fetch_add(u64::from(self.pending == 0), Ordering::Relaxed);
            (self.tries, self.pending, self.pause_ms) = (0, self.pending + 1, PAUSE_FIRST_MS);
        }
        waits
    }

    /// Whether the outlet is on its way to the node, which says when to ask again.
    pub(super) fn awaits_outlet(&mut self, reply: &Reply) -> bool {
        let waits = is_arriving(reply) && self.arriving_since.get_or_insert_with(Instant::now).elapsed() < ARRIVING_MAX;
        if waits {
            (self.tries, self.pause_ms) = (0, told_pause(reply).as_millis() as u64);
        }
        waits
    }

    /// Whether the node cannot now: it may say how long it wants to be left alone.
    pub(super) fn is_put_off(&mut self, reply: &Reply) -> bool {
        let is_put_off = matches!(reply.status, 429 | 503 | 504);
        if is_put_off {
            let told_ms = reply.retry_after_s.unwrap_or(0).saturating_mul(1_000).min(PAUSE_MAX_MS);
            self.pause_ms = self.pause_ms.max(told_ms);
            self.was_put_off = true;
        }
        is_put_off
    }

    /// Nobody was there to be asked: for so long in all, that is no try.
    pub(super) fn miss(&mut self, away_max: Duration) {
        let since = *self.absent_since.get_or_insert_with(|| {
            self.tally.waiting.fetch_add(1, Ordering::Relaxed);
            Instant::now()
        });
        if since.elapsed() < away_max {
            self.tries -= 1;
        }
    }

    /// Whether the node that is lost had asked for a pause: that is no measure once it is gone.
    pub(super) fn loses_pause(&mut self) -> bool {
        std::mem::take(&mut self.was_put_off)
    }

    /// Another node is asked next, or the same one for the first time again.
    pub(super) fn pause_anew(&mut self) {
        self.pause_ms = PAUSE_FIRST_MS;
    }

    /// Waits, with jitter, and longer the next time.
    pub(super) async fn rest(&mut self, dice: &mut Dice) {
        let jitter_ms = dice.below(self.pause_ms / 2 + 1);
        tokio::time::sleep(Duration::from_millis(self.pause_ms + jitter_ms)).await;
        self.pause_ms = (self.pause_ms * 2).min(PAUSE_MAX_MS);
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        if self.absent_since.is_some() {
            self.tally.waiting.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// How long a node wants to be left alone.
pub(super) fn told_pause(reply: &Reply) -> Duration {
    pause_of(reply, PAUSE_FIRST_MS, PAUSE_MAX_MS)
}

/// Whether the outlet is on its way to the node, or is somewhere else.
pub(super) fn is_moving(reply: &Reply) -> bool {
    is_arriving(reply) || is_of_no_use(reply)
}

/// Whether the node is out of use, so that its outlets have moved, or cannot tell where the outlet is.
pub(super) fn is_of_no_use(reply: &Reply) -> bool {
    reply.status == 503 && ["node_fenced", "node_unknown"].iter().any(|code| reply.json()["code"] == *code)
}

fn is_arriving(reply: &Reply) -> bool {
    reply.status == 503 && reply.json()["code"] == "outlet_arriving"
}

fn is_pending(reply: &Reply) -> bool {
    reply.status == 504 && reply.json()["code"] == "ack_pending"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reply(status: u16, code: &str) -> Reply {
        let body = json!({ "code": code, "retry_after_ms": 250 }).to_string().into();
        Reply { status, retry_after_s: Some(2), directory_version: None, body }
    }

    fn tally() -> Arc<Tally> {
        Arc::new(Tally::new().unwrap())
    }

    fn tries_left(patience: &mut Patience) -> usize {
        std::iter::from_fn(|| patience.begins_try().then_some(())).count()
    }

    #[test]
    fn an_operation_that_is_put_off_is_given_up_after_its_tries() {
        let mut patience = Patience::new(tally());
        assert!(patience.is_put_off(&reply(503, "overloaded")));
        assert_eq!((patience.pause_ms, tries_left(&mut patience)), (2_000, TRIES_MAX as usize));
        assert!(patience.loses_pause(), "a node that is gone has no say");
        assert!(!patience.is_put_off(&reply(409, "overdrawn")));
        assert!(!patience.loses_pause());
    }

    #[test]
    fn a_stored_operation_and_one_that_is_sent_on_keep_all_their_tries_a_bounded_number_of_times() {
        let tally = tally();
        let mut patience = Patience::new(tally.clone());
        for _ in 0..PENDING_MAX {
            assert!(patience.begins_try() && patience.awaits_hub(&reply(504, "ack_pending")));
        }
        assert!(!patience.awaits_hub(&reply(504, "ack_pending")));
        assert_eq!(tally.delayed.load(Ordering::Relaxed), 1, "one operation is delayed once");
        for _ in 0..REDIRECTS_MAX {
            assert!(patience.begins_try() && patience.is_sent_on(&reply(421, "outlet_moved")));
        }
        assert!(!patience.is_sent_on(&reply(421, "outlet_moved")));
        assert_eq!(tries_left(&mut patience), TRIES_MAX as usize);
    }

    #[test]
    fn an_outlet_that_arrives_is_asked_for_when_its_node_says() {
        let mut patience = Patience::new(tally());
        assert!(!patience.awaits_outlet(&reply(503, "overloaded")));
        assert!(patience.awaits_outlet(&reply(503, "outlet_arriving")));
        assert_eq!(patience.pause_ms, 250);
    }

    #[test]
    fn a_node_that_is_away_is_waited_for_as_long_as_was_said_and_counted_meanwhile() {
        let tally = tally();
        let mut patience = Patience::new(tally.clone());
        for _ in 0..2 * TRIES_MAX {
            assert!(patience.begins_try());
            patience.miss(Duration::MAX);
        }
        assert_eq!(tally.waiting.load(Ordering::Relaxed), 1);
        assert!(patience.begins_try());
        patience.miss(Duration::ZERO);
        assert_eq!(tries_left(&mut patience), TRIES_MAX as usize - 1);
        drop(patience);
        assert_eq!(tally.waiting.load(Ordering::Relaxed), 0);
    }
}
