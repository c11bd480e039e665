//! How much of this node's log the hub has acknowledged, kept over restarts: a hub that comes back with less has lost what it
//! had said to hold. The node sends it again; that it was needed must not pass unseen.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jikai_sync::identity::{IdentityError, write_private_file};
use jikai_sync::transport::LogError;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

/// File with the three numbers of [`HubMemory`].
const FILE: &str = "hub-acked";
/// Shortest time between two writes of what only grew: a crash may throw the file back by so much, which can hide a loss of that
/// moment but invents none.
const EVERY: Duration = Duration::from_secs(1);

/// What a generation of the hub said that it holds of this node's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HubMemory {
    /// The hub's generation. A take-over begins another, which may hold less.
    pub generation: u32,
    /// Newest event that it acknowledged.
    pub acked_seq: u64,
    /// How often a hub came back with less than it had acknowledged in the same generation, since the store was made.
    pub forgot: u64,
}

impl HubMemory {
    /// A hub of this generation says that it holds everything up to `seq`. `Some` where it had acknowledged more: up to there.
    fn met(self, generation: u32, seq: u64) -> (HubMemory, Option<u64>) {
        let forgotten = (generation == self.generation && seq < self.acked_seq).then_some(self.acked_seq);
        // From here on it holds so much: the next session must not count the same loss again.
        let forgot = self.forgot.saturating_add(u64::from(forgotten.is_some()));
        (HubMemory { generation, acked_seq: seq, forgot }, forgotten)
    }

    fn text(self) -> String {
        let HubMemory { generation, acked_seq, forgot } = self;
        format!("{generation} {acked_seq} {forgot}\n")
    }

    fn parse(text: &str) -> Option<HubMemory> {
        let mut words = text.split_whitespace();
        let (generation, acked_seq, forgot) = (words.next()?, words.next()?, words.next()?);
        let memory = HubMemory {
            generation: generation.parse().ok()?,
            acked_seq: acked_seq.parse().ok()?,
            forgot: forgot.parse().ok()?,
        };
        words.next().is_none().then_some(memory)
    }
}

/// The memory, at hand and on disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct HubAcked {
    memory: watch::Sender<HubMemory>,
    /// `None` keeps nothing, for tests. One writes at a time.
    path: Arc<Mutex<Option<PathBuf>>>,
}

impl Default for HubAcked {
    fn default() -> Self {
        HubAcked::new(HubMemory::default(), None)
    }
}

impl HubAcked {
    fn new(memory: HubMemory, path: Option<PathBuf>) -> Self {
        HubAcked { memory: watch::Sender::new(memory), path: Arc::new(Mutex::new(path)) }
    }

    /// What the file in `data` tells; nothing before the first contact. One that cannot be read is told of and counts as nothing:
    /// the node must serve.
    pub fn load(data: &Path) -> Self {
        let path = data.join(FILE);
        let memory = match std::fs::read_to_string(&path) {
            Ok(text) => HubMemory::parse(&text).ok_or_else(|| "it is not three numbers".to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(HubMemory::default()),
            Err(error) => Err(error.to_string()),
        };
        let memory = memory.unwrap_or_else(|error| {
            let hint =
                "what the hub lost before now, if anything, is not noticed; it begins anew with the next session";
            tracing::error!(path = %path.display(), error, hint, "what the hub acknowledged cannot be read");
            HubMemory::default()
        });
        HubAcked::new(memory, Some(path))
    }

    /// Forgets what a store held that was in `data` before: another one is made there.
    pub fn forget(data: &Path) -> std::io::Result<()> {
        match std::fs::remove_file(data.join(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The store in `data` was made from what the hub holds: all of its log up to `seq`. Without this the whole log would seem to wait
    /// until the first session opens.
    pub fn begin(data: &Path, generation: u32, seq: u64) -> Result<(), IdentityError> {
        let memory = HubMemory { generation, acked_seq: seq, forgot: 0 };
        write_private_file(&data.join(FILE), memory.text().as_bytes())
    }

    /// What is remembered now.
    pub fn memory(&self) -> HubMemory {
        *self.memory.borrow()
    }

    /// The store's newest event is this one. One that was put back from an older copy gives the places behind it to other events than those
    /// that were acknowledged.
    pub fn at_most(&self, head_seq: u64) -> HubMemory {
        self.memory.send_if_modified(|memory| {
            let is_less = memory.acked_seq > head_seq;
            memory.acked_seq = memory.acked_seq.min(head_seq);
            is_less
        });
        self.memory()
    }

    /// A hub of this generation agrees with the own log up to `seq`. What is less than before is on disk when it returns.
    pub(super) async fn met(&self, generation: u32, seq: u64) -> Result<(), LogError> {
        let before = self.memory();
        let (memory, forgotten) = before.met(generation, seq);
        self.memory.send_replace(memory);
        let Some(acked_seq) = forgotten else {
            return if seq < before.acked_seq { self.keep().await } else { Ok(()) };
        };
        let hint = "the node sends it again; find out which machine of the hub lost its newest entries, and why";
        tracing::error!(generation, seq, acked_seq, hint, "the hub has lost events that it had acknowledged");
        self.keep().await
    }

    /// The hub has committed everything up to `seq`.
    pub(super) fn acked(&self, seq: u64) {
        self.memory.send_if_modified(|memory| {
            let is_news = seq > memory.acked_seq;
            memory.acked_seq = memory.acked_seq.max(seq);
            is_news
        });
    }

    async fn keep(&self) -> Result<(), LogError> {
        let path = self.path.lock().await;
        let Some(file) = path.clone() else { return Ok(()) };
        let text = self.memory().text();
        let written = tokio::task::spawn_blocking(move || write_private_file(&file, text.as_bytes())).await;
        let failed =
            |error: &dyn std::fmt::Display| LogError(format!("what the hub acknowledged cannot be kept: {error}"));
        written.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

/// Keeps the file true to within [`EVERY`], until cancelled.
pub async fn keep_acked(acked: HubAcked, cancelled: CancellationToken) {
    let mut memory = acked.memory.subscribe();
    let mut is_ending = false;
    while !is_ending {
        tokio::select! {
            _ = memory.changed() => {}
            () = cancelled.cancelled() => is_ending = true,
        }
        memory.mark_unchanged();
        if let Err(error) = acked.keep().await {
            tracing::warn!(%error, "a loss of the hub may pass unseen");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = cancelled.cancelled() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(generation: u32, acked_seq: u64, forgot: u64) -> HubMemory {
        HubMemory { generation, acked_seq, forgot }
    }

    #[test]
    fn a_store_that_is_put_back_has_acknowledged_no_more_than_it_has_and_not_again_when_it_grows() {
        let acked = HubAcked::new(memory(1, 9, 2), None);
        assert_eq!(acked.at_most(12), memory(1, 9, 2));
        assert_eq!(acked.at_most(7), memory(1, 7, 2));
        assert_eq!(acked.at_most(12), memory(1, 7, 2));
    }

    #[tokio::test]
    async fn a_store_that_the_hub_gave_has_nothing_waiting_and_a_hub_that_holds_less_later_is_counted() {
        let data = tempfile::tempdir().unwrap();
        HubAcked::begin(data.path(), 3, 9).unwrap();
        let acked = HubAcked::load(data.path());
        assert_eq!(acked.at_most(9), memory(3, 9, 0));
        acked.met(3, 9).await.unwrap();
        assert_eq!(acked.memory().forgot, 0);
        acked.met(3, 8).await.unwrap();
        assert_eq!(acked.memory().forgot, 1);
        assert!(HubAcked::begin(&data.path().join("missing"), 3, 9).is_err());
    }

    #[tokio::test]
    async fn less_of_another_generation_is_on_disk_before_the_session_opens() {
        let data = tempfile::tempdir().unwrap();
        let acked = HubAcked::load(data.path());
        acked.met(1, 9).await.unwrap();
        acked.met(2, 4).await.unwrap();
        assert_eq!(HubAcked::load(data.path()).memory(), memory(2, 4, 0));
    }

    #[tokio::test]
    async fn a_hub_that_comes_back_with_less_is_counted_once_for_each_loss_also_over_restarts() {
        let data = tempfile::tempdir().unwrap();
        let acked = HubAcked::load(data.path());
        acked.met(1, 0).await.unwrap();
        acked.acked(9);
        acked.acked(8);
        acked.met(1, 9).await.unwrap();
        assert_eq!(acked.memory(), memory(1, 9, 0));
        acked.keep().await.unwrap();
        let restarted = HubAcked::load(data.path());
        restarted.met(1, 6).await.unwrap();
        restarted.met(1, 6).await.unwrap();
        assert_eq!(restarted.memory(), memory(1, 6, 1));
        assert_eq!(HubAcked::load(data.path()).memory(), memory(1, 6, 1), "on disk before the session opens");
        restarted.acked(9);
        restarted.met(1, 7).await.unwrap();
        assert_eq!(restarted.memory(), memory(1, 7, 2));
    }

    #[tokio::test]
    async fn another_generation_may_hold_less() {
        let acked = HubAcked::default();
        acked.met(1, 9).await.unwrap();
        acked.met(2, 4).await.unwrap();
        assert_eq!(acked.memory(), memory(2, 4, 0));
        acked.met(2, 3).await.unwrap();
        assert_eq!(acked.memory().forgot, 1);
    }

    #[tokio::test]
    async fn what_grew_is_kept_when_the_node_stops() {
        let data = tempfile::tempdir().unwrap();
        let (acked, cancelled) = (HubAcked::load(data.path()), CancellationToken::new());
        acked.met(1, 9).await.unwrap();
        cancelled.cancel();
        keep_acked(acked, cancelled).await;
        assert_eq!(HubAcked::load(data.path()).memory(), memory(1, 9, 0));
    }

    #[test]
    fn a_damaged_file_counts_as_none() {
        let data = tempfile::tempdir().unwrap();
        for damaged in ["", "1 2", "1 -2 0", "1 2 3 4", "a b c"] {
            std::fs::write(data.path().join(FILE), damaged).unwrap();
            assert_eq!(HubAcked::load(data.path()).memory(), HubMemory::default(), "{damaged:?}");
        }
    }
}
