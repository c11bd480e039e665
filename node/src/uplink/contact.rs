//! When the hub was heard last, kept over restarts: a node that was cut off too long no longer knows who was put out of use.

use std::path::{Path, PathBuf};
use std::time::Duration;

use jikai_schema::time::TimeMs;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::LinkState;
use crate::writer::Clock;

/// File with the time, Unix ms.
const FILE: &str = "hub-contact";
/// How often it is written while the link is open.
const EVERY: Duration = Duration::from_secs(60);

/// The time that the file in `data` tells; `None` without one, or if it tells none.
pub fn last_contact(data: &Path) -> Option<TimeMs> {
    let text = std::fs::read_to_string(data.join(FILE)).ok()?;
    text.trim().parse().ok().map(TimeMs::from_ms)
}

/// Keeps the file in `data` true to within [`EVERY`], until cancelled.
pub async fn keep_contact(data: PathBuf, link: watch::Receiver<LinkState>, clock: Clock, cancelled: CancellationToken) {
    loop {
        let contact_at_ms = link.borrow().contact_at_ms(clock());
        let (path, next) = (data.join(FILE), data.join(format!("{FILE}.next")));
        let written = async {
            tokio::fs::write(&next, contact_at_ms.ms().to_string()).await?;
            tokio::fs::rename(&next, &path).await
        };
        if let Err(error) = written.await {
            tracing::warn!(%error, "the time of the last contact with the hub could not be kept");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = cancelled.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn the_last_contact_survives_and_without_a_file_there_is_none() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(last_contact(data.path()), None);
        let link = LinkState { connected: false, left_at_ms: TimeMs::from_ms(500), ..LinkState::default() };
        let (_sender, link) = watch::channel(link);
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        keep_contact(data.path().to_owned(), link, Arc::new(|| TimeMs::from_ms(900)), cancelled).await;
        assert_eq!(last_contact(data.path()), Some(TimeMs::from_ms(500)));
        std::fs::write(data.path().join(FILE), "soon").unwrap();
        assert_eq!(last_contact(data.path()), None);
    }
}
