//! The file of the ring: its keys, encrypted under the master key.
//!
//! While the master key changes, the ring lies in it twice, under the old key and under the new one, so that the settings
//! can move from one to the other in a step of their own.

use std::path::{Path, PathBuf};

use jikai_schema::crypto::{KeyRing, SecretKey, Suite};

use super::SecretsError;
use super::store::random;

/// Name of the file in the folder of the secrets.
pub(super) const RING_FILE: &str = "keys.sealed";
/// First byte: the form of the rest, a 2-byte length before each sealed ring.
const FORMAT: u8 = 1;

/// The rings as they lie in the file.
pub(super) struct RingFile {
    path: PathBuf,
    sealed: Vec<Vec<u8>>,
}

impl RingFile {
    /// Reads the file of a folder; `None` where there is none.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, SecretsError> {
        let path = folder.join(RING_FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(SecretsError::File { action: "read", path, source }),
        };
        match split(&bytes) {
            Some(sealed) => Ok(Some(RingFile { path, sealed })),
            None => Err(SecretsError::Damaged(path)),
        }
    }

    /// The keys, if one of the rings opens under this master key for this store.
    pub(super) fn open(&self, scope: &str, master: &SecretKey) -> Option<Result<KeyRing, SecretsError>> {
        let (wrapping, context) = (wrapping(master), context(scope));
        let plain = self.sealed.iter().find_map(|sealed| wrapping.open(&context, sealed).ok())?;
        Some(KeyRing::from_bytes(&plain).map_err(|_| SecretsError::Damaged(self.path.clone())))
    }

    /// Whether a change of the master key was begun and not finished.
    pub(super) fn is_between_masters(&self) -> bool {
        self.sealed.len() > 1
    }

    /// Where it lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The bytes of a file that opens under any of these master keys.
pub(super) fn seal(ring: &KeyRing, scope: &str, masters: &[&SecretKey]) -> Result<Vec<u8>, SecretsError> {
    let mut bytes = vec![FORMAT];
    for master in masters {
        let sealed = wrapping(master).seal(Suite::configured(), random()?, &context(scope), &ring.to_bytes());
        let length = u16::try_from(sealed.len()).expect("63 keys and a tag have some 2,000 bytes");
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&sealed);
    }
    Ok(bytes)
}

/// The master key encrypts nothing itself: a store of an earlier build used it as the first key of the ring.
fn wrapping(master: &SecretKey) -> KeyRing {
    KeyRing::of(master.for_purpose(Suite::configured(), "key ring"))
}

fn context(scope: &str) -> Vec<u8> {
    format!("key ring of {scope}").into_bytes()
}

fn split(bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (form, mut rest) = bytes.split_first()?;
    let mut sealed = Vec::new();
    while !rest.is_empty() {
        let (length, more) = rest.split_first_chunk::<2>()?;
        let (one, more) = more.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        sealed.push(one.to_vec());
        rest = more;
    }
    (*form == FORMAT && !sealed.is_empty()).then_some(sealed)
}
