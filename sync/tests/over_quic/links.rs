//! Several machines of a hub, each on several links: nodes spread, and move when one fails, drains or goes.

use std::net::SocketAddr;
use std::sync::Arc;

use jikai_schema::id::NodeId;
use jikai_sync::identity::{CertificateAuthority, TlsIdentity};
use jikai_sync::routes::Route;
use jikai_sync::transport::{HubDrain, UplinkPace, UplinkStatus};
use jikai_sync::wire::RefusalV1;
use tokio::sync::watch;

use crate::ends::{
    End, Running, authority, bind_hub, bind_node_on, hub_identity, local, node, node_identity, reaches, run_node,
    start_hub, watched,
};
use crate::relay::Link;

/// Looks at other routes all the time.
const BRISK: UplinkPace = UplinkPace { probe_ms: 40, rebalance_ms: 100_000 };

/// A machine of the hub. All share one store, as replicas do.
struct Machine {
    running: Running,
    drain: HubDrain,
}

fn machine(hub: &Arc<End>, authority: &CertificateAuthority) -> Machine {
    start_machine(hub, &hub_identity(authority))
}

fn start_machine(hub: &Arc<End>, tls: &TlsIdentity) -> Machine {
    let endpoint = bind_hub(hub, tls, local()).unwrap();
    Machine { drain: endpoint.drain(), running: start_hub(endpoint) }
}

fn route(machine: u16, link: &str, address: SocketAddr, weight: u32) -> Route {
    Route { machine, link: link.into(), address, weight }
}

/// A node with its routes.
struct Edge {
    end: Arc<End>,
    routes: watch::Sender<Vec<Route>>,
    status: watch::Receiver<UplinkStatus>,
    _running: Running,
}

impl Edge {
    fn start(tls: &TlsIdentity, number: u16, routes: Vec<Route>, pace: UplinkPace) -> Self {
        let end = End::new(node(number), 30);
        let (routes, watching) = watch::channel(routes);
        let uplink = bind_node_on(&end, tls, watching, pace);
        let status = uplink.status();
        Edge { end, routes, status, _running: run_node(uplink).0 }
    }

    /// Waits until the session is on this route.
    async fn is_on(&mut self, address: SocketAddr) {
        let wanted = |status: &UplinkStatus| status.route.as_ref().is_some_and(|route| route.address == address);
        watched(&mut self.status, wanted).await;
        reaches(&self.end.open, |open| *open).await;
    }

    async fn route(&mut self) -> Route {
        watched(&mut self.status, |status| status.route.is_some()).await.route.unwrap()
    }

    /// Sends more events, which must all come.
    async fn syncs(&self, hub: &End) {
        let more = *self.end.sent.borrow() + 20;
        self.end.sent.send_replace(more);
        hub.received(more).await;
    }
}

fn ends() -> (Arc<End>, CertificateAuthority) {
    (End::new(NodeId::HUB, 40), authority())
}

#[tokio::test]
async fn a_node_goes_on_over_the_other_link_when_one_is_cut_and_nothing_is_lost() {
    let (hub, authority) = ends();
    let machine = machine(&hub, &authority);
    let (east, west) = (Link::to(machine.running.address).await, Link::to(machine.running.address).await);
    let routes = vec![route(1, "east", east.address, 1_000), route(1, "west", west.address, 1)];
    let tls = node_identity(&authority, &authority, 3);
    let mut edge = Edge::start(&tls, 3, routes, UplinkPace::default());
    let first = edge.route().await.address;
    hub.received(30).await;
    let (used, other) = if first == east.address { (&east, &west) } else { (&west, &east) };
    // In the middle of a backlog.
    edge.end.sent.send_replace(400);
    hub.sent.send_replace(400);
    used.cut(true);
    edge.is_on(other.address).await;
    hub.received(400).await;
    edge.end.received(400).await;
    assert_eq!(edge.status.borrow().switches, 1);
    assert_eq!(*edge.end.refused.borrow(), None);
}

#[tokio::test]
async fn a_node_whose_links_are_all_cut_goes_on_over_the_first_that_comes_back() {
    let (hub, authority) = ends();
    let machine = machine(&hub, &authority);
    let (east, west) = (Link::to(machine.running.address).await, Link::to(machine.running.address).await);
    west.cut(true);
    let routes = vec![route(1, "east", east.address, 1_000), route(1, "west", west.address, 1)];
    let tls = node_identity(&authority, &authority, 3);
    let mut edge = Edge::start(&tls, 3, routes, UplinkPace::default());
    edge.is_on(east.address).await;
    hub.received(30).await;
    east.cut(true);
    // Each was called, and did not answer.
    watched(&mut edge.status, |status| status.ejected == 2).await;
    east.cut(false);
    edge.syncs(&hub).await;
    edge.is_on(east.address).await;
}

#[tokio::test]
async fn a_node_goes_on_at_another_machine_when_one_is_killed() {
    let (hub, authority) = ends();
    // A runtime that ends takes its tasks with it in the middle of what they do: nothing says goodbye.
    let mut machines = Vec::new();
    for number in [1, 2] {
        let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (hub, tls) = (hub.clone(), hub_identity(&authority));
        let started = process.spawn(async move { start_machine(&hub, &tls) }).await.unwrap();
        machines.push((number, process, started));
    }
    let routes = machines.iter().map(|(number, _, machine)| route(*number, "east", machine.running.address, 1));
    let tls = node_identity(&authority, &authority, 3);
    let mut edge = Edge::start(&tls, 3, routes.collect(), UplinkPace::default());
    hub.received(30).await;
    let used = edge.route().await.machine;
    let (dead, mut left): (Vec<_>, Vec<_>) = machines.into_iter().partition(|(number, ..)| *number == used);
    dead.into_iter().for_each(|(_, process, _)| process.shutdown_background());
    let (_, process, other) = left.remove(0);
    edge.is_on(other.running.address).await;
    edge.syncs(&hub).await;
    drop(other);
    process.shutdown_background();
}

#[tokio::test]
async fn a_new_node_does_not_wait_for_a_dead_route() {
    let (hub, authority) = ends();
    let machine = machine(&hub, &authority);
    let dead = Link::to(machine.running.address).await;
    dead.cut(true);
    let routes = vec![route(1, "east", dead.address, 1_000), route(2, "east", machine.running.address, 1)];
    let mut edge = Edge::start(&node_identity(&authority, &authority, 3), 3, routes, UplinkPace::default());
    edge.is_on(machine.running.address).await;
    edge.syncs(&hub).await;
    assert_eq!(*edge.end.tries.borrow(), 0, "the first session is the one that opened");
}

#[tokio::test]
async fn a_machine_that_drains_acknowledges_what_it_commits_and_its_node_goes_on_at_another() {
    let (hub, authority) = ends();
    let (first, second) = (machine(&hub, &authority), machine(&hub, &authority));
    let routes = vec![route(1, "east", first.running.address, 1_000), route(2, "east", second.running.address, 1)];
    let mut edge = Edge::start(&node_identity(&authority, &authority, 3), 3, routes, UplinkPace::default());
    hub.received(30).await;
    edge.end.received(40).await;
    let on_first = edge.route().await.machine == 1;
    let (leaving, other) = if on_first { (&first, &second) } else { (&second, &first) };
    edge.end.sent.send_replace(500);
    leaving.drain.set(true);
    edge.is_on(other.running.address).await;
    hub.received(500).await;
    edge.syncs(&hub).await;
    assert_eq!(edge.end.last_refusal(), Some(RefusalV1::Draining));
    // Nobody gets in there meanwhile, not even one who knows no other.
    let only = vec![route(0, "", leaving.running.address, 1)];
    let late = Edge::start(&node_identity(&authority, &authority, 4), 4, only, UplinkPace::default());
    assert_eq!(late.end.was_refused().await, RefusalV1::Draining);
    assert_eq!(*late.end.opened.borrow(), 0);
}

#[tokio::test]
async fn a_machine_whose_draining_was_taken_back_gets_nodes_again() {
    let (hub, authority) = ends();
    let machine = machine(&hub, &authority);
    machine.drain.set(true);
    let only = vec![route(1, "east", machine.running.address, 1)];
    let edge = Edge::start(&node_identity(&authority, &authority, 3), 3, only, UplinkPace::default());
    assert_eq!(edge.end.was_refused().await, RefusalV1::Draining);
    machine.drain.set(false);
    assert!(!machine.drain.is_set());
    edge.syncs(&hub).await;
}

#[tokio::test]
async fn a_node_that_every_machine_refused_comes_to_the_one_that_serves_again() {
    let (hub, authority) = ends();
    let machines = [machine(&hub, &authority), machine(&hub, &authority), machine(&hub, &authority)];
    machines.iter().for_each(|machine| machine.drain.set(true));
    let routes = (1..).zip(&machines).map(|(number, machine)| route(number, "east", machine.running.address, 1));
    let (tls, routes) = (node_identity(&authority, &authority, 3), routes.collect());
    let mut edge = Edge::start(&tls, 3, routes, UplinkPace::default());
    watched(&mut edge.status, |status| status.ejected == 3).await;
    assert_eq!(edge.end.last_refusal(), Some(RefusalV1::Draining));
    machines[1].drain.set(false);
    edge.is_on(machines[1].running.address).await;
    edge.syncs(&hub).await;
}

#[tokio::test]
async fn a_route_that_was_removed_is_left_and_one_that_was_added_is_taken() {
    let (hub, authority) = ends();
    let (first, second) = (machine(&hub, &authority), machine(&hub, &authority));
    let one = route(1, "east", first.running.address, 1);
    let other = route(2, "east", second.running.address, 1);
    let tls = node_identity(&authority, &authority, 3);
    let mut edge = Edge::start(&tls, 3, Vec::new(), UplinkPace::default());
    edge.routes.send_replace(vec![one.clone()]);
    edge.is_on(one.address).await;
    hub.received(30).await;
    edge.routes.send_replace(vec![other.clone()]);
    edge.is_on(other.address).await;
    edge.syncs(&hub).await;
    edge.routes.send_replace(Vec::new());
    edge.syncs(&hub).await;
    assert_eq!(edge.route().await, other, "with nowhere to go, what is open stays open");
}

#[tokio::test]
async fn a_route_that_comes_back_is_found_by_a_probe_and_taken_from_one_without_weight() {
    let (hub, authority) = ends();
    let machine = machine(&hub, &authority);
    let (east, reserve) = (Link::to(machine.running.address).await, machine.running.address);
    east.cut(true);
    let routes = vec![route(1, "east", east.address, 1), route(0, "", reserve, 0)];
    let mut edge = Edge::start(&node_identity(&authority, &authority, 3), 3, routes, BRISK);
    edge.is_on(reserve).await;
    hub.received(30).await;
    east.cut(false);
    edge.is_on(east.address).await;
    edge.syncs(&hub).await;
}

#[tokio::test]
async fn nodes_choose_anew_from_time_to_time_so_that_a_machine_that_was_away_gets_its_share() {
    let (hub, authority) = ends();
    let (first, second) = (machine(&hub, &authority), machine(&hub, &authority));
    let one = route(1, "east", first.running.address, 1);
    let other = route(2, "east", second.running.address, 1_000);
    let pace = UplinkPace { probe_ms: 100_000, rebalance_ms: 40 };
    let mut edge = Edge::start(&node_identity(&authority, &authority, 3), 3, vec![one.clone()], pace);
    edge.is_on(one.address).await;
    edge.routes.send_replace(vec![one, other.clone()]);
    edge.is_on(other.address).await;
    edge.syncs(&hub).await;
}

#[tokio::test]
async fn a_session_goes_on_when_the_nodes_address_changes() {
    let (hub, authority) = ends();
    let machine = machine(&hub, &authority);
    let link = Link::to(machine.running.address).await;
    let routes = vec![route(1, "east", link.address, 1)];
    let edge = Edge::start(&node_identity(&authority, &authority, 3), 3, routes, UplinkPace::default());
    hub.received(30).await;
    for _ in 0..3 {
        link.move_callers();
        edge.syncs(&hub).await;
        hub.sent.send_modify(|sent| *sent += 10);
        edge.end.received(*hub.sent.borrow()).await;
    }
    assert_eq!((*edge.end.tries.borrow(), *edge.end.opened.borrow()), (0, 1), "the session is the same");
    assert_eq!(*hub.admissions.borrow(), 1, "and so it is at the hub");
}

#[tokio::test]
async fn a_hub_of_an_earlier_generation_gets_no_event_and_is_told() {
    let (hub, authority) = ends();
    let behind = End::new(NodeId::HUB, 40);
    let (newest, old) = (machine(&hub, &authority), machine(&behind, &authority));
    hub.generation.send_replace(2);
    let (good, bad) = (route(1, "east", newest.running.address, 1), route(2, "east", old.running.address, 1));
    let mut edge = Edge::start(&node_identity(&authority, &authority, 3), 3, vec![good.clone()], BRISK);
    edge.is_on(good.address).await;
    hub.received(30).await;
    assert_eq!(*edge.end.generation.borrow(), 2);
    edge.routes.send_replace(vec![bad]);
    let superseded = RefusalV1::HubSuperseded { ours: 2, theirs: 1 };
    assert_eq!(edge.end.was_refused().await, superseded);
    assert_eq!(behind.was_refused().await, superseded);
    edge.routes.send_replace(vec![good.clone()]);
    edge.is_on(good.address).await;
    edge.syncs(&hub).await;
    assert_eq!(*behind.received.borrow(), 0);
}
