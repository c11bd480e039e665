//! Over real QUIC: events flow both ways between those who hold the authority's certificates, and nobody else gets in.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;
use std::time::Duration;

use jikai_schema::chain::ChainHash;
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::identity::{CertificateAuthority, Key, KeyAndRequest, TlsIdentity};
use jikai_sync::session::{LogRecord, VerifiedBatch};
use jikai_sync::transport::{
    Admission, Future, HubEndpoint, HubOptions, HubStore, LogError, NodeStore, NodeUplink, UplinkOptions,
};
use jikai_sync::wire::{Cursor, Hello, RefusalV1, Welcome};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Long enough for a slow machine; nothing waits for it when all is well.
const LIMIT: Duration = Duration::from_secs(30);

fn node(number: u16) -> NodeId {
    NodeId::new(number).unwrap()
}

fn record(seq: u64) -> LogRecord {
    LogRecord { seq, bytes: vec![seq as u8; 100] }
}

fn chain(seq: u64) -> ChainHash {
    (1..=seq).fold(ChainHash::GENESIS, |hash, seq| hash.next(&record(seq).bytes))
}

fn cursor(seq: u64) -> Cursor {
    Cursor { next_seq: seq + 1, hash: chain(seq) }
}

/// One end of a session: a log of so many records, and what came of the other's. Both logs hold the same records.
struct End {
    claims: NodeId,
    sent: watch::Sender<u64>,
    received: watch::Sender<u64>,
    refused: watch::Sender<Option<RefusalV1>>,
    tries: watch::Sender<u32>,
    cursors: Mutex<Vec<Cursor>>,
}

impl End {
    fn new(claims: NodeId, records: u64) -> Arc<Self> {
        Arc::new(End {
            claims,
            sent: watch::Sender::new(records),
            received: watch::Sender::new(0),
            refused: watch::Sender::new(None),
            tries: watch::Sender::new(0),
            cursors: Mutex::default(),
        })
    }

    fn read(&self, from_seq: u64) -> Vec<LogRecord> {
        (from_seq..=*self.sent.borrow()).take(5).map(record).collect()
    }

    fn take(&self, batch: &VerifiedBatch) -> Cursor {
        assert_eq!(batch.first_seq, *self.received.borrow() + 1);
        self.received.send_modify(|seq| *seq += batch.events.len() as u64);
        batch.end()
    }

    async fn received(&self, seq: u64) {
        let mut received = self.received.subscribe();
        tokio::time::timeout(LIMIT, received.wait_for(|now| *now >= seq)).await.unwrap().unwrap();
    }
}

impl NodeStore for End {
    fn hello(&self) -> Future<'_, Result<Hello, LogError>> {
        let (up_head, down) = (cursor(*self.sent.borrow()), cursor(*self.received.borrow()));
        let environment = "test".to_string();
        let hello =
            Hello { environment, node: self.claims, incarnation: [1; 16], epoch: 1, schema_version: 1, up_head, down };
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
        Box::pin(std::future::ready(Ok(self.take(&batch))))
    }
    fn acked(&self, cursor: Cursor) {
        self.cursors.lock().push(cursor);
    }
    fn connected(&self) {}
    fn disconnected(&self, refusal: Option<&RefusalV1>) {
        self.refused.send_replace(refusal.cloned());
        self.tries.send_modify(|tries| *tries += 1);
    }
}

impl HubStore for End {
    fn admit(&self, hello: Hello) -> Future<'_, Result<Admission, RefusalV1>> {
        let up = cursor(*self.received.borrow());
        let welcome = Welcome { up, hub_generation: 1, endpoints: Vec::new() };
        let admitted = match hello.environment.as_str() {
            "test" => Ok(Admission { welcome, down_head: self.sent.subscribe() }),
            theirs => Err(RefusalV1::WrongEnvironment { ours: "test".into(), theirs: theirs.into() }),
        };
        Box::pin(std::future::ready(admitted))
    }
    fn ingest(&self, _: NodeId, _: [u8; 16], batch: VerifiedBatch) -> Future<'_, Result<Cursor, RefusalV1>> {
        Box::pin(std::future::ready(Ok(self.take(&batch))))
    }
    fn read_down(&self, _: NodeId, from: u64, _: usize, _: usize) -> Future<'_, Result<Vec<LogRecord>, LogError>> {
        Box::pin(std::future::ready(Ok(self.read(from))))
    }
    fn down_acked(&self, _: NodeId, cursor: Cursor) {
        self.cursors.lock().push(cursor);
    }
    fn answer(&self, node: NodeId, request: Vec<u8>) -> Future<'_, Vec<u8>> {
        Box::pin(std::future::ready([request, node.to_string().into_bytes()].concat()))
    }
    fn disconnected(&self, _: NodeId, _: Option<&RefusalV1>) {}
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::create("test", TimeMs::now()).unwrap()
}

fn hub_identity(authority: &CertificateAuthority) -> TlsIdentity {
    let key = Key::generate().unwrap();
    let certificate = authority.certify_hub(&key, &[], TimeMs::now()).unwrap();
    TlsIdentity::from_pem(&certificate, &key, authority.certificate_pem()).unwrap()
}

/// A node certified by `signer` that trusts `trusted`.
fn node_identity(signer: &CertificateAuthority, trusted: &CertificateAuthority, number: u16) -> TlsIdentity {
    let request = KeyAndRequest::for_node(node(number)).unwrap();
    let certificate = signer.sign_node(&request.request_pem, node(number), &[], TimeMs::now()).unwrap();
    TlsIdentity::from_pem(&certificate, &request.key, trusted.certificate_pem()).unwrap()
}

/// A running hub and node; both stop with the token.
fn connect(
    hub: &Arc<End>,
    hub_tls: &TlsIdentity,
    edge: &Arc<End>,
    edge_tls: &TlsIdentity,
) -> (CancellationToken, jikai_sync::transport::Requester) {
    let stop = CancellationToken::new();
    let local = "127.0.0.1:0".parse().unwrap();
    let options = HubOptions { listen: local, connections_max: 4, segmentation_offload: false };
    let endpoint = HubEndpoint::bind(hub_tls, &options, hub.clone()).unwrap();
    let options =
        UplinkOptions { hub: vec![endpoint.local_address().unwrap()], bind: local, segmentation_offload: false };
    let uplink = NodeUplink::bind(edge_tls, options, edge.clone()).unwrap();
    let requester = uplink.requester();
    tokio::spawn(endpoint.run(stop.clone()));
    tokio::spawn(uplink.run(stop.clone()));
    (stop, requester)
}

#[tokio::test]
async fn events_flow_both_ways_and_requests_are_answered_to_the_certified_node() {
    let authority = authority();
    let (hub, edge) = (End::new(NodeId::HUB, 40), End::new(node(3), 30));
    let (stop, requester) = connect(&hub, &hub_identity(&authority), &edge, &node_identity(&authority, &authority, 3));
    hub.received(30).await;
    edge.received(40).await;
    edge.sent.send_replace(55);
    hub.received(55).await;
    assert_eq!(requester.request(b"who am I: ").await.unwrap(), b"who am I: 3");
    stop.cancel();
}

#[tokio::test]
async fn a_certificate_of_another_authority_opens_nothing() {
    let (ours, other) = (authority(), authority());
    let (hub, edge) = (End::new(NodeId::HUB, 5), End::new(node(3), 5));
    let (stop, _) = connect(&hub, &hub_identity(&ours), &edge, &node_identity(&other, &ours, 3));
    let mut tries = edge.tries.subscribe();
    tokio::time::timeout(LIMIT, tries.wait_for(|tries| *tries >= 2)).await.unwrap().unwrap();
    assert_eq!((*hub.received.borrow(), *edge.received.borrow()), (0, 0));
    stop.cancel();
}

#[tokio::test]
async fn a_hub_of_another_authority_gets_no_event() {
    let (ours, other) = (authority(), authority());
    let (hub, edge) = (End::new(NodeId::HUB, 5), End::new(node(3), 5));
    let (stop, _) = connect(&hub, &hub_identity(&other), &edge, &node_identity(&ours, &ours, 3));
    let mut tries = edge.tries.subscribe();
    tokio::time::timeout(LIMIT, tries.wait_for(|tries| *tries >= 2)).await.unwrap().unwrap();
    assert_eq!((*hub.received.borrow(), *edge.received.borrow()), (0, 0));
    stop.cancel();
}

#[tokio::test]
async fn a_store_that_claims_another_node_than_its_certificate_is_refused() {
    let authority = authority();
    let (hub, edge) = (End::new(NodeId::HUB, 5), End::new(node(4), 5));
    let (stop, _) = connect(&hub, &hub_identity(&authority), &edge, &node_identity(&authority, &authority, 3));
    let mut refused = edge.refused.subscribe();
    let refusal = tokio::time::timeout(LIMIT, refused.wait_for(Option::is_some)).await.unwrap().unwrap().clone();
    assert_eq!(refusal, Some(RefusalV1::WrongNode { certified: node(3), claimed: node(4) }));
    assert_eq!(*hub.received.borrow(), 0);
    stop.cancel();
}
