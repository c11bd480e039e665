//! Batches: the printer's 5-digit code and the hub's short number.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{IdError, digits};

/// The printer's batch code (批次): 5 digits, the first two the year. Unique only together with a game.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct BatchCode(u32);

impl BatchCode {
    /// Accepts 0..=99999.
    pub fn new(code: u32) -> Result<Self, IdError> {
        if code <= 99_999 { Ok(BatchCode(code)) } else { Err(IdError::new("batch", code, "5 digits")) }
    }

    /// The plain number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for BatchCode {
    type Error = IdError;
    fn try_from(value: u32) -> Result<Self, IdError> {
        BatchCode::new(value)
    }
}

impl fmt::Display for BatchCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:05}", self.0)
    }
}

impl FromStr for BatchCode {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let code = digits(text, 5).ok_or_else(|| IdError::new("batch", text, "5 digits"))?;
        BatchCode::new(code as u32)
    }
}

/// The number that the hub gives to each imported pair of game and batch: 20 bits, from 1. It makes pack and
/// ticket ids fit one 64-bit key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct BatchNo(u32);

impl BatchNo {
    /// The largest number: 20 bits.
    pub const MAX: u32 = (1 << 20) - 1;

    /// Accepts 1..=1_048_575.
    pub fn new(number: u32) -> Result<Self, IdError> {
        if (1..=Self::MAX).contains(&number) {
            Ok(BatchNo(number))
        } else {
            Err(IdError::new("batch number", number, "a number from 1 to 1048575"))
        }
    }

    /// The plain number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for BatchNo {
    type Error = IdError;
    fn try_from(value: u32) -> Result<Self, IdError> {
        BatchNo::new(value)
    }
}

impl fmt::Display for BatchNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_code_keeps_its_leading_zeros() {
        assert_eq!("00002".parse::<BatchCode>().map(|code| code.to_string()), Ok("00002".to_string()));
        assert!("2600".parse::<BatchCode>().is_err());
        assert!("2600x".parse::<BatchCode>().is_err());
    }

    #[test]
    fn a_batch_number_starts_at_one_and_fits_twenty_bits() {
        assert!(BatchNo::new(0).is_err());
        assert!(BatchNo::new(BatchNo::MAX).is_ok());
        assert!(BatchNo::new(BatchNo::MAX + 1).is_err());
    }
}
