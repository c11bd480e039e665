//! A running hub without a network: log, state, sequencer and read pool in a temporary directory.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use jikai_schema::command::{Command, Outcome};
use jikai_schema::event::Actor;
use jikai_schema::time::TimeMs;
use jikai_schema::vault::MasterKey;
use jikai_sync::identity::{CertificateAuthority, Key, TlsIdentity};
use jikai_sync::secrets::Secrets;
use tempfile::TempDir;

use super::{NOW_MS, digest_of, set_up};
use crate::config::Config;
use crate::identity::secrets_place;
use crate::ingest::{KeyVault, Links};
use crate::member::{Member, Seat};
use crate::raft::settings::Settings;
use crate::sequencer::Sequencer;
use crate::store::{self, ReadPool, STATE_FILE};

/// The secrets of a test hub, made on first need.
pub fn secrets_in(data: &Path) -> Secrets {
    let any = "127.0.0.1:0".parse().unwrap();
    let place = secrets_place(data, &Config::new("test".into(), any, any, Vec::new()));
    Secrets::create(&place).or_else(|_| Secrets::open(&place)).unwrap()
}

/// The identity of a test hub's machine: one authority serves all.
fn tls(machine: u16) -> TlsIdentity {
    static AUTHORITY: OnceLock<CertificateAuthority> = OnceLock::new();
    let authority = AUTHORITY.get_or_init(|| CertificateAuthority::create("test", TimeMs::now()).unwrap());
    let key = Key::generate().unwrap();
    let certificate = authority.certify_machine(&key, machine, &[], TimeMs::now()).unwrap();
    TlsIdentity::from_pem(&certificate, &key, authority.certificate_pem()).unwrap()
}

/// What a test needs of a running hub.
pub struct Running {
    pub data: Arc<TempDir>,
    pub sequencer: Sequencer,
    pub pool: ReadPool,
    pub vault: Arc<KeyVault>,
    pub links: Arc<Links>,
    pub member: Member,
    sequencing: tokio::task::JoinHandle<()>,
    ticks: Arc<AtomicI64>,
}

impl Running {
    /// A new hub, still empty.
    pub async fn empty() -> Self {
        Running::over(Arc::new(tempfile::tempdir().unwrap())).await
    }

    /// A hub over what is in a directory: a cluster of one machine.
    pub async fn over(data: Arc<TempDir>) -> Self {
        Running::try_over(data).await.unwrap()
    }

    /// The same, where it may fail.
    pub async fn try_over(data: Arc<TempDir>) -> anyhow::Result<Self> {
        let running = Running::seated(data, 1, String::new(), Settings::default()).await?;
        running.member.found().await?;
        Ok(running)
    }

    /// A machine that others reach at this address; it belongs to no hub yet, or to the one it belonged to.
    pub async fn seated(data: Arc<TempDir>, machine: u16, address: String, settings: Settings) -> anyhow::Result<Self> {
        let seat = Seat { machine, listen: "127.0.0.1:0".parse().unwrap(), address: Some(address) };
        let member = Member::start(data.path(), &tls(machine), seat, settings).await?;
        let ticks = Arc::new(AtomicI64::new(NOW_MS));
        let ticking = ticks.clone();
        let clock = Arc::new(move || TimeMs::from_ms(ticking.fetch_add(1, Ordering::Relaxed)));
        let (sequencer, sequencing) = member.sequencer(clock);
        let pool = ReadPool::open(data.path(), 2).unwrap();
        let vault = Arc::new(KeyVault::new(MasterKey::from_bytes([3; 32])));
        let links = Arc::new(Links::new(TimeMs::from_ms(NOW_MS)));
        Ok(Running { data, sequencer, pool, vault, links, member, sequencing, ticks })
    }

    /// A hub whose province has come to life.
    pub async fn set_up() -> Self {
        let running = Running::empty().await;
        for command in set_up() {
            let outcome = running.ask(command).await;
            assert!(!matches!(outcome, Outcome::Refused(_)), "{outcome:?}");
        }
        running
    }

    pub async fn ask(&self, command: Command) -> Outcome {
        self.sequencer.propose(Actor::System, command).await.unwrap()
    }

    /// Puts the clock forward.
    pub fn pass(&self, ms: i64) {
        self.ticks.fetch_add(ms, Ordering::Relaxed);
    }

    /// Stops everything; the directory stays.
    pub async fn stop(self) -> Arc<TempDir> {
        let Running { data, sequencer, pool, member, sequencing, .. } = self;
        drop((sequencer, pool));
        sequencing.await.unwrap();
        member.stop().await;
        data
    }

    pub fn digest(data: &Path) -> [u8; 32] {
        digest_of(&store::open_reader(data).unwrap(), "")
    }

    /// Removes the state; the log stays.
    pub fn lose_state(data: &Path) {
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(data.join(format!("{STATE_FILE}{suffix}")));
        }
    }
}
