//! Secrets of a store at rest: a master key from outside, a ring of keys that it opens, and files under the ring.
//!
//! ```text
//! master key   file, environment or systemd credential: never beside what it protects, if the operator so chooses
//!   └ secrets/keys.sealed     the ring: random keys by version; the newest encrypts
//!       ├ secrets/NAME.sealed   private keys: one file each
//!       └ rows of the database  batch keys, second factors: their owners encrypt them under [`Secrets::ring`]
//! ```
//!
//! Changing the master key writes the ring anew and nothing else; rotating adds a version to the ring and writes the files
//! anew. Every step leaves a store that opens: a file is whole or as before, and the ring holds a key before anything lies
//! under it.

mod disk;
mod master;
mod migration;
mod place;
mod ring_file;
mod settings;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use jikai_schema::crypto::{CipherError, RingError};

use crate::identity::IdentityError;

pub use master::{MasterError, MasterSource};
pub use place::{Place, PlainFile};
pub use store::Secrets;

/// Secrets that cannot be read, kept or changed.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The master key cannot be had.
    #[error(transparent)]
    Master(#[from] MasterError),
    /// A file could not be read or removed.
    #[error("{action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// A private file could not be written, or holds no key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There are no secrets yet.
    #[error("{0} does not exist: run `init` first")]
    NotMade(PathBuf),
    /// There are secrets already.
    #[error("{0} exists: keys are never made anew over others")]
    Made(PathBuf),
    /// The ring is gone, what lies under it is not.
    #[error("{0} is missing, but secrets lie under its keys: restore it from the backup of this machine")]
    RingLost(PathBuf),
    /// The ring opens under another master key.
    #[error(
        "{path} does not open under the master key from {master}: it is another key, or the file of another store. \
         Restore both from one backup"
    )]
    OtherMaster {
        /// The ring.
        path: PathBuf,
        /// Where the key came from.
        master: String,
    },
    /// The file of the ring is no such file.
    #[error("{0} is damaged: restore it from the backup of this machine")]
    Damaged(PathBuf),
    /// The ring cannot grow.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A secret does not open.
    #[error("{path}: {error}; restore it from the backup of this machine")]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: CipherError,
    },
    /// A secret is missing.
    #[error("{0} is missing: restore it from the backup of this machine")]
    Missing(PathBuf),
    /// A running process, or another command, works with these secrets.
    #[error("{0} is in use: stop the running process (or wait for the other command), then ask again")]
    Busy(PathBuf),
    /// The same secret twice, and not equal.
    #[error("{plain} and {sealed} hold different secrets: take the wrong one away, then start again")]
    Differ {
        /// What an earlier build wrote in the clear.
        plain: PathBuf,
        /// What this build wrote.
        sealed: PathBuf,
    },
    /// What was written did not come back.
    #[error("{0} did not come back as it was written: nothing was removed; check the disk")]
    NotReadBack(PathBuf),
    /// The new master key is the one in force.
    #[error("the master key from {0} is in force already: name another one")]
    SameMaster(String),
    /// The settings cannot be changed.
    #[error("{0} could not be changed: it is not the text of settings")]
    Settings(PathBuf),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}
