//! Sessions come and go: restarts, takeovers, slow stores.

use std::net::SocketAddr;
use std::sync::Arc;

use jikai_schema::id::NodeId;
use jikai_sync::identity::TlsIdentity;
use jikai_sync::transport::HubEndpoint;
use jikai_sync::wire::RefusalV1;

use crate::ends::{
    End, LIMIT, authority, bind_hub, bind_node, connect, hub_identity, local, node, node_identity, reaches, run_node,
    start_hub, start_node, watched,
};

/// Identities of a hub and of node 3, which trust each other.
fn identities() -> (TlsIdentity, TlsIdentity) {
    let authority = authority();
    (hub_identity(&authority), node_identity(&authority, &authority, 3))
}

fn ends() -> (Arc<End>, Arc<End>) {
    (End::new(NodeId::HUB, 40), End::new(node(3), 30))
}

/// Binds a hub where another one was: its endpoint gives the port back when its last task has ended.
async fn bind_again(hub: &Arc<End>, tls: &TlsIdentity, address: SocketAddr) -> HubEndpoint {
    let binding = async {
        loop {
            match bind_hub(hub, tls, address) {
                Some(endpoint) => return endpoint,
                None => tokio::task::yield_now().await,
            }
        }
    };
    tokio::time::timeout(LIMIT, binding).await.expect("the address never came free")
}

#[tokio::test]
async fn a_node_goes_on_where_it_was_when_the_hub_comes_back_at_its_address() {
    let ((hub_tls, node_tls), (hub, edge)) = (identities(), ends());
    let first = start_hub(bind_hub(&hub, &hub_tls, local()).unwrap());
    let address = first.address;
    let _node = start_node(&edge, &node_tls, &[address]);
    hub.received(30).await;
    edge.received(40).await;
    drop(first.stop);
    first.running.await.unwrap();
    reaches(&edge.tries, |tries| *tries >= 1).await;
    edge.sent.send_replace(60);
    hub.sent.send_replace(80);
    let _second = start_hub(bind_again(&hub, &hub_tls, address).await);
    hub.received(60).await;
    edge.received(80).await;
}

#[tokio::test]
async fn a_node_learns_from_the_restarted_hub_that_the_killed_one_is_gone() {
    let ((hub_tls, node_tls), (hub, edge)) = (identities(), ends());
    let hub_tls = Arc::new(hub_tls);
    // A runtime that ends takes its tasks with it in the middle of what they do: nothing says goodbye.
    let dying = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let starting = {
        let (hub, hub_tls) = (hub.clone(), hub_tls.clone());
        async move { start_hub(bind_hub(&hub, &hub_tls, local()).unwrap()) }
    };
    let first = dying.spawn(starting).await.unwrap();
    let address = first.address;
    let _node = start_node(&edge, &node_tls, &[address]);
    hub.received(30).await;
    edge.received(40).await;
    dying.shutdown_background();
    let _second = start_hub(bind_again(&hub, &hub_tls, address).await);
    reaches(&edge.tries, |tries| *tries >= 1).await;
    assert_eq!(*edge.refused.borrow(), None, "it did not have to wait until the silence was too long");
    edge.sent.send_replace(60);
    hub.received(60).await;
}

#[tokio::test]
async fn a_node_tries_the_hubs_next_address_when_one_is_gone() {
    let ((hub_tls, node_tls), (hub, edge)) = (identities(), ends());
    let first = start_hub(bind_hub(&hub, &hub_tls, local()).unwrap());
    let second = start_hub(bind_hub(&hub, &hub_tls, local()).unwrap());
    let uplink = bind_node(&edge, &node_tls, &[first.address, second.address]);
    let mut status = uplink.status();
    let _node = run_node(uplink);
    hub.received(30).await;
    let used = watched(&mut status, |status| status.route.is_some()).await.route.unwrap().address;
    let (used, _other) = if used == first.address { (first, second) } else { (second, first) };
    drop(used.stop);
    reaches(&edge.opened, |opened| *opened >= 2).await;
    edge.sent.send_replace(60);
    hub.received(60).await;
}

#[tokio::test]
async fn a_revoked_certificates_session_ends_at_once_and_it_opens_no_other() {
    let ((hub_tls, node_tls), (hub, edge)) = (identities(), ends());
    let ((_running, _edge), _) = connect(&hub, &hub_tls, &edge, &node_tls);
    hub.received(30).await;
    hub.revocations.send_replace(1);
    assert_eq!(edge.was_refused().await, RefusalV1::Revoked { node: node(3) });
    let opened = *edge.opened.borrow();
    reaches(&edge.tries, |tries| *tries >= 2).await;
    assert_eq!((*edge.opened.borrow(), edge.was_refused().await), (opened, RefusalV1::Revoked { node: node(3) }));
}

#[tokio::test]
async fn the_newer_session_of_a_node_wins_and_the_older_is_told() {
    let ((hub_tls, node_tls), (hub, older)) = (identities(), ends());
    let ((running, _older), _) = connect(&hub, &hub_tls, &older, &node_tls);
    hub.received(30).await;
    older.received(40).await;
    let newer = End::new(node(3), 50);
    newer.received.send_replace(40);
    let _newer = start_node(&newer, &node_tls, &[running.address]);
    assert_eq!(older.was_refused().await, RefusalV1::Superseded);
    hub.received(50).await;
}

#[tokio::test]
async fn a_newer_session_goes_on_behind_what_the_older_was_committing() {
    let ((hub_tls, node_tls), (hub, older)) = (identities(), ends());
    hub.taking.send_replace(false);
    let ((running, _older), _) = connect(&hub, &hub_tls, &older, &node_tls);
    reaches(&hub.waiting, |waiting| *waiting == 1).await;
    let newer = End::new(node(3), 50);
    let _newer = start_node(&newer, &node_tls, &[running.address]);
    assert_eq!(older.was_refused().await, RefusalV1::Superseded);
    assert_eq!(*newer.opened.borrow(), 0, "it is not told where to go on while the older one is committing");
    hub.taking.send_replace(true);
    // The hub's store checks that every event comes once and in order.
    hub.received(50).await;
}

#[tokio::test]
async fn a_store_that_the_hub_refuses_does_not_push_the_right_one_out() {
    let ((hub_tls, node_tls), (hub, edge)) = (identities(), ends());
    let ((running, _edge), _) = connect(&hub, &hub_tls, &edge, &node_tls);
    hub.received(30).await;
    let wrong = End::of_environment(node(3), 5, "training");
    let _wrong = start_node(&wrong, &node_tls, &[running.address]);
    reaches(&wrong.tries, |tries| *tries >= 3).await;
    let expected = RefusalV1::WrongEnvironment { ours: "test".into(), theirs: "training".into() };
    assert_eq!(wrong.was_refused().await, expected);
    reaches(&hub.knocks, |knocks| *knocks >= 2).await;
    edge.sent.send_replace(60);
    hub.received(60).await;
    assert_eq!((*edge.tries.borrow(), *hub.tries.borrow(), *wrong.opened.borrow()), (0, 0, 0));
}

#[tokio::test]
async fn a_store_that_is_slow_to_commit_holds_up_neither_the_other_log_nor_requests() {
    let ((hub_tls, node_tls), (hub, edge)) = (identities(), ends());
    hub.taking.send_replace(false);
    let (_running, requester) = connect(&hub, &hub_tls, &edge, &node_tls);
    reaches(&hub.waiting, |waiting| *waiting == 1).await;
    edge.received(40).await;
    assert_eq!(requester.request(b"still there? ").await.unwrap(), b"still there? 3");
    edge.taking.send_replace(false);
    hub.sent.send_replace(41);
    reaches(&edge.waiting, |waiting| *waiting == 1).await;
    hub.taking.send_replace(true);
    reaches(&edge.acked, |acked| *acked == 30).await;
    edge.taking.send_replace(true);
    reaches(&hub.acked, |acked| *acked == 41).await;
}

#[tokio::test]
async fn a_backlog_of_many_windows_arrives_whole() {
    let ((hub_tls, node_tls), (hub, edge)) = (identities(), ends());
    // Read five at a time: several hundred batches, fifty windows.
    edge.sent.send_replace(2_000);
    hub.sent.send_replace(2_000);
    let (_running, _) = connect(&hub, &hub_tls, &edge, &node_tls);
    hub.received(2_000).await;
    edge.received(2_000).await;
    reaches(&edge.acked, |acked| *acked == 2_000).await;
    reaches(&hub.acked, |acked| *acked == 2_000).await;
}

#[tokio::test]
async fn a_request_over_its_limit_is_refused_before_it_is_sent_and_the_session_goes_on() {
    let ((hub_tls, node_tls), (hub, edge)) = (identities(), ends());
    let (_running, requester) = connect(&hub, &hub_tls, &edge, &node_tls);
    hub.received(30).await;
    assert!(requester.request(&vec![0; 256 * 1024]).await.is_err());
    assert!(requester.request(&vec![0; 200 * 1024]).await.is_ok());
    edge.sent.send_replace(31);
    hub.received(31).await;
}
