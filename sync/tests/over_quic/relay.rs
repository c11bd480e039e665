//! A link: a UDP relay in front of a hub's endpoint that can be cut, and whose callers' addresses can change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use crate::ends::local;

/// One caller as the hub sees it: a socket of the relay.
type Callers = Arc<Mutex<BTreeMap<SocketAddr, Arc<UdpSocket>>>>;

/// A link; it ends when it is dropped.
pub struct Link {
    /// Where nodes call.
    pub address: SocketAddr,
    cut: Arc<AtomicBool>,
    callers: Callers,
    _running: JoinSet<()>,
}

impl Link {
    /// A link to this address.
    pub async fn to(target: SocketAddr) -> Self {
        let front = Arc::new(UdpSocket::bind(local()).await.unwrap());
        let (address, cut, callers) = (front.local_addr().unwrap(), Arc::default(), Callers::default());
        let mut running = JoinSet::new();
        running.spawn(relay(front, target, Arc::clone(&cut), callers.clone()));
        Link { address, cut, callers, _running: running }
    }

    /// Whether nothing passes, either way.
    pub fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::SeqCst);
    }

    /// From now on the hub sees every caller at another address.
    pub fn move_callers(&self) {
        self.callers.lock().unwrap().clear();
    }
}

async fn relay(front: Arc<UdpSocket>, target: SocketAddr, cut: Arc<AtomicBool>, callers: Callers) {
    let (mut answering, mut packet) = (JoinSet::new(), vec![0; 65_536]);
    loop {
        // An end that is gone is reported here as an error: another may come.
        let Ok((length, caller)) = front.recv_from(&mut packet).await else { continue };
        if cut.load(Ordering::SeqCst) {
            continue;
        }
        let known = callers.lock().unwrap().get(&caller).cloned();
        let back = match known {
            Some(back) => back,
            None => {
                let back = Arc::new(UdpSocket::bind(local()).await.unwrap());
                back.connect(target).await.unwrap();
                callers.lock().unwrap().insert(caller, back.clone());
                answering.spawn(answer(back.clone(), front.clone(), cut.clone(), caller));
                back
            }
        };
        let _ = back.send(&packet[..length]).await;
    }
}

async fn answer(back: Arc<UdpSocket>, front: Arc<UdpSocket>, cut: Arc<AtomicBool>, caller: SocketAddr) {
    let mut packet = vec![0; 65_536];
    loop {
        let Ok(length) = back.recv(&mut packet).await else { continue };
        if !cut.load(Ordering::SeqCst) {
            let _ = front.send_to(&packet[..length], caller).await;
        }
    }
}
