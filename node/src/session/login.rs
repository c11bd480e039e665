//! Login: the device proves its key on a fresh challenge, the operator the password.

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use ed25519_dalek::{Signature, VerifyingKey};
use jikai_schema::crypto::{Suite, hash};
use jikai_schema::event::OperatorRole;
use jikai_schema::id::{OperatorId, TerminalId};
use rusqlite::{Connection, OptionalExtension};

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

/// What a session stands on: a digest of the device's key, the password's hash and the role, as they were when they were
/// proven. The writer opens the session only if they still are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ground([u8; 32]);

impl OperatorSecrets {
    /// What a session of these secrets stands on.
    pub fn ground(&self) -> Ground {
        let role = [if self.role == OperatorRole::Owner { 0 } else { 1 }];
        Ground(hash(Suite::configured(), &[&self.public_key, &role, self.password_hash.as_bytes()]))
    }
}

/// A login that was refused. One message for all causes: it does not tell which part was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("terminal, operator, password or signature is not right")]
pub struct LoginError;

/// The text that a terminal signs.
pub fn signed_text(terminal: TerminalId, operator: OperatorId, challenge: &str) -> String {
    format!("jikai-login-v1\n{terminal}\n{operator}\n{challenge}")
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
