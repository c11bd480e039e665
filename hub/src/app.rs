//! What the parts of a running hub share.

use std::path::PathBuf;
use std::sync::Arc;

use ed25519_dalek::VerifyingKey;
use jikai_sync::secrets::Secrets;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::sync::{Semaphore, watch};

use crate::config::Config;
use crate::http::{Allowances, Notes};
use crate::identity::{Expiry, TokenHash};
use crate::ingest::{KeyVault, Links};
use crate::machines::{Machines, OwnState};
use crate::personal::PersonalVault;
use crate::sequencer::Sequencer;
use crate::staff::{Factors, Passwords};
use crate::store::ReadPool;

/// A running hub, shared by its handlers.
#[derive(Clone)]
pub struct App {
    /// The data directory.
    pub data: PathBuf,
    /// Private keys of the machine.
    pub secrets: Arc<Secrets>,
    /// Settings.
    pub config: Arc<Config>,
    /// Everything that changes goes through it.
    pub sequencer: Sequencer,
    /// Read-only connections.
    pub pool: ReadPool,
    /// Opens batch keys.
    pub vault: Arc<KeyVault>,
    /// Keys of trusted printers.
    pub printers: Arc<Vec<VerifyingKey>>,
    /// The machines of the hub.
    pub machines: Machines,
    /// Whether this machine is used.
    pub own_state: watch::Receiver<OwnState>,
    /// How the nodes' links stand.
    pub links: Arc<Links>,
    /// The machine's token.
    pub token: TokenHash,
    /// How often one address may ask without a session.
    pub strangers: Arc<Allowances>,
    /// How often one member of staff may ask.
    pub accounts: Arc<Allowances>,
    /// Hashes and compares passwords of staff.
    pub passwords: Passwords,
    /// Second factors of staff.
    pub factors: Arc<Factors>,
    /// Encrypts and decrypts personal data.
    pub personal: Arc<PersonalVault>,
    /// What was noted in the trail lately.
    pub notes: Arc<Notes>,
    /// One import at a time: each may hold a whole file.
    pub importing: Arc<Semaphore>,
    /// When the hub's certificate and its authority end.
    pub expiry: watch::Receiver<Expiry>,
    /// Renders the metrics.
    pub metrics: PrometheusHandle,
}

impl App {
    /// Where uploaded directories lie until they are imported.
    pub fn inbox(&self) -> PathBuf {
        self.data.join(INBOX)
    }
}

/// Folder of uploaded directories.
pub const INBOX: &str = "inbox";
