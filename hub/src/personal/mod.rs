//! Personal data in the clear only here: encrypted before it is proposed, decrypted for who may read it.

use jikai_schema::crypto::{CipherError, KeyRing, KeyVersion, Suite};
use jikai_schema::id::OutletId;
use jikai_schema::personal::PersonalField;
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// Encrypts and decrypts fields, each bound to its outlet.
pub struct PersonalVault {
    keys: KeyRing,
}

/// A field that could not be encrypted or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PersonalVaultError {
    /// Other keys, another outlet or field, or altered bytes.
    #[error("a personal field does not open: {0}")]
    Cipher(#[from] CipherError),
    /// Not text.
    #[error("a personal field is no text")]
    Text,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl PersonalVault {
    /// Encrypts under keys derived from these, for this purpose alone.
    pub fn new(keys: &KeyRing) -> Self {
        PersonalVault { keys: keys.for_purpose(Suite::configured(), "personal data") }
    }

    /// Encrypts a value.
    pub fn seal(&self, outlet: OutletId, field: PersonalField, value: &str) -> Result<Vec<u8>, PersonalVaultError> {
        Ok(self.keys.seal(Suite::configured(), nonce()?, &context(outlet, field), value.as_bytes()))
    }

    /// Decrypts a value.
    pub fn open(
        &self,
        outlet: OutletId,
        field: PersonalField,
        sealed: &[u8],
    ) -> Result<Zeroizing<String>, PersonalVaultError> {
        let plain = self.keys.open(&context(outlet, field), sealed)?;
        let text = std::str::from_utf8(&plain).map_err(|_| PersonalVaultError::Text)?;
        Ok(Zeroizing::new(text.to_string()))
    }

    /// The version of the keys under which a value lies.
    pub fn version_of(&self, outlet: OutletId, field: PersonalField, sealed: &[u8]) -> Result<KeyVersion, CipherError> {
        self.keys.open(&context(outlet, field), sealed)?;
        KeyRing::version_of(sealed)
    }

    /// A value under the newest version; `None` when it lies there already.
    pub fn reseal(
        &self,
        outlet: OutletId,
        field: PersonalField,
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, PersonalVaultError> {
        let context = context(outlet, field);
        let plain = self.keys.open(&context, sealed)?;
        if KeyRing::version_of(sealed)? == self.keys.newest() {
            return Ok(None);
        }
        Ok(Some(self.keys.seal(Suite::configured(), nonce()?, &context, &plain)))
    }
}

fn nonce() -> Result<[u8; 12], PersonalVaultError> {
    let mut nonce = [0; 12];
    SysRng.try_fill_bytes(&mut nonce).map_err(|_| PersonalVaultError::Random)?;
    Ok(nonce)
}

fn context(outlet: OutletId, field: PersonalField) -> Vec<u8> {
    format!("personal {field} of the owner of {outlet}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jikai_schema::crypto::SecretKey;

    #[test]
    fn a_field_opens_only_for_its_outlet_and_field_and_moves_to_a_newer_key() {
        let outlet = |id| OutletId::new(id).unwrap();
        let (here, phone) = (outlet(13_010_001), PersonalField::Phone);
        let mut ring = KeyRing::of(SecretKey::from_bytes([1; 32]));
        let vault = PersonalVault::new(&ring);
        let sealed = vault.seal(here, phone, "13800138000").unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"13800"));
        assert_eq!(vault.open(here, phone, &sealed).unwrap().as_str(), "13800138000");
        assert!(vault.open(outlet(13_010_002), phone, &sealed).is_err());
        assert!(vault.open(here, PersonalField::BankAccount, &sealed).is_err());
        assert_eq!(vault.reseal(here, phone, &sealed), Ok(None));
        ring.add(SecretKey::from_bytes([2; 32])).unwrap();
        let newer = PersonalVault::new(&ring);
        let moved = newer.reseal(here, phone, &sealed).unwrap().unwrap();
        assert_eq!(newer.version_of(here, phone, &moved), Ok(ring.newest()));
        assert_eq!(newer.open(here, phone, &moved).unwrap().as_str(), "13800138000");
        assert!(vault.open(here, phone, &moved).is_err(), "the older ring has not the newer key");
    }
}
