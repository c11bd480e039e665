//! Rates in parts per million.

use rust_decimal::prelude::ToPrimitive;
use rust_decimal::{Decimal, RoundingStrategy};
use serde::{Deserialize, Serialize};

use super::{Money, MoneyError};

/// A rate in parts per million: 8 % is 80_000. Range 0..=1_000_000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct RatePpm(u32);

impl TryFrom<u32> for RatePpm {
    type Error = &'static str;
    fn try_from(rate_ppm: u32) -> Result<Self, &'static str> {
        RatePpm::new(rate_ppm).ok_or("a rate is at most 1000000 parts per million")
    }
}

impl RatePpm {
    /// The whole: 100 %.
    pub const WHOLE: RatePpm = RatePpm(1_000_000);

    /// Accepts 0..=1_000_000; `None` above.
    pub const fn new(rate_ppm: u32) -> Option<Self> {
        if rate_ppm <= 1_000_000 { Some(RatePpm(rate_ppm)) } else { None }
    }

    /// The plain number of parts per million.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The share of `amount`, cut to the fen below: the rule for commissions (DOMAIN §3).
    pub fn truncated(self, amount: Money) -> Result<Money, MoneyError> {
        self.apply(amount, RoundingStrategy::ToZero)
    }

    /// The share of `amount`, half a fen rounded up: the rule for every other rate (DOMAIN §3).
    pub fn half_up(self, amount: Money) -> Result<Money, MoneyError> {
        self.apply(amount, RoundingStrategy::MidpointAwayFromZero)
    }

    fn apply(self, amount: Money, rounding: RoundingStrategy) -> Result<Money, MoneyError> {
        let share =
            Decimal::new(i64::from(self.0), 6).checked_mul(Decimal::from(amount.fen())).ok_or(MoneyError::Overflow)?;
        share.round_dp_with_strategy(0, rounding).to_i64().map(Money::from_fen).ok_or(MoneyError::Overflow)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commission_is_truncated_and_other_rates_round_half_up() {
        let rate = RatePpm::new(80_000).unwrap();
        assert_eq!(rate.truncated(Money::from_fen(99)), Ok(Money::from_fen(7)));
        let half = RatePpm::new(500_000).unwrap();
        assert_eq!(half.half_up(Money::from_fen(3)), Ok(Money::from_fen(2)));
        assert_eq!(half.truncated(Money::from_fen(3)), Ok(Money::from_fen(1)));
    }

    #[test]
    fn more_than_the_whole_is_no_rate() {
        assert!(RatePpm::new(1_000_001).is_none());
        assert_eq!(RatePpm::WHOLE.truncated(Money::from_fen(i64::MAX)), Ok(Money::from_fen(i64::MAX)));
    }
}
