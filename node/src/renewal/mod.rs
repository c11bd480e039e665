//! Renewing the node's certificate while it runs: a new key, certified over the connection that the present one opened.

mod control;
mod keep;
#[cfg(test)]
pub(crate) mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use jikai_schema::codec::CodecError;
use jikai_schema::id::NodeId;
use jikai_schema::peer::{HubReply, NodeRequest};
use jikai_sync::identity::{Certified, IdentityError, KeyAndRequest, TlsIdentity, verify_node};
use jikai_sync::secrets::Secrets;
use jikai_sync::transport::{Future, RequestError, Requester};
use tokio::sync::watch;

use crate::identity::{NodeIdentity, forget_renewal, pending_renewal};
use crate::writer::Clock;

pub use control::{ask_running, listen};
pub use keep::{Asked, RenewalSettings, keep_renewed};

/// Shows another certificate where the node is heard.
pub type Present = Box<dyn Fn(&TlsIdentity) -> anyhow::Result<()> + Send + Sync>;

/// Asks the hub.
pub trait AskHub: Send + Sync + 'static {
    /// Sends a request and waits for its answer.
    fn ask(&self, request: Vec<u8>) -> Future<'_, Result<Vec<u8>, RequestError>>;
}

impl AskHub for Requester {
    fn ask(&self, request: Vec<u8>) -> Future<'_, Result<Vec<u8>, RequestError>> {
        Box::pin(async move { self.request(&request).await })
    }
}

/// A renewal that did not come about. The certificate in use stays.
#[derive(Debug, thiserror::Error)]
pub enum RenewalError {
    /// The hub did not answer; the same request is sent again.
    #[error(transparent)]
    NoAnswer(#[from] RequestError),
    /// The hub said no.
    #[error("the hub refused: {0}")]
    Refused(String),
    /// Bytes that are none, or an answer to something else.
    #[error("the hub's answer cannot be read")]
    Unreadable,
    /// What came is not what was asked for.
    #[error("the hub gave a certificate that cannot be used: {0}")]
    Unusable(#[from] IdentityError),
    /// What came ends before what is there, within a week.
    #[error("the hub gave a certificate that ends before the present one, within a week")]
    Shorter,
    /// Files, or showing the certificate.
    #[error("{0:#}")]
    Local(#[from] anyhow::Error),
}

impl From<CodecError> for RenewalError {
    fn from(_: CodecError) -> Self {
        RenewalError::Unreadable
    }
}

/// Least validity of a certificate that ends before the present one: a week.
const VALIDITY_MS_MIN: i64 = 7 * 86_400_000;

/// The node's certificate while it runs.
pub struct Renewal {
    data: PathBuf,
    secrets: Arc<Secrets>,
    node: NodeId,
    hub: Arc<dyn AskHub>,
    present: Vec<Present>,
    clock: Clock,
    current: watch::Sender<Certified>,
}

impl Renewal {
    /// Reads where it stands; `present` are the places where the certificate is shown.
    pub fn open(
        (data, secrets): (PathBuf, Arc<Secrets>),
        node: NodeId,
        hub: Arc<dyn AskHub>,
        present: Vec<Present>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let current = watch::Sender::new(NodeIdentity::load(&data, &secrets)?.certified()?);
        Ok(Renewal { data, secrets, node, hub, present, clock, current })
    }

    /// Follows the certificate in use.
    pub fn current(&self) -> watch::Receiver<Certified> {
        self.current.subscribe()
    }

    /// Asks for another certificate, proves it, installs it, and shows it from then on.
    pub async fn renew(&self) -> Result<Certified, RenewalError> {
        let (data, secrets, node) = (self.data.clone(), self.secrets.clone(), self.node);
        let prepare = move || -> anyhow::Result<(NodeIdentity, KeyAndRequest)> {
            let identity = NodeIdentity::load(&data, &secrets)?;
            let pending = pending_renewal(&secrets, node, &identity.key)?;
            Ok((identity, pending))
        };
        let (identity, pending) = blocking(prepare).await?;
        let request = NodeRequest::RenewCertificate { request_pem: pending.request_pem.clone() }.encode()?;
        let reply = HubReply::decode(&self.hub.ask(request).await?)?;
        let renewed = match reply {
            HubReply::CertificateRenewed { certificate_pem } => self.take(&identity, pending, certificate_pem).await,
            HubReply::Refused(reason) => Err(RenewalError::Refused(reason)),
            _ => Err(RenewalError::Unreadable),
        };
        if !matches!(renewed, Err(RenewalError::Local(_))) {
            // It was answered, for good or ill: another renewal is another request.
            let secrets = self.secrets.clone();
            blocking(move || forget_renewal(&secrets)).await?;
        }
        renewed
    }

    /// Checks: as [`verify_node`] does → it does not end before the present one. Then it is installed, then shown.
    async fn take(
        &self,
        identity: &NodeIdentity,
        pending: KeyAndRequest,
        certificate_pem: String,
    ) -> Result<Certified, RenewalError> {
        let now_ms = (self.clock)();
        let (certified, tls) = verify_node(&certificate_pem, &pending.key, &identity.authority_pem, self.node, now_ms)?;
        // A shorter validity is the centre's to choose; one that is hardly any is not taken.
        let present_ms = identity.certified()?.not_after_ms.ms();
        if certified.not_after_ms.ms() < present_ms.min(now_ms.ms() + VALIDITY_MS_MIN) {
            return Err(RenewalError::Shorter);
        }
        let secrets = self.secrets.clone();
        blocking(move || NodeIdentity::install(&secrets, &pending.key, &certificate_pem)).await?;
        for present in &self.present {
            present(&tls)?;
        }
        self.current.send_replace(certified.clone());
        Ok(certified)
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}
