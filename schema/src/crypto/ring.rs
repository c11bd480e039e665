//! The key-encryption keys of a store, by version.

use core::fmt;
use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::cipher::{self, KEY_BYTES, KeyVersion, NONCE_BYTES, SecretKey};
use super::{CipherError, Suite};

/// Key-encryption keys. The newest encrypts; every version decrypts, for what was written under it stays written.
#[derive(Clone)]
pub struct KeyRing {
    keys: BTreeMap<KeyVersion, SecretKey>,
    newest: KeyVersion,
}

/// A ring that cannot be read or grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RingError {
    /// The bytes are no ring.
    #[error("these bytes hold no keys")]
    Malformed,
    /// No version is left.
    #[error("all {max} versions of the keys are used up", max = cipher::VERSION_MAX)]
    Full,
}

impl KeyRing {
    /// A ring of one key, version 1.
    pub fn of(key: SecretKey) -> Self {
        KeyRing { keys: BTreeMap::from([(KeyVersion::FIRST, key)]), newest: KeyVersion::FIRST }
    }

    /// Adds a key, which encrypts from now on; gives its version.
    pub fn add(&mut self, key: SecretKey) -> Result<KeyVersion, RingError> {
        self.newest = self.newest.next().ok_or(RingError::Full)?;
        self.keys.insert(self.newest, key);
        Ok(self.newest)
    }

    /// Forgets a version under which nothing is encrypted any more; whether there was one to forget. The newest stays.
    pub fn retire(&mut self, version: KeyVersion) -> bool {
        version != self.newest && self.keys.remove(&version).is_some()
    }

    /// The version that encrypts.
    pub fn newest(&self) -> KeyVersion {
        self.newest
    }

    /// All versions, oldest first.
    pub fn versions(&self) -> impl Iterator<Item = KeyVersion> {
        self.keys.keys().copied()
    }

    /// The key of a version.
    pub fn get(&self, version: KeyVersion) -> Option<&SecretKey> {
        self.keys.get(&version)
    }

    /// A ring of other keys, each for one purpose, by the same versions.
    pub fn for_purpose(&self, suite: Suite, purpose: &str) -> KeyRing {
        let keys = self.keys.iter().map(|(version, key)| (*version, key.for_purpose(suite, purpose)));
        KeyRing { keys: keys.collect(), newest: self.newest }
    }

    /// Encrypts under the newest key, for the place that `context` names. `nonce` must be fresh random bytes;
    /// the stamp takes the place of the first.
    pub fn seal(&self, suite: Suite, nonce: [u8; NONCE_BYTES], context: &[u8], plain: &[u8]) -> Vec<u8> {
        let key = self.keys.get(&self.newest).expect("a ring holds its newest version");
        cipher::seal(suite, self.newest, key, nonce, context, plain)
    }

    /// Decrypts what [`KeyRing::seal`] made for this `context`, under any of the keys and in either suite.
    pub fn open(&self, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CipherError> {
        let (_, version) = cipher::read_stamp(sealed)?;
        cipher::open(self.keys.get(&version).ok_or(CipherError::Missing(version))?, context, sealed)
    }

    /// The version under which a ciphertext says it was made.
    pub fn version_of(sealed: &[u8]) -> Result<KeyVersion, CipherError> {
        cipher::read_stamp(sealed).map(|(_, version)| version)
    }

    /// Whether a ciphertext was made under the newest key in this suite.
    pub fn is_newest(&self, suite: Suite, sealed: &[u8]) -> bool {
        cipher::read_stamp(sealed) == Ok((suite, self.newest))
    }

    /// The keys as bytes, to be encrypted: each its version and 32 bytes, oldest first.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.keys.len() * ENTRY_BYTES));
        for (version, key) in &self.keys {
            bytes.push(version.get());
            bytes.extend_from_slice(key.as_bytes());
        }
        bytes
    }

    /// Reads what [`KeyRing::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, RingError> {
        let (entries, rest) = bytes.as_chunks::<ENTRY_BYTES>();
        let mut keys = BTreeMap::new();
        for [version, key @ ..] in entries {
            let version = KeyVersion::new(*version).ok_or(RingError::Malformed)?;
            keys.insert(version, SecretKey::from_bytes(*key));
        }
        let newest = *keys.keys().next_back().ok_or(RingError::Malformed)?;
        if !rest.is_empty() || keys.len() != entries.len() {
            return Err(RingError::Malformed);
        }
        Ok(KeyRing { keys, newest })
    }
}

const ENTRY_BYTES: usize = 1 + KEY_BYTES;

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing(newest {})", self.newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITES: [Suite; 2] = [Suite::International, Suite::National];

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes([byte; KEY_BYTES])
    }

    #[test]
    fn what_an_older_key_or_the_other_suite_wrote_stays_readable() {
        let mut ring = KeyRing::of(key(1));
        let old: Vec<_> = SUITES.map(|suite| ring.seal(suite, [1; 12], b"x", b"old")).into();
        assert_eq!(ring.add(key(2)).unwrap().get(), 2);
        let new: Vec<_> = SUITES.map(|suite| ring.seal(suite, [2; 12], b"x", b"new")).into();
        for (sealed, plain) in old.iter().map(|sealed| (sealed, b"old")).chain(new.iter().map(|new| (new, b"new"))) {
            assert_eq!(ring.open(b"x", sealed).unwrap().as_slice(), plain);
        }
        assert!(ring.is_newest(Suite::International, &new[0]) && ring.is_newest(Suite::National, &new[1]));
        assert!(!ring.is_newest(Suite::International, &old[0]) && !ring.is_newest(Suite::International, &new[1]));
        let missing = CipherError::Missing(KeyVersion::FIRST.next().unwrap());
        assert_eq!(KeyRing::of(key(1)).open(b"x", &new[0]), Err(missing));
    }

    #[test]
    fn a_ring_comes_back_from_its_bytes_and_from_no_others() {
        let mut ring = KeyRing::of(key(1));
        ring.add(key(2)).unwrap();
        let bytes = ring.to_bytes();
        let back = KeyRing::from_bytes(&bytes).unwrap();
        assert_eq!(back.versions().map(KeyVersion::get).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(back.to_bytes(), bytes);
        let twice = [bytes.as_slice(), &bytes].concat();
        for bad in [&[][..], &bytes[1..], &bytes[..bytes.len() - 1], &twice, &[0; ENTRY_BYTES]] {
            assert_eq!(KeyRing::from_bytes(bad).unwrap_err(), RingError::Malformed);
        }
        assert_eq!(format!("{ring:?}"), "KeyRing(newest 2)");
    }

    #[test]
    fn a_version_is_forgotten_when_asked_but_never_the_newest() {
        let mut ring = KeyRing::of(key(1));
        let old = ring.seal(Suite::International, [1; 12], b"x", b"old");
        assert!(!ring.retire(KeyVersion::FIRST), "it is the newest");
        ring.add(key(2)).unwrap();
        assert_eq!(KeyRing::version_of(&old), Ok(KeyVersion::FIRST));
        assert!(ring.retire(KeyVersion::FIRST));
        assert!(!ring.retire(KeyVersion::FIRST), "it is gone");
        assert_eq!(ring.open(b"x", &old), Err(CipherError::Missing(KeyVersion::FIRST)));
        let mut back = KeyRing::from_bytes(&ring.to_bytes()).unwrap();
        assert_eq!(back.versions().map(KeyVersion::get).collect::<Vec<_>>(), [2]);
        assert_eq!(back.add(key(3)).unwrap().get(), 3, "no number is given twice");
    }

    #[test]
    fn a_ring_ends_at_the_last_version() {
        let mut ring = KeyRing::of(key(1));
        while ring.newest().get() < cipher::VERSION_MAX {
            ring.add(key(2)).unwrap();
        }
        assert_eq!(ring.add(key(3)), Err(RingError::Full));
        assert_eq!(KeyRing::from_bytes(&ring.to_bytes()).unwrap().newest().get(), cipher::VERSION_MAX);
    }
}
