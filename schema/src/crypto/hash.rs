//! Hashes and keyed codes of 32 bytes.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use sm3::Sm3;

use super::Suite;

/// A hash being computed.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    International(Sha256),
    National(Sm3),
}

impl Hasher {
    /// Begins a hash of this suite.
    pub fn new(suite: Suite) -> Self {
        Hasher(match suite {
            Suite::International => State::International(Sha256::new()),
            Suite::National => State::National(Sm3::new()),
        })
    }

    /// Begins a hash of this process's suite.
    pub fn configured() -> Self {
        Hasher::new(Suite::configured())
    }

    /// Takes in more bytes.
    #[inline]
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        match &mut self.0 {
            State::International(hasher) => hasher.update(bytes),
            State::National(hasher) => hasher.update(bytes),
        }
    }

    /// The hash of all bytes taken in.
    #[inline]
    pub fn finish(self) -> [u8; 32] {
        match self.0 {
            State::International(hasher) => hasher.finalize().into(),
            State::National(hasher) => hasher.finalize().into(),
        }
    }
}

/// Hash over `parts`, one behind the other.
pub fn hash(suite: Suite, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Hasher::new(suite);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finish()
}

/// Keyed code (HMAC) over `parts`, one behind the other. The caller sees to it that two lists of parts never read alike.
pub fn mac(suite: Suite, key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    match suite {
        Suite::International => hmac::<Hmac<Sha256>>(key, parts),
        Suite::National => hmac::<Hmac<Sm3>>(key, parts),
    }
}

fn hmac<M>(key: &[u8], parts: &[&[u8]]) -> [u8; 32]
where
    M: Mac + KeyInit,
    hmac::digest::Output<M>: Into<[u8; 32]>,
{
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes a key of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// Comparison whose time does not tell how many bytes agree.
pub fn equal(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_hash(suite: Suite, message: &[u8], expected: &str) {
        assert_eq!(hex::encode(hash(suite, &[message])), expected);
        let (head, tail) = message.split_at(message.len() / 3);
        assert_eq!(hex::encode(hash(suite, &[head, tail])), expected);
    }

    fn check_mac(suite: Suite, key: &[u8], message: &[u8], expected: &str) {
        assert_eq!(hex::encode(mac(suite, key, &[message])), expected);
    }

    #[test]
    fn sha256_gives_the_values_of_fips_180() {
        let two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        check_hash(Suite::International, b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        check_hash(
            Suite::International,
            two_blocks,
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        );
    }

    #[test]
    fn sm3_gives_the_values_of_gb_t_32905() {
        let sixty_four = "abcd".repeat(16);
        check_hash(Suite::National, b"abc", "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0");
        let expected = "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732";
        check_hash(Suite::National, sixty_four.as_bytes(), expected);
    }

    #[test]
    fn hmac_gives_the_values_of_rfc_4231_and_gm_t_0042() {
        let expected = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        check_mac(Suite::International, &[0x0b; 20], b"Hi There", expected);
        let key: Vec<u8> = (1..=0x20).collect();
        let message = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq".repeat(2);
        let expected = "ca05e144ed05d1857840d1f318a4a8669e559fc8391f414485bfdf7bb408963a";
        check_mac(Suite::National, &key, &message, expected);
    }

    #[test]
    fn only_equal_bytes_are_equal() {
        assert!(equal(b"", b"") && equal(b"ab", b"ab"));
        assert!(!equal(b"ab", b"ac") && !equal(b"ab", b"a") && !equal(b"", b"a"));
    }
}
