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

#[test]
fn the_newest_snapshot_is_kept_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(folder.path()).unwrap();
    snapshots.build(view(1, b"one")).unwrap();
    let second = snapshots.build(view(2, b"two")).unwrap();
    assert_eq!(snapshots.build(view(1, b"one")).unwrap(), second, "an older one does not replace it");
    assert_eq!(names(folder.path()), 2);
    assert_eq!(Snapshots::open(folder.path()).unwrap().current(), Some(second.clone()));
    assert_eq!(fs::read(&second.path).unwrap(), b"two");
}

#[test]
fn an_opened_snapshot_stays_readable_when_a_newer_one_takes_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let snapshots = Snapshots::open(folder.path()).unwrap();
    assert!(snapshots.open_verified().unwrap().is_none());
    let first = snapshots.build(view(1, b"one")).unwrap();
    let (opened, file) = snapshots.open_verified().unwrap().unwrap();
    let second = snapshots.build(view(2, b"two")).unwrap();
    assert!(!first.path.exists());
    assert_eq!((opened, io::read_to_string(file).unwrap().as_str()), (first, "one"));
    assert_eq!(snapshots.open_current().unwrap().unwrap().0, second);
    fs::write(&second.path, b"tw0").unwrap();
    assert!(matches!(snapshots.open_verified(), Err(StateError::Checksum { .. })));
}

#[test]
fn a_received_file_is_kept_only_with_the_checksum_of_its_id() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let meta = Snapshots::open(from.path()).unwrap().build(view(3, b"three")).unwrap().meta.clone();
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
    let kept = Snapshots::open(folder.path()).unwrap().build(view(1, b"one")).unwrap();
    fs::write(folder.path().join("building-0.tmp"), b"half").unwrap();
    fs::write(folder.path().join("1-1-9-without-description.db"), b"nine").unwrap();
    fs::write(folder.path().join("1-1-9-broken.meta"), b"?").unwrap();
    assert_eq!(Snapshots::open(folder.path()).unwrap().current(), Some(kept.clone()));
    assert_eq!(names(folder.path()), 2);
    fs::write(&kept.path, b"0ne").unwrap();
    assert_eq!(Snapshots::open(folder.path()).unwrap().current(), None);
    assert_eq!(names(folder.path()), 0);
}
