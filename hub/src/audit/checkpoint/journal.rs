//! The files of the checkpoints: `checkpoints/YYYY-MM.jsonl` in the data directory.

use std::fs::File;
use std::path::{Path, PathBuf};

use jikai_schema::chain::ChainHash;
use jikai_schema::time::TimeMs;
use jikai_sync::identity::{create_private_dir, write_private_file};
use jikai_sync::secrets::Secrets;
use rusqlite::Connection;

use super::{AuditKey, Checkpoint, CheckpointError, PublicKeys, SignedCheckpoint, check, heads};
use crate::audit::AuditError;
use crate::machine::applied_position;
use crate::store::open_reader;

/// Folder of the checkpoints inside the data directory.
const FOLDER: &str = "checkpoints";
const SUFFIX: &str = "jsonl";

/// The checkpoints of one data directory.
#[derive(Debug, Clone)]
pub struct Journal {
    data: PathBuf,
}

impl Journal {
    /// Those in `data`.
    pub fn new(data: &Path) -> Self {
        Journal { data: data.to_owned() }
    }

    /// All of them, by number; what they say is not checked yet.
    pub fn read(&self) -> Result<Vec<SignedCheckpoint>, CheckpointError> {
        let folder = self.data.join(FOLDER);
        let refuse = |source| CheckpointError::File { action: "read", path: folder.clone(), source };
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(refuse)?,
        };
        let mut all = Vec::new();
        for entry in entries {
            let path = entry.map_err(refuse)?.path();
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                all.extend(read_file(&path)?);
            }
        }
        all.sort_by_key(|one| one.checkpoint.number);
        Ok(all)
    }

    /// Makes one of what the state holds now, unless what the newest one signed is gone. Earlier ones must hold.
    pub fn make(&self, secrets: &Secrets, environment: &str, now: TimeMs) -> Result<SignedCheckpoint, CheckpointError> {
        let _only_one = self.lock()?;
        let earlier = self.read()?;
        if !earlier.is_empty() && AuditKey::load(secrets)?.is_none() {
            return Err(CheckpointError::KeyLost(AuditKey::path(&self.data)));
        }
        let (key, mut listed) = (AuditKey::load_or_make(secrets)?, PublicKeys::load(&self.data)?);
        // A build before the list had this one key.
        listed.add(&self.data, key.public())?;
        check(&earlier, &listed)?;
        let last = earlier.last();
        let mut store = open_reader(&self.data).map_err(AuditError::from)?;
        let transaction = store.transaction().map_err(AuditError::from)?;
        let store: &Connection = &transaction;
        if let Some(last) = last {
            heads::still_there(store, last)?;
        }
        let signed = key.sign(Checkpoint {
            number: last.map_or(0, |last| last.checkpoint.number) + 1,
            environment: environment.to_string(),
            at_ms: now.ms(),
            day: now.business_day().to_string(),
            applied: applied_position(store).map_err(AuditError::from)?.get(),
            previous: last.map_or(ChainHash::GENESIS, SignedCheckpoint::hash).to_string(),
            key: key.public_hex(),
            heads: heads::stored(store)?,
        });
        self.append(&signed)?;
        Ok(signed)
    }

    /// As [`Journal::make`], when the newest one is of another business day.
    pub fn make_if_due(
        &self,
        secrets: &Secrets,
        environment: &str,
        now: TimeMs,
    ) -> Result<Option<SignedCheckpoint>, CheckpointError> {
        let today = now.business_day().to_string();
        match self.read()?.last() {
            Some(last) if last.checkpoint.day == today => Ok(None),
            _ => self.make(secrets, environment, now).map(Some),
        }
    }

    /// Writes the month's file anew with the line: it is whole or as before.
    fn append(&self, signed: &SignedCheckpoint) -> Result<(), CheckpointError> {
        let month = signed.checkpoint.day.get(..7).unwrap_or(&signed.checkpoint.day);
        let path = self.data.join(FOLDER).join(format!("{month}.{SUFFIX}"));
        let mut bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(CheckpointError::File { action: "read", path, source }),
        };
        bytes.extend_from_slice(line(signed).as_bytes());
        Ok(write_private_file(&path, &bytes)?)
    }

    /// One maker at a time, of a checkpoint or of a key: the running hub and a command may meet.
    pub fn lock(&self) -> Result<File, CheckpointError> {
        let folder = self.data.join(FOLDER);
        create_private_dir(&folder)?;
        let path = folder.join("lock");
        let refuse = |source| CheckpointError::File { action: "lock", path: path.clone(), source };
        let file = File::create(&path).map_err(refuse)?;
        file.lock().map_err(refuse)?;
        Ok(file)
    }
}

/// A checkpoint as its file holds it.
pub(super) fn line(signed: &SignedCheckpoint) -> String {
    let mut line = serde_json::to_string(signed).expect("a checkpoint is plain data");
    line.push('\n');
    line
}

/// Reads the checkpoints of a file, kept or exported.
pub fn read_file(path: &Path) -> Result<Vec<SignedCheckpoint>, CheckpointError> {
    let text = std::fs::read_to_string(path).map_err(|source| CheckpointError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    let read = |(at, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|error| CheckpointError::Line {
            path: path.to_owned(),
            line: at + 1,
            reason: error.to_string(),
        })
    };
    text.lines().enumerate().filter(|(_, line)| !line.is_empty()).map(read).collect()
}

/// Writes all checkpoints of a hub into a file, to be kept elsewhere; gives how many. They are checked first.
pub fn export(data: &Path, to: &Path) -> Result<u64, CheckpointError> {
    let all = Journal::new(data).read()?;
    if !all.is_empty() {
        let listed = PublicKeys::load(data)?;
        if listed.is_empty() {
            return Err(CheckpointError::KeyLost(PublicKeys::path(data)));
        }
        check(&all, &listed)?;
    }
    let text: String = all.iter().map(line).collect();
    std::fs::write(to, text).map_err(|source| CheckpointError::File {
        action: "write",
        path: to.to_owned(),
        source,
    })?;
    Ok(all.len() as u64)
}
