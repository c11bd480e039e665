//! Passwords: argon2id, off the async threads, a bounded number at once.

use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use argon2::{PasswordHash, password_hash};
use rand::TryRng;
use rand::rngs::SysRng;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::spoken;

/// Passwords that are hashed at once: each takes 19 MiB and a core.
const HASHING_MAX: usize = 2;
/// Requests that may wait for their turn.
const WAITING_MAX: usize = 64;
/// Longest password. Characters.
const CHARACTERS_MAX: usize = 128;
/// Fewest different characters of a password.
const DIFFERENT_MIN: usize = 5;

/// Hashes and compares passwords.
#[derive(Clone)]
pub struct Passwords {
    hasher: Argon2<'static>,
    /// Compared where there is no account, so that the answer takes as long.
    nobody: Arc<str>,
    hashing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// Too many passwords wait to be hashed, or the system gives no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many logins at once")]
pub struct Busy;

/// A password that may not be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Too short or too long.
    #[error("a password has {min} to {max} characters", max = CHARACTERS_MAX)]
    Length {
        /// Fewest characters.
        min: usize,
    },
    /// Easy to guess.
    #[error("a password does not contain the login name, and has at least {DIFFERENT_MIN} different characters")]
    Guessable,
}

impl Passwords {
    /// With the cost that OWASP asks for.
    pub fn new() -> Result<Self, Busy> {
        Passwords::with(Params::default())
    }

    fn with(params: Params) -> Result<Self, Busy> {
        let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = hash_now(&hasher, spoken(&random::<20>()?).as_bytes())?.into();
        let (hashing, waiting) = (Arc::new(Semaphore::new(HASHING_MAX)), Arc::new(Semaphore::new(WAITING_MAX)));
        Ok(Passwords { hasher, nobody, hashing, waiting })
    }

    /// With almost no cost.
    #[cfg(test)]
    pub fn cheap() -> Self {
        Passwords::with(Params::new(8, 1, 1, None).unwrap()).unwrap()
    }

    /// A new password that nobody chose: 20 letters and digits, 100 bits.
    pub fn one_time() -> Result<Zeroizing<String>, Busy> {
        let letters = Zeroizing::new(spoken(&*Zeroizing::new(random::<20>()?)));
        let groups: Vec<&str> = [0, 5, 10, 15].map(|at| &letters[at..at + 5]).into();
        Ok(Zeroizing::new(groups.join("-")))
    }

    /// The hash of a password, argon2id in PHC form.
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, Busy> {
        let hasher = self.hasher.clone();
        self.work(move || hash_now(&hasher, password.as_bytes())).await?
    }

    /// [`Passwords::hash`] on this thread.
    pub fn hash_blocking(&self, password: &str) -> Result<String, Busy> {
        hash_now(&self.hasher, password.as_bytes())
    }

    /// Whether a password is the one of any of these hashes. Without a hash, a comparison of the same cost fails.
    pub async fn is_of(&self, password: Zeroizing<String>, hashes: Vec<String>) -> Result<bool, Busy> {
        let (hasher, nobody) = (self.hasher.clone(), self.nobody.clone());
        self.work(move || {
            let fits = |hash: &str| {
                let hash = PasswordHash::new(hash);
                hash.is_ok_and(|hash| hasher.verify_password(password.as_bytes(), &hash).is_ok())
            };
            if hashes.is_empty() {
                fits(&nobody);
                return false;
            }
            hashes.iter().any(|hash| fits(hash))
        })
        .await
    }

    async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let _place = self.waiting.clone().try_acquire_owned().map_err(|_| Busy)?;
        let permit = self.hashing.clone().acquire_owned().await.map_err(|_| Busy)?;
        let task = tokio::task::spawn_blocking(move || {
            let value = work();
            drop(permit);
            value
        });
        task.await.map_err(|_| Busy)
    }

    /// What is wrong with a password that a person chose.
    pub fn fault(password: &str, login: &str, characters_min: usize) -> Option<PasswordFault> {
        let characters = password.chars().count();
        if !(characters_min..=CHARACTERS_MAX).contains(&characters) {
            return Some(PasswordFault::Length { min: characters_min });
        }
        let different: std::collections::BTreeSet<char> = password.chars().collect();
        let guessable = different.len() < DIFFERENT_MIN || password.to_lowercase().contains(login);
        guessable.then_some(PasswordFault::Guessable)
    }
}

fn hash_now(hasher: &Argon2<'_>, password: &[u8]) -> Result<String, Busy> {
    let hashed: password_hash::Result<PasswordHash> = hasher.hash_password_with_salt(password, &random::<16>()?);
    Ok(hashed.map_err(|_| Busy)?.to_string())
}

fn random<const N: usize>() -> Result<[u8; N], Busy> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| Busy)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_string())
    }

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_by_no_other() {
        let passwords = Passwords::cheap();
        let hash = passwords.hash(secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert_ne!(hash, passwords.hash(secret("correct horse")).await.unwrap(), "salted");
        let other = passwords.hash(secret("another")).await.unwrap();
        assert!(passwords.is_of(secret("correct horse"), vec![other.clone(), hash.clone()]).await.unwrap());
        assert!(!passwords.is_of(secret("correct horse"), vec![other]).await.unwrap());
        assert!(!passwords.is_of(secret("correct horse"), Vec::new()).await.unwrap());
        assert!(!passwords.is_of(secret("correct horse"), vec!["junk".into()]).await.unwrap());
    }

    #[test]
    fn short_long_and_guessable_passwords_are_refused() {
        let fault = |password: &str| Passwords::fault(password, "li.wei", 12);
        assert_eq!(fault("short"), Some(PasswordFault::Length { min: 12 }));
        assert_eq!(fault(&"长".repeat(129)), Some(PasswordFault::Length { min: 12 }));
        assert_eq!(fault("aaaaaaaaaaaabbb"), Some(PasswordFault::Guessable));
        assert_eq!(fault("LI.WEI-2026-ok"), Some(PasswordFault::Guessable));
        assert_eq!(fault("石家庄的冬天下雪了吗朋友们"), None);
        assert_eq!(fault("violet-mountain-7"), None);
    }

    #[test]
    fn one_time_passwords_differ_and_would_be_taken() {
        let (a, b) = (Passwords::one_time().unwrap(), Passwords::one_time().unwrap());
        assert_ne!(a, b);
        assert_eq!(a.len(), 23);
        assert_eq!(Passwords::fault(&a, "admin", 12), None);
    }
}
