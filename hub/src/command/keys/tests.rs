use std::path::Path;

use clap::Parser;
use jikai_schema::crypto::KeyVersion;
use jikai_schema::id::BatchNo;
use jikai_schema::seal::BatchKey;
use jikai_schema::vault::{self, MasterKey};
use jikai_sync::identity::write_private_file;
use jikai_sync::secrets::Secrets;

use super::super::Cli;
use crate::audit::checkpoint::PublicKeys;
use crate::config::Config;
use crate::identity::{AUDIT_KEY, CA_KEY, DIRECTORY_KEY, HUB_KEY, IdentityFiles, TOKEN_FILE, secrets_place};

const FILES: [(&str, &str); 3] = [(CA_KEY, "ca.key.pem"), (HUB_KEY, "hub.key.pem"), (AUDIT_KEY, "audit.key")];

fn run(data: &Path, line: &str) -> anyhow::Result<()> {
    let line = format!("jikai-hub {line}");
    Cli::try_parse_from(line.split(' ').chain(["--data", &data.display().to_string()])).unwrap().execute()
}

fn refuse(data: &Path, line: &str) -> String {
    format!("{:#}", run(data, line).unwrap_err())
}

fn take(data: &Path) -> Secrets {
    Secrets::take(&secrets_place(data, &Config::load(data).unwrap())).unwrap()
}

/// The three private keys, and that the hub can use them.
fn private_keys(data: &Path) -> Vec<Vec<u8>> {
    let secrets = take(data);
    IdentityFiles::new(data).tls(&secrets).unwrap();
    FILES.map(|(name, _)| secrets.read(name).unwrap().unwrap().to_vec()).to_vec()
}

fn versions(data: &Path) -> Vec<u8> {
    take(data).ring().versions().map(KeyVersion::get).collect()
}

/// No file holds a private key or a key of the ring, as it is or in hex. The master key's own file and the machine's token
/// are what they are.
fn check_nothing_in_the_clear(data: &Path) {
    let secrets = take(data);
    let ring = secrets.ring();
    let keys = ring.versions().map(|version| ring.get(version).unwrap().as_bytes().to_vec());
    let audit = secrets.read(AUDIT_KEY).unwrap().unwrap();
    let mut needles = vec![b"PRIVATE KEY".to_vec(), audit.to_vec(), hex::decode(&*audit).unwrap()];
    needles.extend(keys.flat_map(|key| [hex::encode(&key).into_bytes(), key]));
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path == data.join("secrets/master.key") || path == data.join(TOKEN_FILE) => {}
                false => {
                    let bytes = std::fs::read(&path).unwrap();
                    let found = needles.iter().find(|needle| bytes.windows(needle.len()).any(|at| at == *needle));
                    assert!(found.is_none(), "{}", path.display());
                }
            }
        }
    }
}

#[test]
fn a_hubs_keys_are_rotated_and_rewrapped_and_nothing_lies_in_the_clear() {
    let folder = tempfile::tempdir().unwrap();
    let data = &folder.path().join("hub");
    assert!(refuse(data, "keys list").contains("jikai-hub init"));
    run(data, "init").unwrap();
    check_nothing_in_the_clear(data);
    let keys = private_keys(data);
    run(data, "audit checkpoint").unwrap();
    run(data, "keys list").unwrap();
    run(data, "keys rotate").unwrap();
    run(data, "keys rotate").unwrap();
    assert_eq!(versions(data), [2, 3]);
    run(data, "audit renew-key").unwrap();
    run(data, "keys rewrap --new-master file:secrets/second.key").unwrap();
    std::fs::remove_file(data.join("secrets/master.key")).unwrap();
    assert_eq!(private_keys(data)[..2], keys[..2], "they are what they were");
    for line in ["keys list", "audit checkpoint", "audit verify", "audit key", "audit checkpoints"] {
        run(data, line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    }
    assert_eq!(PublicKeys::load(data).unwrap().to_string().lines().count(), 2);
    assert!(refuse(data, "keys rewrap --new-master file:secrets/second.key").contains("in force already"));
    assert!(refuse(data, "keys rewrap --new-master env:JIKAI_NO_SUCH_KEY").contains("is not set"));
    std::fs::rename(data.join("secrets/second.key"), data.join("secrets/master.key")).unwrap();
    let settings = std::fs::read_to_string(data.join("hub.toml")).unwrap();
    std::fs::write(data.join("hub.toml"), settings.replace("second.key", "master.key")).unwrap();
    check_nothing_in_the_clear(data);
    run(data, "init --administrator other").unwrap_err();
}

#[test]
fn a_running_hub_has_its_keys_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    let data = &folder.path().join("hub");
    run(data, "init").unwrap();
    let running = take(data);
    for line in ["keys rotate", "keys rewrap --new-master file:secrets/second.key"] {
        assert!(refuse(data, line).contains("stop it first"), "{line}");
    }
    for line in ["keys list", "audit checkpoint", "audit renew-key", "audit checkpoint", "audit verify"] {
        run(data, line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
    }
    drop(running);
    run(data, "keys rotate").unwrap();
}

#[test]
fn a_hub_of_an_earlier_build_is_sealed_by_the_first_command_that_needs_its_secrets() {
    for line in ["keys list", "keys rotate", "audit checkpoint", "audit verify"] {
        let folder = tempfile::tempdir().unwrap();
        let data = &folder.path().join("hub");
        run(data, "init").unwrap();
        run(data, "audit checkpoint").unwrap();
        let (keys, first) = (private_keys(data), make_old(data));
        // What that build wrapped opens still.
        let (batch, key) = (BatchNo::new(1).unwrap(), [8; 32]);
        let old = MasterKey::from_bytes(first);
        let wrapped = old.wrap(batch, &BatchKey::from_bytes(key), [1; 12]);
        let state = rusqlite::Connection::open(data.join("state.db")).unwrap();
        state.execute("INSERT INTO batch_key VALUES (1, ?1)", [&wrapped]).unwrap();
        drop(state);
        run(data, line).unwrap_or_else(|error| panic!("{line}: {error:#}"));
        assert_eq!(private_keys(data), keys, "{line}");
        assert!(FILES.iter().all(|(_, plain)| !data.join("secrets").join(plain).exists()), "{line}");
        check_nothing_in_the_clear(data);
        let state = crate::store::open_reader(data).unwrap();
        let wrapped: Vec<u8> = state.query_row("SELECT wrapped FROM batch_key", [], |row| row.get(0)).unwrap();
        assert_eq!(vault::unwrap(take(data).ring(), batch, &wrapped).unwrap().as_bytes(), &key, "{line}");
        run(data, "audit verify").unwrap_or_else(|error| panic!("{line}, then audit verify: {error:#}"));
        run(data, "audit checkpoint").unwrap();
        assert_eq!(PublicKeys::load(data).unwrap().to_string().lines().count(), 1);
    }
}

/// Puts the secrets as a build before the ring kept them; gives its one key.
fn make_old(data: &Path) -> [u8; 32] {
    let secrets = take(data);
    let first = *secrets.ring().get(KeyVersion::FIRST).unwrap().as_bytes();
    let folder = data.join("secrets");
    for (name, plain) in FILES {
        write_private_file(&folder.join(plain), &secrets.read(name).unwrap().unwrap()).unwrap();
        std::fs::remove_file(folder.join(format!("{name}.sealed"))).unwrap();
    }
    write_private_file(&folder.join("master.key"), hex::encode(first).as_bytes()).unwrap();
    std::fs::remove_file(folder.join("keys.sealed")).unwrap();
    std::fs::remove_file(data.join("audit.pub")).unwrap();
    // That build knew no directory.
    std::fs::remove_file(folder.join(format!("{DIRECTORY_KEY}.sealed"))).unwrap();
    let settings = std::fs::read_to_string(data.join("hub.toml")).unwrap();
    let old = settings.lines().filter(|line| !line.starts_with("master_key")).collect::<Vec<_>>().join("\n");
    std::fs::write(data.join("hub.toml"), old).unwrap();
    first
}
