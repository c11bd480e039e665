//! Events flow between those who hold the authority's certificates, and nobody else gets in.

use jikai_schema::id::NodeId;
use jikai_sync::wire::RefusalV1;

use crate::ends::{End, authority, connect, hub_identity, node, node_identity, reaches};

#[tokio::test]
async fn events_flow_both_ways_and_requests_are_answered_to_the_certified_node() {
    let authority = authority();
    let (hub, edge) = (End::new(NodeId::HUB, 40), End::new(node(3), 30));
    let (_running, requester) =
        connect(&hub, &hub_identity(&authority), &edge, &node_identity(&authority, &authority, 3));
    hub.received(30).await;
    edge.received(40).await;
    edge.sent.send_replace(55);
    hub.received(55).await;
    assert_eq!(requester.request(b"who am I: ").await.unwrap(), b"who am I: 3");
}

#[tokio::test]
async fn a_certificate_of_another_authority_opens_nothing() {
    let (ours, other) = (authority(), authority());
    let (hub, edge) = (End::new(NodeId::HUB, 5), End::new(node(3), 5));
    let (_running, _) = connect(&hub, &hub_identity(&ours), &edge, &node_identity(&other, &ours, 3));
    reaches(&edge.tries, |tries| *tries >= 2).await;
    assert_eq!((*hub.received.borrow(), *edge.received.borrow()), (0, 0));
}

#[tokio::test]
async fn a_hub_of_another_authority_gets_no_event() {
    let (ours, other) = (authority(), authority());
    let (hub, edge) = (End::new(NodeId::HUB, 5), End::new(node(3), 5));
    let (_running, _) = connect(&hub, &hub_identity(&other), &edge, &node_identity(&ours, &ours, 3));
    reaches(&edge.tries, |tries| *tries >= 2).await;
    assert_eq!((*hub.received.borrow(), *edge.received.borrow()), (0, 0));
}

#[tokio::test]
async fn a_store_that_claims_another_node_than_its_certificate_is_refused() {
    let authority = authority();
    let (hub, edge) = (End::new(NodeId::HUB, 5), End::new(node(4), 5));
    let (_running, _) = connect(&hub, &hub_identity(&authority), &edge, &node_identity(&authority, &authority, 3));
    assert_eq!(edge.was_refused().await, RefusalV1::WrongNode { certified: node(3), claimed: node(4) });
    assert_eq!(*edge.tries.borrow(), 1, "the reason comes with the first refusal");
    assert_eq!(*hub.received.borrow(), 0);
}
