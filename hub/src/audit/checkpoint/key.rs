//! The audit key of the hub: Ed25519, made once, never shown but for its public half.

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use jikai_sync::identity::{create_private_dir, write_private_file};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use super::{Checkpoint, CheckpointError, SignedCheckpoint};

/// File of the key under the data directory.
const KEY_FILE: &str = "secrets/audit.key";

/// Signs checkpoints. `Debug` hides it.
pub struct AuditKey(SigningKey);

impl AuditKey {
    /// Where the key of a data directory lies.
    pub fn path(data: &Path) -> PathBuf {
        data.join(KEY_FILE)
    }

    /// The key of a hub; `None` when it has none yet.
    pub fn load(data: &Path) -> Result<Option<Self>, CheckpointError> {
        let path = AuditKey::path(data);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(CheckpointError::File { action: "read", path, source }),
        };
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), seed.as_mut()).map_err(|_| CheckpointError::SecretKey(path))?;
        Ok(Some(AuditKey(SigningKey::from_bytes(&seed))))
    }

    /// The key of a hub, made on first need.
    pub fn load_or_make(data: &Path) -> Result<Self, CheckpointError> {
        if let Some(key) = AuditKey::load(data)? {
            return Ok(key);
        }
        let path = AuditKey::path(data);
        let mut seed = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(seed.as_mut()).map_err(|error| {
            let source = std::io::Error::other(error);
            CheckpointError::File { action: "draw random bytes for", path: path.clone(), source }
        })?;
        if let Some(parent) = path.parent() {
            create_private_dir(parent)?;
        }
        write_private_file(&path, Zeroizing::new(hex::encode(*seed)).as_bytes())?;
        Ok(AuditKey(SigningKey::from_bytes(&seed)))
    }

    /// Its public half.
    pub fn public(&self) -> VerifyingKey {
        self.0.verifying_key()
    }

    /// Its public half, hex.
    pub fn public_hex(&self) -> String {
        hex::encode(self.public().as_bytes())
    }

    /// Signs a checkpoint.
    pub fn sign(&self, checkpoint: Checkpoint) -> SignedCheckpoint {
        let signature = self.0.sign(checkpoint.signed_text().as_bytes());
        SignedCheckpoint { checkpoint, signature: hex::encode(signature.to_bytes()) }
    }
}

impl std::fmt::Debug for AuditKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AuditKey(…)")
    }
}

/// Reads a public key: its hex digits, or a file that holds them.
pub fn read_public_key(text: &str) -> Result<VerifyingKey, CheckpointError> {
    let refuse = || CheckpointError::PublicKey(text.chars().take(80).collect());
    let digits = match text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => text.to_string(),
        false => std::fs::read_to_string(text).map_err(|_| refuse())?,
    };
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits.trim(), &mut bytes).map_err(|_| refuse())?;
    VerifyingKey::from_bytes(&bytes).map_err(|_| refuse())
}
