//! A peer with a good certificate that does not keep to the protocol.

use std::sync::atomic::{AtomicUsize, Ordering};

use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use quinn::ClientConfig;
use quinn::crypto::rustls::QuicClientConfig;
use tokio::sync::watch;

use super::*;
use crate::identity::Certified;
use crate::identity::{CertificateAuthority, HUB_NAME, Key, KeyAndRequest, sync_client};
use crate::session::{LogRecord, VerifiedBatch};
use crate::transport::requests::REQUEST_MARK;
use crate::transport::store::{Admission, Future};
use crate::wire::{Cursor, Frame, Hello, RefusalV1, Welcome, encode_frame};

/// Admits who is of epoch 1, and counts what it answers.
#[derive(Default)]
struct Store {
    down_head: watch::Sender<u64>,
    answered: AtomicUsize,
    refused: watch::Sender<Option<RefusalV1>>,
}

impl HubStore for Store {
    fn check_certificate<'a>(&'a self, _: &'a Certified) -> Future<'a, Result<(), RefusalV1>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn admit(&self, hello: Hello) -> Future<'_, Result<Admission, RefusalV1>> {
        let welcome = Welcome { up: Cursor::START, hub_generation: 1, endpoints: Vec::new() };
        let admitted = match hello.epoch {
            1 => Ok(Admission {
                welcome,
                down_head: self.down_head.subscribe(),
                revocations: self.down_head.subscribe(),
            }),
            theirs => Err(RefusalV1::Fenced { node: hello.node, ours: 1, theirs }),
        };
        Box::pin(std::future::ready(admitted))
    }
    fn ingest(&self, _: NodeId, _: [u8; 16], batch: VerifiedBatch) -> Future<'_, Result<Cursor, RefusalV1>> {
        Box::pin(std::future::ready(Ok(batch.end())))
    }
    fn read_down(&self, _: NodeId, _: u64, _: usize, _: usize) -> Future<'_, Result<Vec<LogRecord>, RefusalV1>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    fn down_acked(&self, _: NodeId, _: Cursor) {}
    fn agreed<'a>(&'a self, _: &'a Certified) -> Future<'a, ()> {
        Box::pin(std::future::ready(()))
    }
    fn answer<'a>(&'a self, _: &'a Certified, request: Vec<u8>) -> Future<'a, Vec<u8>> {
        self.answered.fetch_add(1, Ordering::SeqCst);
        Box::pin(std::future::ready(request))
    }
    fn disconnected(&self, _: NodeId, refusal: Option<&RefusalV1>) {
        self.refused.send_replace(refusal.cloned());
    }
    fn refused(&self, _: NodeId, refusal: &RefusalV1) {
        self.refused.send_replace(Some(refusal.clone()));
    }
}

fn hello(epoch: u32) -> Vec<u8> {
    let (node, environment) = (NodeId::new(3).unwrap(), "test".to_string());
    let (up_head, down) = (Cursor::START, Cursor::START);
    let hello =
        Hello { environment, node, incarnation: [1; 16], epoch, schema_version: 1, up_head, down, event_version: 0 };
    encode_frame(&Frame::Hello(hello)).unwrap()
}

/// A hub, and a raw connection of node 3 to it.
async fn open(store: Arc<Store>) -> (Endpoint, Connection, tokio_util::sync::DropGuard) {
    let (authority, key) = (CertificateAuthority::create("test", TimeMs::now()).unwrap(), Key::generate().unwrap());
    let certificate = authority.certify_hub(&key, &[], TimeMs::now()).unwrap();
    let tls = TlsIdentity::from_pem(&certificate, &key, authority.certificate_pem()).unwrap();
    let listen = "127.0.0.1:0".parse().unwrap();
    let options = HubOptions { listen, connections_max: 4, segmentation_offload: false };
    let hub = HubEndpoint::bind(&tls, &options, store).unwrap();
    let (address, stop) = (hub.local_address().unwrap(), CancellationToken::new());
    tokio::spawn(hub.run(stop.clone()));
    let node = NodeId::new(3).unwrap();
    let request = KeyAndRequest::for_node(node).unwrap();
    let certificate = authority.sign_node(&request.request_pem, node, &[], TimeMs::now()).unwrap();
    let tls = TlsIdentity::from_pem(&certificate, &request.key, authority.certificate_pem()).unwrap();
    let mut client = Endpoint::client(listen).unwrap();
    let crypto = QuicClientConfig::try_from(sync_client(&tls).unwrap()).unwrap();
    client.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
    let connection = client.connect(address, HUB_NAME).unwrap().await.unwrap();
    (client, connection, stop.drop_guard())
}

/// Opens the session's streams and a request beside them, in one go, and goes on with `then` once it is welcomed; what the
/// request is answered.
async fn ask(connection: &Connection, epoch: u32, then: Frame) -> Option<Vec<u8>> {
    let (mut up, mut welcomed) = connection.open_bi().await.unwrap();
    let (mut down, _down) = connection.open_bi().await.unwrap();
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&[REQUEST_MARK.as_slice(), b"keys"].concat()).await.unwrap();
    send.finish().unwrap();
    down.write_all(&encode_frame(&Frame::Ack(Cursor::START)).unwrap()).await.unwrap();
    up.write_all(&hello(epoch)).await.unwrap();
    welcomed.read_exact(&mut [0; 5]).await.ok()?;
    // A hub that refused is gone by now.
    let _ = up.write_all(&encode_frame(&then).unwrap()).await;
    receive.read_to_end(1_000).await.ok()
}

#[tokio::test]
async fn nobody_is_answered_before_both_ends_agree() {
    let store = Arc::new(Store::default());
    let agrees = || Frame::Ack(Cursor::START);
    for (epoch, then) in [(0, agrees()), (1, Frame::Refused(RefusalV1::Fork { at: 1 }))] {
        let (_client, connection, _stop) = open(store.clone()).await;
        assert_eq!(ask(&connection, epoch, then).await, None);
        assert_eq!(store.answered.load(Ordering::SeqCst), 0);
    }
    let (_client, connection, _stop) = open(store.clone()).await;
    assert_eq!(ask(&connection, 1, agrees()).await.as_deref(), Some(b"keys".as_slice()));
}

#[tokio::test]
async fn the_reason_of_a_refusal_is_told_in_the_close_too() {
    let (_client, connection, _stop) = open(Arc::new(Store::default())).await;
    let (mut up, _unread) = connection.open_bi().await.unwrap();
    let (mut down, _unread) = connection.open_bi().await.unwrap();
    down.write_all(&encode_frame(&Frame::Ack(Cursor::START)).unwrap()).await.unwrap();
    up.write_all(&hello(0)).await.unwrap();
    connection.closed().await;
    let fenced = RefusalV1::Fenced { node: NodeId::new(3).unwrap(), ours: 1, theirs: 0 };
    assert_eq!(told(&connection), Some(fenced));
}

#[tokio::test]
async fn the_reason_that_a_node_gives_on_the_up_stream_is_heard_even_if_the_down_stream_ends_first() {
    let store = Arc::new(Store::default());
    let (_client, connection, _stop) = open(store.clone()).await;
    let (mut up, _up) = connection.open_bi().await.unwrap();
    let (mut down, _down) = connection.open_bi().await.unwrap();
    down.write_all(&encode_frame(&Frame::Ack(Cursor::START)).unwrap()).await.unwrap();
    up.write_all(&hello(1)).await.unwrap();
    down.finish().unwrap();
    down.stopped().await.unwrap();
    let fork = RefusalV1::Fork { at: 7 };
    up.write_all(&encode_frame(&Frame::Refused(fork.clone())).unwrap()).await.unwrap();
    let mut refused = store.refused.subscribe();
    assert_eq!(*refused.wait_for(Option::is_some).await.unwrap(), Some(fork));
}

#[tokio::test]
async fn a_node_that_opens_no_session_is_not_kept() {
    let (_client, connection, _stop) = open(Arc::new(Store::default())).await;
    match connection.closed().await {
        quinn::ConnectionError::ApplicationClosed(close) => {
            assert_eq!(close.error_code, REFUSED);
        }
        other => panic!("{other}"),
    }
}
