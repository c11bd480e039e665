//! What a member of staff proves with: passwords, second factors, session tokens. Rules about persons live in the machine;
//! here is what is slow, secret or random, and is done before a command is proposed.

mod code;
mod factor;
mod password;
mod token;

use jikai_schema::parameter::{Parameter, Place};
use jikai_schema::time::TimeMs;
use rusqlite::Connection;

pub use code::{ConfirmationCode, InvitationCode, kept as code_hash};
#[cfg(test)]
pub use factor::code_of;
pub use factor::{FactorError, Factors, Offer};
pub use password::{Busy, PasswordFault, Passwords};
pub use token::SessionToken;

/// How long a temporary password may lie unused. Milliseconds.
pub const TEMPORARY_PASSWORD_MS_MAX: i64 = 72 * 3_600_000;

/// Limits of staff sessions and passwords, as the parameters say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StaffSettings {
    /// A session that was not used for so long has ended. Milliseconds.
    pub session_idle_ms_max: i64,
    /// A session ends after so long, used or not. Milliseconds.
    pub session_ms_max: i64,
    /// A password must be changed after so long. Milliseconds.
    pub password_ms_max: i64,
    /// Fewest characters of a password.
    pub password_characters_min: usize,
}

impl StaffSettings {
    /// What is in force at a time.
    pub fn read(store: &Connection, at_ms: TimeMs) -> Result<Self, rusqlite::Error> {
        let read = |parameter: Parameter| parameter.read(store, &Place::PROVINCE, at_ms);
        Ok(StaffSettings {
            session_idle_ms_max: read(Parameter::StaffSessionIdle)? * 60_000,
            session_ms_max: read(Parameter::StaffSession)? * 3_600_000,
            password_ms_max: read(Parameter::StaffPasswordAge)? * 86_400_000,
            password_characters_min: usize::try_from(read(Parameter::StaffPasswordLength)?).unwrap_or(usize::MAX),
        })
    }
}

/// Random letters and digits that nobody mistakes for others; 32 of them, so 5 bits each.
fn spoken(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect()
}
