//! A UDP relay in front of a machine: it can be cut, and a machine can move behind it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

#[derive(Default)]
struct Rules {
    target: Option<SocketAddr>,
    /// Nothing passes, in either direction.
    cut: bool,
    /// How long a packet is on its way.
    delay: Duration,
    /// Callers that nothing passes from or to.
    blocked: BTreeSet<SocketAddr>,
}

/// A relay; it ends when it is dropped.
pub struct Relay {
    pub address: SocketAddr,
    rules: Arc<Mutex<Rules>>,
    _running: JoinSet<()>,
}

impl Relay {
    pub async fn new() -> Self {
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
        let address = front.local_addr().unwrap();
        let rules = Arc::new(Mutex::new(Rules::default()));
        let mut running = JoinSet::new();
        running.spawn(relay(front, rules.clone()));
        Relay { address, rules, _running: running }
    }

    pub fn target(&self, target: SocketAddr) {
        self.rules.lock().unwrap().target = Some(target);
    }

    pub fn cut(&self, cut: bool) {
        self.rules.lock().unwrap().cut = cut;
    }

    pub fn delay(&self, delay: Duration) {
        self.rules.lock().unwrap().delay = delay;
    }

    pub fn block(&self, caller: SocketAddr) {
        self.rules.lock().unwrap().blocked.insert(caller);
    }

    pub fn unblock_all(&self) {
        self.rules.lock().unwrap().blocked.clear();
    }
}

fn passes(rules: &Mutex<Rules>, caller: SocketAddr) -> Option<(SocketAddr, Duration)> {
    let rules = rules.lock().unwrap();
    let target = rules.target.filter(|_| !rules.cut && !rules.blocked.contains(&caller))?;
    Some((target, rules.delay))
}

type Packet = (Instant, Vec<u8>);

/// A line that hands packets on when they are due, in order.
fn line<F: Future<Output = ()> + Send>(
    hand_on: impl Fn(Vec<u8>) -> F + Send + 'static,
) -> mpsc::UnboundedSender<Packet> {
    let (line, mut packets) = mpsc::unbounded_channel::<Packet>();
    tokio::spawn(async move {
        while let Some((due, bytes)) = packets.recv().await {
            tokio::time::sleep_until(due).await;
            hand_on(bytes).await;
        }
    });
    line
}

async fn relay(front: Arc<UdpSocket>, rules: Arc<Mutex<Rules>>) {
    let mut lines = BTreeMap::new();
    let mut answering = JoinSet::new();
    let mut packet = vec![0; 65_536];
    loop {
        let Ok((length, caller)) = front.recv_from(&mut packet).await else { continue };
        let Some((target, delay)) = passes(&rules, caller) else { continue };
        if let Entry::Vacant(new) = lines.entry((caller, target)) {
            let back = Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap());
            back.connect(target).await.unwrap();
            answering.spawn(answer(back.clone(), front.clone(), rules.clone(), caller));
            let there = line(move |bytes| {
                let back = back.clone();
                async move { drop(back.send(&bytes).await) }
            });
            new.insert(there);
        }
        let _ = lines[&(caller, target)].send((Instant::now() + delay, packet[..length].to_vec()));
    }
}

async fn answer(back: Arc<UdpSocket>, front: Arc<UdpSocket>, rules: Arc<Mutex<Rules>>, caller: SocketAddr) {
    let mut packet = vec![0; 65_536];
    let here = line(move |bytes| {
        let front = front.clone();
        async move { drop(front.send_to(&bytes, caller).await) }
    });
    loop {
        // A machine that is gone is reported here as an error: it may come back.
        let Ok(length) = back.recv(&mut packet).await else { continue };
        if let Some((_, delay)) = passes(&rules, caller) {
            let _ = here.send((Instant::now() + delay, packet[..length].to_vec()));
        }
    }
}
