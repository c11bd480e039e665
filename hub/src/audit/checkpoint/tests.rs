use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jikai_schema::time::TimeMs;

use super::journal::{export, line};
use super::{AuditKey, CheckpointError, Journal, SignedCheckpoint, check, read_file, read_public_key};
use crate::audit::tests::{intruder, recompute_all, small_hub};
use crate::audit::{Range, verify};
use crate::province::NOW_MS;

const DAY_MS: i64 = 86_400_000;

fn make(data: &Path, day: i64) -> Result<SignedCheckpoint, CheckpointError> {
    Journal::new(data).make("test", TimeMs::from_ms(NOW_MS + day * DAY_MS))
}

#[test]
fn a_database_rewritten_whole_passes_its_own_hashes_and_not_the_exported_checkpoints() {
    let data = small_hub();
    let file = data.path().join("exported.jsonl");
    make(data.path(), 0).unwrap();
    assert_eq!(export(data.path(), &file).unwrap(), 1);
    let key = AuditKey::load(data.path()).unwrap().unwrap().public();
    let signed = check(&read_file(&file).unwrap(), &key).unwrap();
    let whole = verify(data.path(), &Range::default(), &signed).unwrap();
    assert_eq!((whole.breaks().count(), whole.signed()), (0, 6));
    let store = intruder(data.path());
    store
        .execute_batch("UPDATE hub_log SET bytes = CAST(replace(bytes, 'division', 'divosion') AS BLOB) WHERE seq = 2")
        .unwrap();
    recompute_all(&store);
    assert_eq!(verify(data.path(), &Range::default(), &Default::default()).unwrap().breaks().count(), 0);
    let rewritten = verify(data.path(), &Range::default(), &signed).unwrap();
    assert!(rewritten.breaks().any(|found| found.to_string().contains("checkpoint 1 signed")));
    // Nor is the rewritten state signed.
    assert!(matches!(make(data.path(), 1), Err(CheckpointError::Rewritten { seq: _, number: 1, .. })));
}

#[test]
fn checkpoints_hold_together_and_one_altered_removed_swapped_or_foreign_is_refused() {
    let data = small_hub();
    for day in [0, 1, 40] {
        make(data.path(), day).unwrap();
    }
    let all = Journal::new(data.path()).read().unwrap();
    let key = AuditKey::load(data.path()).unwrap().unwrap();
    check(&all, &key.public()).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<SignedCheckpoint>)| {
        let mut changed = all.clone();
        change(&mut changed);
        check(&changed, &key.public()).unwrap_err().to_string()
    };
    assert!(refused(&|all| all[1].checkpoint.heads[0].events += 1).contains("checkpoint 2 was altered"));
    assert!(refused(&|all| all[1].signature.replace_range(..1, "x")).contains("checkpoint 2 was altered"));
    assert!(refused(&|all| drop(all.remove(0))).contains("checkpoint 1 is missing"));
    assert!(refused(&|all| drop(all.remove(1))).contains("checkpoint 2 is missing"));
    assert!(refused(&|all| all.swap(0, 1)).contains("checkpoint 1 is missing"));
    let again = |all: &mut Vec<SignedCheckpoint>| {
        let mut other = all[0].checkpoint.clone();
        other.at_ms += 1;
        all[0] = key.sign(other);
    };
    assert!(refused(&again).contains("checkpoint 2 does not follow"));
    let other = tempfile::tempdir().unwrap();
    let stranger = AuditKey::load_or_make(other.path()).unwrap();
    assert!(matches!(check(&all, &stranger.public()), Err(CheckpointError::OtherKey { number: 1, .. })));
    for (at, _) in line(&all[0]).char_indices().filter(|(at, _)| at % 3 == 0) {
        let mut bytes = line(&all[0]).into_bytes();
        bytes[at] ^= 1;
        let read: Result<SignedCheckpoint, _> = serde_json::from_slice(&bytes);
        assert!(read.is_err() || check(&[read.unwrap()], &key.public()).is_err(), "byte {at}");
    }
}

#[test]
fn one_is_made_a_business_day_and_kept_by_the_month() {
    let data = small_hub();
    let journal = Journal::new(data.path());
    let due = |at_ms| journal.make_if_due("test", TimeMs::from_ms(at_ms)).unwrap().map(|made| made.checkpoint.day);
    assert_eq!(due(NOW_MS).as_deref(), Some("2026-11-23"));
    assert_eq!(due(NOW_MS + 60_000), None);
    assert_eq!(due(NOW_MS + 14 * 3_600_000).as_deref(), Some("2026-11-24"), "the day turns in Shanghai");
    assert_eq!(due(NOW_MS + 8 * DAY_MS).as_deref(), Some("2026-12-01"));
    let files = ["2026-11.jsonl", "2026-12.jsonl"].map(|name| data.path().join("checkpoints").join(name));
    assert_eq!(files.map(|file| read_file(&file).unwrap().len()), [2, 1]);
}

#[test]
fn the_key_is_private_is_made_once_and_is_not_made_anew_over_signed_checkpoints() {
    let data = small_hub();
    make(data.path(), 0).unwrap();
    let path = AuditKey::path(data.path());
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let key = AuditKey::load_or_make(data.path()).unwrap();
    assert_eq!(AuditKey::load_or_make(data.path()).unwrap().public(), key.public());
    assert_eq!(read_public_key(&key.public_hex()).unwrap(), key.public());
    let file = data.path().join("audit.pub");
    std::fs::write(&file, format!("{}\n", key.public_hex())).unwrap();
    assert_eq!(read_public_key(&file.display().to_string()).unwrap(), key.public());
    for bad in ["", "12", "/nowhere/key", &"zz".repeat(32)] {
        assert!(matches!(read_public_key(bad), Err(CheckpointError::PublicKey(_))), "{bad}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(make(data.path(), 1), Err(CheckpointError::KeyLost(_))));
    std::fs::write(&path, "junk").unwrap();
    assert!(matches!(make(data.path(), 1), Err(CheckpointError::SecretKey(_))));
}
