//! What is left of a state that differed from the others': a mark beside it, so that a supervisor that starts the machine again does not
//! have it serve from that state.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use jikai_sync::identity::write_private_file;

/// File name inside the data directory.
const MARK_FILE: &str = "state-differs";

fn place(data: &Path) -> PathBuf {
    data.join(MARK_FILE)
}

/// Leaves the mark, with the reason. Blocks.
pub(super) fn leave(data: &Path, why: &str) {
    if let Err(error) = write_private_file(&place(data), why.as_bytes()) {
        let hint = "do not start this machine again over this directory";
        tracing::error!(%error, hint, "the directory of a machine that differs could not be marked");
    }
}

/// Refuses a directory that has one.
pub(super) fn refuse(data: &Path) -> anyhow::Result<()> {
    let path = place(data);
    match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        Ok(why) => bail!(
            "the state of this machine was found to differ from that of most others, and is not served: {}. At another machine: jikai-hub \
             cluster remove, then cluster invite; here: jikai-hub join with an empty directory. ({} says so; only where no other machine is \
             left, and this one is to go on with what it has: remove that file.)",
            why.trim(),
            path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_directory_is_refused_with_the_reason_and_one_without_a_mark_is_not() {
        let data = tempfile::tempdir().unwrap();
        refuse(data.path()).unwrap();
        leave(data.path(), "it differs in table outlet");
        let refused = refuse(data.path()).unwrap_err().to_string();
        let told = ["it differs in table outlet", "cluster remove", "jikai-hub join", MARK_FILE];
        assert!(told.iter().all(|told| refused.contains(told)), "{refused}");
        std::fs::remove_file(place(data.path())).unwrap();
        refuse(data.path()).unwrap();
    }
}
