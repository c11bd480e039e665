//! What a member of staff proves with: passwords, second factors, session tokens. Rules about persons live in the machine;
//! here is what is slow, secret or random, and is done before a command is proposed.

mod factor;
mod password;
mod token;

use serde::{Deserialize, Serialize};

#[cfg(test)]
pub use factor::code_of;
pub use factor::{FactorError, Factors, Offer};
pub use password::{Busy, PasswordFault, Passwords};
pub use token::SessionToken;

/// Limits of staff sessions and passwords: `[staff]` in the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StaffSettings {
    /// A session that was not used for so long has ended. Milliseconds.
    pub session_idle_ms_max: i64,
    /// A session ends after so long, used or not. Milliseconds.
    pub session_ms_max: i64,
    /// A password must be changed after so many days.
    pub password_days_max: u16,
    /// A temporary password that was not used for so long is void. Hours.
    pub temporary_password_hours_max: u16,
    /// Fewest characters of a password.
    pub password_characters_min: usize,
}

impl Default for StaffSettings {
    /// MLPS level 3 asks for expiry; ASVS level 2 for length and short sessions.
    fn default() -> Self {
        StaffSettings {
            session_idle_ms_max: 15 * 60_000,
            session_ms_max: 10 * 3_600_000,
            password_days_max: 90,
            temporary_password_hours_max: 72,
            password_characters_min: 12,
        }
    }
}

/// Random letters and digits that nobody mistakes for others; 32 of them, so 5 bits each.
fn spoken(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}
