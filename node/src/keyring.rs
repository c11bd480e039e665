//! Batch keys: encrypted in the store, decrypted in memory.

use std::collections::BTreeMap;
use std::path::Path;

use jikai_schema::crypto::KeyRing;
use jikai_schema::id::BatchNo;
use jikai_schema::rules::BatchKeys;
use jikai_schema::seal::BatchKey;
use jikai_schema::vault::{MasterKey, VaultError, unwrap, wrap};
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
    #[error("batch {0}: {1}; restore secrets/master.key of this machine")]
    Vault(u32, VaultError),
    /// The secrets file is missing or has another length.
    #[error("{0} must hold 32 bytes in hex: run `jikai-node init`, or restore it from the backup of this machine")]
    MasterKey(String),
}

/// Reads the master key of this machine.
pub fn read_master_key(data: &Path) -> Result<MasterKey, KeyringError> {
    let path = data.join("secrets/master.key");
    let refuse = || KeyringError::MasterKey(path.display().to_string());
    let text = zeroize::Zeroizing::new(std::fs::read_to_string(&path).map_err(|_| refuse())?);
    let mut bytes = [0; 32];
    hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| refuse())?;
    Ok(MasterKey::from_bytes(bytes))
}

impl Keyring {
    /// Decrypts all keys of the store.
    pub fn load(store: &Connection, wrapping: impl Into<KeyRing>) -> Result<Self, KeyringError> {
        let wrapping = wrapping.into();
        let mut statement = store.prepare("SELECT batch, wrapped FROM batch_key ORDER BY batch")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, u32>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        let mut keys = BTreeMap::new();
        for row in rows {
            let (number, wrapped) = row?;
            if let Ok(batch) = BatchNo::new(number) {
                keys.insert(
                    batch,
                    unwrap(&wrapping, batch, &wrapped).map_err(|error| KeyringError::Vault(number, error))?,
                );
            }
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
