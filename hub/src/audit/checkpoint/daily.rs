//! A running hub makes a checkpoint a day.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jikai_schema::time::TimeMs;
use jikai_sync::secrets::Secrets;
use tokio_util::sync::CancellationToken;

use super::Journal;

/// Time between two looks at the day.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Makes a checkpoint at the first opportunity of each business day, until it is told to stop.
pub async fn daily(data: PathBuf, secrets: Arc<Secrets>, environment: String, stopping: CancellationToken) {
    let mut done_day = None;
    loop {
        let now = TimeMs::now();
        if done_day != Some(now.business_day()) {
            let (journal, secrets, environment) = (Journal::new(&data), secrets.clone(), environment.clone());
            let made = tokio::task::spawn_blocking(move || journal.make_if_due(&secrets, &environment, now)).await;
            match made {
                Ok(Ok(Some(made))) => {
                    tracing::info!(number = made.checkpoint.number, day = made.checkpoint.day, "checkpoint signed");
                }
                Ok(Ok(None)) => {}
                Ok(Err(error)) => {
                    tracing::error!(%error, "no checkpoint was signed today; `audit checkpoint` tries again")
                }
                Err(error) => tracing::error!(%error, "the checkpoint of the day was interrupted"),
            }
            // After a failure not again before tomorrow or the next start: the reason does not pass by itself.
            done_day = Some(now.business_day());
        }
        tokio::select! {
            () = stopping.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
