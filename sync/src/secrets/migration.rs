//! From files in the clear to sealed ones. Nothing is removed before what takes its place was read back from the disk, so
//! it may be cut off anywhere and is gone through again.

use jikai_schema::crypto::{KEY_BYTES, KeyRing, SecretKey, equal};
use zeroize::Zeroizing;

use super::disk::Disk;
use super::ring_file::{self, RingFile};
use super::store::{context, random, random_key};
use super::{MasterSource, Place, SecretsError};

/// File in which an earlier build kept the one key that encrypted the rows of the database.
const FIRST_KEY_FILE: &str = "master.key";

/// Seals what an earlier build left in the clear; nothing to do in a store of this build.
pub(super) fn migrate(place: &Place, disk: &dyn Disk) -> Result<(), SecretsError> {
    if !place.has_plain() {
        return Ok(());
    }
    let master = place.master.read(&place.data)?;
    let ring = match RingFile::read(&place.folder)? {
        Some(file) => open(place, &file, &master)?,
        None => make_ring(place, disk, &master)?,
    };
    remove_first_key(place, disk, &ring)?;
    for file in place.plain {
        seal_file(place, disk, &ring, file.plain, file.name)?;
    }
    Ok(())
}

fn open(place: &Place, file: &RingFile, master: &SecretKey) -> Result<KeyRing, SecretsError> {
    let other = || SecretsError::OtherMaster { path: place.ring(), master: place.master.to_string() };
    file.open(&place.scope, master).ok_or_else(other)?
}

/// Version 1 is the key of the earlier build, under which the rows lie; version 2 is new and encrypts from now on.
fn make_ring(place: &Place, disk: &dyn Disk, master: &SecretKey) -> Result<KeyRing, SecretsError> {
    if !place.names()?.is_empty() {
        return Err(SecretsError::RingLost(place.ring()));
    }
    let mut ring = KeyRing::of(first_key(place)?);
    ring.add(random_key()?)?;
    disk.write(&place.ring(), &ring_file::seal(&ring, &place.scope, &[master])?)?;
    let file = RingFile::read(&place.folder)?.ok_or_else(|| SecretsError::NotReadBack(place.ring()))?;
    let back = open(place, &file, master)?;
    if *back.to_bytes() == *ring.to_bytes() { Ok(back) } else { Err(SecretsError::NotReadBack(place.ring())) }
}

fn first_key(place: &Place) -> Result<SecretKey, SecretsError> {
    Ok(MasterSource::File(place.folder.join(FIRST_KEY_FILE)).read(&place.data)?)
}

/// The key of the earlier build stays in its file only where that is the master key's.
fn remove_first_key(place: &Place, disk: &dyn Disk, ring: &KeyRing) -> Result<(), SecretsError> {
    let path = place.folder.join(FIRST_KEY_FILE);
    let Ok(real) = path.canonicalize() else { return Ok(()) };
    let master = place.master.file(&place.data).and_then(|file| file.canonicalize().ok());
    if master.is_some_and(|master| master == real) {
        return Ok(());
    }
    let key = first_key(place)?;
    let is_in_ring = |key: &[u8; KEY_BYTES]| {
        ring.versions().filter_map(|version| ring.get(version)).any(|one| equal(one.as_bytes(), key))
    };
    if is_in_ring(key.as_bytes()) { disk.remove(&path) } else { Ok(()) }
}

fn seal_file(place: &Place, disk: &dyn Disk, ring: &KeyRing, plain_name: &str, name: &str) -> Result<(), SecretsError> {
    let (path, sealed_path) = (place.folder.join(plain_name), place.sealed(name));
    let read = |path: &std::path::Path| match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SecretsError::File { action: "read", path: path.to_owned(), source }),
    };
    let Some(plain) = read(&path)?.map(Zeroizing::new) else { return Ok(()) };
    let context = context(place, name);
    let is_plain = |sealed: &[u8]| ring.open(&context, sealed).is_ok_and(|opened| *opened == *plain);
    match read(&sealed_path)? {
        Some(sealed) if is_plain(&sealed) => {}
        Some(_) => return Err(SecretsError::Differ { plain: path, sealed: sealed_path }),
        None => {
            let suite = jikai_schema::crypto::Suite::configured();
            disk.write(&sealed_path, &ring.seal(suite, random()?, &context, &plain))?;
            if !read(&sealed_path)?.is_some_and(|sealed| is_plain(&sealed)) {
                return Err(SecretsError::NotReadBack(sealed_path));
            }
        }
    }
    disk.remove(&path)
}
