//! Machines on this computer, each behind a relay.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jikai_hub::raft::cluster::{Addresses, Cluster, StartError};
use jikai_hub::raft::network::Identity;
use jikai_hub::raft::settings::Settings;
use tempfile::TempDir;

use super::certificates::Authority;
use super::relay::Relay;
use super::table::{Gate, Table, encode};

/// Upper bound of every wait: only a failure reaches it.
pub const LONG: Duration = Duration::from_secs(30);

/// Shorter than those of real machines, far longer than what happens on one computer.
pub fn settings() -> Settings {
    Settings {
        heartbeat: Duration::from_millis(150),
        election_min: Duration::from_millis(600),
        election_max: Duration::from_millis(1_200),
        ..Settings::default()
    }
}

/// Some machines, running or not.
pub struct Machines {
    pub authority: Authority,
    pub settings: Settings,
    identities: BTreeMap<u64, Identity>,
    relays: BTreeMap<u64, Relay>,
    running: BTreeMap<u64, Cluster>,
    gates: BTreeMap<u64, Gate>,
    folder: TempDir,
}

impl Machines {
    pub fn new(settings: Settings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (identities, relays, running) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let gates = BTreeMap::new();
        Machines { authority: Authority::new(), settings, identities, relays, running, gates, folder }
    }

    /// Machines 1 to `count`, all voters, led by machine 1.
    pub async fn voters(count: u64, settings: Settings) -> Self {
        let mut machines = Machines::new(settings);
        for id in 1..=count {
            machines.start(id).await;
        }
        machines[1].initialize().await.unwrap();
        machines.leader_among(&[1]).await;
        for id in 2..=count {
            machines.join(1, id).await.unwrap();
            machines[1].promote(id).await.unwrap();
        }
        machines
    }

    pub fn data(&self, id: u64) -> PathBuf {
        self.folder.path().join(id.to_string())
    }

    fn table(&self, id: u64) -> PathBuf {
        self.data(id).join("table.db")
    }

    pub async fn start(&mut self, id: u64) {
        self.try_start(id).await.unwrap();
    }

    pub async fn try_start(&mut self, id: u64) -> Result<(), StartError> {
        std::fs::create_dir_all(self.data(id)).unwrap();
        let identity = self.identities.entry(id).or_insert_with(|| self.authority.identity(id)).clone();
        self.relays.entry(id).or_insert(Relay::new().await);
        self.start_as(id, identity).await
    }

    pub async fn start_as(&mut self, id: u64, identity: Identity) -> Result<(), StartError> {
        let address = self.relays[&id].address.to_string();
        let addresses = Addresses { listen: "127.0.0.1:0".parse().unwrap(), advertised: Some(address) };
        let state = Table::open(&self.table(id)).behind(self.gates.entry(id).or_default().clone());
        let machine = Cluster::start(id, &self.data(id), state, identity, addresses, self.settings.clone()).await?;
        self.relays[&id].target(machine.local_address().unwrap());
        self.running.insert(id, machine);
        Ok(())
    }

    pub async fn join(&self, leader: u64, id: u64) -> Result<(), jikai_hub::raft::cluster::ChangeError> {
        self[leader].add_learner(id, &self.relays[&id].address.to_string()).await
    }

    /// Stops a machine in good order.
    pub async fn stop(&mut self, id: u64) {
        self.running.remove(&id).unwrap().shutdown().await;
    }

    /// Cuts a machine off without a word and drops it.
    pub fn kill(&mut self, id: u64) {
        self.isolate(id);
        self.running.remove(&id).unwrap();
    }

    /// Nothing passes between this machine and the others.
    pub fn isolate(&self, id: u64) {
        self.relays[&id].cut(true);
        let own = self[id].local_address().unwrap();
        self.relays.values().for_each(|relay| relay.block(own));
    }

    /// Packets to and from this machine's address take so long.
    pub fn slow_down(&self, id: u64, delay: Duration) {
        self.relays[&id].delay(delay);
    }

    pub fn heal(&self) {
        for relay in self.relays.values() {
            relay.cut(false);
            relay.unblock_all();
        }
    }

    /// Waits until these machines follow one of themselves.
    pub async fn leader_among(&self, ids: &[u64]) -> u64 {
        let mut metrics = self[ids[0]].metrics();
        let led = metrics.wait_for(|metrics| metrics.current_leader.is_some_and(|leader| ids.contains(&leader)));
        let leader = tokio::time::timeout(LONG, led).await.unwrap().unwrap().current_leader.unwrap();
        for id in ids {
            let mut metrics = self[*id].metrics();
            let led = metrics.wait_for(|metrics| metrics.current_leader == Some(leader));
            tokio::time::timeout(LONG, led).await.unwrap().unwrap();
        }
        leader
    }

    pub async fn applied(&self, id: u64, index: u64) {
        let mut metrics = self[id].metrics();
        let applied = metrics.wait_for(|metrics| metrics.last_applied.is_some_and(|last| last.index >= index));
        tokio::time::timeout(LONG, applied).await.unwrap().unwrap();
    }

    /// The gate before what a machine applies.
    pub fn gate(&self, id: u64) -> Gate {
        self.gates[&id].clone()
    }

    /// Puts one key; its index in the log.
    pub async fn put(&self, id: u64, key: u64) -> u64 {
        self[id].propose(encode(&vec![(key, vec![7; 10])])).await.unwrap().index
    }

    pub fn keys(&self, id: u64) -> Vec<u64> {
        Table::keys(&self.table(id))
    }

    pub fn delete_state(&self, id: u64) {
        for ending in ["db", "db-wal", "db-shm"] {
            let _ = std::fs::remove_file(self.table(id).with_extension(ending));
        }
    }
}

impl std::ops::Index<u64> for Machines {
    type Output = Cluster;

    fn index(&self, id: u64) -> &Cluster {
        &self.running[&id]
    }
}
