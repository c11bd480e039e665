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
/// Wait while another try of the same person is under way. Milliseconds.
const UNDER_WAY_MS: i64 = 1_000;
/// Longest wait: whoever fails on purpose cannot keep a shop closed. Milliseconds.
const WAIT_MS_MAX: i64 = 15 * 60_000;

/// Failures in a row, the instant before which no login is tried, and whether one is under way, by operator. Bounded by
/// the operators of the region: only known ones are noted.
#[derive(Default)]
pub struct Guesses(Mutex<HashMap<OperatorId, Noted>>);

#[derive(Debug, Clone, Copy, Default)]
struct Noted {
    failures: u32,
    until_ms: i64,
    under_way: bool,
}

/// One try of a person: nobody else may try as this person until it is dropped, or guesses could be made side by side.
pub struct Guess<'a> {
    guesses: &'a Guesses,
    operator: OperatorId,
}

impl Guesses {
    /// Begins a try; `Err` with the time that the person must still wait. Milliseconds.
    pub fn begin(&self, operator: OperatorId, now_ms: TimeMs) -> Result<Guess<'_>, i64> {
        let mut noted = self.0.lock();
        let row = noted.entry(operator).or_default();
        match row.until_ms - now_ms.ms() {
            wait_ms @ 1.. => Err(wait_ms),
            _ if row.under_way => Err(UNDER_WAY_MS),
            _ => {
                row.under_way = true;
                Ok(Guess { guesses: self, operator })
            }
        }
    }
}

impl Guess<'_> {
    /// Notes a wrong password; gives the failures in a row.
    pub fn failed(&self, now_ms: TimeMs) -> u32 {
        let mut noted = self.guesses.0.lock();
        let row = noted.entry(self.operator).or_default();
        row.failures = row.failures.saturating_add(1);
        if let Some(more) = row.failures.checked_sub(FREE) {
            row.until_ms = now_ms.ms() + (WAIT_MS_MIN << more.min(10)).min(WAIT_MS_MAX);
        }
        row.failures
    }

    /// Forgets the failures of a person who knew the password.
    pub fn succeeded(&self) {
        let mut noted = self.guesses.0.lock();
        noted.insert(self.operator, Noted { under_way: true, ..Noted::default() });
    }
}

impl Drop for Guess<'_> {
    fn drop(&mut self) {
        let mut noted = self.guesses.0.lock();
        if let Some(row) = noted.get_mut(&self.operator) {
            row.under_way = false;
            if row.failures == 0 {
                noted.remove(&self.operator);
            }
        }
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
        let fail = |at: TimeMs| guesses.begin(here, at).map(|guess| guess.failed(at)).unwrap();
        assert_eq!((1..=5).map(|_| fail(now)).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let wait = |at_ms| guesses.begin(here, TimeMs::from_ms(at_ms)).err();
        assert_eq!((wait(1_000), wait(30_999), wait(31_000)), (Some(30_000), Some(1), None));
        assert!(guesses.begin(there, now).is_ok());
        fail(TimeMs::from_ms(31_000));
        assert_eq!(wait(31_000), Some(60_000));
        let mut at_ms = 31_000;
        for _ in 0..20 {
            at_ms += 15 * 60_000;
            fail(TimeMs::from_ms(at_ms));
        }
        assert_eq!(wait(at_ms), Some(15 * 60_000));
        guesses.begin(here, TimeMs::from_ms(at_ms + 15 * 60_000)).map(|guess| guess.succeeded()).unwrap();
        assert_eq!(fail(now), 1);
        assert_eq!(wait(1_000), None);
    }

    #[test]
    fn guesses_of_one_person_are_made_one_after_the_other() {
        let operator = OperatorId::new(1_301_000_101).unwrap();
        let guesses = Guesses::default();
        let now = TimeMs::from_ms(1_000);
        let first = guesses.begin(operator, now).unwrap();
        assert_eq!(guesses.begin(operator, now).err(), Some(UNDER_WAY_MS));
        drop(first);
        assert!(guesses.begin(operator, now).is_ok());
        assert!(guesses.0.lock().is_empty(), "who did not fail is not remembered");
    }
}
