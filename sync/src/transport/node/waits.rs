//! How long an uplink waits before its next try.

use rand::Rng;

use crate::backoff::Backoff;

/// First and longest wait while all machines answer and none serves: an election is over after seconds, and an answer costs them little.
/// Milliseconds.
const ELECTING_WAIT_MS: [u64; 2] = [200, 1_000];
/// How often one waits so in a row: for about half a minute. What lasts longer is no election.
const ELECTING_WAITS_MAX: u32 = 40;

/// The waits of an uplink, longer each time until they start over.
#[derive(Debug)]
pub(super) struct Waits {
    usual: Backoff,
    electing: Backoff,
}

impl Default for Waits {
    fn default() -> Self {
        let [shortest, longest] = ELECTING_WAIT_MS;
        Waits { usual: Backoff::default(), electing: Backoff::between(shortest, longest) }
    }
}

impl Waits {
    /// The next wait; `serves_nobody`: the machine that was asked last said so. Milliseconds.
    pub(super) fn next_ms(&mut self, serves_nobody: bool, random: &mut impl Rng) -> u64 {
        match serves_nobody && self.electing.waits() < ELECTING_WAITS_MAX {
            true => self.electing.next_wait_ms(random),
            false => self.usual.next_wait_ms(random),
        }
    }

    /// A try succeeded, or there is something new to try.
    pub(super) fn start_over(&mut self) {
        self.usual.reset();
        self.electing.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn machines_that_serve_nobody_are_asked_every_second_for_half_a_minute_then_as_seldom_as_dead_ones() {
        let (mut waits, mut random) = (Waits::default(), rand::rngs::StdRng::seed_from_u64(1));
        let mut next_ms = |waits: &mut Waits, serves_nobody| waits.next_ms(serves_nobody, &mut random);
        let short: Vec<u64> = (0..ELECTING_WAITS_MAX).map(|_| next_ms(&mut waits, true)).collect();
        assert!(short.iter().all(|wait_ms| *wait_ms <= 1_000), "{short:?}");
        let whole_ms: u64 = short.iter().sum();
        assert!((20_000..=40_000).contains(&whole_ms), "{whole_ms}");
        let long: Vec<u64> = (0..10).map(|_| next_ms(&mut waits, true)).collect();
        assert!(long.iter().any(|wait_ms| *wait_ms > 2_500), "{long:?}");
        waits.start_over();
        assert!((0..10).all(|_| next_ms(&mut waits, true) <= 1_000), "after a success it begins anew");
        waits.start_over();
        let dead: Vec<u64> = (0..10).map(|_| next_ms(&mut waits, false)).collect();
        assert!(dead[0] <= 200 && dead[9] > 1_000, "{dead:?}");
    }
}
