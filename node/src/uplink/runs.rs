//! Runs of a store, kept over restarts, by which the hub tells a copy of it from the original.
//!
//! Each start draws a run that follows the one which the hub admitted before. Until the hub has admitted it, later starts show the same
//! one: whether its answer was lost, or the process was killed, does not matter.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use jikai_sync::identity::write_private_file;
use jikai_sync::transport::LogError;
use jikai_sync::wire::Mark;
use parking_lot::Mutex;

/// File with the run, the one that it follows or `-`, and the word [`ADMITTED`] once the hub has admitted it.
const FILE: &str = "hub-run";
const ADMITTED: &str = "admitted";
const NONE: &str = "-";

/// The run of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Runs {
    /// `None` keeps nothing, for tests.
    path: Option<PathBuf>,
    mark: Mark,
    admitted: Arc<Mutex<bool>>,
}

impl Runs {
    /// Begins a run of the store in `data`; it is on disk when this returns. A file that cannot be read is an error: to begin as if
    /// there had been none would make this store look like a copy.
    pub fn begin(data: &Path) -> anyhow::Result<Self> {
        let path = data.join(FILE);
        let (run, after) = match std::fs::read_to_string(&path) {
            Ok(text) => following(&text).with_context(|| {
                format!("{} is damaged: restore it, or have the node replaced at the hub", path.display())
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (rand::random(), None),
            Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
        };
        let mark = Mark { run, after, process: rand::random() };
        let runs = Runs { path: Some(path.clone()), mark, admitted: Arc::default() };
        write_private_file(&path, runs.text(false).as_bytes())?;
        Ok(runs)
    }

    /// What is shown to the hub.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// The hub has admitted the run: the next start follows it. On disk when it returns.
    pub async fn admitted(&self) -> Result<(), LogError> {
        let Some(path) = self.path.clone().filter(|_| !*self.admitted.lock()) else { return Ok(()) };
        let text = self.text(true);
        let written = tokio::task::spawn_blocking(move || write_private_file(&path, text.as_bytes())).await;
        let failed = |error: &dyn std::fmt::Display| LogError(format!("the run of this store cannot be kept: {error}"));
        written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        *self.admitted.lock() = true;
        Ok(())
    }

    fn text(&self, admitted: bool) -> String {
        let Mark { run, after, .. } = self.mark;
        let after = after.map_or_else(|| NONE.to_owned(), hex::encode);
        format!("{} {after} {}\n", hex::encode(run), if admitted { ADMITTED } else { "" })
    }
}

impl Default for Runs {
    /// A first run that is kept nowhere, for tests.
    fn default() -> Self {
        let mark = Mark { run: rand::random(), after: None, process: rand::random() };
        Runs { path: None, mark, admitted: Arc::default() }
    }
}

/// The run to begin behind what the file tells, and the one that it follows; `None` where the file is damaged.
fn following(text: &str) -> Option<([u8; 16], Option<[u8; 16]>)> {
    let id = |word: &str| <[u8; 16]>::try_from(hex::decode(word).ok()?).ok();
    let words: Vec<&str> = text.split_whitespace().collect();
    match words.as_slice() {
        [run, _, ADMITTED] => Some((rand::random(), Some(id(run)?))),
        [run, NONE] => Some((id(run)?, None)),
        [run, after] => Some((id(run)?, Some(id(after)?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_is_shown_until_it_is_admitted_and_the_next_one_follows_it() {
        let data = tempfile::tempdir().unwrap();
        let first = Runs::begin(data.path()).unwrap();
        assert_eq!(first.mark().after, None);
        let again = Runs::begin(data.path()).unwrap();
        assert_eq!((again.mark().run, again.mark().after), (first.mark().run, None), "its answer may have been lost");
        assert_ne!(again.mark().process, first.mark().process);
        again.admitted().await.unwrap();
        again.admitted().await.unwrap();
        let next = Runs::begin(data.path()).unwrap();
        assert_ne!(next.mark().run, first.mark().run);
        assert_eq!(next.mark().after, Some(first.mark().run));
        let killed = Runs::begin(data.path()).unwrap();
        assert_eq!((killed.mark().run, killed.mark().after), (next.mark().run, next.mark().after));
    }

    #[test]
    fn a_damaged_file_is_no_first_run() {
        let data = tempfile::tempdir().unwrap();
        for damaged in ["", "x -", "00 - admitted", "- -"] {
            std::fs::write(data.path().join(FILE), damaged).unwrap();
            assert!(format!("{:#}", Runs::begin(data.path()).unwrap_err()).contains("damaged"), "{damaged:?}");
        }
    }
}
