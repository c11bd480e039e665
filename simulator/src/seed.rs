//! Everything random comes from one number, so that any run can be repeated.
//!
//! [`Seed`] derives keys with SHA-256, [`Dice`] draws with SplitMix64. Both are written out here, so that a world stays
//! the same world when a dependency changes its generator.

use sha2::{Digest, Sha256};

/// The root of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// 32 bytes for one purpose and subject; different pairs give unrelated bytes.
    pub fn derive(self, purpose: &str, subject: &str) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(format!("jikai-sim/1\n{}\n{purpose}\n{subject}", self.0));
        hash.finalize().into()
    }

    /// A generator for one purpose and subject.
    pub fn dice(self, purpose: &str, subject: &str) -> Dice {
        let bytes = self.derive(purpose, subject);
        Dice {
            state: u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]),
        }
    }
}

/// A small repeatable generator (SplitMix64). Never used for anything secret.
#[derive(Debug, Clone)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least 1; uniform by multiplication with rejection (Lemire).
    pub fn below(&mut self, bound: u64) -> u64 {
        let bound = bound.max(1);
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.bits()) * u128::from(bound);
            if (product as u64) >= threshold {
                return (product >> 64) as u64;
            }
        }
    }

    /// An index into a list of `length` items; 0 for an empty list.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        self.below(1000) < u64::from(per_mille)
    }

    /// A waiting time with the given mean, exponentially distributed and cut at twelve times the mean.
    pub fn exponential_us(&mut self, mean_us: f64) -> u64 {
        let uniform = ((self.bits() >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        (-uniform.ln() * mean_us).min(mean_us * 12.0) as u64
    }

    /// Puts the list into random order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.draw(items, items.len());
    }

    /// Draws the first `count` places of the list without replacement.
    pub fn draw<T>(&mut self, items: &mut [T], count: usize) {
        for place in 0..count.min(items.len()) {
            let rest = items.len() - place;
            items.swap(place, place + self.index(rest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_and_another_seed_another() {
        let draws = |seed: u64| {
            let mut dice = Seed(seed).dice("test", "");
            (0..8).map(|_| dice.bits()).collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
    }

    #[test]
    fn the_generator_is_splitmix64() {
        let mut dice = Dice { state: 0 };
        assert_eq!(dice.bits(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(dice.bits(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn numbers_below_a_bound_are_even() {
        let mut dice = Seed(7).dice("test", "");
        let mut counts = [0u32; 10];
        for _ in 0..100_000 {
            counts[dice.index(10)] += 1;
        }
        assert!(counts.iter().all(|&count| (9_500..10_500).contains(&count)), "seed 7: {counts:?}");
    }

    #[test]
    fn waiting_times_have_the_asked_mean() {
        let mut dice = Seed(7).dice("test", "");
        let total_us: u64 = (0..100_000).map(|_| dice.exponential_us(1000.0)).sum();
        assert!((97_000_000..103_000_000).contains(&total_us), "seed 7: {total_us}");
    }
}
