//! Batch keys at rest: encrypted under the key-encryption keys of the store, bound to their batch.

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::crypto::{CipherError, KeyRing, KeyVersion, NONCE_BYTES, SecretKey, Suite, open_unstamped};
use crate::id::BatchNo;
use crate::seal::BatchKey;

/// One key-encryption key, 32 random bytes: version 1 of a [`KeyRing`].
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct MasterKey([u8; 32]);

/// A wrapped key that does not open: other keys, another batch, or altered bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batch key cannot be opened with these keys ({0})")]
pub struct VaultError(#[from] CipherError);

impl MasterKey {
    /// Wraps 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        MasterKey(bytes)
    }

    /// [`wrap`] under this key alone.
    pub fn wrap(&self, batch: BatchNo, key: &BatchKey, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        wrap(&self.clone().into(), batch, key, nonce)
    }
}

impl From<MasterKey> for KeyRing {
    fn from(key: MasterKey) -> Self {
        KeyRing::of(SecretKey::from_bytes(key.0))
    }
}

/// Encrypts a batch key, bound to its batch. `nonce` must be fresh random bytes.
pub fn wrap(keys: &KeyRing, batch: BatchNo, key: &BatchKey, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
    keys.seal(Suite::configured(), nonce, &context(batch), key.as_bytes())
}

/// Decrypts what [`wrap`] made for this batch, or a build before it.
pub fn unwrap(keys: &KeyRing, batch: BatchNo, wrapped: &[u8]) -> Result<BatchKey, VaultError> {
    let plain = keys.open(&context(batch), wrapped).or_else(|error| {
        // A build before the stamp wrote a random byte there. Only what version 1 truly encrypted opens this way.
        let first = keys.get(KeyVersion::FIRST).ok_or(error)?;
        open_unstamped(first, &batch.get().to_be_bytes(), wrapped).map_err(|_| error)
    })?;
    let bytes = plain.as_slice().try_into().map_err(|_| CipherError::Malformed)?;
    Ok(BatchKey::from_bytes(bytes))
}

/// The version under which a wrapped key opens.
pub fn version_of(keys: &KeyRing, batch: BatchNo, wrapped: &[u8]) -> Result<KeyVersion, VaultError> {
    match keys.open(&context(batch), wrapped) {
        Ok(_) => Ok(KeyRing::version_of(wrapped)?),
        Err(_) => unwrap(keys, batch, wrapped).map(|_| KeyVersion::FIRST),
    }
}

/// Wraps a wrapped key anew under the newest version; `None` when it lies under that already. `nonce` must be fresh random
/// bytes.
pub fn rewrap(
    keys: &KeyRing,
    batch: BatchNo,
    wrapped: &[u8],
    nonce: [u8; NONCE_BYTES],
) -> Result<Option<Vec<u8>>, VaultError> {
    if version_of(keys, batch, wrapped)? == keys.newest() {
        return Ok(None);
    }
    Ok(Some(wrap(keys, batch, &unwrap(keys, batch, wrapped)?, nonce)))
}

fn context(batch: BatchNo) -> Vec<u8> {
    [b"batch key".as_slice(), &batch.get().to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(number: u32) -> BatchNo {
        BatchNo::new(number).unwrap()
    }

    #[test]
    fn a_wrapped_key_opens_only_for_its_batch_under_its_keys() {
        let keys = KeyRing::from(MasterKey::from_bytes([1; 32]));
        let wrapped = wrap(&keys, batch(5), &BatchKey::from_bytes([9; 32]), [3; 12]);
        assert_eq!(unwrap(&keys, batch(5), &wrapped).unwrap().as_bytes(), &[9; 32]);
        assert!(unwrap(&keys, batch(6), &wrapped).is_err());
        assert!(unwrap(&MasterKey::from_bytes([2; 32]).into(), batch(5), &wrapped).is_err());
        for at in 0..wrapped.len() {
            let mut altered = wrapped.clone();
            altered[at] ^= 1;
            assert!(unwrap(&keys, batch(5), &altered).is_err());
            assert!(unwrap(&keys, batch(5), &wrapped[..at]).is_err());
        }
    }

    #[test]
    fn a_key_that_an_earlier_build_wrapped_opens_also_behind_a_newer_version() {
        // Key 1 × 32, batch 5, batch key 9 × 32, nonce 3 × 12.
        let wrapped = hex::decode(UNSTAMPED).unwrap();
        let mut keys = KeyRing::from(MasterKey::from_bytes([1; 32]));
        keys.add(SecretKey::from_bytes([2; 32])).unwrap();
        assert_eq!(unwrap(&keys, batch(5), &wrapped).unwrap().as_bytes(), &[9; 32]);
        assert!(unwrap(&keys, batch(6), &wrapped).is_err());
    }

    #[test]
    fn a_key_is_wrapped_anew_once_also_one_of_an_earlier_build() {
        let mut keys = KeyRing::from(MasterKey::from_bytes([1; 32]));
        let old = [wrap(&keys, batch(5), &BatchKey::from_bytes([9; 32]), [3; 12]), hex::decode(UNSTAMPED).unwrap()];
        for wrapped in &old {
            assert_eq!(rewrap(&keys, batch(5), wrapped, [4; 12]), Ok(None));
        }
        let second = keys.add(SecretKey::from_bytes([2; 32])).unwrap();
        for wrapped in &old {
            assert_eq!(version_of(&keys, batch(5), wrapped), Ok(KeyVersion::FIRST));
            let new = rewrap(&keys, batch(5), wrapped, [4; 12]).unwrap().unwrap();
            assert_eq!(version_of(&keys, batch(5), &new), Ok(second));
            assert_eq!(rewrap(&keys, batch(5), &new, [5; 12]), Ok(None));
            assert_eq!(unwrap(&keys, batch(5), &new).unwrap().as_bytes(), &[9; 32]);
            assert!(rewrap(&keys, batch(6), wrapped, [4; 12]).is_err());
        }
    }

    const UNSTAMPED: &str = "030303030303030303030303f1681d93f68d3e60a4f5ef6ec5102da1b13aa8448ec6cbbba519b44fa3438f7a66dadb12bfd65b99e4bd9fe0585b7d3a";
}
