//! `run`: puts the parts together, serves, and stops in order.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum_server::Handle;
use jikai_schema::event::BatchNames;
use jikai_schema::id::NodeId;
use jikai_schema::time::SteadyClock;
use jikai_sync::https::{HttpsBounds, https};
use jikai_sync::identity::{Key, TlsIdentity};
use jikai_sync::transport::{NodeUplink, UplinkOptions};
use jikai_sync::upkeep::every;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use parking_lot::RwLock;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::Config;
use crate::http;
use crate::keyring::{Keyring, read_master_key};
use crate::session::{Challenges, Hashing, Sessions};
use crate::store::{self, DownCursor, ReadPool, StoreIdentity};
use crate::uplink::{Contact, LinkState, UplinkStore, fetch_keys, keep_contact};
use crate::writer::{Clock, Writer};

/// Passwords hashed at once.
const HASHING_MAX: usize = 2;
/// Logins that may wait for that: some seconds' worth.
const HASHING_WAITING_MAX: usize = 256;
/// How often the metrics' samples are put in order.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);
/// Open files that a node of 2,000 terminals needs, with room.
const OPEN_FILES_MIN: u64 = 4_096;

pub(super) fn run(data: &Path) -> anyhow::Result<()> {
    let config = Config::load(data)?;
    raise_open_files()?;
    let metrics = PrometheusBuilder::new().install_recorder().context("start the metrics")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the runtime")?;
    runtime.block_on(serve(data, config, metrics))
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
    let connection = store::open(data)?;
    let identity = StoreIdentity::load(&connection)?.context("the store has no identity: run `jikai-node init`")?;
    check_environment(&identity, &config)?;
    let steady = Arc::new(SteadyClock::start());
    let clock: Clock = Arc::new({
        let steady = steady.clone();
        move || steady.now()
    });
    let is_new = DownCursor::load(&connection)?.next_seq <= 1;
    let keys = Arc::new(Keyring::load(&connection, read_master_key(data)?)?);
    let sessions = Arc::new(Sessions::new(config.terminal_requests_per_second, config.terminal_requests_burst));
    let live = sessions.load(&connection, clock())?;
    let names = Arc::new(RwLock::new(Arc::new(BatchNames::load(&connection)?)));
    let (writer, writing) = Writer::start(connection, keys.clone(), clock.clone())?;
    let pool = ReadPool::open(data, config.readers.max(1))?;
    let tls = tls_identity(data)?;
    let contact = Contact::load(data, is_new, clock());
    let state = LinkState { left_at_ms: contact.at_ms, fenced: contact.fenced, ..LinkState::default() };
    let (link, link_state) = watch::channel(state);
    let uplink_store = UplinkStore::new(
        identity.clone(),
        writer.clone(),
        pool.clone(),
        names.clone(),
        link,
        sessions.clone(),
        clock.clone(),
    );
    let bind = if config.hub.iter().all(SocketAddr::is_ipv6) { "[::]:0" } else { "0.0.0.0:0" };
    let options = UplinkOptions {
        hub: config.hub.clone(),
        bind: bind.parse().context("bind address")?,
        segmentation_offload: true,
    };
    let uplink = NodeUplink::bind(&tls, options, Arc::new(uplink_store))?;
    let stopping = CancellationToken::new();
    let requester = uplink.requester();
    let hub = Some(requester.clone());
    let fetching =
        fetch_keys(requester, writer.clone(), pool.clone(), keys.clone(), link_state.clone(), stopping.clone());
    let fetching = tokio::spawn(fetching);
    let contact = keep_contact(data.to_owned(), link_state.clone(), clock.clone(), stopping.clone());
    let contact = tokio::spawn(contact);
    let syncing = tokio::spawn(uplink.run(stopping.clone()));
    let upkeep = keep_up(metrics.clone(), steady, stopping.clone());
    let app = App {
        node: identity.node,
        strangers: Arc::new(http::Strangers::new(config.strangers_per_second)),
        config: Arc::new(config),
        writer: writer.clone(),
        pool,
        keys,
        sessions,
        challenges: Arc::new(Challenges::default()),
        guesses: Arc::default(),
        hashing: Arc::new(Hashing::new(HASHING_MAX, HASHING_WAITING_MAX)),
        names,
        hub,
        link: link_state,
        metrics,
        clock,
    };
    tracing::info!(node = %identity.node, live, "the node starts");
    let served = serve_terminals(app.clone(), &tls).await;
    let writer_ended = !writer.is_running();
    drain(&app).await;
    stopping.cancel();
    let _ = syncing.await;
    let _ = tokio::join!(fetching, contact, upkeep);
    drop((app, writer));
    let joined = tokio::task::spawn_blocking(move || writing.join()).await;
    if writer_ended || !matches!(joined, Ok(Ok(()))) {
        bail!(
            "the thread that writes ended by itself: a defect, see the log. What was answered is on disk; start the node again"
        );
    }
    served
}

/// Puts the metrics' samples in order, which gather otherwise until somebody asks for them, and tells of a clock that jumped.
fn keep_up(metrics: PrometheusHandle, clock: Arc<SteadyClock>, cancelled: CancellationToken) -> JoinHandle<()> {
    let mut told = false;
    tokio::spawn(every(UPKEEP_EVERY, cancelled, move || {
        metrics.run_upkeep();
        let jumped = clock.has_jumped();
        metrics::gauge!("jikai_clock_jumped").set(if jumped { 1.0 } else { 0.0 });
        if jumped && !std::mem::replace(&mut told, true) {
            tracing::error!(hint = "set the time right, then start the node again", "{}", SteadyClock::JUMPED);
        }
    }))
}

fn check_environment(identity: &StoreIdentity, config: &Config) -> anyhow::Result<()> {
    if identity.environment != config.environment || identity.node != NodeId::new(config.node)? {
        bail!(
            "the store is node {} of {}, the settings say node {} of {}: never mix stores and settings",
            identity.node,
            identity.environment,
            config.node,
            config.environment
        );
    }
    Ok(())
}

fn tls_identity(data: &Path) -> anyhow::Result<TlsIdentity> {
    let read = |name: &str| {
        std::fs::read_to_string(data.join(name))
            .with_context(|| format!("read {name}: enrol the node first (jikai-node enrol --help)"))
    };
    let key = Key::from_pem(read("secrets/node.key.pem")?);
    Ok(TlsIdentity::from_pem(&read("node.pem")?, &key, &read("ca.pem")?)?)
}

/// Serves until SIGTERM or SIGINT; requests that have begun are answered.
async fn serve_terminals(app: App, tls: &TlsIdentity) -> anyhow::Result<()> {
    let handle: Handle<SocketAddr> = Handle::new();
    let (listen, config) = (app.config.listen, &app.config);
    let patience = Duration::from_millis(config.patience_ms);
    let bounds = HttpsBounds { connections_max: config.connections_max, patience, tls_1_2: config.tls_1_2 };
    let (server, _) = https(listen, tls, bounds)?;
    let writer = app.writer.clone();
    let service = http::router(app).into_make_service_with_connect_info::<SocketAddr>();
    let server = server.handle(handle.clone()).serve(service);
    let announcing = tokio::spawn({
        let handle = handle.clone();
        async move {
            if let Some(address) = handle.listening().await {
                println!("ready http={address}");
                let _ = std::io::stdout().flush();
            }
        }
    });
    let stopping = tokio::spawn(async move {
        tokio::select! {
            () = stop_signal() => {}
            () = writer.ended() => tracing::error!("the thread that writes has ended: the node stops"),
        }
        handle.graceful_shutdown(Some(Duration::from_secs(5)));
    });
    let served = server.await.with_context(|| format!("serve terminals on {listen}"));
    announcing.abort();
    stopping.abort();
    served
}

async fn stop_signal() {
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: terminals first, then the queue, then sync");
}

/// Waits, within bounds, until the hub has the newest event.
async fn drain(app: &App) {
    let head_seq = app.writer.head().borrow().seq;
    let mut link = app.link.clone();
    let drained = link.wait_for(|state| state.acked_seq >= head_seq);
    if tokio::time::timeout(Duration::from_millis(app.config.drain_ms_max), drained).await.is_err() {
        tracing::warn!(
            head_seq,
            "stopped before the hub had confirmed the newest events; they follow at the next start"
        );
    }
}
