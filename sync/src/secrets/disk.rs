//! What changes the disk. A test lets it fail between any two steps.

use std::fs::File;
use std::path::Path;

use super::SecretsError;
use crate::identity::write_private_file;

/// Each call is one step: done and on disk, or not begun.
pub(super) trait Disk: Send + Sync {
    /// Writes a file that only its owner may read.
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), SecretsError>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> Result<(), SecretsError>;
}

/// The disk of the machine.
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), SecretsError> {
        Ok(write_private_file(path, bytes)?)
    }

    fn remove(&self, path: &Path) -> Result<(), SecretsError> {
        let refuse = |source| SecretsError::File { action: "remove", path: path.to_owned(), source };
        std::fs::remove_file(path).map_err(refuse)?;
        let parent = path.parent().unwrap_or(Path::new("/"));
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(refuse)
    }
}
