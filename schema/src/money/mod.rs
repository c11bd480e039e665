//! Money: whole fen inside, decimal yuan at the edges.

mod rate;
mod split;

use core::fmt;
use core::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use serde::{Deserialize, Serialize};

pub use rate::RatePpm;
pub use split::{PackCharge, SaleShares};

/// An amount in fen (1/100 yuan), negative only where a posting or a difference may be. Arithmetic is checked:
/// an overflow is an error of the caller's input, never a wrapped number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Money(i64);

/// A refused amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The text is not a plain decimal number of yuan with at most two decimals.
    #[error("`{0}` is not an amount in yuan with at most two decimals")]
    NotYuan(String),
    /// The result does not fit 63 bits of fen.
    #[error("the amount is too large")]
    Overflow,
}

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);

    /// An amount of so many fen.
    pub const fn from_fen(amount_fen: i64) -> Self {
        Money(amount_fen)
    }

    /// The amount in fen.
    pub const fn fen(self) -> i64 {
        self.0
    }

    /// Reads decimal yuan such as `12.50`. More than two decimals are refused, never rounded.
    pub fn from_yuan(yuan: Decimal) -> Result<Self, MoneyError> {
        let fen = yuan.checked_mul(Decimal::ONE_HUNDRED).ok_or(MoneyError::Overflow)?;
        if !fen.fract().is_zero() {
            return Err(MoneyError::NotYuan(yuan.to_string()));
        }
        fen.to_i64().map(Money).ok_or(MoneyError::Overflow)
    }

    /// The amount as decimal yuan with two decimals.
    pub fn yuan(self) -> Decimal {
        Decimal::new(self.0, 2)
    }

    /// Sum, or [`MoneyError::Overflow`].
    pub fn checked_add(self, other: Money) -> Result<Money, MoneyError> {
        self.0.checked_add(other.0).map(Money).ok_or(MoneyError::Overflow)
    }

    /// Difference, or [`MoneyError::Overflow`].
    pub fn checked_sub(self, other: Money) -> Result<Money, MoneyError> {
        self.0.checked_sub(other.0).map(Money).ok_or(MoneyError::Overflow)
    }

    /// The amount `count` times, or [`MoneyError::Overflow`].
    pub fn checked_mul(self, count: i64) -> Result<Money, MoneyError> {
        self.0.checked_mul(count).map(Money).ok_or(MoneyError::Overflow)
    }

    /// Whether the amount is above zero, as every transfer's must be.
    pub const fn is_positive(self) -> bool {
        self.0 > 0
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let fen = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:02}", fen / 100, fen % 100)
    }
}

impl FromStr for Money {
    type Err = MoneyError;
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let refuse = || MoneyError::NotYuan(text.chars().take(32).collect());
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'-');
        if !plain || text.len() > 24 {
            return Err(refuse());
        }
        Money::from_yuan(text.parse::<Decimal>().map_err(|_| refuse())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yuan_text_and_fen_are_the_same_amount() {
        for (text, fen) in [("12.50", 1250), ("0.01", 1), ("-500.00", -50_000), ("10000.00", 1_000_000)] {
            let money: Money = text.parse().unwrap();
            assert_eq!(money.fen(), fen);
            assert_eq!(money.to_string(), text);
            assert_eq!(Money::from_yuan(money.yuan()), Ok(money));
        }
        assert_eq!("7".parse(), Ok(Money::from_fen(700)));
    }

    #[test]
    fn parts_of_a_fen_and_other_writings_are_refused() {
        for bad in ["0.001", "1e3", "", "１２", "1,000", " 1", "--1", "999999999999999999999", "12.5.0"] {
            assert!(bad.parse::<Money>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_overflow_is_an_error_and_never_wraps() {
        let most = Money::from_fen(i64::MAX);
        assert_eq!(most.checked_add(Money::from_fen(1)), Err(MoneyError::Overflow));
        assert_eq!(Money::from_fen(i64::MIN).checked_sub(Money::from_fen(1)), Err(MoneyError::Overflow));
        assert_eq!(most.checked_mul(2), Err(MoneyError::Overflow));
    }
}
