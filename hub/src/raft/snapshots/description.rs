//! Descriptions and checksums of snapshots.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{COPY, DESCRIPTION, Kept, rest_after};
use crate::raft::state::StateError;
use crate::raft::types::{LogId, SnapshotMeta};

/// Longest description. Bytes; a membership of a few machines is below 1 KiB.
const DESCRIPTION_BYTES_MAX: u64 = 64 * 1024;

/// Contents of a description.
#[derive(Serialize, Deserialize)]
enum Description {
    V1 { meta: SnapshotMeta, length_bytes: u64 },
}

/// Name of a snapshot: its place and the checksum of its file.
pub(super) fn snapshot_id(last: Option<LogId>, sum: &str) -> String {
    match last {
        Some(LogId { leader_id, index }) => format!("{}-{}-{index}-{sum}", leader_id.term, leader_id.node_id),
        None => format!("empty-{sum}"),
    }
}

/// SHA-256 of the rest of a file, in hexadecimal digits, at once: somebody waits for it.
pub(super) fn sha256(file: &mut fs::File) -> io::Result<String> {
    hashed(file, |_| {})
}

/// The same, beside the work: it rests behind each piece, as a copy does. A core that hashes a whole state at once is missing elsewhere.
pub(super) fn sha256_gently(file: &mut fs::File) -> io::Result<String> {
    hashed(file, |began| thread::sleep(rest_after(began)))
}

fn hashed(file: &mut fs::File, behind_piece: impl Fn(Instant)) -> io::Result<String> {
    let (mut hash, mut piece) = (Sha256::new(), vec![0; 1024 * 1024]);
    loop {
        let began = Instant::now();
        let read_bytes = file.read(&mut piece)?;
        if read_bytes == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&piece[..read_bytes]);
        behind_piece(began);
    }
}

pub(super) fn path_of(kept: &Kept) -> PathBuf {
    kept.path.with_extension(DESCRIPTION)
}

/// Writes the description: complete under a passing name, then renamed.
pub(super) fn write(kept: &Kept, passing: &Path) -> Result<(), StateError> {
    let description = Description::V1 { meta: kept.meta.clone(), length_bytes: kept.length_bytes };
    let mut file = fs::File::create(passing)?;
    file.write_all(&postcard::to_stdvec(&description)?)?;
    file.sync_all()?;
    Ok(fs::rename(passing, path_of(kept))?)
}

pub(super) fn read(path: &Path) -> Result<Kept, StateError> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(DESCRIPTION_BYTES_MAX).read_to_end(&mut bytes)?;
    let Description::V1 { meta, length_bytes } = postcard::from_bytes(&bytes)?;
    Ok(Kept { meta, path: path.with_extension(COPY), length_bytes })
}

/// Compares its file, newly opened, with the description; length first, that is cheap.
pub(super) fn verify(kept: &Kept, file: &mut fs::File) -> Result<(), StateError> {
    let length_bytes = file.metadata()?.len();
    if length_bytes != kept.length_bytes {
        let found = format!("{length_bytes} bytes");
        return Err(StateError::Checksum { found, expected: format!("{} bytes", kept.length_bytes) });
    }
    let found = snapshot_id(kept.meta.last_log_id, &sha256(file)?);
    if found != kept.meta.snapshot_id {
        return Err(StateError::Checksum { found, expected: kept.meta.snapshot_id.clone() });
    }
    Ok(())
}
