//! The secrets of a store, opened.

use std::collections::BTreeSet;
use std::path::Path;

use jikai_schema::crypto::{KEY_BYTES, KeyRing, KeyVersion, SecretKey, Suite, equal};
use rand::TryRng;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use super::disk::{Disk, RealDisk};
use super::place::Lock;
use super::ring_file::{self, RingFile};
use super::{MasterSource, Place, SecretsError, migration, settings};
use crate::identity::{IdentityError, Key, create_private_dir, write_private_file};

/// The secrets of a store. `Debug` hides them.
pub struct Secrets {
    pub(super) place: Place,
    master: SecretKey,
    ring: KeyRing,
    pub(super) disk: Box<dyn Disk>,
    /// Of a process that is alone with them.
    _lock: Option<Lock>,
}

impl Secrets {
    /// Makes the ring of a new store, and the file of its master key where that is named and missing.
    pub fn create(place: &Place) -> Result<Self, SecretsError> {
        Secrets::create_with(place, KeyRing::of(random_key()?))
    }

    /// The same with the ring of another machine, which works on the same rows.
    pub fn create_with(place: &Place, ring: KeyRing) -> Result<Self, SecretsError> {
        create_private_dir(&place.folder)?;
        if place.ring().exists() {
            return Err(SecretsError::Made(place.ring()));
        }
        make_master(&place.master, &place.data)?;
        let master = place.master.read(&place.data)?;
        RealDisk.write(&place.ring(), &ring_file::seal(&ring, &place.scope, &[&master])?)?;
        Ok(Secrets { place: place.clone(), master, ring, disk: Box::new(RealDisk), _lock: None })
    }

    /// Opens the secrets. What an earlier build left in the clear is sealed first.
    pub fn open(place: &Place) -> Result<Self, SecretsError> {
        match RingFile::read(&place.folder)? {
            Some(file) if !place.has_plain() => Secrets::load(place, &file, Box::new(RealDisk), None),
            _ => Ok(Secrets { _lock: None, ..Secrets::take(place)? }),
        }
    }

    /// Opens the secrets for a process that runs on them or changes them: it is alone with them until they are dropped. What
    /// a change that was cut off left undone is done first.
    pub fn take(place: &Place) -> Result<Self, SecretsError> {
        Secrets::take_on(place, Box::new(RealDisk))
    }

    pub(super) fn take_on(place: &Place, disk: Box<dyn Disk>) -> Result<Self, SecretsError> {
        let lock = place.lock()?;
        migration::migrate(place, disk.as_ref())?;
        let file = match RingFile::read(&place.folder)? {
            Some(file) => file,
            None if place.names()?.is_empty() => return Err(SecretsError::NotMade(place.ring())),
            None => return Err(SecretsError::RingLost(place.ring())),
        };
        let secrets = Secrets::load(place, &file, disk, Some(lock))?;
        if file.is_between_masters() {
            secrets.write_ring(&[&secrets.master])?;
        }
        secrets.reseal()?;
        Ok(secrets)
    }

    fn load(place: &Place, file: &RingFile, disk: Box<dyn Disk>, lock: Option<Lock>) -> Result<Self, SecretsError> {
        let master = place.master.read(&place.data)?;
        let other = || SecretsError::OtherMaster { path: file.path().to_owned(), master: place.master.to_string() };
        let ring = file.open(&place.scope, &master).ok_or_else(other)??;
        Ok(Secrets { place: place.clone(), master, ring, disk, _lock: lock })
    }

    /// The keys, for what lies in the database.
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    /// Reads a secret; `None` where there is none of this name.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, SecretsError> {
        let path = self.place.sealed(name);
        let sealed = match std::fs::read(&path) {
            Ok(sealed) => sealed,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SecretsError::File { action: "read", path, source }),
        };
        let plain = self.ring.open(&context(&self.place, name), &sealed);
        plain.map(Some).map_err(|error| SecretsError::Sealed { path, error })
    }

    /// Keeps a secret, in place of an earlier one of this name.
    pub fn write(&self, name: &str, plain: &[u8]) -> Result<(), SecretsError> {
        let sealed = self.ring.seal(Suite::configured(), random()?, &context(&self.place, name), plain);
        self.disk.write(&self.place.sealed(name), &sealed)
    }

    /// Forgets a secret; where there is none of this name, nothing.
    pub fn remove(&self, name: &str) -> Result<(), SecretsError> {
        let path = self.place.sealed(name);
        if path.exists() { self.disk.remove(&path) } else { Ok(()) }
    }

    /// Reads a private key.
    pub fn key(&self, name: &str) -> Result<Key, SecretsError> {
        let pem = self.read(name)?.ok_or_else(|| SecretsError::Missing(self.place.sealed(name)))?;
        let pem = std::str::from_utf8(&pem).map_err(|_| IdentityError::Pem("private key"))?;
        Ok(Key::from_pem(pem.to_string()))
    }

    /// Keeps a private key.
    pub fn keep_key(&self, name: &str, key: &Key) -> Result<(), SecretsError> {
        self.write(name, key.pem().as_bytes())
    }

    /// All secrets with the version under which they lie.
    pub fn list(&self) -> Result<Vec<(String, KeyVersion)>, SecretsError> {
        let mut found = Vec::new();
        for name in self.place.names()? {
            let (path, sealed) = self.sealed(&name)?;
            let version = KeyRing::version_of(&sealed).map_err(|error| SecretsError::Sealed { path, error })?;
            found.push((name, version));
        }
        Ok(found)
    }

    /// Adds a version to the ring, which encrypts from now on, and brings all files under it. Versions under which nothing
    /// lies any more are forgotten first: neither a file nor what `in_use` names. So one rotation long the version before is
    /// kept, for backups that are older.
    pub fn rotate(&mut self, in_use: &BTreeSet<KeyVersion>) -> Result<KeyVersion, SecretsError> {
        self.reseal()?;
        let mut ring = self.ring.clone();
        let versions: Vec<_> = ring.versions().filter(|version| !in_use.contains(version)).collect();
        for version in versions {
            ring.retire(version);
        }
        let newest = ring.add(random_key()?)?;
        let before = std::mem::replace(&mut self.ring, ring);
        if let Err(error) = self.write_ring(&[&self.master]) {
            self.ring = before;
            return Err(error);
        }
        self.reseal()?;
        Ok(newest)
    }

    /// Changes the master key: the ring lies under both keys while the settings file moves from one source to the other.
    /// The file of the new key is made where it is missing; gives whether it was.
    pub fn rewrap(&mut self, to: &MasterSource, settings_file: &Path) -> Result<bool, SecretsError> {
        if *to == self.place.master {
            return Err(SecretsError::SameMaster(to.to_string()));
        }
        let refuse = |source| SecretsError::File { action: "read", path: settings_file.to_owned(), source };
        let text = std::fs::read_to_string(settings_file).map_err(refuse)?;
        let made = make_master(to, &self.place.data)?;
        let master = to.read(&self.place.data)?;
        if equal(master.as_bytes(), self.master.as_bytes()) {
            return Err(SecretsError::SameMaster(to.to_string()));
        }
        self.write_ring(&[&self.master, &master])?;
        self.disk.write(settings_file, settings::with_master(&text, to).as_bytes())?;
        self.place.master = to.clone();
        self.master = master;
        self.write_ring(&[&self.master])?;
        Ok(made)
    }

    /// Brings every file under the newest version. What lies there already is left alone, so it may be cut off anywhere.
    fn reseal(&self) -> Result<(), SecretsError> {
        for name in self.place.names()? {
            let (path, sealed) = self.sealed(&name)?;
            if !self.ring.is_newest(Suite::configured(), &sealed) {
                let plain = self.read(&name)?.ok_or(SecretsError::Missing(path))?;
                self.write(&name, &plain)?;
            }
        }
        Ok(())
    }

    fn sealed(&self, name: &str) -> Result<(std::path::PathBuf, Vec<u8>), SecretsError> {
        let path = self.place.sealed(name);
        match std::fs::read(&path) {
            Ok(sealed) => Ok((path, sealed)),
            Err(source) => Err(SecretsError::File { action: "read", path, source }),
        }
    }

    fn write_ring(&self, masters: &[&SecretKey]) -> Result<(), SecretsError> {
        self.disk.write(&self.place.ring(), &ring_file::seal(&self.ring, &self.place.scope, masters)?)
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secrets({}, {:?})", self.place.scope, self.ring)
    }
}

/// What binds a secret to its store and name.
pub(super) fn context(place: &Place, name: &str) -> Vec<u8> {
    format!("secret {name} of {}", place.scope).into_bytes()
}

/// Makes the file of a master key where it is named and missing; gives whether it was.
fn make_master(source: &MasterSource, data: &Path) -> Result<bool, SecretsError> {
    let Some(path) = source.file(data).filter(|path| !path.exists()) else { return Ok(false) };
    let digits = Zeroizing::new(hex::encode(random_key()?.as_bytes()));
    write_private_file(&path, digits.as_bytes())?;
    Ok(true)
}

pub(super) fn random_key() -> Result<SecretKey, SecretsError> {
    let bytes: Zeroizing<[u8; KEY_BYTES]> = Zeroizing::new(random()?);
    Ok(SecretKey::from_bytes(*bytes))
}

pub(super) fn random<const N: usize>() -> Result<[u8; N], SecretsError> {
    let mut bytes = [0; N];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| SecretsError::Random)?;
    Ok(bytes)
}
