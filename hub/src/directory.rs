//! The key that signs the directory of the nodes for terminals: Ed25519, the same on every machine of the hub that serves.
//! Its public half lies beside the authority's certificate, for whoever sets up terminals.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ed25519_dalek::{Signer, SigningKey};
use jikai_schema::crypto::{Suite, hash};
use jikai_schema::directory::{Directory, SignedDirectory};
use jikai_sync::identity::write_private_file;
use jikai_sync::secrets::Secrets;
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::identity::{CA_KEY, DIRECTORY_KEY};

/// Signs directories. `Debug` hides it.
pub struct DirectoryKey(SigningKey);

impl DirectoryKey {
    /// Where its public half lies, hex.
    pub fn public_path(data: &Path) -> PathBuf {
        data.join("ca").join("directory.pub")
    }

    /// Draws the key of a new hub; one that an `init` that was cut off has drawn stays.
    pub fn make(data: &Path, secrets: &Secrets) -> anyhow::Result<Self> {
        if let Some(key) = DirectoryKey::read(secrets)? {
            return key.listed(data);
        }
        let mut seed = Zeroizing::new([0; 32]);
        SysRng.try_fill_bytes(seed.as_mut()).context("draw random bytes from the system")?;
        DirectoryKey::install(data, secrets, &seed)
    }

    /// The key of a hub. One that is older than directories gets it from the authority's key, which all of its machines have.
    pub fn load(data: &Path, secrets: &Secrets) -> anyhow::Result<Self> {
        if let Some(key) = DirectoryKey::read(secrets)? {
            return key.listed(data);
        }
        let authority = secrets.key(CA_KEY)?;
        let seed = hash(Suite::configured(), &[b"jikai directory key\n", authority.pem().trim().as_bytes()]);
        DirectoryKey::install(data, secrets, &Zeroizing::new(seed))
    }

    /// Takes over the key that another machine of the hub has, as [`DirectoryKey::secret_hex`] wrote it.
    pub fn take(data: &Path, secrets: &Secrets, digits: &str) -> anyhow::Result<Self> {
        let seed = seed_of(digits.as_bytes())?;
        DirectoryKey::install(data, secrets, &seed)
    }

    fn read(secrets: &Secrets) -> anyhow::Result<Option<Self>> {
        let Some(text) = secrets.read(DIRECTORY_KEY)? else { return Ok(None) };
        let seed = seed_of(&text)?;
        Ok(Some(DirectoryKey(SigningKey::from_bytes(&seed))))
    }

    fn install(data: &Path, secrets: &Secrets, seed: &[u8; 32]) -> anyhow::Result<Self> {
        secrets.write(DIRECTORY_KEY, Zeroizing::new(hex::encode(seed)).as_bytes())?;
        DirectoryKey(SigningKey::from_bytes(seed)).listed(data)
    }

    fn listed(self, data: &Path) -> anyhow::Result<Self> {
        let (path, digits) = (DirectoryKey::public_path(data), self.public_hex());
        if std::fs::read_to_string(&path).is_ok_and(|text| text.trim() == digits) {
            return Ok(self);
        }
        let shown = write_private_file(&path, format!("{digits}\n").as_bytes());
        shown.with_context(|| format!("write {}", path.display()))?;
        Ok(self)
    }

    /// Its public half, hex.
    pub fn public_hex(&self) -> String {
        hex::encode(self.0.verifying_key().as_bytes())
    }

    /// For another machine of the hub, hex.
    pub fn secret_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(Zeroizing::new(self.0.to_bytes()).as_slice()))
    }

    /// Signs a document.
    pub fn sign(&self, directory: &Directory) -> SignedDirectory {
        let bytes = serde_json::to_vec(directory).expect("a directory is plain data");
        let signature = self.0.sign(&Directory::signed_text(&bytes)).to_bytes().to_vec();
        SignedDirectory { version: directory.version, bytes, signature }
    }
}

impl std::fmt::Debug for DirectoryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DirectoryKey(…)")
    }
}

fn seed_of(digits: &[u8]) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let mut seed = Zeroizing::new([0; 32]);
    if hex::decode_to_slice(digits.trim_ascii(), seed.as_mut()).is_err() {
        bail!("the directory key is none: restore secrets/ from the backup of this machine");
    }
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::IdentityFiles;
    use crate::province::secrets_in;

    fn hub() -> (tempfile::TempDir, Secrets) {
        let data = tempfile::tempdir().unwrap();
        let secrets = secrets_in(data.path());
        IdentityFiles::new(data.path()).create(&secrets, "test", &[]).unwrap();
        (data, secrets)
    }

    #[test]
    fn a_new_hub_draws_its_own_key_once_and_shows_its_public_half() {
        let (data, secrets) = hub();
        let made = DirectoryKey::make(data.path(), &secrets).unwrap().public_hex();
        assert_eq!(DirectoryKey::make(data.path(), &secrets).unwrap().public_hex(), made);
        assert_eq!(DirectoryKey::load(data.path(), &secrets).unwrap().public_hex(), made);
        assert_eq!(std::fs::read_to_string(DirectoryKey::public_path(data.path())).unwrap().trim(), made);
        let (other, secrets) = hub();
        assert_ne!(DirectoryKey::make(other.path(), &secrets).unwrap().public_hex(), made);
    }

    #[test]
    fn a_hub_that_is_older_than_directories_comes_to_the_same_key_on_all_of_its_machines() {
        let (data, secrets) = hub();
        let first = DirectoryKey::load(data.path(), &secrets).unwrap().public_hex();
        let (second_data, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::create_dir(second_data.path().join("ca")).unwrap();
        let others = secrets_in(second.path());
        others.keep_key(CA_KEY, &secrets.key(CA_KEY).unwrap()).unwrap();
        assert_eq!(DirectoryKey::load(second_data.path(), &others).unwrap().public_hex(), first);
    }

    #[test]
    fn a_machine_that_joins_takes_the_key_over_and_a_damaged_one_is_refused() {
        let ((data, secrets), (other_data, other)) = (hub(), hub());
        let made = DirectoryKey::make(data.path(), &secrets).unwrap();
        let taken = DirectoryKey::take(other_data.path(), &other, &made.secret_hex()).unwrap();
        assert_eq!(taken.public_hex(), made.public_hex());
        assert!(DirectoryKey::take(other_data.path(), &other, "12").is_err());
        assert!(!format!("{made:?}").contains(made.secret_hex().as_str()));
    }
}
