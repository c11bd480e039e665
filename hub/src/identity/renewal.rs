//! The running hub renews its own certificate, and shows it to whoever connects from then on.

use std::sync::Arc;
use std::time::Duration;

use jikai_schema::time::TimeMs;
use jikai_sync::backoff::Backoff;
use jikai_sync::identity::{TlsIdentity, not_after_ms};
use jikai_sync::secrets::Secrets;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Expiry, IdentityFiles, SigningTerms};
use crate::config::Config;

/// Time between two looks at the clock.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// First wait after a failure. Milliseconds.
const RETRY_MS_MIN: u64 = 10_000;
/// Time between two warnings of one thing. Milliseconds: a day.
const WARN_EVERY_MS: i64 = 86_400_000;

/// Shows another certificate where the hub is listening.
pub type Present = Box<dyn Fn(&TlsIdentity) -> anyhow::Result<()> + Send + Sync>;

/// The hub's certificate while it runs.
pub struct HubCertificate {
    files: IdentityFiles,
    secrets: Arc<Secrets>,
    present: Vec<Present>,
    expiry: watch::Sender<Expiry>,
}

impl HubCertificate {
    /// Reads where it stands; `present` are the places where it is shown.
    pub fn open(files: IdentityFiles, secrets: Arc<Secrets>, present: Vec<Present>) -> anyhow::Result<Self> {
        let authority_ends_ms = not_after_ms(&files.authority_pem()?)?;
        let expiry = watch::Sender::new(Expiry { certificate: files.certified()?, authority_ends_ms });
        Ok(HubCertificate { files, secrets, present, expiry })
    }

    /// Follows where it stands.
    pub fn expiry(&self) -> watch::Receiver<Expiry> {
        self.expiry.subscribe()
    }

    /// Whether it is to be renewed now. Where the authority ends with it, another one would be no better.
    pub fn is_due(&self, remaining_percent: u32, now_ms: TimeMs) -> bool {
        let expiry = self.expiry.borrow();
        expiry.certificate.is_due(remaining_percent, now_ms)
            && expiry.certificate.not_after_ms < expiry.authority_ends_ms
            && now_ms < expiry.authority_ends_ms
    }

    /// Renews it and shows it.
    pub fn renew(&self, terms: SigningTerms) -> anyhow::Result<()> {
        let certificate = self.files.renew_hub(&self.secrets, terms)?;
        let identity = self.files.tls(&self.secrets)?;
        for present in &self.present {
            present(&identity)?;
        }
        let (serial, until) = (certificate.serial.clone(), certificate.not_after_ms.business_day());
        tracing::info!(serial, %until, "the hub's certificate was renewed");
        self.expiry.send_modify(|expiry| expiry.certificate = certificate);
        Ok(())
    }
}

/// Renews the hub's certificate whenever it is due, and warns of what a person must look after, until it is told to stop.
pub async fn keep_certified(
    certificate: Arc<HubCertificate>,
    config: Arc<Config>,
    clock: impl Fn() -> TimeMs + Send,
    stopping: CancellationToken,
) {
    let mut backoff = Backoff::between(RETRY_MS_MIN, config.renewal_retry_s_max.saturating_mul(1_000));
    let mut warned_at_ms = None;
    loop {
        let now_ms = clock();
        let mut wait = LOOK_EVERY;
        if certificate.is_due(config.renewal_remaining_percent, now_ms) {
            let (renewing, terms) = (certificate.clone(), config.signing_terms(now_ms));
            let renewed = tokio::task::spawn_blocking(move || renewing.renew(terms)).await;
            match renewed.map_err(anyhow::Error::from).and_then(|renewed| renewed) {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    wait = Duration::from_millis(backoff.next_wait_ms(&mut rand::rng()));
                    tracing::error!(error = format!("{error:#}"), "the hub's certificate could not be renewed");
                }
            }
        }
        if warned_at_ms.is_none_or(|at_ms: TimeMs| now_ms.ms() - at_ms.ms() >= WARN_EVERY_MS) {
            let warnings = certificate.expiry.borrow().warnings(now_ms);
            for warning in &warnings {
                tracing::warn!("{warning}");
            }
            warned_at_ms = (!warnings.is_empty()).then_some(now_ms);
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stopping.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::identity::HUB_KEY;
    use crate::province::secrets_in;

    const DAY_MS: i64 = 86_400_000;

    fn in_days(days: i64) -> TimeMs {
        TimeMs::from_ms(TimeMs::now().ms() + days * DAY_MS)
    }

    /// The certificate of a new hub, and how often it was shown anew.
    fn opened() -> (tempfile::TempDir, Arc<HubCertificate>, Arc<AtomicUsize>) {
        let data = tempfile::tempdir().unwrap();
        let secrets = Arc::new(secrets_in(data.path()));
        IdentityFiles::new(data.path()).create(&secrets, "test", &["hub.example".to_string()]).unwrap();
        let shown = Arc::new(AtomicUsize::new(0));
        let counting = shown.clone();
        let present: Present = Box::new(move |_| {
            counting.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let certificate = HubCertificate::open(IdentityFiles::new(data.path()), secrets, vec![present]).unwrap();
        (data, Arc::new(certificate), shown)
    }

    fn config() -> Arc<Config> {
        let any = "127.0.0.1:0".parse().unwrap();
        Arc::new(Config::new("test".into(), any, any, Vec::new()))
    }

    /// Looks at the certificate once at this time.
    async fn look(certificate: &Arc<HubCertificate>, now_ms: TimeMs) {
        let stopping = CancellationToken::new();
        stopping.cancel();
        keep_certified(certificate.clone(), config(), move || now_ms, stopping).await;
    }

    #[tokio::test]
    async fn the_hub_renews_its_certificate_in_its_last_third_keeps_key_and_names_and_shows_it() {
        let (data, certificate, shown) = opened();
        let key_now = || certificate.secrets.key(HUB_KEY).unwrap().pem().to_string();
        let (key, before) = (key_now(), certificate.expiry().borrow().certificate.clone());
        look(&certificate, in_days(480)).await;
        assert_eq!((certificate.expiry().borrow().certificate == before, shown.load(Ordering::SeqCst)), (true, 0));
        look(&certificate, in_days(495)).await;
        let after = certificate.expiry().borrow().certificate.clone();
        assert_eq!(shown.load(Ordering::SeqCst), 1);
        assert_eq!(key_now(), key);
        assert!(after.serial != before.serial && after.not_after_ms > before.not_after_ms);
        assert_eq!(after.hosts, ["localhost", "hub.example"]);
        assert_eq!(IdentityFiles::new(data.path()).certified().unwrap(), after, "it is on disk");
        look(&certificate, in_days(496)).await;
        assert_eq!(shown.load(Ordering::SeqCst), 1, "once");
    }

    #[tokio::test]
    async fn with_the_authority_at_its_end_nothing_is_renewed_and_a_warning_stands() {
        let (_data, certificate, shown) = opened();
        let until_s = |days| certificate.expiry().borrow().authority_expires_in_s(in_days(days));
        look(&certificate, in_days(3_600)).await;
        let expiry = certificate.expiry().borrow().clone();
        assert_eq!(shown.load(Ordering::SeqCst), 1);
        assert_eq!(expiry.certificate.not_after_ms, expiry.authority_ends_ms, "it does not outlive the authority");
        for days in [3_640, 3_660] {
            look(&certificate, in_days(days)).await;
            assert!(!expiry.warnings(in_days(days)).is_empty() && until_s(3_660) < 0);
        }
        assert_eq!(shown.load(Ordering::SeqCst), 1);
    }
}
