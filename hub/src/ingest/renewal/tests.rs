//! Renewal over real QUIC: the gate with its authority, and nodes that ask.

use std::sync::Arc;
use std::time::Duration;

use jikai_schema::chain::ChainHash;
use jikai_schema::command::{AccessCommand, Command};
use jikai_schema::peer::{HubReply, NodeRequest};
use jikai_schema::store::SCHEMA_VERSION;
use jikai_schema::time::TimeMs;
use jikai_sync::identity::{Certified, Key, KeyAndRequest, TlsIdentity, certified_by_pem, verify_node};
use jikai_sync::routes::Route;
use jikai_sync::secrets::Secrets;
use jikai_sync::session::{LogRecord, VerifiedBatch};
use jikai_sync::transport::{
    Future, HubEndpoint, HubOptions, HubStore, LogError, NodeStore, NodeUplink, RequestError, Requester,
    UplinkIdentity, UplinkOptions, UplinkPace,
};
use jikai_sync::wire::{Cursor, Hello, RefusalV1};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::identity::{IdentityFiles, SigningTerms};
use crate::ingest::{NodeGate, Signer};
use crate::machine::CertificateRow;
use crate::province::*;

const DAY_MS: i64 = 86_400_000;

/// A store of node 1 with an empty log.
struct Store {
    incarnation: [u8; 16],
    down: Mutex<Cursor>,
    up_head: watch::Sender<u64>,
    connected: watch::Sender<u32>,
    refused: watch::Sender<Option<RefusalV1>>,
}

impl NodeStore for Store {
    fn hello(&self) -> Future<'_, Result<Hello, LogError>> {
        Box::pin(std::future::ready(Ok(Hello {
            event_version: jikai_schema::codec::EVENT_VERSION,
            environment: "test".into(),
            node: node(1),
            incarnation: self.incarnation,
            epoch: 1,
            schema_version: SCHEMA_VERSION,
            up_head: Cursor::START,
            down: *self.down.lock(),
        })))
    }
    fn up_head(&self) -> watch::Receiver<u64> {
        self.up_head.subscribe()
    }
    fn read_up(&self, _: u64, _: usize, _: usize) -> Future<'_, Result<Vec<LogRecord>, LogError>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    fn chain_at(&self, _: u64) -> Future<'_, Result<Option<ChainHash>, LogError>> {
        Box::pin(std::future::ready(Ok(Some(ChainHash::GENESIS))))
    }
    fn apply_down(&self, batch: VerifiedBatch) -> Future<'_, Result<Cursor, LogError>> {
        *self.down.lock() = batch.end();
        Box::pin(std::future::ready(Ok(batch.end())))
    }
    fn acked(&self, _: Cursor) {}
    fn hub_generation(&self) -> u32 {
        0
    }
    fn met_hub(&self, _: u32, _: Cursor) -> Future<'_, Result<(), LogError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn connected(&self) {
        self.connected.send_modify(|count| *count += 1);
    }
    fn disconnected(&self, refusal: Option<&RefusalV1>) {
        self.refused.send_replace(refusal.cloned());
    }
}

/// What a node holds: its key and its certificate.
struct Pair {
    key: Key,
    pem: String,
}

impl Pair {
    fn tls(&self, files: &IdentityFiles) -> TlsIdentity {
        TlsIdentity::from_pem(&self.pem, &self.key, &files.authority_pem().unwrap()).unwrap()
    }

    fn certified(&self) -> Certified {
        certified_by_pem(&self.pem).unwrap()
    }
}

/// A node that runs until it is dropped.
struct Node {
    store: Arc<Store>,
    requester: Requester,
    identity: UplinkIdentity,
    _stop: DropGuard,
}

/// A hub that listens, with its authority.
struct Centre {
    hub: Running,
    gate: Arc<NodeGate>,
    files: IdentityFiles,
    secrets: Arc<Secrets>,
    address: std::net::SocketAddr,
    _stop: DropGuard,
}

impl Centre {
    async fn open() -> Self {
        let hub = Running::set_up().await;
        // TLS looks at the true time.
        hub.pass(TimeMs::now().ms() - NOW_MS);
        let (files, secrets) = (IdentityFiles::new(hub.data.path()), Arc::new(secrets_in(hub.data.path())));
        files.create(&secrets, "test", &[]).unwrap();
        let links = (hub.vault.clone(), hub.links.clone());
        let gate = NodeGate::new("test".into(), hub.sequencer.clone(), hub.pool.clone(), links.0, links.1);
        let gate =
            Arc::new(gate.with_signer(Signer::new(IdentityFiles::new(hub.data.path()), secrets.clone(), 365 * DAY_MS)));
        let listen = "127.0.0.1:0".parse().unwrap();
        let options = HubOptions { listen, connections_max: 8, segmentation_offload: false };
        let endpoint = HubEndpoint::bind(&files.tls(&secrets).unwrap(), &options, gate.clone()).unwrap();
        let (address, stop) = (endpoint.local_address().unwrap(), CancellationToken::new());
        tokio::spawn(endpoint.run(stop.clone()));
        Centre { hub, gate, files, secrets, address, _stop: stop.drop_guard() }
    }

    /// Signs by hand for node 1, for thirty days.
    fn sign(&self) -> Pair {
        let KeyAndRequest { key, request_pem } = KeyAndRequest::for_node(node(1)).unwrap();
        let terms = SigningTerms { now_ms: TimeMs::now(), certificate_ms: 30 * DAY_MS };
        let hosts = ["node1.example".to_string(), "10.1.2.3".to_string()];
        Pair { key, pem: self.files.sign_node(&self.secrets, &request_pem, node(1), &hosts, terms).unwrap() }
    }

    /// Starts a store of node 1 that has this pair.
    fn start(&self, pair: &Pair, incarnation: u8) -> Node {
        let store = Arc::new(Store {
            incarnation: [incarnation; 16],
            down: Mutex::new(Cursor::START),
            up_head: watch::Sender::new(0),
            connected: watch::Sender::new(0),
            refused: watch::Sender::new(None),
        });
        let bind = "127.0.0.1:0".parse().unwrap();
        let routes = watch::channel(vec![Route::to(self.address, 1)]).1;
        let options = UplinkOptions { routes, bind, segmentation_offload: false, pace: UplinkPace::default() };
        let uplink = NodeUplink::bind(&pair.tls(&self.files), options, store.clone()).unwrap();
        let (requester, identity, stop) = (uplink.requester(), uplink.identity(), CancellationToken::new());
        tokio::spawn(uplink.run(stop.clone()));
        Node { store, requester, identity, _stop: stop.drop_guard() }
    }

    async fn row(&self, certified: &Certified) -> CertificateRow {
        let serial = certified.serial.clone();
        self.hub.pool.read(move |store| CertificateRow::read(store, &serial)).await.unwrap().unwrap().unwrap()
    }

    async fn rows(&self) -> usize {
        self.hub.pool.read(|store| CertificateRow::all(store)).await.unwrap().unwrap().len()
    }
}

impl Node {
    async fn is_connected(&self, times: u32) {
        reaches(&self.store.connected, |count| *count >= times).await;
    }

    async fn was_refused(&self) -> RefusalV1 {
        reaches(&self.store.refused, Option::is_some).await.unwrap()
    }

    async fn ask(&self, request_pem: &str) -> Result<HubReply, RequestError> {
        let request = NodeRequest::RenewCertificate { request_pem: request_pem.into() }.encode().unwrap();
        Ok(HubReply::decode(&self.requester.request(&request).await?).unwrap())
    }

    /// Renews, and gives the pair.
    async fn renew(&self) -> Pair {
        let KeyAndRequest { key, request_pem } = KeyAndRequest::for_node(node(1)).unwrap();
        Pair { key, pem: given(self.ask(&request_pem).await.unwrap()) }
    }
}

async fn reaches<T: Clone>(watched: &watch::Sender<T>, wanted: impl FnMut(&T) -> bool) -> T {
    let mut watching = watched.subscribe();
    let waiting = tokio::time::timeout(Duration::from_secs(30), watching.wait_for(wanted));
    waiting.await.expect("it took too long").unwrap().clone()
}

fn given(reply: HubReply) -> String {
    match reply {
        HubReply::CertificateRenewed { certificate_pem } => certificate_pem,
        other => panic!("{other:?}"),
    }
}

fn refusal(reply: HubReply) -> String {
    match reply {
        HubReply::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_is_given_one_certificate_for_one_request_and_the_older_ends_once_the_newer_is_seen() {
    let centre = Centre::open().await;
    let old = centre.sign();
    let edge = centre.start(&old, 1);
    edge.is_connected(1).await;
    // What the request says of its holder is not taken.
    let asked = KeyAndRequest::for_node(node(2)).unwrap();
    let new = Pair { pem: given(edge.ask(&asked.request_pem).await.unwrap()), key: asked.key };
    let authority = centre.files.authority_pem().unwrap();
    let (certified, _) = verify_node(&new.pem, &new.key, &authority, node(1), TimeMs::now()).unwrap();
    assert_eq!(certified.hosts, old.certified().hosts);
    assert_eq!(given(edge.ask(&asked.request_pem).await.unwrap()), new.pem, "the answer was lost");
    assert_eq!(centre.rows().await, 2);
    let row = centre.row(&certified).await;
    assert_eq!((row.renews.as_deref(), row.is_good()), (Some(old.certified().serial.as_str()), true));
    // Asked for once more, and lost for good: it ends together with the older one.
    let lost = edge.renew().await;
    assert_eq!(centre.gate.check_certificate(&old.certified()).await, Ok(()), "the answer may have been lost");

    let mut revocations = centre.hub.sequencer.revocations();
    edge.identity.present(&new.tls(&centre.files)).unwrap();
    edge.is_connected(2).await;
    tokio::time::timeout(Duration::from_secs(30), revocations.changed()).await.unwrap().unwrap();
    for ended in [&old, &lost] {
        assert_eq!(centre.row(&ended.certified()).await.superseded_by.as_ref(), Some(&certified.serial));
        let refused = Err(RefusalV1::Renewed { node: node(1) });
        assert_eq!(centre.gate.check_certificate(&ended.certified()).await, refused);
    }
    assert_eq!(centre.gate.check_certificate(&certified).await, Ok(()));
    let copy = centre.start(&old, 1);
    assert_eq!(copy.was_refused().await, RefusalV1::Renewed { node: node(1) });
    assert!(matches!(copy.ask(&asked.request_pem).await, Err(RequestError::NotConnected)));
    assert!(edge.ask(&asked.request_pem).await.is_ok(), "the right one was not pushed out");
}

#[tokio::test]
async fn another_store_with_the_nodes_key_is_given_no_certificate() {
    let centre = Centre::open().await;
    let pair = centre.sign();
    let edge = centre.start(&pair, 1);
    edge.is_connected(1).await;
    let clone = centre.start(&pair, 9);
    assert_eq!(clone.was_refused().await, RefusalV1::Incarnation { node: node(1) });
    let request = KeyAndRequest::for_node(node(1)).unwrap().request_pem;
    assert!(matches!(clone.ask(&request).await, Err(RequestError::NotConnected)));
    assert_eq!((centre.rows().await, *clone.store.connected.borrow()), (1, 0));
    edge.renew().await;
    assert_eq!(centre.rows().await, 2);
}

#[tokio::test]
async fn a_revoked_node_renews_nothing_and_its_session_ends() {
    let centre = Centre::open().await;
    let pair = centre.sign();
    let edge = centre.start(&pair, 1);
    edge.is_connected(1).await;
    let renewed = edge.renew().await;
    let request = KeyAndRequest::for_node(node(1)).unwrap().request_pem;
    let revoke = AccessCommand::RevokeCertificatesOf { node: node(1), reason: "stolen".into() };
    centre.hub.ask(Command::Access(revoke)).await;
    let revoked = RefusalV1::Revoked { node: node(1) };
    assert_eq!(edge.was_refused().await, revoked);
    let thief = centre.start(&renewed, 1);
    assert_eq!(thief.was_refused().await, revoked, "what it was given is revoked too");
    assert!(matches!(thief.ask(&request).await, Err(RequestError::NotConnected)));
    // Even a request that was on its way when the revocation came.
    let encoded = NodeRequest::RenewCertificate { request_pem: request }.encode().unwrap();
    let reply = centre.gate.answer(&pair.certified(), encoded).await;
    assert!(refusal(HubReply::decode(&reply).unwrap()).contains("was revoked"));
    let again = centre.sign();
    let (serial, not_after_ms) = (again.certified().serial, again.certified().not_after_ms);
    let record = AccessCommand::RecordCertificate { node: node(1), serial, not_after_ms };
    centre.hub.ask(Command::Access(record)).await;
    let edge = centre.start(&again, 1);
    edge.is_connected(1).await;
    edge.renew().await;
}

#[tokio::test]
async fn what_cannot_be_signed_is_refused_and_a_node_does_not_renew_without_end() {
    let centre = Centre::open().await;
    let pair = centre.sign();
    let edge = centre.start(&pair, 1);
    edge.is_connected(1).await;
    let request = KeyAndRequest::for_node(node(1)).unwrap().request_pem;
    for bad in ["junk".to_string(), "x".repeat(9_000), request.replace("MII", "MIJ")] {
        refusal(edge.ask(&bad).await.unwrap());
    }
    let encoded = NodeRequest::RenewCertificate { request_pem: request.clone() }.encode().unwrap();
    let ended = Certified { not_after_ms: TimeMs::from_ms(TimeMs::now().ms() - 1_000), ..pair.certified() };
    let reply = centre.gate.answer(&ended, encoded.clone()).await;
    assert!(refusal(HubReply::decode(&reply).unwrap()).contains("has expired"));
    let stranger = Certified { node: node(9), serial: "0a".into(), ..pair.certified() };
    let reply = centre.gate.answer(&stranger, encoded.clone()).await;
    assert!(refusal(HubReply::decode(&reply).unwrap()).contains("not registered"));
    let last = Certified { not_after_ms: TimeMs::from_ms(i64::MAX / 2), ..pair.certified() };
    let reply = centre.gate.answer(&last, encoded).await;
    assert!(refusal(HubReply::decode(&reply).unwrap()).contains("the authority ends"));
    assert_eq!(centre.rows().await, 2, "the node's own and the stranger's, which was met");
    for _ in 0..16 {
        edge.renew().await;
    }
    assert!(refusal(edge.ask(&request).await.unwrap()).contains("16 times a day"));
    centre.hub.pass(DAY_MS + 1_000);
    edge.renew().await;
}
