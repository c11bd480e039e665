//! Waiting before the next try: longer each time, and never two nodes in step.

use std::time::Duration;

use rand::{Rng, RngExt};

/// First wait.
const WAIT_MS_MIN: u64 = 200;
/// Longest wait; a province has a dozen nodes, so a hub that comes back is not run over.
const WAIT_MS_MAX: u64 = 5_000;

/// Exponential backoff with full jitter in its upper half.
#[derive(Debug)]
pub struct Backoff {
    tries: u32,
    wait_ms_min: u64,
    wait_ms_max: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::between(WAIT_MS_MIN, WAIT_MS_MAX)
    }
}

impl Backoff {
    /// Waits from about this to at most that. Milliseconds.
    pub fn between(wait_ms_min: u64, wait_ms_max: u64) -> Self {
        Backoff { tries: 0, wait_ms_min, wait_ms_max }
    }

    /// The wait before the next try: between half and the whole of the shortest, twice that … the longest.
    pub fn next_wait_ms(&mut self, random: &mut impl Rng) -> u64 {
        let whole = self.wait_ms_min.saturating_mul(1 << self.tries.min(16)).min(self.wait_ms_max);
        self.tries = self.tries.saturating_add(1);
        random.random_range(whole / 2..=whole)
    }

    /// The same with the process's own random numbers.
    pub fn next_wait(&mut self) -> Duration {
        Duration::from_millis(self.next_wait_ms(&mut rand::rng()))
    }

    /// How many waits there were since it started over.
    pub fn waits(&self) -> u32 {
        self.tries
    }

    /// A try succeeded: start over.
    pub fn reset(&mut self) {
        self.tries = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn waits_grow_to_the_limit_stay_within_it_and_start_over() {
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let mut backoff = Backoff::default();
        let waits: Vec<u64> = (0..40).map(|_| backoff.next_wait_ms(&mut random)).collect();
        assert!(waits[0] <= WAIT_MS_MIN && waits[39] >= WAIT_MS_MAX / 2);
        assert!(waits.iter().all(|wait| *wait <= WAIT_MS_MAX));
        backoff.reset();
        assert!(backoff.next_wait_ms(&mut random) <= WAIT_MS_MIN);
    }

    #[test]
    fn two_nodes_do_not_wait_in_step() {
        let waits = |seed| {
            let mut random = rand::rngs::StdRng::seed_from_u64(seed);
            let mut backoff = Backoff::default();
            (0..8).map(|_| backoff.next_wait_ms(&mut random)).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(2));
    }
}
