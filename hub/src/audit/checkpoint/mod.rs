//! Checkpoints: the heads of all chains, signed. Whoever rewrites the state with hashes that fit cannot rewrite what was
//! signed and taken away.
//!
//! Each checkpoint holds the hash of the one before, so that none can be taken out; they are exported as they are kept,
//! a JSON line each. The signature covers [`Checkpoint::signed_text`].

mod daily;
mod heads;
mod journal;
mod key;
mod public;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use ed25519_dalek::Signature;
use jikai_schema::chain::ChainHash;
use serde::{Deserialize, Serialize};

use super::{AuditError, ChainName, SignedHead, SignedHeads};

pub use daily::daily;
pub use journal::{Journal, export, read_file};
pub use key::AuditKey;
pub use public::PublicKeys;

/// Separates these signatures from everything else that a key might sign.
const PURPOSE: &str = "jikai audit checkpoint v1\n";

/// The heads of all chains at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// From 1, without gaps.
    pub number: u64,
    /// Environment of the hub.
    pub environment: String,
    /// When it was made.
    pub at_ms: i64,
    /// Its business day.
    pub day: String,
    /// Entry of the command log up to which the state was applied.
    pub applied: u64,
    /// Hash of the checkpoint before, hex; zeros in the first.
    pub previous: String,
    /// Public key of the signature, hex.
    pub key: String,
    /// One for each chain.
    pub heads: Vec<Head>,
}

/// The head of one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Which sort of chain.
    pub log: HeadLog,
    /// The node; 0 for the hub's log.
    pub node: i64,
    /// Events in it.
    pub events: u64,
    /// The chain after the last, hex.
    pub hash: String,
}

/// Sorts of chains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadLog {
    /// The hub's own log.
    Hub,
    /// A node's feed.
    Feed,
    /// A node's log.
    Node,
}

/// A checkpoint with its signature: one line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedCheckpoint {
    /// What was signed.
    pub checkpoint: Checkpoint,
    /// Ed25519, hex.
    pub signature: String,
}

/// Checkpoints that cannot be made or do not hold.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A file could not be read or written.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A private file could not be written.
    #[error(transparent)]
    Private(#[from] jikai_sync::identity::IdentityError),
    /// A line that is no checkpoint.
    #[error("line {line} of {path} is no checkpoint ({reason}): take the file from its backup or an export")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// Why not.
        reason: String,
    },
    /// A key that is none.
    #[error(
        "`{0}` holds no Ed25519 public keys: give the 64 hex digits that `jikai-hub audit key` prints, or a file with them"
    )]
    PublicKey(String),
    /// The secrets cannot be read or kept.
    #[error(transparent)]
    Secrets(#[from] jikai_sync::secrets::SecretsError),
    /// The secret does not hold a key.
    #[error("the audit key is none: restore secrets/ from the backup of this machine")]
    SecretKey,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// Checkpoints without their key.
    #[error("{0} is missing, but checkpoints were signed with it: restore it from the backup of this machine")]
    KeyLost(PathBuf),
    /// A number is missing or doubled.
    #[error("checkpoint {expected} is missing: the next one is {found}. One was taken out, or the file is not whole")]
    Missing {
        /// Number that should follow.
        expected: u64,
        /// Number that follows.
        found: u64,
    },
    /// Signed by somebody else.
    #[error(
        "checkpoint {number} is signed with the key {found}, with none of those given: `audit key` prints all of them"
    )]
    OtherKey {
        /// Which.
        number: u64,
        /// Key it names.
        found: String,
    },
    /// Signed with a key that a newer one had replaced.
    #[error("checkpoint {0} is signed with a key that was out of use by then: somebody else signed it")]
    OldKey(u64),
    /// The signature is not one of this text.
    #[error("checkpoint {0} was altered: its signature does not fit")]
    Signature(u64),
    /// The one before is another.
    #[error("checkpoint {0} does not follow the one before it: that one was altered or replaced")]
    Order(u64),
    /// A head that is none.
    #[error("checkpoint {0} holds a hash that is none")]
    Hash(u64),
    /// What was signed is not there any more.
    #[error(
        "{chain} no longer holds event {seq} as checkpoint {number} signed it: nothing was signed. Run `jikai-hub audit verify`"
    )]
    Rewritten {
        /// Which chain.
        chain: ChainName,
        /// Position.
        seq: u64,
        /// Which checkpoint.
        number: u64,
    },
    /// The state could not be read.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl Checkpoint {
    /// What is signed: the purpose, a line feed, and the checkpoint as compact JSON in the order of its fields.
    pub fn signed_text(&self) -> String {
        let json = serde_json::to_string(self).expect("a checkpoint is plain data");
        format!("{PURPOSE}{json}")
    }
}

impl SignedCheckpoint {
    /// What the next checkpoint holds of this one.
    pub fn hash(&self) -> ChainHash {
        ChainHash::GENESIS.next((self.checkpoint.signed_text() + &self.signature).as_bytes())
    }

    /// Gives the place of its key, which is at least `oldest`.
    fn check(&self, keys: &PublicKeys, oldest: usize) -> Result<usize, CheckpointError> {
        let number = self.checkpoint.number;
        let other = || CheckpointError::OtherKey { number, found: self.checkpoint.key.chars().take(64).collect() };
        let (place, key) = keys.find(&self.checkpoint.key).ok_or_else(other)?;
        let mut bytes = [0; 64];
        hex::decode_to_slice(&self.signature, &mut bytes).map_err(|_| CheckpointError::Signature(number))?;
        key.verify_strict(self.checkpoint.signed_text().as_bytes(), &Signature::from_bytes(&bytes))
            .map_err(|_| CheckpointError::Signature(number))?;
        if place < oldest { Err(CheckpointError::OldKey(number)) } else { Ok(place) }
    }
}

impl Head {
    fn chain(&self) -> ChainName {
        match self.log {
            HeadLog::Hub => ChainName::Hub,
            HeadLog::Feed => ChainName::Feed(self.node),
            HeadLog::Node => ChainName::Node(self.node),
        }
    }
}

/// Checks signatures, numbers and order of checkpoints that begin with the first; gives the heads they signed.
pub fn check(checkpoints: &[SignedCheckpoint], keys: &PublicKeys) -> Result<SignedHeads, CheckpointError> {
    let (mut signed, mut previous, mut key) = (SignedHeads::default(), ChainHash::GENESIS, 0);
    for (expected, one) in (1..).zip(checkpoints) {
        let found = one.checkpoint.number;
        if found != expected {
            return Err(CheckpointError::Missing { expected, found });
        }
        key = one.check(keys, key)?;
        if one.checkpoint.previous != previous.to_string() {
            return Err(CheckpointError::Order(found));
        }
        previous = one.hash();
        for head in &one.checkpoint.heads {
            let mut hash = [0; 32];
            hex::decode_to_slice(&head.hash, &mut hash).map_err(|_| CheckpointError::Hash(found))?;
            let hash = ChainHash::from_bytes(hash);
            signed.add(head.chain(), SignedHead { checkpoint: found, seq: head.events, hash });
        }
    }
    Ok(signed)
}
