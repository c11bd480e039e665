//! The one seam to cryptography: which hash, which code, which cipher.
//!
//! An environment chooses its [`Suite`] once, before its stores are made: SHA-256 and AES-256-GCM, or China's SM3 and
//! SM4-GCM. Nothing else in the product names an algorithm of these kinds. What is hashed for others (a printer's
//! package) is SHA-256 whatever the suite is.

mod cipher;
mod hash;
mod ring;

use core::fmt;
use core::str::FromStr;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use cipher::{CipherError, KEY_BYTES, KeyVersion, NONCE_BYTES, SecretKey, VERSION_MAX};
pub use hash::{Hasher, equal, hash, mac};
pub use ring::{KeyRing, RingError};

pub(crate) use cipher::open_unstamped;

/// The algorithms of an environment. The number of a variant is stored and never changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Suite {
    /// SHA-256, HMAC-SHA256, AES-256-GCM.
    #[default]
    International = 0,
    /// SM3 (GB/T 32905), HMAC-SM3, SM4-GCM (GB/T 32907, RFC 8998).
    National = 1,
}

/// What this process uses; the first use settles it.
static CONFIGURED: OnceLock<Suite> = OnceLock::new();

/// A suite that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuiteError {
    /// A word that names none.
    #[error("`{0}` is no suite: write international (SHA-256, AES-256-GCM) or national (SM3, SM4-GCM)")]
    Unknown(String),
    /// This process has begun with another one.
    #[error("this process uses the {0} suite already: choose the suite before the first hash")]
    Settled(Suite),
}

impl Suite {
    /// The suite of this process: what [`Suite::choose`] was given, or international where nothing was chosen.
    pub fn configured() -> Suite {
        *CONFIGURED.get_or_init(Suite::default)
    }

    /// Settles the suite of this process, once, at its start.
    pub fn choose(self) -> Result<(), SuiteError> {
        match *CONFIGURED.get_or_init(|| self) {
            settled if settled == self => Ok(()),
            settled => Err(SuiteError::Settled(settled)),
        }
    }

    /// The suite with this stored number.
    pub fn from_number(number: u32) -> Option<Suite> {
        [Suite::International, Suite::National].into_iter().find(|suite| suite.number() == number)
    }

    /// The number by which stores name it.
    pub const fn number(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::International => "international",
            Suite::National => "national",
        })
    }
}

impl FromStr for Suite {
    type Err = SuiteError;

    fn from_str(text: &str) -> Result<Self, SuiteError> {
        match text {
            "international" => Ok(Suite::International),
            "national" => Ok(Suite::National),
            other => Err(SuiteError::Unknown(other.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_suite_keeps_its_number_and_its_word() {
        for (suite, number, word) in [(Suite::International, 0, "international"), (Suite::National, 1, "national")] {
            assert_eq!((suite.number(), suite.to_string().as_str()), (number, word));
            assert_eq!((Suite::from_number(number), word.parse()), (Some(suite), Ok(suite)));
        }
        assert_eq!(Suite::from_number(2), None);
        assert!("SM".parse::<Suite>().is_err());
    }

    #[test]
    fn a_process_cannot_change_its_suite() {
        assert_eq!(Suite::configured(), Suite::International);
        assert_eq!(Suite::International.choose(), Ok(()));
        assert_eq!(Suite::National.choose(), Err(SuiteError::Settled(Suite::International)));
    }
}
