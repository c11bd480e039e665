//! Game codes.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{IdError, digits};

const RULE: &str = "a letter (G, J, C, N or W) and 4 digits";

/// A game (票种) by its 5-character code: a letter and 4 digits, e.g. `G0201`. Fits 19 bits of a packed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32")]
pub struct GameCode(u32);

impl GameCode {
    /// Reads the packed form (letter index << 14 | digits) as stored in tables.
    pub fn from_packed(packed: u32) -> Result<Self, IdError> {
        let letter = char::from(b'A' + (packed >> 14).min(26) as u8);
        if "GJCNW".contains(letter) && packed & 0x3fff <= 9999 {
            Ok(GameCode(packed))
        } else {
            Err(IdError::new("game code", packed, RULE))
        }
    }

    /// The packed form: 19 bits.
    pub const fn packed(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for GameCode {
    type Error = IdError;
    fn try_from(value: u32) -> Result<Self, IdError> {
        GameCode::from_packed(value)
    }
}

impl fmt::Display for GameCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:04}", char::from(b'A' + (self.0 >> 14) as u8), self.0 & 0x3fff)
    }
}

impl FromStr for GameCode {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let refuse = || IdError::new("game code", text, RULE);
        let (letter, number) = text.split_at_checked(1).ok_or_else(refuse)?;
        let number = digits(number, 4).ok_or_else(refuse)?;
        if !"GJCNW".contains(letter) {
            return Err(refuse());
        }
        Ok(GameCode(u32::from(letter.as_bytes()[0] - b'A') << 14 | number as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_game_code_survives_packing() {
        for code in ["G0201", "J1001", "C0000", "N9999", "W0500"] {
            let game: GameCode = code.parse().unwrap();
            assert!(game.packed() < 1 << 19);
            assert_eq!(GameCode::from_packed(game.packed()), Ok(game));
            assert_eq!(game.to_string(), code);
        }
    }

    #[test]
    fn other_letters_lengths_and_digits_are_refused() {
        for bad in ["A0201", "g0201", "G020", "G02011", "G02a1", "", "戈0201", "G-201"] {
            assert!(bad.parse::<GameCode>().is_err(), "{bad}");
        }
        assert!(GameCode::from_packed(u32::MAX).is_err());
        assert!(GameCode::from_packed(6 << 14 | 10_000).is_err());
    }
}
