//! Keys at rest: AES-256-GCM under the master key of the machine's own secrets file.

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::id::BatchNo;
use crate::seal::BatchKey;

/// The key that encrypts all other keys of a store, 32 random bytes from a file only its owner can read.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

/// A wrapped key that does not open: another master key, another batch, or altered bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batch key cannot be opened with this master key")]
pub struct VaultError;

const NONCE_BYTES: usize = 12;

impl MasterKey {
    /// Wraps 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        MasterKey(bytes)
    }

    /// Encrypts a batch key, bound to its batch. `nonce` must be fresh random bytes.
    pub fn wrap(&self, batch: BatchNo, key: &BatchKey, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let payload = Payload { msg: key.as_bytes(), aad: &batch.get().to_be_bytes() };
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload).expect("32 bytes are within the limit of GCM");
        [nonce.as_slice(), &sealed].concat()
    }

    /// Decrypts what [`MasterKey::wrap`] made for this batch.
    pub fn unwrap(&self, batch: BatchNo, wrapped: &[u8]) -> Result<BatchKey, VaultError> {
        let (nonce, sealed) = wrapped.split_first_chunk::<NONCE_BYTES>().ok_or(VaultError)?;
        let payload = Payload { msg: sealed, aad: &batch.get().to_be_bytes() };
        let mut plain = self.cipher().decrypt(&Nonce::from(*nonce), payload).map_err(|_| VaultError)?;
        let bytes = plain.as_slice().try_into().map_err(|_| VaultError);
        plain.zeroize();
        bytes.map(BatchKey::from_bytes)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&Key::<Aes256Gcm>::from(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_key_opens_only_for_its_batch_under_its_master_key() {
        let batch = |number| BatchNo::new(number).unwrap();
        let master = MasterKey::from_bytes([1; 32]);
        let wrapped = master.wrap(batch(5), &BatchKey::from_bytes([9; 32]), [3; 12]);
        assert_eq!(master.unwrap(batch(5), &wrapped).unwrap().as_bytes(), &[9; 32]);
        assert!(master.unwrap(batch(6), &wrapped).is_err());
        assert!(MasterKey::from_bytes([2; 32]).unwrap(batch(5), &wrapped).is_err());
        for at in 0..wrapped.len() {
            let mut altered = wrapped.clone();
            altered[at] ^= 1;
            assert!(master.unwrap(batch(5), &altered).is_err());
        }
        assert!(master.unwrap(batch(5), &[]).is_err());
    }
}
