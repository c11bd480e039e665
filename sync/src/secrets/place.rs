//! Where the secrets of a store lie.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::ring_file::RING_FILE;
use super::{MasterSource, SecretsError};

/// Folder of the secrets inside the data directory.
const FOLDER: &str = "secrets";
/// End of the names of sealed files.
const SUFFIX: &str = ".sealed";

/// Held as long as it lives.
pub(super) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing alone would leave it to a child process that was forked in this moment. It cannot fail on an open file.
        let _ = self.0.unlock();
    }
}

/// A secret that an earlier build kept in the clear.
#[derive(Debug, Clone, Copy)]
pub struct PlainFile {
    /// Its file in the folder of the secrets.
    pub plain: &'static str,
    /// The name that the secret has now.
    pub name: &'static str,
}

/// Where the secrets of a store lie, whose they are, and from where the key comes that opens them.
#[derive(Debug, Clone)]
pub struct Place {
    pub(super) data: PathBuf,
    pub(super) folder: PathBuf,
    pub(super) scope: String,
    pub(super) master: MasterSource,
    pub(super) plain: &'static [PlainFile],
}

impl Place {
    /// The secrets under `data`. `scope` names the store in all it encrypts, so that no file of another is taken for its own;
    /// `plain` are those that an earlier build kept in the clear.
    pub fn new(data: &Path, scope: String, master: MasterSource, plain: &'static [PlainFile]) -> Self {
        Place { data: data.to_owned(), folder: data.join(FOLDER), scope, master, plain }
    }

    /// From where the master key comes.
    pub fn master(&self) -> &MasterSource {
        &self.master
    }

    /// Where the ring lies.
    pub(super) fn ring(&self) -> PathBuf {
        self.folder.join(RING_FILE)
    }

    /// Where a secret lies.
    pub(super) fn sealed(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}{SUFFIX}"))
    }

    /// Names of the secrets that lie here, in order; the ring is none of them.
    pub(super) fn names(&self) -> Result<Vec<String>, SecretsError> {
        let refuse = |source| SecretsError::File { action: "read", path: self.folder.clone(), source };
        let mut names = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(refuse)? {
            let name = entry.map_err(refuse)?.file_name();
            match name.to_str() {
                Some(RING_FILE) | None => {}
                Some(name) => names.extend(name.strip_suffix(SUFFIX).map(str::to_string)),
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether an earlier build left secrets in the clear.
    pub(super) fn has_plain(&self) -> bool {
        self.plain.iter().any(|file| self.folder.join(file.plain).exists())
    }

    /// Whoever changes secrets, or runs on them, is alone with them as long as the lock lives.
    pub(super) fn lock(&self) -> Result<Lock, SecretsError> {
        if !self.folder.is_dir() {
            return Err(SecretsError::NotMade(self.ring()));
        }
        let path = self.folder.join("lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(|source| SecretsError::File { action: "open", path, source })?;
        file.try_lock().map(|()| Lock(file)).map_err(|_| SecretsError::Busy(self.folder.clone()))
    }
}
