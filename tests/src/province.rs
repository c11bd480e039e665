//! A small province of real processes, played by the simulator, and what its auditor found.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// What a run of the demo left: its exit, its words, its report.
pub struct Played {
    /// Whether the demo said that all is well.
    pub succeeded: bool,
    /// Standard output and error.
    pub words: String,
    /// The report, as other programs read it.
    pub report: Value,
}

/// The folder of the binaries under test: where this test binary was built, two levels up.
///
/// # Panics
/// When they were not built: `cargo test` of this package alone builds none of the others.
pub fn binaries() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let folder = test.ancestors().nth(2).expect("a test binary lies in target/PROFILE/deps").to_owned();
    for name in ["jikai-hub", "jikai-node", "jikai-sim"] {
        assert!(
            folder.join(name).exists(),
            "{name} is not in {}: run `cargo build --workspace` first",
            folder.display()
        );
    }
    folder
}

/// Plays a demo with these options.
///
/// # Panics
/// When it cannot be started, or wrote no report.
pub fn play(options: &[&str]) -> Played {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let report = folder.path().join("report.json");
    let bin = binaries();
    let output = Command::new(bin.join("jikai-sim"))
        .args(["demo", "--plain"])
        .args(options)
        .arg("--data")
        .arg(folder.path().join("run"))
        .arg("--report")
        .arg(&report)
        .env("JIKAI_BIN", &bin)
        .output()
        .expect("the simulator can be started");
    let words = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("the demo wrote no report:\n{words}"));
    let report = serde_json::from_str(&text).expect("the report is JSON");
    Played { succeeded: output.status.success(), words, report }
}

impl Played {
    /// The invariants that do not hold, with their counts.
    pub fn broken_invariants(&self) -> Vec<String> {
        let invariants = self.report["invariants"].as_object().expect("the report has invariants");
        assert_eq!(invariants.len(), 8, "the report names eight invariants");
        let broken = invariants.iter().filter(|(_, count)| count.as_i64() != Some(0));
        broken.map(|(name, count)| format!("{name}: {count}")).collect()
    }
}
