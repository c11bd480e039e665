//! The highest generation of the hub that this node has met, kept over restarts: a machine of the hub that was left behind by a
//! take-over must never take in events again, however well it seems to run.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use jikai_sync::identity::write_private_file;
use jikai_sync::transport::LogError;

/// File with the number.
const FILE: &str = "hub-generation";

/// The highest generation, in memory and on disk.
#[derive(Debug, Default)]
pub struct HubGeneration {
    /// `None` keeps nothing, for tests.
    path: Option<PathBuf>,
    met: AtomicU32,
}

impl HubGeneration {
    /// What the file in `data` tells; 0 before the first contact. One that cannot be read is told of and counts as 0: the node
    /// must serve, and hears the generation from the hub it meets.
    pub fn load(data: &Path) -> Self {
        let path = data.join(FILE);
        let met = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map_err(|_| "it is no number".to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error.to_string()),
        };
        let met = met.unwrap_or_else(|error| {
            let hint = "make sure that no machine of the hub runs which was left behind by a take-over";
            tracing::error!(path = %path.display(), error, hint, "the hub's generation cannot be read");
            0
        });
        HubGeneration { path: Some(path), met: AtomicU32::new(met) }
    }

    /// The highest that was met.
    pub fn met(&self) -> u32 {
        self.met.load(Ordering::Acquire)
    }

    /// Remembers a generation; on disk when it returns. A lower one changes nothing.
    pub async fn raise(&self, generation: u32) -> Result<(), LogError> {
        if generation <= self.met() {
            return Ok(());
        }
        if let Some(path) = self.path.clone() {
            let written =
                tokio::task::spawn_blocking(move || write_private_file(&path, generation.to_string().as_bytes()));
            let failed =
                |error: &dyn std::fmt::Display| LogError(format!("the hub's generation cannot be kept: {error}"));
            written.await.map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        }
        self.met.fetch_max(generation, Ordering::AcqRel);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_highest_generation_survives_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let generation = HubGeneration::load(data.path());
        assert_eq!(generation.met(), 0);
        for (met, highest) in [(3, 3), (2, 3), (3, 3), (4, 4)] {
            generation.raise(met).await.unwrap();
            assert_eq!((generation.met(), HubGeneration::load(data.path()).met()), (highest, highest));
        }
    }

    #[tokio::test]
    async fn a_generation_that_cannot_be_kept_is_not_met() {
        let generation = HubGeneration::load(Path::new("/nowhere/at/all"));
        assert!(generation.raise(2).await.is_err());
        assert_eq!(generation.met(), 0);
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let data = tempfile::tempdir().unwrap();
        for damaged in ["", "-1", "two"] {
            std::fs::write(data.path().join(FILE), damaged).unwrap();
            assert_eq!(HubGeneration::load(data.path()).met(), 0);
        }
    }
}
