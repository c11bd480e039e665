use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jikai_schema::time::TimeMs;

use super::journal::{export, line};
use super::{AuditKey, CheckpointError, Journal, PublicKeys, SignedCheckpoint, check, read_file};
use crate::audit::tests::{intruder, recompute_all, small_hub};
use crate::audit::{Range, verify};
use crate::province::{NOW_MS, secrets_in};

const DAY_MS: i64 = 86_400_000;

fn make(data: &Path, day: i64) -> Result<SignedCheckpoint, CheckpointError> {
    Journal::new(data).make(&secrets_in(data), "test", TimeMs::from_ms(NOW_MS + day * DAY_MS))
}

#[test]
fn a_database_rewritten_whole_passes_its_own_hashes_and_not_the_exported_checkpoints() {
    let data = small_hub();
    let file = data.path().join("exported.jsonl");
    make(data.path(), 0).unwrap();
    assert_eq!(export(data.path(), &file).unwrap(), 1);
    let keys = PublicKeys::load(data.path()).unwrap();
    let signed = check(&read_file(&file).unwrap(), &keys).unwrap();
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
    let key = AuditKey::load(&secrets_in(data.path())).unwrap().unwrap();
    let keys = PublicKeys::from(key.public());
    check(&all, &keys).unwrap();
    let refused = |change: &dyn Fn(&mut Vec<SignedCheckpoint>)| {
        let mut changed = all.clone();
        change(&mut changed);
        check(&changed, &keys).unwrap_err().to_string()
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
    let stranger = AuditKey::load_or_make(&secrets_in(other.path())).unwrap();
    assert!(matches!(check(&all, &stranger.public().into()), Err(CheckpointError::OtherKey { number: 1, .. })));
    for (at, _) in line(&all[0]).char_indices().filter(|(at, _)| at % 3 == 0) {
        let mut bytes = line(&all[0]).into_bytes();
        bytes[at] ^= 1;
        let read: Result<SignedCheckpoint, _> = serde_json::from_slice(&bytes);
        assert!(read.is_err() || check(&[read.unwrap()], &keys).is_err(), "byte {at}");
    }
}

#[test]
fn one_is_made_a_business_day_and_kept_by_the_month() {
    let data = small_hub();
    let journal = Journal::new(data.path());
    let secrets = secrets_in(data.path());
    let due =
        |at_ms| journal.make_if_due(&secrets, "test", TimeMs::from_ms(at_ms)).unwrap().map(|made| made.checkpoint.day);
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
    let (path, secrets) = (AuditKey::path(data.path()), secrets_in(data.path()));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let key = AuditKey::load_or_make(&secrets).unwrap();
    assert_eq!(AuditKey::load_or_make(&secrets).unwrap().public(), key.public());
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(make(data.path(), 1), Err(CheckpointError::KeyLost(_))));
    secrets.write("audit.key", b"junk").unwrap();
    assert!(matches!(make(data.path(), 1), Err(CheckpointError::SecretKey)));
    std::fs::write(&path, "junk").unwrap();
    assert!(matches!(make(data.path(), 1), Err(CheckpointError::Secrets(_))));
}

#[test]
fn public_keys_are_read_as_they_are_printed() {
    let data = tempfile::tempdir().unwrap();
    let secrets = secrets_in(data.path());
    let (first, second) = (AuditKey::load_or_make(&secrets).unwrap(), AuditKey::renew(data.path(), &secrets).unwrap());
    assert_eq!(PublicKeys::read(&first.public_hex()).unwrap(), first.public().into());
    let both = PublicKeys::load(data.path()).unwrap();
    assert_eq!(both.to_string(), format!("{}\n{}\n", first.public_hex(), second.public_hex()));
    let file = data.path().join("printed");
    std::fs::write(&file, format!("\n{both}\n")).unwrap();
    assert_eq!(PublicKeys::read(&file.display().to_string()).unwrap(), both);
    std::fs::write(&file, "\n").unwrap();
    let empty = file.display().to_string();
    for bad in ["", "12", "/nowhere/key", &"zz".repeat(32), &empty] {
        assert!(matches!(PublicKeys::read(bad), Err(CheckpointError::PublicKey(_))), "{bad}");
    }
}

#[test]
fn a_new_key_signs_from_then_on_and_what_the_old_one_signed_stays_good() {
    let data = small_hub();
    let secrets = secrets_in(data.path());
    make(data.path(), 0).unwrap();
    let first = AuditKey::load(&secrets).unwrap().unwrap();
    let second = AuditKey::renew(data.path(), &secrets).unwrap();
    make(data.path(), 1).unwrap();
    make(data.path(), 2).unwrap();
    let all = Journal::new(data.path()).read().unwrap();
    let keys: Vec<_> = all.iter().map(|one| one.checkpoint.key.clone()).collect();
    assert_eq!(keys, [first.public_hex(), second.public_hex(), second.public_hex()]);
    let listed = PublicKeys::load(data.path()).unwrap();
    let signed = check(&all, &listed).unwrap();
    assert_eq!(verify(data.path(), &Range::default(), &signed).unwrap().breaks().count(), 0);
    assert_eq!(export(data.path(), &data.path().join("exported")).unwrap(), 3);
    // One key alone does not do, whichever; nor may the old one sign again.
    assert!(matches!(check(&all, &first.public().into()), Err(CheckpointError::OtherKey { number: 2, .. })));
    assert!(matches!(check(&all, &second.public().into()), Err(CheckpointError::OtherKey { number: 1, .. })));
    let mut stolen = all.clone();
    let mut again = stolen[2].checkpoint.clone();
    again.key = first.public_hex();
    stolen[2] = first.sign(again);
    assert!(matches!(check(&stolen, &listed), Err(CheckpointError::OldKey(3))));
    // Cut off between the list and the key: the listed one was never used, the old one goes on.
    let mut cut = PublicKeys::load(data.path()).unwrap();
    cut.add(data.path(), ed25519_dalek::SigningKey::from_bytes(&[9; 32]).verifying_key()).unwrap();
    assert_eq!(make(data.path(), 3).unwrap().checkpoint.key, second.public_hex());
    assert_ne!(AuditKey::renew(data.path(), &secrets).unwrap().public(), second.public());
    make(data.path(), 4).unwrap();
}
