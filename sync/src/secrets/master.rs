//! Where the master key comes from.

use core::fmt;
use core::str::FromStr;
use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jikai_schema::crypto::{KEY_BYTES, SecretKey};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// Where the key lies unless the settings say otherwise.
pub(super) const DEFAULT_FILE: &str = "secrets/master.key";
/// Where systemd puts the credentials of a service.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Hex digits of a key.
const DIGITS: usize = 2 * KEY_BYTES;
/// A file of a key with blanks around it is not longer. Bytes.
const FILE_BYTES_MAX: u64 = 1_024;

/// Where the master key comes from: `file:PATH`, `env:NAME` or `credential:NAME`. It holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MasterSource {
    /// A file of 64 hex digits that only its owner may read; a relative path begins at the data directory.
    File(PathBuf),
    /// A variable of the process's environment, 64 hex digits, read once at the start.
    Environment(String),
    /// A credential that systemd gives to the service (`LoadCredential=`, `LoadCredentialEncrypted=`), 64 hex digits.
    Credential(String),
}

/// A master key that cannot be had. No message shows a part of a key.
#[derive(Debug, thiserror::Error)]
pub enum MasterError {
    /// The text names no source. It is not repeated: it might be a key.
    #[error("the source of the master key is file:PATH, env:NAME or credential:NAME")]
    Source,
    /// The file cannot be read.
    #[error("read the master key {path}: {source}. Restore it from the backup of this machine, or set master_key")]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A directory or a device.
    #[error("the master key {0} is not a regular file: name a file of 64 hex digits")]
    NotAFile(PathBuf),
    /// Others than its owner may read it.
    #[error(
        "others may read the master key {path} (mode {mode:o}): `chmod 600 {path}`, then `keys rewrap` to another key"
    )]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The variable is not set.
    #[error("the environment variable {0} is not set: give it the 64 hex digits of the master key, or set master_key")]
    NotSet(String),
    /// Not started by systemd with credentials.
    #[error(
        "there is no $CREDENTIALS_DIRECTORY: systemd sets it for a service with LoadCredential={0}:FILE; a command on the \
         same data needs it too (systemd-run -p LoadCredential={0}:FILE)"
    )]
    NoCredentials(String),
    /// Not the digits of a key.
    #[error("{0} must hold the master key as 64 hex digits (32 bytes)")]
    Digits(String),
}

impl MasterSource {
    /// Reads the key; a relative path begins at `data`.
    pub fn read(&self, data: &Path) -> Result<SecretKey, MasterError> {
        self.read_with(data, |name| std::env::var_os(name))
    }

    /// As [`MasterSource::read`], with another environment than the process's.
    pub(super) fn read_with(
        &self,
        data: &Path,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<SecretKey, MasterError> {
        let digits = match self {
            MasterSource::File(path) => {
                let path = data.join(path);
                refuse_open(&path)?;
                read_file(&path)?
            }
            MasterSource::Environment(name) => {
                let value = variable(name).ok_or_else(|| MasterError::NotSet(name.clone()))?;
                Zeroizing::new(value.into_encoded_bytes())
            }
            // Who may read it is systemd's business: an access list may show as permissions of a group.
            MasterSource::Credential(name) => {
                let folder = variable(CREDENTIALS).ok_or_else(|| MasterError::NoCredentials(name.clone()))?;
                read_file(&Path::new(&folder).join(name))?
            }
        };
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        hex::decode_to_slice(digits.trim_ascii(), bytes.as_mut()).map_err(|_| MasterError::Digits(self.to_string()))?;
        Ok(SecretKey::from_bytes(*bytes))
    }

    /// The file that holds the key, where it is one.
    pub fn file(&self, data: &Path) -> Option<PathBuf> {
        match self {
            MasterSource::File(path) => Some(data.join(path)),
            MasterSource::Environment(_) | MasterSource::Credential(_) => None,
        }
    }
}

fn refuse_open(path: &Path) -> Result<(), MasterError> {
    let refuse = |source| MasterError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(refuse)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 { Ok(()) } else { Err(MasterError::Open { path: path.to_owned(), mode }) }
}

fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, MasterError> {
    let refuse = |source| MasterError::File { path: path.to_owned(), source };
    let file = File::open(path).map_err(refuse)?;
    if !file.metadata().map_err(refuse)?.is_file() {
        return Err(MasterError::NotAFile(path.to_owned()));
    }
    // Room from the beginning: a vector that grows leaves what it held behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(FILE_BYTES_MAX as usize + 1));
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(refuse)?;
    Ok(bytes)
}

impl Default for MasterSource {
    fn default() -> Self {
        MasterSource::File(DEFAULT_FILE.into())
    }
}

impl fmt::Display for MasterSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MasterSource::File(path) => write!(f, "file:{}", path.display()),
            MasterSource::Environment(name) => write!(f, "env:{name}"),
            MasterSource::Credential(name) => write!(f, "credential:{name}"),
        }
    }
}

impl FromStr for MasterSource {
    type Err = MasterError;

    fn from_str(text: &str) -> Result<Self, MasterError> {
        let is_key = |name: &str| name.len() == DIGITS && name.bytes().all(|digit| digit.is_ascii_hexdigit());
        let is_name = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
            !name.is_empty() && name.bytes().all(plain) && !name.starts_with('.') && !is_key(name)
        };
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() && !path.chars().any(char::is_control) && !is_key(path) => {
                Ok(MasterSource::File(path.into()))
            }
            Some(("env", name)) if is_name(name) => Ok(MasterSource::Environment(name.into())),
            Some(("credential", name)) if is_name(name) => Ok(MasterSource::Credential(name.into())),
            _ => Err(MasterError::Source),
        }
    }
}

impl TryFrom<String> for MasterSource {
    type Error = MasterError;

    fn try_from(text: String) -> Result<Self, MasterError> {
        Zeroizing::new(text).parse()
    }
}

impl From<MasterSource> for String {
    fn from(source: MasterSource) -> Self {
        source.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::identity::write_private_file;

    const KEY: [u8; 32] = [0xab; 32];

    fn digits() -> String {
        hex::encode(KEY)
    }

    /// Reads a source in an environment of these variables.
    fn read(source: &str, data: &Path, variables: &[(&str, &str)]) -> Result<SecretKey, String> {
        let variables: BTreeMap<_, _> = variables.iter().copied().collect();
        let variable = |name: &str| variables.get(name).map(OsString::from);
        let source: MasterSource = source.parse().unwrap();
        source.read_with(data, variable).map_err(|error| error.to_string())
    }

    fn is_key(read: Result<SecretKey, String>) {
        assert_eq!(read.unwrap().as_bytes(), &KEY);
    }

    #[test]
    fn a_source_is_written_as_it_is_read() {
        for text in
            ["file:secrets/master.key", "file:/etc/jikai/key", "env:JIKAI_MASTER_KEY", "credential:jikai-hub.key"]
        {
            assert_eq!(text.parse::<MasterSource>().unwrap().to_string(), text);
        }
        assert_eq!(MasterSource::default().to_string(), "file:secrets/master.key");
        for bad in
            ["", "secrets/master.key", "file:", "env:", "env:A B", "env:A=B", "credential:../x", "credential:.x", "x:y"]
        {
            assert!(bad.parse::<MasterSource>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_key_in_place_of_its_source_is_refused_and_not_repeated() {
        for text in [digits(), format!("env:{}", digits()), format!("file:{}", digits())] {
            let error = text.parse::<MasterSource>().unwrap_err().to_string();
            assert!(error.contains("env:NAME") && !error.contains("abab"), "{error}");
        }
    }

    #[test]
    fn a_file_gives_the_key_only_to_its_owner() {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("key");
        let ask = || read("file:key", data.path(), &[]);
        assert!(ask().unwrap_err().contains("Restore it from the backup"));
        write_private_file(&path, format!("{}\n", digits()).as_bytes()).unwrap();
        is_key(ask());
        is_key(read(&format!("file:{}", path.display()), Path::new("/nowhere"), &[]));
        for mode in [0o640, 0o604, 0o620] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            assert!(ask().unwrap_err().contains(&format!("mode {mode:o}")), "{mode:o}");
        }
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(ask().unwrap_err().contains("not a regular file"));
    }

    #[test]
    fn only_64_hex_digits_are_a_key_and_no_message_shows_others() {
        let data = tempfile::tempdir().unwrap();
        let long = format!("{}00", digits());
        for bad in ["", "abab", &long, &"zz".repeat(32), &"ab".repeat(2_000)] {
            write_private_file(&data.path().join("key"), bad.as_bytes()).unwrap();
            for refused in [read("file:key", data.path(), &[]), read("env:KEY", data.path(), &[("KEY", bad)])] {
                let error = refused.unwrap_err();
                assert!(error.contains("64 hex digits") && !error.contains("abab"), "{error}");
            }
        }
    }

    #[test]
    fn a_variable_gives_the_key_if_it_is_set() {
        let data = Path::new("/nowhere");
        is_key(read("env:JIKAI_KEY", data, &[("JIKAI_KEY", &digits())]));
        assert!(read("env:JIKAI_KEY", data, &[("OTHER", &digits())]).unwrap_err().contains("JIKAI_KEY is not set"));
    }

    #[test]
    fn a_credential_is_read_where_systemd_puts_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hub"), digits()).unwrap();
        let place = folder.path().display().to_string();
        let data = Path::new("/nowhere");
        is_key(read("credential:hub", data, &[("CREDENTIALS_DIRECTORY", &place)]));
        let missing = read("credential:other", data, &[("CREDENTIALS_DIRECTORY", &place)]).unwrap_err();
        assert!(missing.contains("other"), "{missing}");
        let nowhere = read("credential:hub", data, &[]).unwrap_err();
        assert!(nowhere.contains("LoadCredential=hub"), "{nowhere}");
    }
}
