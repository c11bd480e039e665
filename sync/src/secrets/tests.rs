use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use jikai_schema::crypto::{KeyRing, KeyVersion, SecretKey, Suite};
use tempfile::TempDir;

use super::disk::{Disk, RealDisk};
use super::{MasterSource, Place, PlainFile, Secrets, SecretsError};
use crate::identity::{create_private_dir, write_private_file};

const PLAIN: &[PlainFile] =
    &[PlainFile { plain: "ca.key.pem", name: "ca.key" }, PlainFile { plain: "audit.key", name: "audit.key" }];
const SECRETS: [(&str, &str, &[u8]); 2] =
    [("ca.key", "ca.key.pem", b"the plain key of the authority"), ("audit.key", "audit.key", b"0123456789abcdef")];
const FIRST_KEY: [u8; 32] = [0x5e; 32];

/// A disk that fails for good after so many steps.
struct Failing(AtomicUsize);

impl Failing {
    fn after(steps: usize) -> Box<Self> {
        Box::new(Failing(AtomicUsize::new(steps)))
    }

    fn step(&self, path: &Path) -> Result<(), SecretsError> {
        let left = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let source = std::io::Error::other("the power went");
        left.map(drop).map_err(|_| SecretsError::File { action: "write", path: path.to_owned(), source })
    }
}

impl Disk for Failing {
    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), SecretsError> {
        self.step(path)?;
        RealDisk.write(path, bytes)
    }

    fn remove(&self, path: &Path) -> Result<(), SecretsError> {
        self.step(path)?;
        RealDisk.remove(path)
    }
}

/// A data directory with settings that name the source of its master key.
struct Store {
    data: TempDir,
    scope: &'static str,
}

impl Store {
    fn empty() -> Self {
        let store = Store { data: tempfile::tempdir().unwrap(), scope: "hub test" };
        std::fs::write(store.settings(), "master_key = \"file:secrets/master.key\"\n").unwrap();
        store
    }

    /// With both secrets in it.
    fn new() -> Self {
        let store = Store::empty();
        let secrets = Secrets::create(&store.place()).unwrap();
        SECRETS.iter().for_each(|(name, _, plain)| secrets.write(name, plain).unwrap());
        store
    }

    /// As an earlier build left it, with a row of its database.
    fn plain() -> (Self, Vec<u8>) {
        let store = Store::empty();
        create_private_dir(&store.path("")).unwrap();
        write_private_file(&store.path("master.key"), hex::encode(FIRST_KEY).as_bytes()).unwrap();
        SECRETS.iter().for_each(|(_, plain, bytes)| write_private_file(&store.path(plain), bytes).unwrap());
        let row =
            KeyRing::of(SecretKey::from_bytes(FIRST_KEY)).seal(Suite::configured(), [1; 12], b"row", b"batch key");
        (store, row)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.data.path().join("secrets").join(name)
    }

    fn settings(&self) -> PathBuf {
        self.data.path().join("hub.toml")
    }

    /// By the settings as they are now.
    fn place(&self) -> Place {
        let text = std::fs::read_to_string(self.settings()).unwrap();
        let source = text.trim().strip_prefix("master_key = \"").unwrap().strip_suffix('"').unwrap();
        Place::new(self.data.path(), self.scope.into(), source.parse().unwrap(), PLAIN)
    }

    fn take(&self) -> Secrets {
        let secrets = Secrets::take(&self.place()).unwrap();
        check_all(&secrets);
        secrets
    }

    fn refuse(&self) -> String {
        let (taken, opened) = (Secrets::take(&self.place()), Secrets::open(&self.place()));
        assert_eq!(taken.as_ref().unwrap_err().to_string(), opened.unwrap_err().to_string());
        taken.unwrap_err().to_string()
    }

    /// No file of the data directory but the master key's holds one of these.
    fn check_nothing_in_the_clear(&self, known: &[&[u8]]) {
        let needles = SECRETS.iter().map(|(_, _, plain)| *plain).chain(known.iter().copied());
        let needles: Vec<&[u8]> = needles.collect();
        for entry in std::fs::read_dir(self.path("")).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
            if path == self.path("master.key") {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            for needle in &needles {
                assert!(!bytes.windows(needle.len()).any(|found| found == *needle), "{}", path.display());
            }
        }
    }
}

fn check_all(secrets: &Secrets) {
    for (name, _, plain) in SECRETS {
        assert_eq!(secrets.read(name).unwrap().unwrap().as_slice(), plain, "{name}");
    }
}

fn versions(secrets: &Secrets) -> Vec<u8> {
    secrets.ring().versions().map(KeyVersion::get).collect()
}

fn all_newest(secrets: &Secrets) -> bool {
    secrets.list().unwrap().iter().all(|(_, version)| *version == secrets.ring().newest())
}

fn unused() -> BTreeSet<KeyVersion> {
    BTreeSet::new()
}

#[test]
fn what_is_kept_comes_back_and_lies_nowhere_in_the_clear() {
    let store = Store::new();
    let secrets = store.take();
    assert_eq!(secrets.read("other").unwrap(), None);
    assert!(secrets.key("other").unwrap_err().to_string().contains("other.sealed is missing"));
    let names: Vec<_> = secrets.list().unwrap().into_iter().map(|(name, version)| (name, version.get())).collect();
    assert_eq!(names, [("audit.key".to_string(), 1), ("ca.key".to_string(), 1)]);
    store.check_nothing_in_the_clear(&[secrets.ring().get(KeyVersion::FIRST).unwrap().as_bytes()]);
    assert!(matches!(Secrets::create(&store.place()), Err(SecretsError::Made(_))));
    assert_eq!(format!("{secrets:?}"), "Secrets(hub test, KeyRing(newest 1))");
}

#[test]
fn secrets_are_used_by_one_process_and_read_by_others() {
    let store = Store::new();
    let running = store.take();
    assert!(matches!(Secrets::take(&store.place()), Err(SecretsError::Busy(_))));
    check_all(&Secrets::open(&store.place()).unwrap());
    drop(running);
    store.take();
}

#[test]
fn other_keys_other_stores_and_altered_files_are_refused() {
    let mut store = Store::new();
    store.scope = "hub production";
    assert!(store.refuse().contains("the file of another store"));
    store.scope = "hub test";
    let (ring, ca) = (store.path("keys.sealed"), store.path("ca.key.sealed"));
    let (kept_ring, kept_ca) = (std::fs::read(&ring).unwrap(), std::fs::read(&ca).unwrap());
    for at in 0..kept_ring.len() {
        let mut altered = kept_ring.clone();
        altered[at] ^= 1;
        std::fs::write(&ring, altered).unwrap();
        store.refuse();
    }
    std::fs::write(&ring, &kept_ring).unwrap();
    std::fs::rename(&ca, store.path("audit.key.sealed")).unwrap();
    let moved = Secrets::open(&store.place()).unwrap().read("audit.key").unwrap_err().to_string();
    assert!(moved.contains("audit.key.sealed: it does not open"), "{moved}");
    std::fs::write(&ca, &kept_ca).unwrap();
    std::fs::remove_file(&ring).unwrap();
    assert!(store.refuse().contains("keys.sealed is missing, but secrets lie under its keys"));
    let nothing = Store::empty();
    assert!(nothing.refuse().contains("run `init` first"));
    create_private_dir(&nothing.path("")).unwrap();
    assert!(nothing.refuse().contains("run `init` first"));
}

#[test]
fn a_rotation_adds_a_version_and_forgets_those_under_which_nothing_lies() {
    let store = Store::new();
    let mut secrets = store.take();
    let row = secrets.ring().seal(Suite::configured(), [1; 12], b"row", b"batch key");
    assert_eq!(secrets.rotate(&BTreeSet::from([KeyVersion::FIRST])).unwrap().get(), 2);
    assert!(all_newest(&secrets));
    check_all(&secrets);
    // The row still lies under version 1, so it stays, also over the next rotation.
    assert_eq!(secrets.rotate(&BTreeSet::from([KeyVersion::FIRST])).unwrap().get(), 3);
    assert_eq!(versions(&secrets), [1, 2, 3]);
    drop(secrets);
    let mut secrets = store.take();
    assert_eq!(secrets.ring().open(b"row", &row).unwrap().as_slice(), b"batch key");
    assert_eq!(secrets.rotate(&unused()).unwrap().get(), 4);
    assert_eq!(versions(&secrets), [3, 4], "the version before stays for backups");
    drop(secrets);
    assert_eq!(versions(&store.take()), [3, 4]);
}

#[test]
fn a_rotation_that_was_cut_off_anywhere_leaves_all_readable_and_goes_on() {
    // The ring and two files: three steps.
    for steps in 0..3 {
        let store = Store::new();
        let mut secrets = Secrets::take_on(&store.place(), Failing::after(steps)).unwrap();
        let row = secrets.ring().seal(Suite::configured(), [1; 12], b"row", b"batch key");
        assert!(secrets.rotate(&unused()).unwrap_err().to_string().contains("the power went"));
        // Whatever it still writes before it ends must be readable after.
        let late = secrets.ring().seal(Suite::configured(), [2; 12], b"row", b"late");
        drop(secrets);
        check_all(&Secrets::open(&store.place()).unwrap());
        let secrets = store.take();
        assert!(all_newest(&secrets), "{steps} steps: taking them finishes it");
        assert_eq!(versions(&secrets), if steps == 0 { vec![1] } else { vec![1, 2] });
        for (sealed, plain) in [(row, b"batch key".as_slice()), (late, b"late")] {
            assert_eq!(secrets.ring().open(b"row", &sealed).unwrap().as_slice(), plain);
        }
    }
}

#[test]
fn another_master_key_opens_the_same_keys_and_the_old_one_no_more() {
    let store = Store::new();
    let mut secrets = store.take();
    let files = || ["ca.key.sealed", "audit.key.sealed"].map(|name| std::fs::read(store.path(name)).unwrap());
    let before = files();
    let source = |text: &str| text.parse::<MasterSource>().unwrap();
    assert!(secrets.rewrap(&source("file:secrets/second.key"), &store.settings()).unwrap(), "its file is made");
    drop(secrets);
    assert_eq!(store.place().master(), &source("file:secrets/second.key"));
    let mut secrets = store.take();
    assert_eq!(files(), before, "only the ring is written");
    let again = secrets.rewrap(&source("file:secrets/second.key"), &store.settings()).unwrap_err();
    assert!(matches!(again, SecretsError::SameMaster(_)));
    std::fs::copy(store.path("second.key"), store.path("copy.key")).unwrap();
    let copy = secrets.rewrap(&source("file:secrets/copy.key"), &store.settings()).unwrap_err();
    assert!(matches!(copy, SecretsError::SameMaster(_)), "another name for the same key");
    let nowhere = secrets.rewrap(&source("env:JIKAI_NO_SUCH_KEY"), &store.settings()).unwrap_err();
    assert!(nowhere.to_string().contains("is not set"), "{nowhere}");
    check_all(&secrets);
    drop(secrets);
    std::fs::write(store.settings(), "master_key = \"file:secrets/master.key\"\n").unwrap();
    assert!(store.refuse().contains("does not open under the master key from file:secrets/master.key"));
}

#[test]
fn a_change_of_the_master_key_that_was_cut_off_anywhere_leaves_the_one_that_the_settings_name() {
    // Ring under both, settings, ring under the new one: three steps.
    for steps in 0..3 {
        let store = Store::new();
        let mut secrets = Secrets::take_on(&store.place(), Failing::after(steps)).unwrap();
        let to: MasterSource = "file:secrets/second.key".parse().unwrap();
        assert!(secrets.rewrap(&to, &store.settings()).is_err());
        drop(secrets);
        assert_eq!(store.place().master() == &to, steps == 2);
        check_all(&Secrets::open(&store.place()).unwrap());
        let mut secrets = store.take();
        if steps != 2 {
            secrets.rewrap(&to, &store.settings()).unwrap();
        }
        drop(secrets);
        store.take();
        // Only one master key opens it in the end.
        std::fs::write(store.settings(), "master_key = \"file:secrets/master.key\"\n").unwrap();
        assert!(store.refuse().contains("does not open under the master key"), "{steps} steps");
    }
}

#[test]
fn a_store_of_an_earlier_build_is_sealed_and_its_rows_stay_readable() {
    let (store, row) = Store::plain();
    let secrets = store.take();
    assert_eq!(versions(&secrets), [1, 2]);
    assert!(all_newest(&secrets));
    assert_eq!(secrets.ring().open(b"row", &row).unwrap().as_slice(), b"batch key");
    for name in ["ca.key.pem", "audit.key"] {
        assert!(!store.path(name).exists(), "{name}");
    }
    store.check_nothing_in_the_clear(&[&FIRST_KEY, hex::encode(FIRST_KEY).as_bytes()]);
    // An open without the lock does the same.
    let (store, _) = Store::plain();
    check_all(&Secrets::open(&store.place()).unwrap());
    store.check_nothing_in_the_clear(&[]);
}

#[test]
fn a_store_of_an_earlier_build_may_move_to_another_master_key_at_once() {
    let (store, row) = Store::plain();
    write_private_file(&store.path("new.key"), "12".repeat(32).as_bytes()).unwrap();
    std::fs::write(store.settings(), "master_key = \"file:secrets/new.key\"\n").unwrap();
    let secrets = store.take();
    assert_eq!(secrets.ring().open(b"row", &row).unwrap().as_slice(), b"batch key");
    assert!(!store.path("master.key").exists(), "it would be a key of the ring in the clear");
    // The same file under another name is not removed.
    let (store, _) = Store::plain();
    std::fs::write(store.settings(), "master_key = \"file:./secrets/../secrets/master.key\"\n").unwrap();
    store.take();
    assert!(store.path("master.key").exists());
}

#[test]
fn sealing_an_earlier_builds_store_may_be_cut_off_anywhere() {
    for master in ["secrets/master.key", "secrets/new.key"] {
        for steps in 0..6 {
            let (store, row) = Store::plain();
            write_private_file(&store.path("new.key"), "12".repeat(32).as_bytes()).unwrap();
            std::fs::write(store.settings(), format!("master_key = \"file:{master}\"\n")).unwrap();
            drop(Secrets::take_on(&store.place(), Failing::after(steps)));
            let secrets = store.take();
            assert_eq!(secrets.ring().open(b"row", &row).unwrap().as_slice(), b"batch key", "{steps} steps");
            assert_eq!(versions(&secrets), [1, 2], "{steps} steps");
            assert!(!store.place().has_plain());
        }
    }
}

#[test]
fn a_plain_file_beside_another_secret_of_its_name_is_not_removed() {
    let store = Store::new();
    write_private_file(&store.path("ca.key.pem"), b"another").unwrap();
    assert!(store.refuse().contains("hold different secrets"));
    assert!(store.path("ca.key.pem").exists());
    write_private_file(&store.path("ca.key.pem"), SECRETS[0].2).unwrap();
    store.take();
    assert!(!store.path("ca.key.pem").exists());
}

#[test]
fn a_master_key_that_others_may_read_opens_nothing() {
    let store = Store::new();
    std::fs::set_permissions(store.path("master.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(store.refuse().contains("chmod 600"));
}
