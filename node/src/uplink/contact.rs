//! When the hub was heard last, and whether it fenced this store, kept over restarts: a node that was cut off too long no
//! longer knows who was put out of use, and a fenced one must not serve until the hub takes it back; a replaced one never.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jikai_schema::time::TimeMs;
use jikai_sync::identity::write_private_file;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::LinkState;
use crate::writer::Clock;

/// File with the time, Unix ms, and the word [`FENCED`] where the hub refused the store for good, or [`REPLACED`] where another one has
/// taken its place.
const FILE: &str = "hub-contact";
const FENCED: &str = "fenced";
const REPLACED: &str = "replaced";
/// How often it is written while nothing changes.
const EVERY: Duration = Duration::from_secs(60);

/// What the node remembers of the hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// When it was heard last.
    pub at_ms: TimeMs,
    /// Whether it fenced this store.
    pub fenced: bool,
    /// Whether it did so because another one has taken this one's place.
    pub replaced: bool,
}

impl Contact {
    /// What the file in `data` tells. A store that has not met the hub yet (`is_new`) counts from now; one that has, and
    /// whose file is gone or damaged, was heard never: it trusts nobody until the hub answers.
    pub fn load(data: &Path, is_new: bool, now_ms: TimeMs) -> Contact {
        let at_ms = if is_new { now_ms } else { TimeMs::from_ms(0) };
        let unknown = Contact { at_ms, fenced: false, replaced: false };
        let Ok(text) = std::fs::read_to_string(data.join(FILE)) else { return unknown };
        let (at_ms, mark) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        match (at_ms.parse(), mark) {
            (Ok(at_ms), "" | FENCED | REPLACED) => {
                Contact { at_ms: TimeMs::from_ms(at_ms), fenced: !mark.is_empty(), replaced: mark == REPLACED }
            }
            _ => unknown,
        }
    }

    fn of(link: &LinkState, now_ms: TimeMs) -> Contact {
        Contact { at_ms: link.contact_at_ms(now_ms), fenced: link.fenced, replaced: link.replaced }
    }

    fn text(self) -> String {
        let mark = match (self.replaced, self.fenced) {
            (true, _) => REPLACED,
            (false, true) => FENCED,
            (false, false) => "",
        };
        format!("{} {mark}", self.at_ms.ms())
    }
}

/// Keeps the file in `data` true, the time to within [`EVERY`], until cancelled.
pub async fn keep_contact(
    data: PathBuf,
    mut link: watch::Receiver<LinkState>,
    clock: Clock,
    cancelled: CancellationToken,
) {
    loop {
        let contact = Contact::of(&link.borrow_and_update(), clock());
        let path = data.join(FILE);
        let written = tokio::task::spawn_blocking(move || write_private_file(&path, contact.text().as_bytes()));
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the last contact with the hub could not be kept"),
            Err(error) => tracing::warn!(%error, "the last contact with the hub could not be kept"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            Ok(_) = link.wait_for(|state| (state.fenced, state.replaced) != (contact.fenced, contact.replaced)) => {}
            () = cancelled.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn now() -> TimeMs {
        TimeMs::from_ms(900)
    }

    async fn keep(data: &Path, link: LinkState) {
        let (_sender, link) = watch::channel(link);
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        keep_contact(data.to_owned(), link, Arc::new(now), cancelled).await;
    }

    #[tokio::test]
    async fn contact_and_fence_survive_a_restart() {
        let data = tempfile::tempdir().unwrap();
        let left = LinkState { left_at_ms: TimeMs::from_ms(500), ..LinkState::default() };
        keep(data.path(), left.clone()).await;
        let contact = Contact { at_ms: TimeMs::from_ms(500), fenced: false, replaced: false };
        assert_eq!(Contact::load(data.path(), false, now()), contact);
        let fenced = LinkState { fenced: true, ..left };
        keep(data.path(), fenced.clone()).await;
        assert_eq!(Contact::load(data.path(), false, now()), Contact { fenced: true, ..contact });
        keep(data.path(), LinkState { replaced: true, ..fenced }).await;
        assert_eq!(Contact::load(data.path(), false, now()), Contact { fenced: true, replaced: true, ..contact });
        keep(data.path(), LinkState { connected: true, ..LinkState::default() }).await;
        assert_eq!(Contact::load(data.path(), false, now()), Contact { at_ms: now(), ..contact });
    }

    #[test]
    fn without_a_readable_file_only_a_new_store_counts_from_now() {
        let data = tempfile::tempdir().unwrap();
        let at = |at_ms| Contact { at_ms: TimeMs::from_ms(at_ms), fenced: false, replaced: false };
        assert_eq!(Contact::load(data.path(), true, now()), at(900));
        assert_eq!(Contact::load(data.path(), false, now()), at(0));
        for damaged in ["", "soon", "5 x", "\u{0}\u{0}"] {
            std::fs::write(data.path().join(FILE), damaged).unwrap();
            assert_eq!(Contact::load(data.path(), false, now()), at(0), "{damaged:?}");
        }
        std::fs::write(data.path().join(FILE), "700").unwrap();
        assert_eq!(Contact::load(data.path(), false, now()), at(700), "as an earlier build wrote it");
    }
}
