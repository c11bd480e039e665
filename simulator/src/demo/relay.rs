//! A relay for datagrams, to cut lines without privileges: clients → one target, and back. What a client sends, and what it is
//! sent, can be dropped each by itself, for one client or for all.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Clients that are remembered; beyond them the one that was silent for longest is forgotten.
const CLIENTS_MAX: usize = 256;
/// No datagram over UDP is longer. Bytes.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// A way through the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From a client to the target.
    ToTarget,
    /// From the target to a client.
    ToClient,
}

/// What is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The client's address; `None`: every client.
    pub client: Option<SocketAddr>,
    /// Which way.
    pub way: Way,
}

impl Block {
    /// All that all clients send and are sent.
    pub const ALL: [Block; 2] =
        [Block { client: None, way: Way::ToTarget }, Block { client: None, way: Way::ToClient }];

    fn stops(&self, client: SocketAddr, way: Way) -> bool {
        self.way == way && self.client.is_none_or(|blocked| blocked == client)
    }
}

/// The switch of a relay.
#[derive(Debug, Default)]
pub struct Gate {
    blocks: RwLock<Vec<Block>>,
    dropped: AtomicU64,
}

impl Gate {
    /// Drops these from now on, besides what is dropped already.
    pub fn block(&self, blocks: &[Block]) {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner).extend_from_slice(blocks);
    }

    /// Lets everything through again. Returns how many datagrams were dropped since the last time.
    pub fn open(&self) -> u64 {
        self.blocks.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.dropped.swap(0, Ordering::Relaxed)
    }

    /// Whether a datagram of this client passes this way; one that does not is counted.
    pub(super) fn passes(&self, client: SocketAddr, way: Way) -> bool {
        let blocks = self.blocks.read().unwrap_or_else(PoisonError::into_inner);
        let is_stopped = blocks.iter().any(|block| block.stops(client, way));
        if is_stopped {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        !is_stopped
    }
}

/// A running relay; ends when dropped.
#[derive(Debug)]
pub struct Relay {
    /// Where clients send.
    pub address: SocketAddr,
    /// Its switch.
    pub gate: Arc<Gate>,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client's own socket towards the target, so that the target can tell clients apart.
struct Client {
    onward: Arc<UdpSocket>,
    back: JoinHandle<()>,
    heard: Instant,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.back.abort();
    }
}

impl Relay {
    /// Listens at `address` for datagrams to `target`.
    pub async fn start(address: SocketAddr, target: SocketAddr) -> Result<Self> {
        let socket = UdpSocket::bind(address).await.with_context(|| format!("listen at {address} for {target}"))?;
        let address = socket.local_addr().context("read the relay's address")?;
        let gate = Arc::new(Gate::default());
        let task = tokio::spawn(forward(Arc::new(socket), target, gate.clone()));
        Ok(Relay { address, gate, task })
    }
}

/// Clients → target.
async fn forward(socket: Arc<UdpSocket>, target: SocketAddr, gate: Arc<Gate>) {
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        // An error here is an earlier datagram's, whose receiver was gone.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        if !gate.passes(from, Way::ToTarget) {
            continue;
        }
        if !clients.contains_key(&from) {
            forget_silent(&mut clients);
            match connect(&socket, from, target, &gate).await {
                Ok(client) => drop(clients.insert(from, client)),
                Err(error) => {
                    eprintln!("a relay cannot reach {target} for {from}: {error:#}");
                    continue;
                }
            }
        }
        if let Some(client) = clients.get_mut(&from) {
            client.heard = Instant::now();
            // What does not arrive is lost, as on any line.
            let _ = client.onward.send(&buffer[..length]).await;
        }
    }
}

async fn connect(socket: &Arc<UdpSocket>, client: SocketAddr, target: SocketAddr, gate: &Arc<Gate>) -> Result<Client> {
    let onward = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.context("open a socket")?;
    onward.connect(target).await.context("aim the socket")?;
    let onward = Arc::new(onward);
    let back = tokio::spawn(give_back(onward.clone(), socket.clone(), client, gate.clone()));
    Ok(Client { onward, back, heard: Instant::now() })
}

/// Target → one client.
async fn give_back(onward: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr, gate: Arc<Gate>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match onward.recv(&mut buffer).await {
            Ok(length) if gate.passes(client, Way::ToClient) => {
                let _ = socket.send_to(&buffer[..length], client).await;
            }
            Ok(_) => {}
            // Nobody listens at the target now. Each such error answers one datagram, so this does not spin.
            Err(_) => tokio::task::yield_now().await,
        }
    }
}

fn forget_silent(clients: &mut HashMap<SocketAddr, Client>) {
    if clients.len() >= CLIENTS_MAX {
        let silent = clients.iter().min_by_key(|(_, client)| client.heard).map(|(&address, _)| address);
        silent.and_then(|address| clients.remove(&address));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Nothing on this machine's own line takes so long.
    const PATIENCE: Duration = Duration::from_secs(20);

    fn any() -> SocketAddr {
        (Ipv4Addr::LOCALHOST, 0).into()
    }

    async fn socket() -> UdpSocket {
        UdpSocket::bind(any()).await.unwrap()
    }

    async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
        let mut buffer = [0; 64];
        let (length, from) =
            tokio::time::timeout(PATIENCE, socket.recv_from(&mut buffer)).await.expect("a datagram arrives").unwrap();
        (buffer[..length].to_vec(), from)
    }

    async fn wait_for_drops(relay: &Relay, count: u64) {
        let waited = tokio::time::timeout(PATIENCE, async {
            while relay.gate.dropped.load(Ordering::Relaxed) < count {
                tokio::task::yield_now().await;
            }
        });
        waited.await.expect("datagrams are dropped");
    }

    #[tokio::test]
    async fn each_client_gets_its_own_answers_back() {
        let target = socket().await;
        let relay = Relay::start(any(), target.local_addr().unwrap()).await.unwrap();
        let clients = [socket().await, socket().await];
        for (client, word) in clients.iter().zip(["one", "two"]) {
            client.send_to(word.as_bytes(), relay.address).await.unwrap();
            let (heard, from) = receive(&target).await;
            assert_eq!(heard, word.as_bytes());
            target.send_to(&[&heard[..], b"!"].concat(), from).await.unwrap();
        }
        for (client, word) in clients.iter().zip(["one!", "two!"]) {
            assert_eq!(receive(client).await, (word.as_bytes().to_vec(), relay.address));
        }
    }

    #[tokio::test]
    async fn one_way_of_one_client_is_dropped_and_all_others_pass_until_the_gate_opens() {
        let target = socket().await;
        let relay = Relay::start(any(), target.local_addr().unwrap()).await.unwrap();
        let (deaf, mute) = (socket().await, socket().await);
        let block = |client: &UdpSocket, way| Block { client: Some(client.local_addr().unwrap()), way };
        relay.gate.block(&[block(&mute, Way::ToTarget), block(&deaf, Way::ToClient)]);
        mute.send_to(b"lost", relay.address).await.unwrap();
        wait_for_drops(&relay, 1).await;
        deaf.send_to(b"heard", relay.address).await.unwrap();
        let (heard, from) = receive(&target).await;
        assert_eq!(heard, b"heard", "only the deaf one's is through");
        target.send_to(b"lost", from).await.unwrap();
        wait_for_drops(&relay, 2).await;
        assert_eq!(relay.gate.open(), 2);
        target.send_to(b"answer", from).await.unwrap();
        assert_eq!(receive(&deaf).await.0, b"answer");
        mute.send_to(b"again", relay.address).await.unwrap();
        assert_eq!(receive(&target).await.0, b"again");
        assert_eq!(relay.gate.open(), 0, "nothing more was dropped");
    }

    #[tokio::test]
    async fn a_cut_line_carries_nothing_either_way() {
        let target = socket().await;
        let relay = Relay::start(any(), target.local_addr().unwrap()).await.unwrap();
        let client = socket().await;
        client.send_to(b"before", relay.address).await.unwrap();
        let (_, from) = receive(&target).await;
        relay.gate.block(&Block::ALL);
        client.send_to(b"lost", relay.address).await.unwrap();
        target.send_to(b"lost", from).await.unwrap();
        wait_for_drops(&relay, 2).await;
        relay.gate.open();
        client.send_to(b"after", relay.address).await.unwrap();
        assert_eq!(receive(&target).await.0, b"after");
    }

    #[tokio::test]
    async fn the_client_that_was_silent_for_longest_is_forgotten_for_a_new_one() {
        let target = socket().await.local_addr().unwrap();
        let (listening, gate) = (Arc::new(socket().await), Arc::new(Gate::default()));
        let mut clients = HashMap::new();
        let address = |port: usize| SocketAddr::from((Ipv4Addr::LOCALHOST, 1_000 + port as u16));
        for index in 0..CLIENTS_MAX {
            clients.insert(address(index), connect(&listening, address(index), target, &gate).await.unwrap());
        }
        clients.get_mut(&address(7)).unwrap().heard -= Duration::from_secs(9);
        forget_silent(&mut clients);
        assert_eq!(clients.len(), CLIENTS_MAX - 1);
        assert!(!clients.contains_key(&address(7)));
    }
}
