//! The audit key of the hub: Ed25519, never shown but for its public half.

use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use jikai_sync::secrets::Secrets;
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use super::{Checkpoint, CheckpointError, Journal, PublicKeys, SignedCheckpoint};
use crate::identity::AUDIT_KEY;

/// Signs checkpoints. `Debug` hides it.
pub struct AuditKey(SigningKey);

impl AuditKey {
    /// Where the key of a data directory lies, encrypted.
    pub fn path(data: &Path) -> PathBuf {
        data.join("secrets").join(format!("{AUDIT_KEY}.sealed"))
    }

    /// The key of a hub; `None` when it has none yet.
    pub fn load(secrets: &Secrets) -> Result<Option<Self>, CheckpointError> {
        let Some(text) = secrets.read(AUDIT_KEY)? else { return Ok(None) };
        let mut seed = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim_ascii(), seed.as_mut()).map_err(|_| CheckpointError::SecretKey)?;
        Ok(Some(AuditKey(SigningKey::from_bytes(&seed))))
    }

    /// The key of a hub, made on first need.
    pub fn load_or_make(secrets: &Secrets) -> Result<Self, CheckpointError> {
        match AuditKey::load(secrets)? {
            Some(key) => Ok(key),
            None => {
                let (key, seed) = AuditKey::draw()?;
                AuditKey::keep(secrets, &seed)?;
                Ok(key)
            }
        }
    }

    /// Puts a new key in place of the one in force. Its public half is listed first, so that at no time an unlisted key
    /// signs; what the old one has signed stays good.
    pub fn renew(data: &Path, secrets: &Secrets) -> Result<Self, CheckpointError> {
        let _no_checkpoint_meanwhile = Journal::new(data).lock()?;
        let mut listed = PublicKeys::load(data)?;
        if let Some(old) = AuditKey::load(secrets)? {
            listed.add(data, old.public())?;
        }
        let (key, seed) = AuditKey::draw()?;
        listed.add(data, key.public())?;
        AuditKey::keep(secrets, &seed)?;
        Ok(key)
    }

    fn draw() -> Result<(Self, Zeroizing<[u8; 32]>), CheckpointError> {
        let mut seed = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(seed.as_mut()).map_err(|_| CheckpointError::Random)?;
        Ok((AuditKey(SigningKey::from_bytes(&seed)), seed))
    }

    fn keep(secrets: &Secrets, seed: &[u8; 32]) -> Result<(), CheckpointError> {
        Ok(secrets.write(AUDIT_KEY, Zeroizing::new(hex::encode(seed)).as_bytes())?)
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
