//! Second factors: one-time codes of an authenticator (RFC 6238), and recovery codes for when it is lost.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jikai_schema::crypto::{CipherError, KeyRing, KeyVersion, Suite};
use jikai_schema::time::TimeMs;
use rand::TryRng;
use rand::rngs::SysRng;
use totp_rs::{Builder, Totp};
use zeroize::Zeroizing;

use super::{Busy, code};

/// Bytes of a secret: RFC 4226 asks for 160 bits.
const SECRET_BYTES: usize = 20;
/// Seconds of a step.
const STEP_S: i64 = 30;
/// Recovery codes of a person.
const RECOVERY_CODES: usize = 10;
/// How long an offer may be taken. Milliseconds.
const OFFER_MS: i64 = 10 * 60_000;

/// Makes, keeps and checks second factors.
pub struct Factors {
    keys: KeyRing,
}

/// A second factor that a person may set up: shown once.
pub struct Offer {
    /// The secret as authenticators read it, base32.
    pub secret: Zeroizing<String>,
    /// The same as `otpauth://` address, to be drawn as a code.
    pub address: Zeroizing<String>,
    /// The offer itself, encrypted: to be sent back with the first code.
    pub offer: String,
}

/// A second factor that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FactorError {
    /// Not an offer made for this person in the last minutes.
    #[error("this offer is not for you, or too old: ask for a new one")]
    Offer,
    /// The code is not of the secret.
    #[error("the code is not right: check the clock of the authenticator")]
    Code,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A kept secret that cannot be brought under another key.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// It does not open.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// The system gives no random numbers.
    #[error(transparent)]
    Random(#[from] FactorError),
}

impl From<Busy> for FactorError {
    fn from(_: Busy) -> Self {
        FactorError::Random
    }
}

impl Factors {
    /// Encrypts under keys derived from these, for this purpose alone.
    pub fn new(keys: &KeyRing) -> Self {
        Factors { keys: keys.for_purpose(Suite::configured(), "second factors") }
    }

    /// Offers a person a new secret.
    pub fn offer(&self, login: &str, now_ms: TimeMs) -> Result<Offer, FactorError> {
        let secret = Zeroizing::new(random::<SECRET_BYTES>()?);
        let totp = totp(secret.as_slice(), login).ok_or(FactorError::Random)?;
        let address = Zeroizing::new(totp.to_url().map_err(|_| FactorError::Random)?);
        let expires = (now_ms.ms() + OFFER_MS).to_be_bytes();
        let plain = Zeroizing::new([secret.as_slice(), &expires].concat());
        let sealed = self.keys.seal(Suite::configured(), random()?, &context("offer", login), &plain);
        Ok(Offer {
            secret: Zeroizing::new(totp_rs::Secret::from(secret.as_slice()).to_base32()),
            address,
            offer: URL_SAFE_NO_PAD.encode(sealed),
        })
    }

    /// Takes an offer with its first code: gives the secret as it is kept, and the step of the code.
    pub fn accept(&self, login: &str, offer: &str, code: &str, now_ms: TimeMs) -> Result<(Vec<u8>, u64), FactorError> {
        let sealed = URL_SAFE_NO_PAD.decode(offer).map_err(|_| FactorError::Offer)?;
        let plain = self.keys.open(&context("offer", login), &sealed).map_err(|_| FactorError::Offer)?;
        let (secret, expires) = plain.split_at_checked(SECRET_BYTES).ok_or(FactorError::Offer)?;
        let expires = i64::from_be_bytes(expires.try_into().map_err(|_| FactorError::Offer)?);
        if now_ms.ms() >= expires {
            return Err(FactorError::Offer);
        }
        let step = step_of(secret, login, code, now_ms).ok_or(FactorError::Code)?;
        Ok((self.keys.seal(Suite::configured(), random()?, &context("secret", login), secret), step))
    }

    /// The step whose code this is, at most one away from now; `None` if it is of none.
    pub fn check(&self, login: &str, sealed: &[u8], code: &str, now_ms: TimeMs) -> Option<u64> {
        let secret = self.keys.open(&context("secret", login), sealed);
        let secret = secret.inspect_err(|error| tracing::error!(login, %error, "a second factor does not open"));
        step_of(&secret.ok()?, login, code, now_ms)
    }

    /// The version of the keys under which a kept secret lies.
    pub fn version_of(&self, login: &str, sealed: &[u8]) -> Result<KeyVersion, CipherError> {
        self.keys.open(&context("secret", login), sealed)?;
        KeyRing::version_of(sealed)
    }

    /// A kept secret under the newest version; `None` when it lies there already.
    pub fn reseal(&self, login: &str, sealed: &[u8]) -> Result<Option<Vec<u8>>, ResealError> {
        let context = context("secret", login);
        let secret = self.keys.open(&context, sealed)?;
        if KeyRing::version_of(sealed)? == self.keys.newest() {
            return Ok(None);
        }
        Ok(Some(self.keys.seal(Suite::configured(), random()?, &context, &secret)))
    }

    /// Fresh recovery codes.
    pub fn recovery_codes() -> Result<Vec<Zeroizing<String>>, FactorError> {
        (0..RECOVERY_CODES).map(|_| code::draw().ok_or(FactorError::Random)).collect()
    }

    /// What is kept of a recovery code.
    pub fn recovery_hash(code: &str) -> [u8; 32] {
        code::kept("recovery", code)
    }

    /// Whether a text could be a recovery code rather than a one-time code.
    pub fn looks_like_recovery(code: &str) -> bool {
        code.trim().len() == code::CODE_CHARS
    }
}

fn context(what: &str, login: &str) -> Vec<u8> {
    format!("second factor {what} of {login}").into_bytes()
}

fn totp(secret: &[u8], login: &str) -> Option<Totp> {
    Builder::new().with_secret(secret).with_account_name(login).with_issuer(Some("Jikai")).build().ok()
}

fn step_of(secret: &[u8], login: &str, code: &str, now_ms: TimeMs) -> Option<u64> {
    let plain = code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit());
    let now_s = u64::try_from(now_ms.ms() / 1000).ok()?;
    if plain && now_s > STEP_S as u64 { totp(secret, login)?.check(code, now_s) } else { None }
}

fn random<const N: usize>() -> Result<[u8; N], FactorError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| FactorError::Random)?;
    Ok(bytes)
}

/// The code of an offer at a time, as an authenticator would show it.
#[cfg(test)]
pub fn code_of(secret_base32: &str, at_ms: TimeMs) -> String {
    let secret = totp_rs::Secret::try_from_base32(secret_base32).unwrap();
    let totp = Builder::new().with_secret(secret).build().unwrap();
    totp.generate(at_ms.ms() as u64 / 1000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jikai_schema::crypto::SecretKey;

    const NOW: TimeMs = TimeMs::from_ms(1_790_000_000_000);

    fn factors() -> Factors {
        Factors::new(&KeyRing::of(SecretKey::from_bytes([7; 32])))
    }

    fn later(ms: i64) -> TimeMs {
        TimeMs::from_ms(NOW.ms() + ms)
    }

    #[test]
    fn the_code_of_rfc_6238_is_known() {
        // Appendix B, SHA-1, the last six of the eight digits.
        let secret = b"12345678901234567890";
        for (at_s, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(step_of(secret, "x", code, TimeMs::from_ms(at_s * 1000)), Some(at_s as u64 / 30), "{at_s}");
        }
    }

    #[test]
    fn an_offer_is_taken_by_its_person_with_its_code_in_time() {
        let factors = factors();
        let offer = factors.offer("li.wei", NOW).unwrap();
        assert!(offer.address.starts_with("otpauth://totp/Jikai"), "{}", *offer.address);
        let code = code_of(&offer.secret, NOW);
        let (sealed, step) = factors.accept("li.wei", &offer.offer, &code, NOW).unwrap();
        assert_eq!(step, 1_790_000_000 / 30);
        assert_eq!(factors.check("li.wei", &sealed, &code, NOW), Some(step));
        assert_eq!(factors.accept("zhang", &offer.offer, &code, NOW), Err(FactorError::Offer));
        assert_eq!(factors.accept("li.wei", &offer.offer, "000000", NOW).unwrap_err(), FactorError::Code);
        let late = later(OFFER_MS);
        assert_eq!(
            factors.accept("li.wei", &offer.offer, &code_of(&offer.secret, late), late),
            Err(FactorError::Offer)
        );
        assert_eq!(factors.accept("li.wei", "junk", &code, NOW), Err(FactorError::Offer));
    }

    #[test]
    fn a_code_holds_one_step_around_now_for_its_person_only() {
        let factors = factors();
        let offer = factors.offer("li.wei", NOW).unwrap();
        let (sealed, step) = factors.accept("li.wei", &offer.offer, &code_of(&offer.secret, NOW), NOW).unwrap();
        let code = code_of(&offer.secret, NOW);
        assert_eq!(factors.check("li.wei", &sealed, &code, later(30_000)), Some(step));
        assert_eq!(factors.check("li.wei", &sealed, &code, later(90_000)), None);
        assert_eq!(factors.check("zhang", &sealed, &code, NOW), None, "moved to another account");
        for bad in ["", "12345", "1234567", "12345a", "１２３４５６"] {
            assert_eq!(factors.check("li.wei", &sealed, bad, NOW), None, "{bad}");
        }
    }

    #[test]
    fn recovery_codes_differ_and_are_read_as_people_type_them() {
        let codes = Factors::recovery_codes().unwrap();
        assert_eq!(codes.len(), 10);
        assert_ne!(codes[0], codes[1]);
        assert!(Factors::looks_like_recovery(&codes[0]) && !Factors::looks_like_recovery("123456"));
        let typed = format!(" {} ", codes[0].to_uppercase());
        assert_eq!(Factors::recovery_hash(&typed), Factors::recovery_hash(&codes[0]));
    }
}
