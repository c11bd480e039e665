//! Login: the device proves its key on a fresh challenge, the operator the password.

use std::collections::HashMap;

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use ed25519_dalek::{Signature, VerifyingKey};
use jikai_schema::event::OperatorRole;
use jikai_schema::id::{OperatorId, TerminalId};
use jikai_schema::time::TimeMs;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension};

/// How long a challenge may be answered.
const CHALLENGE_MS: i64 = 60_000;

/// What a terminal presents to log in.
pub struct Credentials {
    /// The device.
    pub terminal: TerminalId,
    /// The person.
    pub operator: OperatorId,
    /// The person's password; wiped when dropped.
    pub password: zeroize::Zeroizing<String>,
    /// The challenge that was handed out.
    pub challenge: String,
    /// Ed25519 signature by the device over [`signed_text`].
    pub signature: [u8; 64],
}

/// What the store knows of a terminal and an operator.
pub struct OperatorSecrets {
    public_key: [u8; 32],
    password_hash: String,
    /// What the person may do.
    pub role: OperatorRole,
    /// Name of the outlet.
    pub outlet_name: String,
}

/// A login that was refused. One message for all causes: it does not tell which part was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("terminal, operator, password or signature is not right")]
pub struct LoginError;

/// The text that a terminal signs.
pub fn signed_text(terminal: TerminalId, operator: OperatorId, challenge: &str) -> String {
    format!("jikai-login-v1\n{terminal}\n{operator}\n{challenge}")
}

/// Challenges handed out and not yet answered: one a terminal, used once.
#[derive(Default)]
pub struct Challenges(Mutex<HashMap<TerminalId, (String, TimeMs)>>);

impl Challenges {
    /// Remembers a challenge for a known terminal (so bounded by their number); gives the instant it expires.
    pub fn issue(&self, terminal: TerminalId, challenge: String, now_ms: TimeMs) -> TimeMs {
        let expires_at_ms = Self::expiry(now_ms);
        self.0.lock().insert(terminal, (challenge, expires_at_ms));
        expires_at_ms
    }

    /// When a challenge handed out now expires, remembered or not.
    pub fn expiry(now_ms: TimeMs) -> TimeMs {
        TimeMs::from_ms(now_ms.ms() + CHALLENGE_MS)
    }

    /// Takes the challenge back: `true` once, in time, for the very text.
    pub fn redeem(&self, terminal: TerminalId, challenge: &str, now_ms: TimeMs) -> bool {
        match self.0.lock().remove(&terminal) {
            Some((issued, expires_at_ms)) => issued == challenge && now_ms < expires_at_ms,
            None => false,
        }
    }
}

/// Reads what the proofs are checked against; `None` unless terminal and operator exist and share an outlet.
pub fn load_secrets(
    store: &Connection,
    terminal: TerminalId,
    operator: OperatorId,
) -> Result<Option<OperatorSecrets>, rusqlite::Error> {
    store
        .prepare_cached(
            "SELECT terminal.public_key, operator.password_hash, operator.role, outlet.name FROM terminal \
             JOIN operator ON operator.outlet = terminal.outlet JOIN outlet ON outlet.outlet = terminal.outlet \
             WHERE terminal.terminal = ?1 AND operator.operator = ?2",
        )?
        .query_row((terminal.get() as i64, operator.get() as i64), |row| {
            let role = if row.get::<_, i64>(2)? == 0 { OperatorRole::Owner } else { OperatorRole::Clerk };
            Ok(OperatorSecrets { public_key: row.get(0)?, password_hash: row.get(1)?, role, outlet_name: row.get(3)? })
        })
        .optional()
}

/// Checks the device's signature.
pub fn prove_device(credentials: &Credentials, secrets: &OperatorSecrets) -> Result<(), LoginError> {
    let key = VerifyingKey::from_bytes(&secrets.public_key).map_err(|_| LoginError)?;
    let text = signed_text(credentials.terminal, credentials.operator, &credentials.challenge);
    key.verify_strict(text.as_bytes(), &Signature::from_bytes(&credentials.signature)).map_err(|_| LoginError)
}

/// Checks the person's password. Slow by design (argon2id): call it off the async threads.
pub fn prove_person(credentials: &Credentials, secrets: &OperatorSecrets) -> Result<(), LoginError> {
    let hash = PasswordHash::new(&secrets.password_hash).map_err(|_| LoginError)?;
    Argon2::default().verify_password(credentials.password.as_bytes(), &hash).map_err(|_| LoginError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_taken_once_in_time_and_by_its_own_terminal() {
        let terminal = |id| TerminalId::new(id).unwrap();
        let (here, other) = (terminal(1_301_000_101), terminal(1_301_000_102));
        let now = TimeMs::from_ms(1_000);
        let challenges = Challenges::default();
        challenges.issue(here, "x".into(), now);
        assert!(!challenges.redeem(other, "x", now));
        assert!(challenges.redeem(here, "x", now));
        assert!(!challenges.redeem(here, "x", now), "a replay is refused");
        let expires = challenges.issue(here, "y".into(), now);
        assert!(!challenges.redeem(here, "y", expires));
        challenges.issue(here, "z".into(), now);
        assert!(!challenges.redeem(here, "w", now));
    }
}
