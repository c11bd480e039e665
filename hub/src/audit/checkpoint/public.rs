//! The public halves of all audit keys that a hub ever had, oldest first: `audit.pub` in the data directory, and what
//! `audit key` prints. Each signs from its first checkpoint to the first of the next one.

use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use jikai_sync::identity::write_private_file;

use super::CheckpointError;

/// File of the keys under the data directory: a line each.
const FILE: &str = "audit.pub";

/// Keys that may have signed checkpoints, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicKeys(Vec<VerifyingKey>);

impl PublicKeys {
    /// Where the keys of a data directory are listed.
    pub fn path(data: &Path) -> PathBuf {
        data.join(FILE)
    }

    /// The keys of a hub; none where none are listed yet.
    pub fn load(data: &Path) -> Result<Self, CheckpointError> {
        let path = PublicKeys::path(data);
        match std::fs::read_to_string(&path) {
            Ok(text) => PublicKeys::of_lines(&text, &path.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(PublicKeys::default()),
            Err(source) => Err(CheckpointError::File { action: "read", path, source }),
        }
    }

    /// Reads keys as they are given: the hex digits of one, or a file with a line each.
    pub fn read(given: &str) -> Result<Self, CheckpointError> {
        if given.len() == 64 && given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return PublicKeys::of_lines(given, given);
        }
        let refuse = || CheckpointError::PublicKey(given.chars().take(80).collect());
        let keys = PublicKeys::of_lines(&std::fs::read_to_string(given).map_err(|_| refuse())?, given)?;
        if keys.0.is_empty() { Err(refuse()) } else { Ok(keys) }
    }

    fn of_lines(text: &str, from: &str) -> Result<Self, CheckpointError> {
        let read = |line: &str| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(line.trim(), &mut bytes).ok()?;
            VerifyingKey::from_bytes(&bytes).ok()
        };
        let keys = text.lines().filter(|line| !line.trim().is_empty()).map(read).collect::<Option<Vec<_>>>();
        keys.map(PublicKeys).ok_or_else(|| CheckpointError::PublicKey(from.chars().take(80).collect()))
    }

    /// Lists a key behind the others, unless it is listed already.
    pub fn add(&mut self, data: &Path, key: VerifyingKey) -> Result<(), CheckpointError> {
        if self.0.contains(&key) {
            return Ok(());
        }
        self.0.push(key);
        Ok(write_private_file(&PublicKeys::path(data), self.to_string().as_bytes())?)
    }

    /// The key of these hex digits with its place in the order.
    pub(super) fn find(&self, digits: &str) -> Option<(usize, &VerifyingKey)> {
        self.0.iter().enumerate().find(|(_, key)| hex::encode(key.as_bytes()) == digits)
    }

    /// Whether none is listed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<VerifyingKey> for PublicKeys {
    fn from(key: VerifyingKey) -> Self {
        PublicKeys(vec![key])
    }
}

impl std::fmt::Display for PublicKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|key| writeln!(f, "{}", hex::encode(key.as_bytes())))
    }
}
