//! Authenticated encryption, and the form in which everything encrypted is stored.
//!
//! ```text
//! stamp   1  suite in bits 6..8, version of the key in bits 0..6
//! random 11  fresh for each ciphertext
//! sealed     ciphertext with its tag of 16 bytes; the caller's context is authenticated with it
//! ```
//!
//! The stamp lets a store hold ciphertexts of several keys and of both suites, each readable for ever. Stamp and random
//! bytes together are the nonce of GCM, so that the stamp is authenticated and costs no byte. 88 random bits are enough
//! for 2^28 ciphertexts under one key (chance of a repeated nonce below 2^-32).

use core::fmt;

use aes_gcm::aead::consts::U12;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, AesGcm};
use sm4::Sm4;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::{Suite, hash};

/// Bytes of every key, whatever the suite.
pub const KEY_BYTES: usize = 32;
/// Bytes of a nonce. The stamp takes the place of the first, the others are random.
pub const NONCE_BYTES: usize = 12;
/// Highest version of a key: the stamp has 6 bits for it.
pub const VERSION_MAX: u8 = (1 << VERSION_BITS) - 1;
const VERSION_BITS: u32 = 6;

type Sm4Gcm = AesGcm<Sm4, U12>;

/// 32 secret bytes. Wiped when dropped; `Debug` hides them.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SecretKey([u8; KEY_BYTES]);

impl SecretKey {
    /// Wraps 32 bytes.
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        SecretKey(bytes)
    }

    /// Wraps a slice; `None` unless it is exactly 32 bytes long.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(SecretKey)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// A key for one purpose only, from which neither this key nor that of another purpose can be found.
    pub fn for_purpose(&self, suite: Suite, purpose: &str) -> SecretKey {
        SecretKey(super::mac(suite, &self.0, &[b"jikai ", purpose.as_bytes()]))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(…)")
    }
}

/// Version of a key, 1 to [`VERSION_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyVersion(u8);

impl KeyVersion {
    /// The first version.
    pub const FIRST: KeyVersion = KeyVersion(1);

    /// Checks a version read from a store.
    pub fn new(version: u8) -> Option<Self> {
        (1..=VERSION_MAX).contains(&version).then_some(KeyVersion(version))
    }

    /// The version behind this one; `None` behind the last.
    pub fn next(self) -> Option<Self> {
        KeyVersion::new(self.0 + 1)
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl fmt::Display for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A ciphertext that does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// Too short, or the stamp names no suite or version.
    #[error("these bytes are no ciphertext of this product")]
    Malformed,
    /// Encrypted under a key that is not in the ring.
    #[error("it was encrypted under version {0} of the keys, which is not here")]
    Missing(KeyVersion),
    /// Another key, another place, or altered bytes.
    #[error("it does not open: another key, another place, or altered bytes")]
    Refused,
}

/// Encrypts `plain` for the place that `context` names.
pub(super) fn seal(
    suite: Suite,
    version: KeyVersion,
    key: &SecretKey,
    mut nonce: [u8; NONCE_BYTES],
    context: &[u8],
    plain: &[u8],
) -> Vec<u8> {
    nonce[0] = ((suite.number() as u8) << VERSION_BITS) | version.0;
    [nonce.as_slice(), &encrypt(suite, key, nonce, context, plain)].concat()
}

/// Suite and version of the key, as the stamp of a ciphertext names them.
pub(super) fn read_stamp(sealed: &[u8]) -> Result<(Suite, KeyVersion), CipherError> {
    let stamp = *sealed.first().ok_or(CipherError::Malformed)?;
    let suite = Suite::from_number(u32::from(stamp >> VERSION_BITS)).ok_or(CipherError::Malformed)?;
    Ok((suite, KeyVersion::new(stamp & VERSION_MAX).ok_or(CipherError::Malformed)?))
}

/// Decrypts what [`seal`] made for this `context` under this key.
pub(super) fn open(key: &SecretKey, context: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CipherError> {
    let (suite, _) = read_stamp(sealed)?;
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(CipherError::Malformed)?;
    decrypt(suite, key, *nonce, context, sealed)
}

fn encrypt(suite: Suite, key: &SecretKey, nonce: [u8; NONCE_BYTES], context: &[u8], plain: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: plain, aad: context };
    match suite {
        Suite::International => aes(key).encrypt(&nonce.into(), payload),
        Suite::National => sm4(&sm4_key(key)).encrypt(&nonce.into(), payload),
    }
    .expect("what is encrypted here is far below the limit of GCM, 64 GiB")
}

fn decrypt(
    suite: Suite,
    key: &SecretKey,
    nonce: [u8; NONCE_BYTES],
    context: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CipherError> {
    let payload = Payload { msg: sealed, aad: context };
    match suite {
        Suite::International => aes(key).decrypt(&nonce.into(), payload),
        Suite::National => sm4(&sm4_key(key)).decrypt(&nonce.into(), payload),
    }
    .map(Zeroizing::new)
    .map_err(|_| CipherError::Refused)
}

/// Decrypts what builds before the stamp wrote: AES-256-GCM, all 12 bytes of the nonce random.
pub(crate) fn open_unstamped(
    key: &SecretKey,
    context: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CipherError> {
    let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(CipherError::Malformed)?;
    decrypt(Suite::International, key, *nonce, context, sealed)
}

fn aes(key: &SecretKey) -> Aes256Gcm {
    Aes256Gcm::new(&key.0.into())
}

fn sm4(key: &[u8; 16]) -> Sm4Gcm {
    Sm4Gcm::new(&(*key).into())
}

/// SM4 has keys of 16 bytes: the first half of the key's SM3.
fn sm4_key(key: &SecretKey) -> Zeroizing<[u8; 16]> {
    let digest = Zeroizing::new(hash(Suite::National, &[&key.0]));
    let mut half = Zeroizing::new([0; 16]);
    half.copy_from_slice(&digest[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;
    use sm4::cipher::BlockCipherEncrypt;

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    fn array<const N: usize>(text: &str) -> [u8; N] {
        bytes(text).try_into().unwrap()
    }

    #[test]
    fn sm4_gives_the_value_of_gb_t_32907() {
        let key: [u8; 16] = array("0123456789abcdeffedcba9876543210");
        let mut block = key.into();
        Sm4::new(&key.into()).encrypt_block(&mut block);
        assert_eq!(hex::encode(block), "681edf34d206965e86b3e94f536e4246");
    }

    #[test]
    fn sm4_gcm_gives_the_value_of_rfc_8998() {
        let plain = bytes(
            "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbb ccccccccccccccccdddddddddddddddd \
             eeeeeeeeeeeeeeeeffffffffffffffff eeeeeeeeeeeeeeeeaaaaaaaaaaaaaaaa",
        );
        let expected = bytes(
            "17f399f08c67d5ee19d0dc9969c4bb7d 5fd46fd3756489069157b282bb200735 \
             d82710ca5c22f0ccfa7cbf93d496ac15 a56834cbcf98c397b4024a2691233b8d 83de3541e4c2b58177e065a9bf7b62ec",
        );
        let aad = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let cipher = sm4(&array("0123456789abcdeffedcba9876543210"));
        let nonce: [u8; NONCE_BYTES] = array("00001234567800000000abcd");
        let sealed = cipher.encrypt(&nonce.into(), Payload { msg: &plain, aad: &aad }).unwrap();
        assert_eq!(sealed, expected);
        assert_eq!(cipher.decrypt(&nonce.into(), Payload { msg: &sealed, aad: &aad }).unwrap(), plain);
    }

    #[test]
    fn aes_256_gcm_gives_the_value_of_nists_test_case_16() {
        let key = SecretKey(array("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"));
        let plain = bytes(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72 \
             1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
        );
        let aad = bytes("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let sealed = encrypt(Suite::International, &key, array("cafebabefacedbaddecaf888"), &aad, &plain);
        let expected = bytes(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa \
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662 76fc6ece0f4e1768cddf8853bb2d551b",
        );
        assert_eq!(sealed, expected);
    }

    #[test]
    fn a_ciphertext_opens_only_under_its_key_at_its_place_unaltered() {
        let key = SecretKey([1; KEY_BYTES]);
        for suite in [Suite::International, Suite::National] {
            let sealed = seal(suite, KeyVersion(5), &key, [3; NONCE_BYTES], b"here", b"plain");
            assert_eq!(read_stamp(&sealed), Ok((suite, KeyVersion(5))));
            assert_eq!(open(&key, b"here", &sealed).unwrap().as_slice(), b"plain");
            assert_eq!(open(&key, b"there", &sealed), Err(CipherError::Refused));
            assert_eq!(open(&SecretKey([2; KEY_BYTES]), b"here", &sealed), Err(CipherError::Refused));
            for at in 0..sealed.len() {
                let mut altered = sealed.clone();
                altered[at] ^= 1;
                assert!(open(&key, b"here", &altered).is_err(), "{suite}, byte {at}");
            }
            for length in 0..sealed.len() {
                assert!(open(&key, b"here", &sealed[..length]).is_err(), "{suite}, length {length}");
            }
        }
    }

    #[test]
    fn a_stamp_of_no_known_suite_or_version_is_refused() {
        for stamp in [0, 0b0100_0000, 0b1000_0001, 0b1100_0001] {
            assert_eq!(read_stamp(&[stamp; 40]), Err(CipherError::Malformed), "{stamp:#b}");
        }
        assert_eq!(KeyVersion(VERSION_MAX).next(), None);
    }

    #[test]
    fn keys_of_two_purposes_differ_and_none_shows_itself() {
        let key = SecretKey([7; KEY_BYTES]);
        let suite = Suite::International;
        assert_ne!(key.for_purpose(suite, "a").as_bytes(), key.for_purpose(suite, "b").as_bytes());
        assert_ne!(key.for_purpose(suite, "a").as_bytes(), key.for_purpose(Suite::National, "a").as_bytes());
        assert_eq!(format!("{key:?}"), "SecretKey(…)");
    }
}
