//! Certificates end, and others take their place while everything runs.

use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use jikai_sync::identity::{CERTIFICATE_MS, CertificateAuthority, Key};

use crate::ends::{
    End, authority, bind_hub, bind_node, connect, hub_identity, hub_identity_of, local, node, node_identity,
    node_identity_at, reaches, run_node, start_hub,
};

const DAY_MS: i64 = 86_400_000;

/// So many days from now.
fn in_days(days: i64) -> TimeMs {
    TimeMs::from_ms(TimeMs::now().ms() + days * DAY_MS)
}

/// An authority of long ago, so that what it signed may have ended.
fn old_authority() -> CertificateAuthority {
    CertificateAuthority::create("test", in_days(-1_000)).unwrap()
}

#[tokio::test]
async fn a_certificate_that_has_ended_opens_nothing_and_one_of_a_clock_a_day_off_does() {
    let authority = old_authority();
    let hub_tls = hub_identity(&authority);
    for (signed_at_ms, opens) in [
        (in_days(-CERTIFICATE_MS / DAY_MS - 1), false),
        (in_days(1 - CERTIFICATE_MS / DAY_MS), true),
        (in_days(1), true),
        (in_days(2), false),
    ] {
        let (hub, edge) = (End::new(NodeId::HUB, 5), End::new(node(3), 5));
        let (edge_tls, _) = node_identity_at(&authority, &authority, 3, signed_at_ms);
        let (_running, _) = connect(&hub, &hub_tls, &edge, &edge_tls);
        if opens {
            hub.received(5).await;
        } else {
            reaches(&edge.tries, |tries| *tries >= 2).await;
            assert_eq!((*hub.received.borrow(), *edge.opened.borrow()), (0, 0));
        }
    }
}

#[tokio::test]
async fn a_hub_whose_certificate_has_ended_gets_no_event_until_it_shows_another() {
    let authority = old_authority();
    let (hub, edge) = (End::new(NodeId::HUB, 5), End::new(node(3), 5));
    let key = Key::generate().unwrap();
    let ended = hub_identity_of(&authority, &key, in_days(-CERTIFICATE_MS / DAY_MS - 1));
    let endpoint = bind_hub(&hub, &ended, local()).unwrap();
    let identity = endpoint.identity();
    let running = start_hub(endpoint);
    let node_tls = node_identity(&authority, &authority, 3);
    let (_node, _) = run_node(bind_node(&edge, &node_tls, &[running.address]));
    reaches(&edge.tries, |tries| *tries >= 2).await;
    assert_eq!(*hub.received.borrow(), 0);
    identity.present(&hub_identity_of(&authority, &key, TimeMs::now())).unwrap();
    hub.received(5).await;
}

#[tokio::test]
async fn a_node_shows_another_certificate_in_a_new_session_at_once_and_nothing_is_lost() {
    let authority = authority();
    let (hub, edge) = (End::new(NodeId::HUB, 40), End::new(node(3), 30));
    let running = start_hub(bind_hub(&hub, &hub_identity(&authority), local()).unwrap());
    let (old, old_certified) = node_identity_at(&authority, &authority, 3, TimeMs::now());
    let uplink = bind_node(&edge, &old, &[running.address]);
    let identity = uplink.identity();
    let (_node, requester) = run_node(uplink);
    hub.received(30).await;
    reaches(&hub.agreed, |agreed| agreed.as_ref() == Some(&old_certified)).await;
    let (new, new_certified) = node_identity_at(&authority, &authority, 3, TimeMs::now());
    // In the middle of a backlog, and again before the session with the first is over.
    edge.sent.send_replace(500);
    hub.sent.send_replace(500);
    identity.present(&old).unwrap();
    identity.present(&new).unwrap();
    reaches(&hub.agreed, |agreed| agreed.as_ref() == Some(&new_certified)).await;
    // The stores check that every event comes once and in order.
    hub.received(500).await;
    edge.received(500).await;
    assert_eq!(requester.request(b"who am I: ").await.unwrap(), b"who am I: 3");
    assert_eq!(*edge.refused.borrow(), None);
}

#[tokio::test]
async fn an_open_session_stays_when_the_hub_shows_another_certificate() {
    let authority = authority();
    let (hub, edge) = (End::new(NodeId::HUB, 40), End::new(node(3), 30));
    let key = Key::generate().unwrap();
    let endpoint = bind_hub(&hub, &hub_identity_of(&authority, &key, TimeMs::now()), local()).unwrap();
    let identity = endpoint.identity();
    let running = start_hub(endpoint);
    let (_node, _) = run_node(bind_node(&edge, &node_identity(&authority, &authority, 3), &[running.address]));
    hub.received(30).await;
    identity.present(&hub_identity_of(&authority, &key, TimeMs::now())).unwrap();
    edge.sent.send_replace(60);
    hub.received(60).await;
    assert_eq!((*edge.tries.borrow(), *edge.opened.borrow()), (0, 1));
}
