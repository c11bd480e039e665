//! `run`: puts the parts together, serves, and stops in order.

mod voter;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::{Context, bail};
use axum_server::Handle;
use jikai_schema::event::{Actor, MachineState};
use jikai_schema::time::{SteadyClock, TimeMs};
use jikai_sync::https::{HttpsBounds, HttpsIdentity, HttpsServer, https};
use jikai_sync::identity::{check_authority, create_private_dir, write_private_file};
use jikai_sync::secrets::Secrets;
use jikai_sync::transport::{HubEndpoint, HubIdentity, HubOptions};
use jikai_sync::upkeep::every;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::RunArgs;
use super::client::{ENDPOINTS_FILE, Endpoints};
use crate::app::{App, INBOX};
use crate::audit::checkpoint::daily;
use crate::config::Config;
use crate::directory::DirectoryKey;
use crate::http;
use crate::identity::{HubCertificate, IdentityFiles, Present, TokenHash, keep_certified, secrets_place};
use crate::ingest::{KeyVault, Links, NodeGate, Signer};
use crate::jobs::{DirectorySigner, keep_jobs};
use crate::keys;
use crate::machine::{MachineRow, RecoveryRow};
use crate::machine_log::take_over;
use crate::machines::{Machines, OwnState, Reached, drain_nodes, follow_own_state, keep_announced, shared_links};
use crate::member::{Member, Seat};
use crate::personal::PersonalVault;
use crate::raft::cluster::Cluster;
use crate::raft::network::Identity;
use crate::recovery::keep_recovering;
use crate::sequencer::{Clock, Sequencer};
use crate::staff::{Factors, Passwords};
use crate::store::{self, ReadPool, claim_environment_of};

/// How often the metrics' samples are put in order.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Read-only connections of the nodes' feeds.
const FEED_READERS: usize = 2;
/// Open files that a hub needs, with room.
const OPEN_FILES_MIN: u64 = 1_024;
/// What a machine says that was removed.
const REMOVED: &str = "this machine was removed from the hub: it serves nobody any more. Take it out of use; to use it again, invite it \
                       under another number (`jikai-hub cluster invite`) and let it join in an empty directory";
/// How long the parts may take to end once nobody is served any more.
const STOP_WAIT: Duration = Duration::from_secs(5);

pub(super) fn run(args: &RunArgs) -> anyhow::Result<()> {
    let data = &args.data.data;
    let mut config = Config::load(data)?;
    config.voter_only |= args.voter_only;
    if knows_own_removal(data)? {
        eprintln!("jikai-hub: {REMOVED}");
        return Ok(());
    }
    raise_open_files()?;
    let metrics = PrometheusBuilder::new().install_recorder().context("start the metrics")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    let served = match config.voter_only {
        true => runtime.block_on(voter::vote(data, config)),
        false => runtime.block_on(serve(data, config, metrics)),
    };
    runtime.shutdown_timeout(STOP_WAIT);
    served
}

/// Whether this machine had heard of its removal before it stopped: then nobody may find it up, not for a moment. Where an older build's
/// tables cannot be read yet, it is found out later.
fn knows_own_removal(data: &Path) -> anyhow::Result<bool> {
    if !data.join(store::STATE_FILE).exists() {
        return Ok(false);
    }
    let (own, state) = (IdentityFiles::new(data).machine()?, store::open_reader(data)?);
    let rows = MachineRow::list(&state).unwrap_or_default();
    Ok(rows.iter().any(|row| row.machine == own && row.state == Some(MachineState::Retired)))
}

fn raise_open_files() -> anyhow::Result<()> {
    let got = rlimit::increase_nofile_limit(u64::MAX).context("raise the limit of open files")?;
    if got < OPEN_FILES_MIN {
        bail!(
            "only {got} files may be open, {OPEN_FILES_MIN} are needed: raise the hard limit (ulimit -Hn) and start again"
        );
    }
    Ok(())
}

async fn serve(data: &Path, config: Config, metrics: PrometheusHandle) -> anyhow::Result<()> {
    let files = IdentityFiles::new(data);
    let _only_one = Lock::take(data)?;
    clear_inbox(data)?;
    let secrets = Arc::new(open_secrets(data, &files, &config)?);
    let tls = files.tls(&secrets)?;
    let vault = Arc::new(KeyVault::new(secrets.ring().clone()));
    let key = Arc::new(DirectoryKey::load(data, &secrets)?);
    let signer = DirectorySigner { key, environment: config.environment.clone() };
    let (steady, clock) = steady_clock();
    let number = files.machine()?;
    let member = Member::start(data, &tls, seat(&config, number), config.log_settings()).await?;
    let links = shared_links(&member.cluster, clock.clone());
    let (sequencer, sequencing) = member.sequencer(clock);
    reseal(&member, &sequencer, data, &secrets).await?;
    let pool = ReadPool::open(data, config.readers.max(1))?;
    let stopping = CancellationToken::new();
    let machines = Machines::new(number, &member.cluster, sequencer.clone(), pool.clone());
    let (own_state, following) = follow_own_state(&machines, stopping.clone());
    let gate = node_gate(data, &config, &secrets, &sequencer, (vault.clone(), links.clone()))?;
    let endpoint = HubEndpoint::bind(&tls, &sync_options(&config), Arc::new(gate))?;
    let sync = endpoint.local_address().context("read the sync address")?;
    let (server, https_identity) = https(config.listen, &tls, bounds(&config))?;
    let shown = (endpoint.identity(), https_identity, Arc::downgrade(&member.cluster));
    let certificate = open_certificate(files, secrets.clone(), shown)?;
    let app = App {
        data: data.to_owned(),
        secrets: secrets.clone(),
        strangers: Arc::new(http::Allowances::new(config.strangers_per_second)),
        accounts: Arc::new(http::Allowances::new(config.account_per_second)),
        printers: Arc::new(crate::import::printer_keys(&config.printer_keys)?),
        config: Arc::new(config),
        sequencer: sequencer.clone(),
        pool,
        vault,
        machines: machines.clone(),
        own_state: own_state.clone(),
        links,
        token: TokenHash::of(&IdentityFiles::new(data).token()?),
        passwords: Passwords::new()?,
        factors: Arc::new(Factors::new(secrets.ring())),
        personal: Arc::new(PersonalVault::new(secrets.ring())),
        notes: Arc::default(),
        importing: Arc::new(Semaphore::new(1)),
        expiry: certificate.expiry(),
        metrics,
    };
    tracing::info!(environment = app.config.environment, applied = %sequencer.applied(), "the hub starts");
    let mut parts = JoinSet::new();
    parts.spawn(drain_nodes(endpoint.drain(), machines.clone(), own_state.clone(), stopping.clone()));
    parts.spawn(following);
    parts.spawn(keep_recovering(machines.clone(), sequencer.clone(), app.pool.clone(), stopping.clone()));
    parts.spawn(keep_jobs(machines, sequencer.clone(), app.pool.clone(), signer, stopping.clone()));
    parts.spawn(endpoint.run(stopping.clone()));
    parts.spawn(keep_up(app.metrics.clone(), steady, stopping.clone()));
    parts.spawn(take_over(data.to_owned(), sequencer.clone(), stopping.clone()));
    parts.spawn(daily(data.to_owned(), secrets, app.config.environment.clone(), stopping.clone()));
    parts.spawn(keep_certified(certificate, app.config.clone(), TimeMs::now, stopping.clone()));
    let (failed, peer) = (sequencer.failed(), member.cluster.local_address().ok());
    drop(sequencer);
    let served = tokio::select! {
        served = serve_centre(app, server, (sync, peer), failed.clone()) => served,
        panicked = first_panic(&mut parts) => Err(panicked),
    };
    stopping.cancel();
    let removed = *own_state.borrow() == OwnState::Retired || *member.cluster.removed().borrow();
    end(member, sequencing, parts).await?;
    conclude(&failed, removed)?;
    served
}

/// Opens the secrets, which are bound to their environment, as databases and authority are: of another one, all are refused.
pub(super) fn open_secrets(data: &Path, files: &IdentityFiles, config: &Config) -> anyhow::Result<Secrets> {
    claim_environment_of(data, &config.environment)?;
    check_authority(&files.authority_pem()?, &config.environment).context("check ca/ca.pem")?;
    Ok(Secrets::take(&secrets_place(data, config))?)
}

/// Brings what a rotation left under older keys under the newest; before anybody is served, so that nothing changes meanwhile.
async fn reseal(member: &Member, sequencer: &Sequencer, data: &Path, secrets: &Secrets) -> anyhow::Result<()> {
    let state = store::open_reader(data)?;
    if RecoveryRow::is_on(&state)? {
        tracing::info!("secrets that lie under older keys stay so until the recovery is over and the hub starts again");
        // One that does not belong to a hub yet has none to wait for.
    } else if is_member(member) && member.wait_for_leader().await {
        keys::reseal(sequencer, &state, secrets.ring(), &Actor::System, false).await?;
    } else {
        tracing::warn!("the hub has no leader yet: it answers what only reads until it has one");
    }
    Ok(())
}

fn is_member(member: &Member) -> bool {
    member.cluster.member_address(member.cluster.status().id).is_some()
}

/// Waits until a part has panicked: without it the machine would look well and not be.
async fn first_panic(parts: &mut JoinSet<()>) -> anyhow::Error {
    while let Some(ended) = parts.join_next().await {
        if let Err(error) = ended {
            return anyhow::anyhow!("a part of the hub ended by itself, a defect: {error}. Start the hub again");
        }
    }
    std::future::pending().await
}

/// Why a machine stopped by itself, if it did. Its removal is no failure: whoever starts what has failed again should leave it alone.
fn conclude(failed: &watch::Receiver<Option<String>>, removed: bool) -> anyhow::Result<()> {
    if let Some(failure) = failed.borrow().clone() {
        bail!("the hub has stopped: {failure}");
    }
    if removed {
        eprintln!("jikai-hub: {REMOVED}");
    }
    Ok(())
}

/// What the nodes meet.
fn node_gate(
    data: &Path,
    config: &Config,
    secrets: &Arc<Secrets>,
    sequencer: &Sequencer,
    (vault, links): (Arc<KeyVault>, Arc<Links>),
) -> anyhow::Result<NodeGate> {
    let terms = config.signing_terms(TimeMs::now());
    let signer = Signer::new(IdentityFiles::new(data), secrets.clone(), terms.certificate_ms);
    // A long report must not hold up the nodes' feeds.
    let pool = ReadPool::open(data, FEED_READERS)?;
    Ok(NodeGate::new(config.environment.clone(), sequencer.clone(), pool, vault, links).with_signer(signer))
}

/// Waits for the parts, then for what they proposed, then for the log.
async fn end(member: Member, sequencing: JoinHandle<()>, mut parts: JoinSet<()>) -> anyhow::Result<()> {
    let ended = async {
        while let Some(ended) = parts.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the hub ended by itself: a defect");
            }
        }
        sequencing.await
    };
    match tokio::time::timeout(STOP_WAIT, ended).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => {
            bail!("the task that proposes panicked: a defect, see the log. Start the hub again: the log wins")
        }
        Err(_) => tracing::warn!("something still held the log; what was answered is on disk"),
    }
    member.stop().await;
    Ok(())
}

/// Where this machine of the hub sits.
pub(super) fn seat(config: &Config, machine: u16) -> Seat {
    Seat { machine, listen: config.peer_listen, address: config.peer_address() }
}

fn sync_options(config: &Config) -> HubOptions {
    HubOptions {
        listen: config.sync_listen,
        connections_max: config.nodes_max,
        segmentation_offload: config.segmentation_offload,
    }
}

fn bounds(config: &Config) -> HttpsBounds {
    let patience = Duration::from_millis(config.patience_ms);
    let front_doors = config.front_doors.clone();
    HttpsBounds { connections_max: config.connections_max, patience, tls_1_2: config.tls_1_2, front_doors }
}

/// The hub's certificate, shown to nodes, to browsers and to the other machines.
fn open_certificate(
    files: IdentityFiles,
    secrets: Arc<Secrets>,
    (sync, https, peers): (HubIdentity, HttpsIdentity, Weak<Cluster>),
) -> anyhow::Result<Arc<HubCertificate>> {
    let to_nodes: Present = Box::new(move |identity| Ok(sync.present(identity)?));
    let to_browsers: Present = Box::new(move |identity| Ok(https.present(identity)?));
    let to_peers: Present = Box::new(move |identity| match peers.upgrade() {
        Some(cluster) => Ok(cluster.present(&Identity::of(identity)?)?),
        None => Ok(()),
    });
    Ok(Arc::new(HubCertificate::open(files, secrets, vec![to_nodes, to_browsers, to_peers])?))
}

/// The clock that stamps commands, and its reading.
fn steady_clock() -> (Arc<SteadyClock>, Clock) {
    let steady = Arc::new(SteadyClock::start());
    (steady.clone(), Arc::new(move || steady.now()))
}

/// Puts the metrics' samples in order, which gather otherwise until somebody asks for them, and tells of a clock that jumped.
async fn keep_up(metrics: PrometheusHandle, clock: Arc<SteadyClock>, cancelled: CancellationToken) {
    let mut told = false;
    let looked = every(UPKEEP_EVERY, cancelled, move || {
        metrics.run_upkeep();
        let jumped = clock.has_jumped();
        metrics::gauge!("jikai_clock_jumped").set(if jumped { 1.0 } else { 0.0 });
        if jumped && !std::mem::replace(&mut told, true) {
            tracing::error!(hint = "set the time right, then start the hub again", "{}", SteadyClock::JUMPED);
        }
    });
    looked.await;
}

/// Two hubs on one directory would write one log.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock is held as long as the file is open")] std::fs::File);

impl Lock {
    pub(super) fn take(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("hub.lock");
        let file = std::fs::File::create(&path).with_context(|| format!("create {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock(file)),
            Err(_) => bail!("another hub runs on {}: stop it first", data.display()),
        }
    }
}

/// Directories of an import that was cut off hold security codes: they do not stay.
fn clear_inbox(data: &Path) -> anyhow::Result<()> {
    let inbox = data.join(INBOX);
    if inbox.exists() {
        std::fs::remove_dir_all(&inbox).with_context(|| format!("clear {}", inbox.display()))?;
    }
    Ok(create_private_dir(&inbox)?)
}

/// Serves until SIGTERM, SIGINT or a failure of the state; requests that have begun are answered.
async fn serve_centre(
    app: App,
    server: HttpsServer,
    (sync, peer): (SocketAddr, Option<SocketAddr>),
    failed: watch::Receiver<Option<String>>,
) -> anyhow::Result<()> {
    let handle: Handle<SocketAddr> = Handle::new();
    let (listen, data, drain_ms_max) = (app.config.listen, app.data.clone(), app.config.drain_ms_max);
    let (machines, own_state) = (app.machines.clone(), app.own_state.clone());
    let stopped_by = machines.clone();
    let config = app.config.clone();
    let service = http::router(app).into_make_service_with_connect_info::<SocketAddr>();
    let server = server.handle(handle.clone()).serve(service);
    let announcing = tokio::spawn({
        let handle = handle.clone();
        async move {
            let Some(http) = handle.listening().await else { return };
            if let Err(error) = announce(&data, &Endpoints { http, sync }, peer) {
                tracing::error!(%error, "the addresses could not be written");
            }
            keep_announced(machines, reached(&config, http, sync)).await;
        }
    });
    let stopping = tokio::spawn(async move {
        stop_signal(failed, own_state, stopped_by).await;
        handle.graceful_shutdown(Some(Duration::from_millis(drain_ms_max)));
    });
    let served = server.await.with_context(|| format!("serve the centre on {listen}"));
    announcing.abort();
    stopping.abort();
    served
}

/// What the hub is told of where this machine is reached.
fn reached(config: &Config, http: SocketAddr, sync: SocketAddr) -> Reached {
    let http = config.http_address.or_else(|| (!http.ip().is_unspecified()).then_some(http));
    Reached { http, sync: Some(sync), links: config.links.clone(), voter_only: false }
}

fn announce(data: &Path, endpoints: &Endpoints, peer: Option<SocketAddr>) -> anyhow::Result<()> {
    write_private_file(&data.join(ENDPOINTS_FILE), serde_json::to_string(endpoints)?.as_bytes())?;
    let peer = peer.map(|peer| format!(" peer={peer}")).unwrap_or_default();
    println!("ready http={} sync={}{peer}", endpoints.http, endpoints.sync);
    Ok(std::io::stdout().flush()?)
}

/// Waits until the process is told to stop, cannot go on, or was removed from the hub.
async fn stop_signal(
    mut failed: watch::Receiver<Option<String>>,
    mut own_state: watch::Receiver<OwnState>,
    machines: Machines,
) {
    let left = async {
        if own_state.wait_for(|state| *state == OwnState::Retired).await.is_err() {
            std::future::pending::<()>().await;
        }
        // Until it is outside, its vote may be needed to let it go.
        machines.has_left().await;
    };
    let removed = async {
        tokio::select! {
            () = left => {}
            () = machines.told_removed() => {}
        }
        machines.told_own_removal().await;
    };
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = failed.wait_for(Option::is_some) => {}
        () = removed => {}
    }
    tracing::info!("stopping: the centre first, then the nodes, then the log");
}
