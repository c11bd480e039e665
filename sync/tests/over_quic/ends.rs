//! Stores for both ends, their identities, and starting them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jikai_schema::chain::ChainHash;
use jikai_schema::codec::EVENT_VERSION;
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::identity::{CertificateAuthority, Certified, Key, KeyAndRequest, TlsIdentity, certified_by_pem};
use jikai_sync::routes::Route;
use jikai_sync::session::{LogRecord, VerifiedBatch};
use jikai_sync::transport::{
    Admission, Future, HubEndpoint, HubOptions, HubStore, LogError, NodeStore, NodeUplink, Requester, UplinkOptions,
    UplinkPace,
};
use jikai_sync::wire::{Cursor, Hello, RefusalV1, Welcome};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Long enough for a slow machine; nothing waits for it when all is well.
pub const LIMIT: Duration = Duration::from_secs(30);

pub fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

pub fn record(seq: u64) -> LogRecord {
    LogRecord { seq, bytes: vec![seq as u8; 100] }
}

fn chain(seq: u64) -> ChainHash {
    (1..=seq).fold(ChainHash::GENESIS, |hash, seq| hash.next(&record(seq).bytes))
}

fn cursor(seq: u64) -> Cursor {
    Cursor { next_seq: seq + 1, hash: chain(seq) }
}

/// Waits until a watched value is as wanted.
pub async fn reaches<T: Clone>(value: &watch::Sender<T>, wanted: impl FnMut(&T) -> bool) -> T {
    watched(&mut value.subscribe(), wanted).await
}

/// The same for who only watches.
pub async fn watched<T: Clone>(value: &mut watch::Receiver<T>, wanted: impl FnMut(&T) -> bool) -> T {
    tokio::time::timeout(LIMIT, value.wait_for(wanted)).await.expect("it took too long").unwrap().clone()
}

/// One end of a session: a log of so many records, and what came of the other's. Both logs hold the same records.
pub struct End {
    claims: NodeId,
    environment: &'static str,
    /// Length of the own log.
    pub sent: watch::Sender<u64>,
    /// Length of what came of the other's.
    pub received: watch::Sender<u64>,
    /// Batches that wait to be taken in.
    pub waiting: watch::Sender<u32>,
    /// Whether batches are taken in now; they wait otherwise.
    pub taking: watch::Sender<bool>,
    /// Why the last session ended.
    pub refused: watch::Sender<Option<RefusalV1>>,
    /// Why some session ended last, where there was a reason.
    last_refusal: watch::Sender<Option<RefusalV1>>,
    /// Sessions that opened.
    pub opened: watch::Sender<u32>,
    /// Whether one is open now.
    pub open: watch::Sender<bool>,
    /// At a hub: greetings that were admitted.
    pub admissions: watch::Sender<u32>,
    /// At a hub: newest event that the node of the newest greeting can read.
    pub event_version: watch::Sender<u8>,
    /// Sessions that ended, opened or not.
    pub tries: watch::Sender<u32>,
    /// Newest acknowledgement.
    pub acked: watch::Sender<u64>,
    /// At a hub: the last event of its feed that the node can read.
    pub readable: watch::Sender<u64>,
    /// How often a session was told that the feed stops.
    pub stops: watch::Sender<u32>,
    /// At a hub: sessions that were refused beside the node's own.
    pub knocks: watch::Sender<u32>,
    /// Above 0: every certificate is revoked.
    pub revocations: watch::Sender<u64>,
    /// At a hub: its generation. At a node: the highest one that it has met.
    pub generation: watch::Sender<u32>,
    /// At a hub: what the newest session showed that both ends agreed in.
    pub agreed: watch::Sender<Option<Certified>>,
}

impl End {
    pub fn new(claims: NodeId, records: u64) -> Arc<Self> {
        End::of_environment(claims, records, "test")
    }

    pub fn of_environment(claims: NodeId, records: u64, environment: &'static str) -> Arc<Self> {
        Arc::new(End {
            claims,
            environment,
            sent: watch::Sender::new(records),
            received: watch::Sender::new(0),
            waiting: watch::Sender::new(0),
            taking: watch::Sender::new(true),
            refused: watch::Sender::new(None),
            last_refusal: watch::Sender::new(None),
            opened: watch::Sender::new(0),
            open: watch::Sender::new(false),
            admissions: watch::Sender::new(0),
            event_version: watch::Sender::new(0),
            tries: watch::Sender::new(0),
            acked: watch::Sender::new(0),
            readable: watch::Sender::new(u64::MAX),
            stops: watch::Sender::new(0),
            knocks: watch::Sender::new(0),
            revocations: watch::Sender::new(0),
            generation: watch::Sender::new(u32::from(claims.is_hub())),
            agreed: watch::Sender::new(None),
        })
    }

    fn read(&self, from_seq: u64) -> Vec<LogRecord> {
        (from_seq..=*self.sent.borrow()).take(5).map(record).collect()
    }

    /// Takes a batch in, exactly once and in order.
    async fn take(&self, batch: VerifiedBatch) -> Cursor {
        self.waiting.send_modify(|waiting| *waiting += 1);
        reaches(&self.taking, |taking| *taking).await;
        self.waiting.send_modify(|waiting| *waiting -= 1);
        assert_eq!(batch.first_seq, *self.received.borrow() + 1);
        assert!(batch.events.iter().zip(batch.first_seq..).all(|(bytes, seq)| *bytes == record(seq).bytes));
        self.received.send_modify(|seq| *seq += batch.events.len() as u64);
        batch.end()
    }

    pub async fn received(&self, seq: u64) {
        reaches(&self.received, |now| *now >= seq).await;
    }

    pub fn last_refusal(&self) -> Option<RefusalV1> {
        self.last_refusal.borrow().clone()
    }

    fn left(&self, refusal: Option<&RefusalV1>) {
        self.open.send_replace(false);
        self.refused.send_replace(refusal.cloned());
        if refusal.is_some() {
            self.last_refusal.send_replace(refusal.cloned());
        }
        self.tries.send_modify(|tries| *tries += 1);
    }

    pub async fn was_refused(&self) -> RefusalV1 {
        reaches(&self.refused, Option::is_some).await.unwrap()
    }
}

impl NodeStore for End {
    fn hello(&self) -> Future<'_, Result<Hello, LogError>> {
        let (up_head, down) = (cursor(*self.sent.borrow()), cursor(*self.received.borrow()));
        let environment = self.environment.to_string();
        let (node, incarnation, event_version) = (self.claims, [1; 16], EVENT_VERSION);
        let hello = Hello { environment, node, incarnation, epoch: 1, schema_version: 1, up_head, down, event_version };
        Box::pin(std::future::ready(Ok(hello)))
    }
    fn up_head(&self) -> watch::Receiver<u64> {
        self.sent.subscribe()
    }
    fn read_up(&self, from_seq: u64, _: usize, _: usize) -> Future<'_, Result<Vec<LogRecord>, LogError>> {
        Box::pin(std::future::ready(Ok(self.read(from_seq))))
    }
    fn chain_at(&self, seq: u64) -> Future<'_, Result<Option<ChainHash>, LogError>> {
        Box::pin(std::future::ready(Ok(Some(chain(seq)))))
    }
    fn apply_down(&self, batch: VerifiedBatch) -> Future<'_, Result<Cursor, LogError>> {
        Box::pin(async { Ok(self.take(batch).await) })
    }
    fn acked(&self, cursor: Cursor) {
        self.acked.send_replace(cursor.next_seq - 1);
    }
    fn hub_generation(&self) -> u32 {
        *self.generation.borrow()
    }
    fn met_hub(&self, generation: u32, up: Cursor) -> Future<'_, Result<(), LogError>> {
        assert!(generation >= *self.generation.borrow());
        assert_eq!(up, cursor(up.next_seq - 1));
        self.generation.send_replace(generation);
        Box::pin(std::future::ready(Ok(())))
    }
    fn connected(&self) {
        self.open.send_replace(true);
        self.opened.send_modify(|opened| *opened += 1);
    }
    fn feed_stopped(&self, refusal: &RefusalV1) {
        assert!(matches!(refusal, RefusalV1::SchemaTooOld { ours: 9, theirs: 4 }), "{refusal}");
        self.stops.send_modify(|stops| *stops += 1);
    }
    fn disconnected(&self, refusal: Option<&RefusalV1>) {
        self.left(refusal);
    }
}

impl HubStore for End {
    fn check_certificate<'a>(&'a self, certified: &'a Certified) -> Future<'a, Result<(), RefusalV1>> {
        let revoked = *self.revocations.borrow() > 0;
        let refusal = RefusalV1::Revoked { node: certified.node };
        Box::pin(std::future::ready(if revoked { Err(refusal) } else { Ok(()) }))
    }
    fn admit(&self, hello: Hello) -> Future<'_, Result<Admission, RefusalV1>> {
        let up = cursor(*self.received.borrow());
        self.admissions.send_modify(|admissions| *admissions += 1);
        self.event_version.send_replace(hello.event_version);
        let welcome = Welcome { up, hub_generation: *self.generation.borrow(), endpoints: Vec::new() };
        let admitted = match hello.environment.as_str() {
            ours if ours == self.environment => {
                Ok(Admission { welcome, down_head: self.sent.subscribe(), revocations: self.revocations.subscribe() })
            }
            theirs => Err(RefusalV1::WrongEnvironment { ours: self.environment.into(), theirs: theirs.into() }),
        };
        Box::pin(std::future::ready(admitted))
    }
    fn ingest(&self, _: NodeId, _: [u8; 16], batch: VerifiedBatch) -> Future<'_, Result<Cursor, RefusalV1>> {
        // What an older session at another machine brought is known, as it is to a log that all machines share.
        let received = *self.received.borrow();
        match batch.end().next_seq <= received + 1 {
            true => Box::pin(std::future::ready(Ok(cursor(received)))),
            false => Box::pin(async { Ok(self.take(batch).await) }),
        }
    }
    fn read_down(&self, _: NodeId, from: u64, _: usize, _: usize) -> Future<'_, Result<Vec<LogRecord>, RefusalV1>> {
        let (readable, mut records) = (*self.readable.borrow(), self.read(from));
        records.retain(|record| record.seq <= readable);
        let too_new = records.is_empty() && from > readable;
        let read = if too_new { Err(RefusalV1::SchemaTooOld { ours: 9, theirs: 4 }) } else { Ok(records) };
        Box::pin(std::future::ready(read))
    }
    fn feed_stopped(&self, _: NodeId, _: &RefusalV1) {
        self.stops.send_modify(|stops| *stops += 1);
    }
    fn down_acked(&self, _: NodeId, cursor: Cursor) {
        self.acked.send_replace(cursor.next_seq - 1);
    }
    fn refused(&self, _: NodeId, _: &RefusalV1) {
        self.knocks.send_modify(|knocks| *knocks += 1);
    }
    fn agreed<'a>(&'a self, certified: &'a Certified) -> Future<'a, ()> {
        self.agreed.send_replace(Some(certified.clone()));
        Box::pin(std::future::ready(()))
    }
    fn answer<'a>(&'a self, certified: &'a Certified, request: Vec<u8>) -> Future<'a, Vec<u8>> {
        Box::pin(std::future::ready([request, certified.node.to_string().into_bytes()].concat()))
    }
    fn disconnected(&self, _: NodeId, refusal: Option<&RefusalV1>) {
        self.left(refusal);
    }
}

pub fn authority() -> CertificateAuthority {
    CertificateAuthority::create("test", TimeMs::now()).unwrap()
}

pub fn hub_identity(authority: &CertificateAuthority) -> TlsIdentity {
    hub_identity_of(authority, &Key::generate().unwrap(), TimeMs::now())
}

/// The hub's identity with this key, certified at this time.
pub fn hub_identity_of(authority: &CertificateAuthority, key: &Key, at_ms: TimeMs) -> TlsIdentity {
    let certificate = authority.certify_hub(key, &[], at_ms).unwrap();
    TlsIdentity::from_pem(&certificate, key, authority.certificate_pem()).unwrap()
}

/// A node certified by `signer` that trusts `trusted`.
pub fn node_identity(signer: &CertificateAuthority, trusted: &CertificateAuthority, number: u16) -> TlsIdentity {
    node_identity_at(signer, trusted, number, TimeMs::now()).0
}

/// The same, certified at this time; with the certificate.
pub fn node_identity_at(
    signer: &CertificateAuthority,
    trusted: &CertificateAuthority,
    number: u16,
    at_ms: TimeMs,
) -> (TlsIdentity, Certified) {
    let request = KeyAndRequest::for_node(node(number)).unwrap();
    let certificate = signer.sign_node(&request.request_pem, node(number), &[], at_ms).unwrap();
    let identity = TlsIdentity::from_pem(&certificate, &request.key, trusted.certificate_pem()).unwrap();
    (identity, certified_by_pem(&certificate).unwrap())
}

/// A running end: stops when dropped.
pub struct Running {
    pub address: SocketAddr,
    pub running: tokio::task::JoinHandle<()>,
    pub stop: DropGuard,
}

pub fn local() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// Binds a hub; nobody is served yet.
pub fn bind_hub(hub: &Arc<End>, tls: &TlsIdentity, listen: SocketAddr) -> Option<HubEndpoint> {
    let options = HubOptions { listen, connections_max: 4, segmentation_offload: false };
    HubEndpoint::bind(tls, &options, hub.clone()).ok()
}

pub fn start_hub(endpoint: HubEndpoint) -> Running {
    let (address, stop) = (endpoint.local_address().unwrap(), CancellationToken::new());
    Running { address, running: tokio::spawn(endpoint.run(stop.clone())), stop: stop.drop_guard() }
}

/// Routes to these addresses, of which nothing else is known.
pub fn routes_to(hub: &[SocketAddr]) -> Vec<Route> {
    hub.iter().map(|address| Route::to(*address, 1)).collect()
}

pub fn bind_node(edge: &Arc<End>, tls: &TlsIdentity, hub: &[SocketAddr]) -> NodeUplink {
    bind_node_on(edge, tls, watch::channel(routes_to(hub)).1, UplinkPace::default())
}

pub fn bind_node_on(
    edge: &Arc<End>,
    tls: &TlsIdentity,
    routes: watch::Receiver<Vec<Route>>,
    pace: UplinkPace,
) -> NodeUplink {
    let options = UplinkOptions { routes, bind: local(), segmentation_offload: false, pace };
    NodeUplink::bind(tls, options, edge.clone()).unwrap()
}

pub fn start_node(edge: &Arc<End>, tls: &TlsIdentity, hub: &[SocketAddr]) -> (Running, Requester) {
    run_node(bind_node(edge, tls, hub))
}

pub fn run_node(uplink: NodeUplink) -> (Running, Requester) {
    let (requester, stop) = (uplink.requester(), CancellationToken::new());
    let running = tokio::spawn(uplink.run(stop.clone()));
    (Running { address: local(), running, stop: stop.drop_guard() }, requester)
}

/// A running hub and node.
pub fn connect(
    hub: &Arc<End>,
    hub_tls: &TlsIdentity,
    edge: &Arc<End>,
    edge_tls: &TlsIdentity,
) -> ((Running, Running), Requester) {
    let hub = start_hub(bind_hub(hub, hub_tls, local()).unwrap());
    let (node, requester) = start_node(edge, edge_tls, &[hub.address]);
    ((hub, node), requester)
}
