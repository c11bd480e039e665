//! `run`: puts the parts together, serves, and stops in order.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum_server::Handle;
use jikai_schema::id::NodeId;
use jikai_schema::store::Checkpointer;
use jikai_schema::time::{SteadyClock, TimeMs};
use jikai_sync::https::{HttpsBounds, HttpsIdentity, HttpsServer, https};
use jikai_sync::identity::{TlsIdentity, check_authority};
use jikai_sync::secrets::Secrets;
use jikai_sync::transport::{NodeUplink, Requester, UplinkIdentity, UplinkOptions, UplinkPace};
use jikai_sync::upkeep::every;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::app::{App, Parts};
use crate::config::Config;
use crate::directory::DirectoryBoard;
use crate::handoff::{Moved, keep_released};
use crate::http;
use crate::identity::NodeIdentity;
use crate::join::receive_slice;
use crate::keyring::{Keyring, reseal};
use crate::machine_log::take_over;
use crate::renewal::{self, AskHub, Present, Renewal, keep_renewed};
use crate::secrets::secrets_place;
use crate::session::{Challenges, Hashing, Sessions};
use crate::store::{self, DownCursor, Joining, ReadPool, StoreIdentity};
use crate::uplink::{
    Contact, HubAcked, HubGeneration, HubMemory, HubRoutes, LinkState, REPLACED, Returning, Runs, UplinkStore,
    fetch_keys, keep_acked, keep_contact, keep_gauges, keep_reached, return_feed,
};
use crate::writer::{Clock, Writer};

/// Passwords hashed at once.
const HASHING_MAX: usize = 2;
/// Logins that may wait for that: some seconds' worth.
const HASHING_WAITING_MAX: usize = 256;
const WRITER_ENDED: &str =
    "the thread that writes ended by itself: a defect, see the log. What was answered is on disk; start the node again";
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
    let (mut connection, identity, checkpointer) = open_store(data, &config)?;
    let (steady, clock) = start_clock();
    let is_new = DownCursor::load(&connection)?.next_seq <= 1;
    let (secrets, keys) = open_secrets(data, &config, &mut connection)?;
    let runs = complete(data, &config, &identity, (&mut connection, &secrets, &keys)).await?;
    let (sessions, live) = open_sessions(&connection, &config, clock())?;
    let moved = Arc::new(Moved::load(&connection, identity.node)?);
    let (routes, options) = ways_to_the_hub(&connection, &config)?;
    let directory = DirectoryBoard::load(&connection, &config.environment)?;
    let (writer, writing) = Writer::start_keeping(connection, keys.clone(), clock.clone(), config.feed_retention())?;
    let (pool, tls) = (ReadPool::open(data, config.readers.max(1))?, own_tls(data, &secrets, &config)?);
    let (hub_acked, ordered) = (HubAcked::load(data), Arc::new(Notify::new()));
    let head_seq = writer.head().borrow().seq;
    let (link, link_state) = watch::channel(last_link(data, is_new, clock(), hub_acked.at_most(head_seq)));
    let uplink_store =
        UplinkStore::new(identity.clone(), writer.clone(), pool.clone(), link, sessions.clone(), clock.clone())
            .with_hub(HubGeneration::load(data), hub_acked.clone(), routes)
            .with_runs(runs)
            .with_handoff(moved.clone(), ordered.clone())
            .with_directory(directory.clone());
    let uplink = NodeUplink::bind(&tls, options, Arc::new(uplink_store))?;
    let (server, https_identity) = https(config.listen, &tls, bounds(&config))?;
    let (stopping, requester) = (CancellationToken::new(), uplink.requester());
    let asking: Arc<dyn AskHub> = Arc::new(requester.clone());
    let present = places(uplink.identity(), https_identity);
    let renewal =
        Renewal::open((data.to_owned(), secrets.clone()), identity.node, asking.clone(), present, clock.clone())?;
    let (certificate, asked) = (renewal.current(), renewal::listen(data, stopping.clone()));
    let renewing = tokio::spawn(keep_renewed(renewal, config.renewal_settings(), asked, stopping.clone()));
    let asked_for = (requester.clone(), writer.clone(), pool.clone(), keys.clone());
    let fetching = exchange(asked_for, identity.incarnation, link_state.clone(), stopping.clone());
    let contact = tokio::spawn(keep_contact(data.to_owned(), link_state.clone(), clock.clone(), stopping.clone()));
    let acked = tokio::spawn(keep_acked(hub_acked, stopping.clone()));
    tokio::spawn(keep_gauges(uplink.status(), stopping.clone()));
    let syncing = tokio::spawn(uplink.run(stopping.clone()));
    let released = (writer.clone(), pool.clone());
    let releasing = tokio::spawn(keep_released(identity.node, released, moved.clone(), ordered, stopping.clone()));
    let commands = tokio::spawn(take_over(data.to_owned(), writer.clone(), stopping.clone()));
    let upkeep = keep_up(metrics.clone(), steady, stopping.clone());
    let app = App::from(Parts {
        node: identity.node,
        strangers: Arc::new(http::Allowances::new(config.strangers_per_second)),
        config: Arc::new(config),
        writer: writer.clone(),
        pool,
        keys,
        sessions,
        challenges: Arc::new(Challenges::default()),
        moved,
        guesses: Arc::default(),
        hashing: Arc::new(Hashing::new(HASHING_MAX, HASHING_WAITING_MAX)),
        names: writer.names(),
        hub: Some(asking),
        whereabouts: Arc::default(),
        directory,
        certificate,
        link: link_state,
        metrics,
        clock,
    });
    tracing::info!(node = %identity.node, live, "the node starts");
    let served = serve_terminals(app.clone(), server, requester).await;
    let writer_ended = !writer.is_running();
    drain(&app).await;
    stopping.cancel();
    let _ = tokio::join!(syncing, fetching, contact, acked, renewing, upkeep, commands, releasing);
    drop((checkpointer, app, writer));
    end_writer(writing, writer_ended).await.and(served)
}

/// Begins a run of the store. One that takes the place of a lost one receives its slice before anything else; nobody is served
/// meanwhile.
async fn complete(
    data: &Path,
    config: &Config,
    identity: &StoreIdentity,
    (store, secrets, keys): (&mut rusqlite::Connection, &Secrets, &Keyring),
) -> anyhow::Result<Runs> {
    let runs = Runs::begin(data)?;
    let Some(joining) = Joining::load(store)? else { return Ok(runs) };
    let tls = NodeIdentity::load(data, secrets)?.tls()?;
    let up_seq = joining.up_next.saturating_sub(1);
    // Before the slice, so that nothing that stops the node behind it leaves it out; as long as the log is not here it counts as less.
    let remember = || {
        let generation = HubGeneration::load(data).met();
        HubAcked::begin(data, generation, up_seq).context("keep what the hub holds of the log")
    };
    remember()?;
    // Kept for as long as it lasts: the uplink follows what it tells.
    let (_routes, options) = ways_to_the_hub(store, config)?;
    let memory = (HubGeneration::load(data), runs.clone());
    let received = receive_slice(store, identity, joining, (&tls, options), memory, keys);
    tokio::select! {
        received = received => received?,
        () = stop_signal() => bail!("stopped before the slice had come: it is asked for anew at the next start"),
    }
    // Its generation is known now: should it hold less at the next session, it lost that.
    remember().map(|()| runs)
}

/// The store, which must be the one that the settings mean, and what moves its log meanwhile.
fn open_store(data: &Path, config: &Config) -> anyhow::Result<(rusqlite::Connection, StoreIdentity, Checkpointer)> {
    let connection = store::open(data)?;
    let identity = StoreIdentity::load(&connection)?.context("the store has no identity: run `jikai-node init`")?;
    check_environment(&identity, config)?;
    let checkpointer = store::checkpoint_beside(data, &connection)?;
    Ok((connection, identity, checkpointer))
}

/// The sessions that are still open, and how many.
fn open_sessions(
    store: &rusqlite::Connection,
    config: &Config,
    now_ms: TimeMs,
) -> anyhow::Result<(Arc<Sessions>, usize)> {
    let sessions = Arc::new(Sessions::new(config.terminal_requests_per_second, config.terminal_requests_burst));
    let live = sessions.load(store, now_ms)?;
    Ok((sessions, live))
}

/// What the node asks of the hub and tells it beside the logs.
fn exchange(
    (requester, writer, pool, keys): (Requester, Writer, ReadPool, Arc<Keyring>),
    incarnation: [u8; 16],
    link: watch::Receiver<LinkState>,
    cancelled: CancellationToken,
) -> JoinHandle<()> {
    let returning = Returning { requester: requester.clone(), pool: pool.clone(), keys: keys.clone(), incarnation };
    let returning = return_feed(returning, link.clone(), cancelled.clone());
    let fetching = fetch_keys(requester, writer, pool, keys, link, cancelled);
    tokio::spawn(async move {
        tokio::join!(fetching, returning);
    })
}

/// Waits for the thread that writes; `had_ended`: it was gone before anybody asked it to stop.
async fn end_writer(writing: std::thread::JoinHandle<()>, had_ended: bool) -> anyhow::Result<()> {
    let joined = tokio::task::spawn_blocking(move || writing.join()).await;
    if had_ended || !matches!(joined, Ok(Ok(()))) {
        bail!(WRITER_ENDED);
    }
    Ok(())
}

/// Takes the secrets as long as the node runs, and opens the batch keys with them; what a rotation left under older keys
/// follows first.
fn open_secrets(
    data: &Path,
    config: &Config,
    store: &mut rusqlite::Connection,
) -> anyhow::Result<(Arc<Secrets>, Arc<Keyring>)> {
    let secrets = Secrets::take(&secrets_place(data, config))?;
    reseal(store, secrets.ring())?;
    let keys = Keyring::load(store, secrets.ring().clone())?;
    Ok((Arc::new(secrets), Arc::new(keys)))
}

/// Who this node is on the network, under an authority of its own environment.
fn own_tls(data: &Path, secrets: &Secrets, config: &Config) -> anyhow::Result<TlsIdentity> {
    let own = NodeIdentity::load(data, secrets)?;
    check_authority(&own.authority_pem, &config.environment).context("check ca.pem")?;
    own.tls()
}

fn start_clock() -> (Arc<SteadyClock>, Clock) {
    let steady = Arc::new(SteadyClock::start());
    let clock = steady.clone();
    (steady, Arc::new(move || clock.now()))
}

/// How the link stood when the node was last running.
fn last_link(data: &Path, is_new: bool, now_ms: TimeMs, memory: HubMemory) -> LinkState {
    let contact = Contact::load(data, is_new, now_ms);
    let HubMemory { acked_seq, forgot: hub_forgot, .. } = memory;
    let Contact { at_ms: left_at_ms, fenced, replaced } = contact;
    let refused = replaced.then(|| REPLACED.to_owned());
    LinkState { left_at_ms, fenced, replaced, refused, acked_seq, hub_forgot, ..LinkState::default() }
}

fn ways_to_the_hub(store: &rusqlite::Connection, config: &Config) -> anyhow::Result<(HubRoutes, UplinkOptions)> {
    let routes = HubRoutes::load(store, config.hub.clone())?;
    // No address of its own: packets leave from the one that the machine has now, and the session goes on when that changes.
    let bind = if config.hub.iter().all(SocketAddr::is_ipv6) { "[::]:0" } else { "0.0.0.0:0" };
    let bind = bind.parse().context("bind address")?;
    let (watched, pace) = (routes.watch(), UplinkPace::default());
    Ok((routes, UplinkOptions { routes: watched, bind, segmentation_offload: true, pace }))
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

fn bounds(config: &Config) -> HttpsBounds {
    let patience = Duration::from_millis(config.patience_ms);
    HttpsBounds { connections_max: config.connections_max, patience, tls_1_2: config.tls_1_2, front_doors: Vec::new() }
}

/// Where another certificate is shown: terminals first, so that the hub's next session is the last of it.
fn places(uplink: UplinkIdentity, https: HttpsIdentity) -> Vec<Present> {
    let to_terminals: Present = Box::new(move |identity| Ok(https.present(identity)?));
    let to_the_hub: Present = Box::new(move |identity| Ok(uplink.present(identity)?));
    vec![to_terminals, to_the_hub]
}

/// Serves until SIGTERM or SIGINT; requests that have begun are answered.
async fn serve_terminals(app: App, server: HttpsServer, hub: Requester) -> anyhow::Result<()> {
    let handle: Handle<SocketAddr> = Handle::new();
    let listen = app.config.listen;
    let writer = app.writer.clone();
    let (config, link) = (app.config.clone(), app.link.clone());
    let service = http::router(app).into_make_service_with_connect_info::<SocketAddr>();
    let server = server.handle(handle.clone()).serve(service);
    let announcing = tokio::spawn({
        let handle = handle.clone();
        async move {
            if let Some(address) = handle.listening().await {
                println!("ready http={address}");
                let _ = std::io::stdout().flush();
                keep_reached(hub, config.reached_at(address), link).await;
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
