//! What a store needs to be the first one of a new node, or to take the place of a lost one, sealed under a code that a person carries
//! apart from the file.
//!
//! The hub writes it, the node reads it. The identity of the new store stands in it: the hub has let it, and none other, begin the
//! node's log or follow the old store's.

use std::net::SocketAddr;

use jikai_schema::crypto::{KeyRing, SecretKey, Suite, hash};
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rand::TryRng;
use rand::rngs::SysRng;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::identity::Key;
use crate::wire::Cursor;

/// How long an invitation is good. Milliseconds: a week.
const GOOD_MS: i64 = 7 * 86_400_000;
/// The form of the file.
const FORM: u8 = 1;

/// An invitation that cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum StoreInvitationError {
    /// The code is another invitation's, or was mistyped; or the file was altered.
    #[error("the code does not open this invitation")]
    Code,
    /// It is too old.
    #[error("this invitation has expired: have the node replaced anew")]
    Expired,
    /// The file is none.
    #[error("this is no invitation of this build: {0}")]
    Form(String),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// The file. All that stands in the open is bound to the code.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreInvitation {
    form: u8,
    /// The node whose store is to be made.
    pub node: u16,
    /// Epoch of the new store.
    pub epoch: u32,
    /// production, training or test.
    pub environment: String,
    /// Algorithms of the environment.
    pub crypto_suite: Suite,
    /// Where the hub is reached.
    pub hub: Vec<SocketAddr>,
    /// The authority's certificate, PEM.
    pub authority: String,
    /// Where the new store goes on in the node's log.
    pub up: Cursor,
    /// Until when it is good. Unix ms.
    expires_at_ms: i64,
    /// Hex.
    sealed: String,
}

/// What only the code opens.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub struct SealedStore {
    /// The node's certificate, PEM.
    pub certificate: String,
    /// Its private key, PEM.
    key: String,
    /// Identity of the new store.
    pub incarnation: [u8; 16],
}

impl SealedStore {
    /// A store of this identity that shows this certificate.
    pub fn new(certificate: String, key: &Key, incarnation: [u8; 16]) -> Self {
        SealedStore { certificate, key: key.pem().to_owned(), incarnation }
    }

    /// The node's private key.
    pub fn key(&self) -> Key {
        Key::from_pem(self.key.clone())
    }
}

/// What stands in the open.
#[derive(Debug, Clone)]
pub struct StoreTerms {
    /// The node whose store is to be made.
    pub node: NodeId,
    /// Epoch of the new store.
    pub epoch: u32,
    /// production, training or test.
    pub environment: String,
    /// Where the hub is reached.
    pub hub: Vec<SocketAddr>,
    /// The authority's certificate, PEM.
    pub authority: String,
    /// Where the new store goes on in the node's log.
    pub up: Cursor,
}

impl StoreInvitation {
    /// Seals `store` under `code`, 80 drawn bits.
    pub fn make(
        terms: StoreTerms,
        store: &SealedStore,
        code: &str,
        now_ms: TimeMs,
    ) -> Result<Self, StoreInvitationError> {
        let StoreTerms { node, epoch, environment, hub, authority, up } = terms;
        let crypto_suite = Suite::configured();
        let unsealed = StoreInvitation {
            form: FORM,
            node: node.get(),
            epoch,
            environment,
            crypto_suite,
            hub,
            authority,
            up,
            expires_at_ms: now_ms.ms().saturating_add(GOOD_MS),
            sealed: String::new(),
        };
        let mut nonce = [0; 12];
        SysRng.try_fill_bytes(&mut nonce).map_err(|_| StoreInvitationError::Random)?;
        let plain = Zeroizing::new(serde_json::to_vec(store).map_err(form)?);
        let sealed = hex::encode(ring_of(code).seal(crypto_suite, nonce, &unsealed.context()?, &plain));
        Ok(StoreInvitation { sealed, ..unsealed })
    }

    /// Reads the file.
    pub fn read(text: &str) -> Result<Self, StoreInvitationError> {
        let invitation: StoreInvitation = serde_json::from_str(text).map_err(form)?;
        match invitation.form {
            FORM => Ok(invitation),
            other => Err(StoreInvitationError::Form(format!("form {other}"))),
        }
    }

    /// Opens what the code seals. The suite must be this process's.
    pub fn open(&self, code: &str, now_ms: TimeMs) -> Result<SealedStore, StoreInvitationError> {
        let sealed = hex::decode(&self.sealed).map_err(form)?;
        let plain = ring_of(code).open(&self.context()?, &sealed).map_err(|_| StoreInvitationError::Code)?;
        if now_ms.ms() > self.expires_at_ms {
            return Err(StoreInvitationError::Expired);
        }
        serde_json::from_slice(&plain).map_err(form)
    }

    fn context(&self) -> Result<Vec<u8>, StoreInvitationError> {
        serde_json::to_vec(&StoreInvitation { sealed: String::new(), ..self.clone() }).map_err(form)
    }
}

fn form(error: impl core::fmt::Display) -> StoreInvitationError {
    StoreInvitationError::Form(error.to_string())
}

/// 80 drawn bits need no stretching.
fn ring_of(code: &str) -> KeyRing {
    let typed = Zeroizing::new(code.trim().to_lowercase());
    KeyRing::of(SecretKey::from_bytes(hash(Suite::configured(), &[b"jikai invitation of a store\n", typed.as_bytes()])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "abcd-efgh-jkmn-2345";

    fn made(now_ms: i64) -> StoreInvitation {
        let terms = StoreTerms {
            node: NodeId::new(3).unwrap(),
            epoch: 2,
            environment: "test".into(),
            hub: vec!["10.0.0.1:7400".parse().unwrap()],
            authority: "PEM".into(),
            up: Cursor::START,
        };
        let store = SealedStore::new("certificate".into(), &Key::generate().unwrap(), [7; 16]);
        StoreInvitation::make(terms, &store, CODE, TimeMs::from_ms(now_ms)).unwrap()
    }

    #[test]
    fn the_code_opens_what_a_new_store_needs_for_a_week() {
        let text = serde_json::to_string(&made(0)).unwrap();
        assert!(!text.contains("PRIVATE KEY"), "a key lies in the clear");
        let again = StoreInvitation::read(&text).unwrap();
        let opened = again.open(&format!(" {} ", CODE.to_uppercase()), TimeMs::from_ms(GOOD_MS)).unwrap();
        assert_eq!((opened.incarnation, opened.certificate.as_str()), ([7; 16], "certificate"));
        let late = again.open(CODE, TimeMs::from_ms(GOOD_MS + 1));
        assert!(matches!(late, Err(StoreInvitationError::Expired)));
    }

    #[test]
    fn another_code_or_an_altered_file_opens_nothing() {
        let (made, now) = (made(0), TimeMs::from_ms(0));
        assert!(matches!(made.open("abcd-efgh-jkmn-2346", now), Err(StoreInvitationError::Code)));
        let altered = [
            StoreInvitation { node: 4, ..made.clone() },
            StoreInvitation { epoch: 3, ..made.clone() },
            StoreInvitation { hub: vec!["10.0.0.66:7400".parse().unwrap()], ..made.clone() },
            StoreInvitation { authority: "other".into(), ..made.clone() },
            StoreInvitation { expires_at_ms: i64::MAX, ..made },
        ];
        assert!(altered.iter().all(|bad| matches!(bad.open(CODE, now), Err(StoreInvitationError::Code))));
        assert!(matches!(StoreInvitation::read("{}"), Err(StoreInvitationError::Form(_))));
    }
}
