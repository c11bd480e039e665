//! Keys of a whole province: rotated and put under other master keys, then started again and audited.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::path::Path;
use std::process::Command;

use jikai_tests::province::binaries;

/// Runs one of the binaries; gives its words.
fn run(name: &str, line: &str, data: &Path) -> String {
    let bin = binaries();
    let mut command = Command::new(bin.join(name));
    let output = command.args(line.split(' ')).arg("--data").arg(data).env("JIKAI_BIN", &bin).output().unwrap();
    let words = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} {line}: {words}");
    words
}

#[test]
fn a_province_whose_keys_were_all_changed_starts_again_and_holds_every_invariant() {
    let folder = tempfile::tempdir().unwrap();
    let data = &folder.path().join("run");
    run("jikai-sim", "demo --plain --keep --terminals 40 --nodes 2 --duration 3s", data);
    let hub = &data.join("hub");
    let nodes = [data.join("nodes/1"), data.join("nodes/2")];
    let stores = [("jikai-hub", hub), ("jikai-node", &nodes[0]), ("jikai-node", &nodes[1])];
    for (name, store) in stores {
        let rotated = run(name, "keys rotate", store);
        assert!(rotated.contains("Version 2 encrypts") && !rotated.contains(" 0 batch keys"), "{rotated}");
        run(name, "keys rewrap --new-master file:secrets/second.key", store);
        std::fs::remove_file(store.join("secrets/master.key")).unwrap();
    }
    run("jikai-sim", "check", data);
    for (name, store) in stores {
        // The second rotation forgets the first version: nothing lies under it any more.
        run(name, "keys rotate", store);
        let listed = run(name, "keys list", store);
        assert!(listed.contains("\n      3 ") && !listed.contains("\n      1 "), "{listed}");
    }
    run("jikai-sim", "check", data);
    run("jikai-hub", "audit verify", hub);
}
