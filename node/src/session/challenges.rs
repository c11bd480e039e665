//! Challenges that terminals sign to log in.
//!
//! A challenge carries its own proof: nothing is remembered until a device has answered it, so that nobody without a
//! device's key can use up memory or take another terminal's challenge away.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jikai_schema::crypto::{Suite, equal, mac};
use jikai_schema::id::TerminalId;
use jikai_schema::time::TimeMs;
use parking_lot::Mutex;
use rand::RngExt;

/// How long a challenge may be answered. Milliseconds.
const CHALLENGE_MS: i64 = 60_000;
const NONCE_BYTES: usize = 16;
const EXPIRY_BYTES: usize = 8;
const MAC_BYTES: usize = 16;

/// Hands out challenges and takes each back once, in time, from its own terminal. A restart voids those on their way.
pub struct Challenges {
    key: [u8; 32],
    /// Answered ones until they expire: each stands for a valid signature by a device, so they are bounded by what the
    /// terminals of the region can log in within a minute.
    answered: Mutex<BTreeSet<(i64, [u8; NONCE_BYTES])>>,
}

/// A challenge of this node, in time, for this terminal; its signature was not looked at yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnChallenge {
    expires_at_ms: i64,
    nonce: [u8; NONCE_BYTES],
}

impl Default for Challenges {
    fn default() -> Self {
        Challenges { key: rand::rng().random(), answered: Mutex::default() }
    }
}

impl Challenges {
    /// A challenge for a terminal, known or not, and when it expires.
    pub fn issue(&self, terminal: TerminalId, now_ms: TimeMs) -> (String, TimeMs) {
        let expires_at_ms = TimeMs::from_ms(now_ms.ms() + CHALLENGE_MS);
        let own = OwnChallenge { expires_at_ms: expires_at_ms.ms(), nonce: rand::rng().random() };
        let bytes = [&own.nonce[..], &own.expires_at_ms.to_be_bytes(), &self.mac(terminal, &own)].concat();
        (URL_SAFE_NO_PAD.encode(bytes), expires_at_ms)
    }

    /// Reads a challenge: `None` unless this node issued it to this terminal, it has not expired, and it was not answered.
    pub fn read(&self, terminal: TerminalId, challenge: &str, now_ms: TimeMs) -> Option<OwnChallenge> {
        let bytes = URL_SAFE_NO_PAD.decode(challenge).ok()?;
        let (nonce, rest) = bytes.split_first_chunk::<NONCE_BYTES>()?;
        let (expiry, mac) = rest.split_first_chunk::<EXPIRY_BYTES>()?;
        let own = OwnChallenge { expires_at_ms: i64::from_be_bytes(*expiry), nonce: *nonce };
        let is_ours = equal(&self.mac(terminal, &own), mac) && now_ms.ms() < own.expires_at_ms;
        (is_ours && !self.answered.lock().contains(&(own.expires_at_ms, own.nonce))).then_some(own)
    }

    /// Takes it back, once its signature is known to be good; `false` if somebody was faster.
    pub fn redeem(&self, own: OwnChallenge, now_ms: TimeMs) -> bool {
        let mut answered = self.answered.lock();
        *answered = answered.split_off(&(now_ms.ms(), [0; NONCE_BYTES]));
        answered.insert((own.expires_at_ms, own.nonce))
    }

    fn mac(&self, terminal: TerminalId, own: &OwnChallenge) -> [u8; MAC_BYTES] {
        let terminal = terminal.get().to_be_bytes();
        let code = mac(Suite::configured(), &self.key, &[&terminal, &own.expires_at_ms.to_be_bytes(), &own.nonce]);
        *code.first_chunk().expect("a code has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_taken_once_in_time_by_its_own_terminal_and_as_it_was_issued() {
        let terminal = |id| TerminalId::new(id).unwrap();
        let (here, other) = (terminal(1_301_000_101), terminal(1_301_000_102));
        let now = TimeMs::from_ms(1_000);
        let challenges = Challenges::default();
        let (text, expires) = challenges.issue(here, now);
        let (another, _) = challenges.issue(here, now);
        assert_eq!(challenges.read(other, &text, now), None);
        assert_eq!(challenges.read(here, &text, expires), None, "too late");
        assert_eq!(Challenges::default().read(here, &text, now), None, "another node's");
        for bad in ["", "x", "!", &text[1..], &text[..text.len() - 4]] {
            assert_eq!(challenges.read(here, bad, now), None, "{bad}");
        }
        let own = challenges.read(here, &text, now).unwrap();
        assert!(challenges.redeem(own, now));
        assert!(!challenges.redeem(own, now), "two at once");
        assert_eq!(challenges.read(here, &text, now), None, "a replay");
        assert!(challenges.read(here, &another, now).is_some(), "one challenge does not take another away");
    }

    #[test]
    fn answered_challenges_are_forgotten_once_they_have_expired() {
        let here = TerminalId::new(1_301_000_101).unwrap();
        let challenges = Challenges::default();
        for second in 0..200 {
            let now = TimeMs::from_ms(second * 1_000);
            let (text, _) = challenges.issue(here, now);
            let own = challenges.read(here, &text, now).unwrap();
            assert!(challenges.redeem(own, now));
        }
        assert!(challenges.answered.lock().len() <= 61, "{}", challenges.answered.lock().len());
    }
}
