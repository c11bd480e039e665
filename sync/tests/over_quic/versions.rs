//! The present version of the wire and the one before it, both ways; earlier and later ones open nothing.

use jikai_schema::codec::EVENT_VERSION;
use jikai_schema::id::NodeId;
use jikai_sync::wire::WireVersion;

use crate::ends::{End, authority, connect, hub_identity, node, node_identity, reaches};

/// What each end speaks, and the version of events that the hub then sends at most; `None`: they share none.
async fn check(hub_speaks: &[&[u8]], node_speaks: &[&[u8]], event_version: Option<u8>) {
    let authority = authority();
    let (hub, edge) = (End::new(NodeId::HUB, 40), End::new(node(3), 30));
    let hub_tls = hub_identity(&authority).speaking(hub_speaks);
    let node_tls = node_identity(&authority, &authority, 3).speaking(node_speaks);
    let (_running, _) = connect(&hub, &hub_tls, &edge, &node_tls);
    match event_version {
        Some(event_version) => {
            hub.received(30).await;
            edge.received(40).await;
            assert_eq!(*hub.event_version.borrow(), event_version);
        }
        None => {
            reaches(&edge.tries, |tries| *tries >= 2).await;
            assert_eq!((*hub.received.borrow(), *edge.received.borrow()), (0, 0));
            assert_eq!(*hub.admissions.borrow(), 0, "it ends in the handshake");
        }
    }
}

const V1: &[u8] = b"jikai-sync/1";
const V2: &[u8] = b"jikai-sync/2";
const V3: &[u8] = b"jikai-sync/3";

#[tokio::test]
async fn the_present_version_and_the_one_before_it_are_spoken_both_ways() {
    assert_eq!(WireVersion::ALL.map(WireVersion::alpn), [V2, V1]);
    check(&[V2, V1], &[V2, V1], Some(EVENT_VERSION)).await;
    check(&[V2, V1], &[V1], Some(3)).await;
    check(&[V1], &[V2, V1], Some(3)).await;
    check(&[V2, V1], &[V3, V2], Some(EVENT_VERSION)).await;
}

#[tokio::test]
async fn ends_that_share_no_version_open_nothing() {
    check(&[V2, V1], &[V3], None).await;
    check(&[V3, V2], &[V1], None).await;
}

#[tokio::test]
async fn a_feed_that_a_node_cannot_read_on_in_stops_and_what_the_node_decides_is_taken_in() {
    for (speaks, is_told) in [(V2, true), (V1, false)] {
        let authority = authority();
        let (hub, edge) = (End::new(NodeId::HUB, 40), End::new(node(3), 30));
        hub.readable.send_replace(25);
        let hub_tls = hub_identity(&authority).speaking(&[V2, V1]);
        let node_tls = node_identity(&authority, &authority, 3).speaking(&[speaks]);
        let (_running, _) = connect(&hub, &hub_tls, &edge, &node_tls);
        edge.received(25).await;
        hub.received(30).await;
        reaches(&hub.stops, |stops| *stops == 1).await;
        // Both logs grow: the node's goes on, the feed does not.
        hub.sent.send_replace(60);
        edge.sent.send_replace(50);
        hub.received(50).await;
        reaches(&edge.acked, |acked| *acked == 50).await;
        assert_eq!(*edge.received.borrow(), 25, "none is skipped");
        assert_eq!((*edge.stops.borrow(), *hub.stops.borrow()), (u32::from(is_told), 1));
        assert_eq!((*edge.opened.borrow(), *edge.tries.borrow()), (1, 0), "one session");
    }
}
