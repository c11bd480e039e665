use openraft::CommittedLeaderId;

use super::*;
use crate::raft::types::LogId;

struct Bytes(Applied, Vec<u8>);

impl View for Bytes {
    fn applied(&self) -> &Applied {
        &self.0
    }

    fn copy(self: Box<Self>, into: &Path) -> Result<(), StateError> {
        Ok(fs::write(into, self.1)?)
    }
}

fn view(index: u64, bytes: &[u8]) -> Box<dyn View> {
    let last = Some(LogId::new(CommittedLeaderId::new(1, 1), index));
    Box::new(Bytes(Applied { last, ..Applied::default() }, bytes.to_vec()))
}

fn names(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// Builds one and gives it as it is kept.
fn kept(snapshots: &Snapshots, index: u64, bytes: &[u8]) -> Arc<Kept> {
    let (meta, _) = snapshots.build(view(index, bytes)).unwrap();
    snapshots.current().filter(|kept| kept.meta == meta).unwrap()
}

#[test]
fn the_newest_snapshot_is_kept_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(folder.path()).unwrap();
    kept(&snapshots, 1, b"one");
    let second = kept(&snapshots, 2, b"two");
    assert_eq!(names(folder.path()), 2);
    assert_eq!(Snapshots::open(folder.path()).unwrap().current(), Some(second.clone()));
    assert_eq!(fs::read(&second.path).unwrap(), b"two");
}

#[test]
fn a_copy_of_the_own_state_is_given_as_it_is_where_a_newer_one_was_received_and_does_not_replace_that() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sent = kept(&Snapshots::open(from.path()).unwrap(), 3, b"three");
    let snapshots = Snapshots::open(to.path()).unwrap();
    let received = to.path().join("received.tmp");
    fs::copy(&sent.path, &received).unwrap();
    let newer = snapshots.accept(&received, sent.meta.clone()).unwrap();
    let (meta, file) = snapshots.build(view(2, b"two")).unwrap();
    assert_eq!(meta.last_log_id.map(|last| last.index), Some(2));
    assert_eq!(io::read_to_string(file).unwrap(), "two");
    assert_eq!((snapshots.current(), names(to.path())), (Some(newer), 2));
}

#[test]
fn an_opened_snapshot_stays_readable_when_a_newer_one_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(folder.path()).unwrap();
    assert!(snapshots.open_verified().unwrap().is_none());
    let first = kept(&snapshots, 1, b"one");
    let (opened, file) = snapshots.open_verified().unwrap().unwrap();
    let second = kept(&snapshots, 2, b"two");
    assert!(!first.path.exists());
    assert_eq!((opened, io::read_to_string(file).unwrap().as_str()), (first, "one"));
    assert_eq!(snapshots.open_current().unwrap().unwrap().0, second);
}

#[test]
fn a_copy_is_checked_whenever_it_is_opened_but_for_the_first_time_after_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(folder.path()).unwrap();
    let made = kept(&snapshots, 1, b"one");
    assert!(snapshots.open_verified().unwrap().is_some());
    fs::write(&made.path, b"0ne").unwrap();
    assert!(matches!(snapshots.open_verified(), Err(StateError::Checksum { .. })));
    let again = kept(&Snapshots::open(folder.path()).unwrap(), 2, b"two");
    let started = Snapshots::open(folder.path()).unwrap();
    assert_eq!(started.current(), Some(again.clone()));
    fs::write(&again.path, b"tw0").unwrap();
    assert!(matches!(started.open_verified(), Err(StateError::Checksum { .. })), "made before the start");
}

#[test]
fn a_received_file_is_kept_only_with_the_checksum_of_its_id() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let meta = kept(&Snapshots::open(from.path()).unwrap(), 3, b"three").meta.clone();
    let snapshots = Snapshots::open(to.path()).unwrap();
    let received = to.path().join("received.tmp");
    fs::write(&received, b"thre3").unwrap();
    assert!(matches!(snapshots.accept(&received, meta.clone()), Err(StateError::Checksum { .. })));
    assert_eq!((snapshots.current(), names(to.path())), (None, 0));
    fs::write(&received, b"three").unwrap();
    assert_eq!(snapshots.accept(&received, meta.clone()).unwrap().meta, meta);
    let elsewhere = SnapshotMeta { snapshot_id: "../../elsewhere".to_owned(), ..meta };
    fs::write(&received, b"three").unwrap();
    assert!(matches!(snapshots.accept(&received, elsewhere), Err(StateError::Checksum { .. })));
}

#[test]
fn what_a_crash_left_or_a_disk_changed_is_removed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let kept = kept(&Snapshots::open(folder.path()).unwrap(), 1, b"one");
    fs::write(folder.path().join("building-0.tmp"), b"half").unwrap();
    fs::write(folder.path().join("1-1-9-without-description.db"), b"nine").unwrap();
    fs::write(folder.path().join("1-1-9-broken.meta"), b"?").unwrap();
    assert_eq!(Snapshots::open(folder.path()).unwrap().current(), Some(kept.clone()));
    assert_eq!(names(folder.path()), 2);
    fs::write(&kept.path, b"0ne").unwrap();
    assert_eq!(Snapshots::open(folder.path()).unwrap().current(), None);
    assert_eq!(names(folder.path()), 0);
}
