//! When the certificate is renewed: in the last part of its validity, or when a person asks.

use std::time::Duration;

use jikai_schema::time::TimeMs;
use jikai_sync::backoff::Backoff;
use jikai_sync::identity::Certified;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Renewal, RenewalError};

/// Time between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// First wait after a failure. Milliseconds.
const RETRY_MS_MIN: u64 = 10_000;

/// Somebody who asks for a renewal now, and waits for what comes of it.
pub type Asked = oneshot::Sender<Result<Certified, String>>;

/// When to renew.
#[derive(Debug, Clone, Copy)]
pub struct RenewalSettings {
    /// Once no more than this share of the validity is left. Percent.
    pub remaining_percent: u32,
    /// Longest wait before a renewal that failed is tried again. Milliseconds, > 0.
    pub retry_ms_max: u64,
}

/// Renews the certificate whenever it is due or somebody asks, until cancelled.
pub async fn keep_renewed(
    renewal: Renewal,
    settings: RenewalSettings,
    mut asked: mpsc::Receiver<Asked>,
    cancelled: CancellationToken,
) {
    let mut backoff = Backoff::between(RETRY_MS_MIN.min(settings.retry_ms_max), settings.retry_ms_max);
    loop {
        let (now_ms, current) = ((renewal.clock)(), renewal.current.borrow().clone());
        let mut wait = LOOK_EVERY;
        if current.is_due(settings.remaining_percent, now_ms) {
            match renewal.renew().await {
                Ok(renewed) => {
                    tell(&renewed);
                    backoff.reset();
                }
                Err(error) => {
                    wait = Duration::from_millis(backoff.next_wait_ms(&mut rand::rng()));
                    complain(&error, &current, now_ms);
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            Some(asker) = asked.recv() => {
                let renewed = renewal.renew().await;
                if let Ok(renewed) = &renewed {
                    tell(renewed);
                    backoff.reset();
                }
                // Who no longer waits sees it in the log.
                let _ = asker.send(renewed.map_err(|error| error.to_string()));
            }
            () = cancelled.cancelled() => return,
        }
    }
}

fn tell(renewed: &Certified) {
    let until = renewed.not_after_ms.business_day();
    tracing::info!(serial = renewed.serial, %until, "the certificate was renewed");
    metrics::counter!("jikai_certificate_renewals_total", "outcome" => "renewed").increment(1);
}

fn complain(error: &RenewalError, current: &Certified, now_ms: TimeMs) {
    metrics::counter!("jikai_certificate_renewals_total", "outcome" => "failed").increment(1);
    let (until, expires_in_s) = (current.not_after_ms.business_day(), current.expires_in_s(now_ms));
    if expires_in_s <= 0 {
        let hint = "Enrol the node anew: jikai-node request, jikai-hub ca sign, jikai-node enrol.";
        tracing::error!(%error, %until, hint, "the certificate has expired: the hub is out of reach");
    } else {
        tracing::warn!(%error, %until, expires_in_s, "the certificate could not be renewed yet");
    }
}
