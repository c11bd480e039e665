//! Batch keys: encrypted in the store, decrypted in memory.

use std::collections::{BTreeMap, BTreeSet};

use jikai_schema::crypto::{KeyRing, KeyVersion};
use jikai_schema::id::BatchNo;
use jikai_schema::rules::BatchKeys;
use jikai_schema::seal::BatchKey;
use jikai_schema::vault::{self, VaultError, unwrap, wrap};
use parking_lot::RwLock;
use rand::RngExt;
use rusqlite::{Connection, params};

/// The decrypted keys and the key-encryption keys that wrap them at rest.
pub struct Keyring {
    wrapping: KeyRing,
    keys: RwLock<BTreeMap<BatchNo, BatchKey>>,
}

/// A key that cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The store failed.
    #[error("the batch keys cannot be read: {0}")]
    Storage(#[from] rusqlite::Error),
    /// Wrapped under other keys.
    #[error("batch {0}: {1}; restore secrets/ of this machine")]
    Vault(u32, VaultError),
}

/// Batch keys of a store by the version under which they lie.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many under each.
    pub batch_keys: BTreeMap<KeyVersion, u64>,
    /// Those that no key opens.
    pub unreadable: u64,
    /// Versions that unreadable ones name: they are not to be forgotten.
    named: BTreeSet<KeyVersion>,
}

impl Counted {
    /// Counts the keys of a store.
    pub fn of(store: &Connection, ring: &KeyRing) -> Result<Self, rusqlite::Error> {
        let mut counted = Counted::default();
        for (batch, wrapped) in wrapped_keys(store)? {
            match vault::version_of(ring, batch, &wrapped) {
                Ok(version) => *counted.batch_keys.entry(version).or_default() += 1,
                Err(_) => {
                    counted.unreadable += 1;
                    counted.named.insert(KeyVersion::FIRST);
                    counted.named.extend(KeyRing::version_of(&wrapped));
                }
            }
        }
        Ok(counted)
    }

    /// Versions that must stay in the ring.
    pub fn in_use(&self) -> BTreeSet<KeyVersion> {
        self.batch_keys.keys().chain(&self.named).copied().collect()
    }
}

/// Brings all keys of a store under the newest version, in one transaction; gives how many lay under another.
pub fn reseal(store: &mut Connection, ring: &KeyRing) -> Result<u64, KeyringError> {
    let transaction = store.transaction()?;
    let mut count = 0;
    for (batch, wrapped) in wrapped_keys(&transaction)? {
        let nonce: [u8; 12] = rand::rng().random();
        let anew = vault::rewrap(ring, batch, &wrapped, nonce);
        if let Some(anew) = anew.map_err(|error| KeyringError::Vault(batch.get(), error))? {
            transaction.execute("UPDATE batch_key SET wrapped = ?2 WHERE batch = ?1", params![batch.get(), anew])?;
            count += 1;
        }
    }
    transaction.commit()?;
    Ok(count)
}

fn wrapped_keys(store: &Connection) -> Result<Vec<(BatchNo, Vec<u8>)>, rusqlite::Error> {
    let mut statement = store.prepare("SELECT batch, wrapped FROM batch_key ORDER BY batch")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, u32>(0)?, row.get(1)?)))?;
    let rows: Vec<(u32, Vec<u8>)> = rows.collect::<Result<_, _>>()?;
    Ok(rows.into_iter().filter_map(|(number, wrapped)| Some((BatchNo::new(number).ok()?, wrapped))).collect())
}

impl Keyring {
    /// Decrypts all keys of the store.
    pub fn load(store: &Connection, wrapping: impl Into<KeyRing>) -> Result<Self, KeyringError> {
        let wrapping = wrapping.into();
        let mut keys = BTreeMap::new();
        for (batch, wrapped) in wrapped_keys(store)? {
            let key = unwrap(&wrapping, batch, &wrapped).map_err(|error| KeyringError::Vault(batch.get(), error))?;
            keys.insert(batch, key);
        }
        Ok(Keyring { wrapping, keys: RwLock::new(keys) })
    }

    /// Stores a received key, encrypted, and makes it usable once `store` has it.
    pub fn keep(&self, store: &Connection, batch: BatchNo, key: BatchKey) -> Result<(), rusqlite::Error> {
        let nonce: [u8; 12] = rand::rng().random();
        store.execute(
            "INSERT INTO batch_key VALUES (?1, ?2) ON CONFLICT DO UPDATE SET wrapped = excluded.wrapped",
            params![batch.get(), wrap(&self.wrapping, batch, &key, nonce)],
        )?;
        self.keys.write().insert(batch, key);
        Ok(())
    }

    /// Which of these batches have no key yet.
    pub fn missing(&self, batches: impl IntoIterator<Item = BatchNo>) -> Vec<BatchNo> {
        let keys = self.keys.read();
        batches.into_iter().filter(|batch| !keys.contains_key(batch)).collect()
    }
}

impl BatchKeys for Keyring {
    fn batch_key(&self, batch: BatchNo) -> Option<BatchKey> {
        self.keys.read().get(&batch).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store;
    use jikai_schema::crypto::SecretKey;

    fn batch(number: u32) -> BatchNo {
        BatchNo::new(number).unwrap()
    }

    #[test]
    fn batch_keys_follow_a_rotation_and_open_what_they_opened() {
        let data = tempfile::tempdir().unwrap();
        let mut store = store::open(data.path()).unwrap();
        let mut ring = KeyRing::of(SecretKey::from_bytes([1; 32]));
        let keys = Keyring::load(&store, ring.clone()).unwrap();
        for number in [1, 2] {
            keys.keep(&store, batch(number), BatchKey::from_bytes([number as u8; 32])).unwrap();
        }
        assert_eq!(reseal(&mut store, &ring).unwrap(), 0);
        let second = ring.add(SecretKey::from_bytes([2; 32])).unwrap();
        let counted = Counted::of(&store, &ring).unwrap();
        assert_eq!((counted.batch_keys[&KeyVersion::FIRST], counted.unreadable), (2, 0));
        assert_eq!(reseal(&mut store, &ring).unwrap(), 2);
        assert_eq!(Counted::of(&store, &ring).unwrap().in_use(), BTreeSet::from([second]));
        ring.retire(KeyVersion::FIRST);
        let keys = Keyring::load(&store, ring).unwrap();
        assert_eq!(keys.batch_key(batch(2)).unwrap().as_bytes(), &[2; 32]);
        assert!(keys.missing([batch(1), batch(3)]) == [batch(3)]);
    }

    #[test]
    fn keys_of_another_ring_are_counted_and_none_is_changed() {
        let data = tempfile::tempdir().unwrap();
        let mut store = store::open(data.path()).unwrap();
        let ring = KeyRing::of(SecretKey::from_bytes([1; 32]));
        let keys = Keyring::load(&store, ring.clone()).unwrap();
        keys.keep(&store, batch(1), BatchKey::from_bytes([1; 32])).unwrap();
        let mut other = KeyRing::of(SecretKey::from_bytes([9; 32]));
        other.add(SecretKey::from_bytes([8; 32])).unwrap();
        assert!(Keyring::load(&store, other.clone()).is_err());
        assert!(matches!(reseal(&mut store, &other), Err(KeyringError::Vault(1, _))));
        let counted = Counted::of(&store, &other).unwrap();
        assert_eq!((counted.unreadable, counted.in_use()), (1, BTreeSet::from([KeyVersion::FIRST])));
        assert_eq!(Counted::of(&store, &ring).unwrap().unreadable, 0);
    }
}
