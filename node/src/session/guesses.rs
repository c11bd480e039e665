//! Wrong passwords: each further one makes the person wait longer.
//!
//! Kept in memory: who guesses holds the device's key and its attention, and a restart of the node is no tool of a guesser.

use std::collections::HashMap;

use jikai_schema::id::OperatorId;
use jikai_schema::time::TimeMs;
use parking_lot::Mutex;

/// Wrong passwords in a row after which login waits.
const FREE: u32 = 5;
/// First wait; it doubles with each further failure. Milliseconds.
const WAIT_MS_MIN: i64 = 30_000;
/// Longest wait: whoever fails on purpose cannot keep a shop closed. Milliseconds.
const WAIT_MS_MAX: i64 = 15 * 60_000;

/// Failures in a row and the instant before which no login is tried, by operator. Bounded by the operators of the region: only
/// known ones are noted.
#[derive(Default)]
pub struct Guesses(Mutex<HashMap<OperatorId, (u32, TimeMs)>>);

impl Guesses {
    /// How long the person must still wait. Milliseconds; 0 if not at all.
    pub fn wait_ms(&self, operator: OperatorId, now_ms: TimeMs) -> i64 {
        self.0.lock().get(&operator).map_or(0, |(_, until_ms)| (until_ms.ms() - now_ms.ms()).max(0))
    }

    /// Notes a wrong password.
    pub fn failed(&self, operator: OperatorId, now_ms: TimeMs) {
        let mut noted = self.0.lock();
        let (count, until_ms) = noted.entry(operator).or_insert((0, now_ms));
        *count = count.saturating_add(1);
        if let Some(more) = count.checked_sub(FREE) {
            *until_ms = TimeMs::from_ms(now_ms.ms() + (WAIT_MS_MIN << more.min(10)).min(WAIT_MS_MAX));
        }
    }

    /// Forgets the failures of a person who knew the password.
    pub fn succeeded(&self, operator: OperatorId) {
        self.0.lock().remove(&operator);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_make_one_person_wait_longer_each_time_until_the_right_password() {
        let operator = |id| OperatorId::new(id).unwrap();
        let (here, there) = (operator(1_301_000_101), operator(1_301_000_102));
        let now = TimeMs::from_ms(1_000);
        let guesses = Guesses::default();
        (0..4).for_each(|_| guesses.failed(here, now));
        assert_eq!(guesses.wait_ms(here, now), 0);
        guesses.failed(here, now);
        assert_eq!((guesses.wait_ms(here, now), guesses.wait_ms(there, now)), (30_000, 0));
        guesses.failed(here, now);
        assert_eq!(guesses.wait_ms(here, now), 60_000);
        (0..20).for_each(|_| guesses.failed(here, now));
        assert_eq!(guesses.wait_ms(here, now), 15 * 60_000);
        assert_eq!(guesses.wait_ms(here, TimeMs::from_ms(1_000 + 15 * 60_000)), 0);
        guesses.succeeded(here);
        guesses.failed(here, now);
        assert_eq!(guesses.wait_ms(here, now), 0);
    }
}
