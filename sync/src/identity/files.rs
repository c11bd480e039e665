//! Files that only their owner may read.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use super::IdentityError;

/// Writes a file readable by its owner only: to a temporary name, to disk, then renamed, so that it is whole or absent.
pub fn write_private_file(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let refuse = |source| IdentityError::File { path: path.display().to_string(), source };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    // What a crash or somebody else left there might be readable by all, or be a link.
    match std::fs::remove_file(partial) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(refuse(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial).map_err(refuse)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(refuse)?;
    std::fs::rename(partial, path).map_err(refuse)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(refuse)
}

/// Makes a directory (and those above it) that only its owner may enter.
pub fn create_private_dir(path: &Path) -> Result<(), IdentityError> {
    let refuse = |source| IdentityError::File { path: path.display().to_string(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_private_file_is_whole_and_readable_by_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        write_private_file(&path, b"first").unwrap();
        write_private_file(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(write_private_file(&dir.path().join("missing/key.pem"), b"").is_err());
    }

    #[test]
    fn what_was_left_under_the_temporary_name_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (path, left) = (dir.path().join("key.pem"), dir.path().join("key.pem.partial"));
        std::fs::write(&left, b"left").unwrap();
        std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o644)).unwrap();
        write_private_file(&path, b"key").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let elsewhere = dir.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, &left).unwrap();
        write_private_file(&path, b"key").unwrap();
        assert!(!elsewhere.exists() && !left.exists());
    }
}
