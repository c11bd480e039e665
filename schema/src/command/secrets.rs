//! The command that brings secrets of the state under a newer version of the keys.

use serde::{Deserialize, Serialize};

use crate::id::BatchNo;

/// Secrets of the state, encrypted anew by the proposer: the machine has no keys. Each is taken only in place of the very
/// ciphertext from which it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reseal {
    /// The version of the keys under which they are now, 1 to 63.
    pub key_version: u8,
    /// Batch keys, by batch, ascending.
    pub batch_keys: Vec<ResealedKey>,
    /// Second factors of staff, by login name, ascending.
    pub factors: Vec<ResealedFactor>,
}

/// The key of one batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResealedKey {
    /// Which.
    pub batch: BatchNo,
    /// As the state holds it.
    pub before: Vec<u8>,
    /// As it shall hold it.
    pub after: Vec<u8>,
}

/// The second factor of one person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResealedFactor {
    /// Whose.
    pub login: String,
    /// As the state holds it.
    pub before: Vec<u8>,
    /// As it shall hold it.
    pub after: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::command::Command;

    #[test]
    fn the_commands_bytes_have_not_changed() {
        let batch_keys = vec![ResealedKey { batch: BatchNo::new(300).unwrap(), before: vec![1, 2], after: vec![3, 4] }];
        let factors = vec![ResealedFactor { login: "li".into(), before: vec![5], after: vec![6] }];
        let command = Command::Reseal(Reseal { key_version: 2, batch_keys, factors });
        let bytes = codec::encode(&command, 100).unwrap();
        assert_eq!(hex::encode(&bytes), "010d0201ac02020102020304 01026c69 0105 0106".replace(' ', ""));
        assert_eq!(codec::decode(&bytes, 100), Ok(command));
    }
}
