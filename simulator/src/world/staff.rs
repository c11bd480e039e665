//! Keys of the devices, names and passwords of the people. All derived from the seed.

use anyhow::{Result, anyhow};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ed25519_dalek::SigningKey;

use crate::seed::Seed;

/// Memory of one operator hash. KiB. Light, since the device's key is the first factor.
const HASH_MEMORY_KIB: u32 = 1024;
/// Passes over it.
const HASH_PASSES: u32 = 1;

/// What a person may do at the outlet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything of the outlet.
    Owner,
    /// Sell, inquire, pay.
    Clerk,
}

impl Role {
    /// As the import file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Owner => "owner",
            Role::Clerk => "clerk",
        }
    }
}

/// The Ed25519 key of a device.
pub fn terminal_key(seed: Seed, terminal_id: &str) -> SigningKey {
    SigningKey::from_bytes(&seed.derive("terminal key", terminal_id))
}

/// The password of a person.
pub fn password(seed: Seed, operator_id: &str) -> String {
    hex::encode(&seed.derive("password", operator_id)[..8])
}

/// A believable name.
pub fn person_name(seed: Seed, operator_id: &str) -> String {
    const FAMILY: [&str; 16] =
        ["王", "李", "张", "刘", "陈", "杨", "赵", "黄", "周", "吴", "徐", "孙", "马", "朱", "胡", "郭"];
    const GIVEN: [&str; 16] =
        ["伟", "芳", "娜", "敏", "静", "丽", "强", "磊", "军", "洋", "勇", "艳", "杰", "涛", "明", "超"];
    let bytes = seed.derive("name", operator_id);
    let pick = |names: [&'static str; 16], byte: u8| names[usize::from(byte % 16)];
    format!("{}{}{}", pick(FAMILY, bytes[0]), pick(GIVEN, bytes[1]), pick(GIVEN, bytes[2]))
}

/// Hashes the passwords of all given operators, in all processors; the result has their order.
pub fn hash_passwords(seed: Seed, operator_ids: &[String]) -> Result<Vec<String>> {
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(1, 16);
    let share = operator_ids.len().div_ceil(workers).max(1);
    let parts: Vec<Result<Vec<String>>> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            operator_ids.chunks(share).map(|ids| scope.spawn(move || hash_share(seed, ids))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a hashing thread panicked"))))
            .collect()
    });
    Ok(parts.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

fn hash_share(seed: Seed, operator_ids: &[String]) -> Result<Vec<String>> {
    let params = Params::new(HASH_MEMORY_KIB, HASH_PASSES, 1, Some(32))
        .map_err(|error| anyhow!("argon2 parameters: {error}"))?;
    let mut memory = vec![Block::default(); params.block_count()];
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    operator_ids.iter().map(|id| hash_one(seed, id, &hasher, &mut memory)).collect()
}

/// One PHC string. The salt comes from the seed too, so that a world is the same file twice.
fn hash_one(seed: Seed, operator_id: &str, hasher: &Argon2<'_>, memory: &mut [Block]) -> Result<String> {
    let salt = &seed.derive("salt", operator_id)[..16];
    let mut hash = [0; 32];
    hasher
        .hash_password_into_with_memory(password(seed, operator_id).as_bytes(), salt, &mut hash, memory)
        .map_err(|error| anyhow!("hash the password of operator {operator_id}: {error}"))?;
    let (salt, hash) = (STANDARD_NO_PAD.encode(salt), STANDARD_NO_PAD.encode(hash));
    Ok(format!("$argon2id$v=19$m={HASH_MEMORY_KIB},t={HASH_PASSES},p=1${salt}${hash}"))
}

#[cfg(test)]
mod tests {
    use argon2::PasswordVerifier;
    use argon2::password_hash::phc::PasswordHash;

    use super::*;

    #[test]
    fn a_hash_verifies_its_password_and_no_other() {
        let ids = ["1301000101".to_owned(), "1301000201".to_owned(), "1301000301".to_owned()];
        let hashes = hash_passwords(Seed(1), &ids).unwrap();
        assert_eq!(hashes.len(), 3);
        for (id, text) in ids.iter().zip(&hashes) {
            let hash = PasswordHash::new(text).unwrap();
            assert!(Argon2::default().verify_password(password(Seed(1), id).as_bytes(), &hash).is_ok());
            assert!(Argon2::default().verify_password(b"another", &hash).is_err());
        }
        assert_eq!(hashes, hash_passwords(Seed(1), &ids).unwrap());
    }

    #[test]
    fn devices_have_different_keys() {
        let key = |id| terminal_key(Seed(1), id).verifying_key().to_bytes();
        assert_ne!(key("130100010101"), key("130100010102"));
        assert_eq!(key("130100010101"), key("130100010101"));
    }
}
