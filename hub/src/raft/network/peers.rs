//! All peers of a machine; each has one connection that every call shares.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::RaftNetworkFactory;
use quinn::Endpoint;

use super::client::PeerClient;
use super::endpoint::Identity;
use super::peer::Peer;
use crate::raft::types::{Machine, Types};

/// Calls the other machines. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    endpoint: Endpoint,
    identity: Identity,
    known: Arc<Mutex<BTreeMap<u64, Arc<Peer>>>>,
}

impl Peers {
    pub fn new(endpoint: Endpoint, identity: Identity) -> Self {
        Peers { endpoint, identity, known: Arc::default() }
    }

    /// The peer with this id; one that moved or has another log is called anew.
    pub fn get(&self, id: u64, machine: &Machine) -> Arc<Peer> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&id) {
            Some(peer) if peer.machine == *machine => peer.clone(),
            _ => {
                let peer = Arc::new(self.make(id, machine));
                known.insert(id, peer.clone());
                peer
            }
        }
    }

    /// A peer that is not kept: to ask a machine something before it joins.
    pub fn make(&self, id: u64, machine: &Machine) -> Peer {
        let Identity { server_name, identify, .. } = &self.identity;
        Peer::new(id, machine.clone(), self.endpoint.clone(), server_name.clone(), identify.clone())
    }

    /// Forgets peers that are no longer in the cluster.
    pub fn keep_only(&self, is_member: impl Fn(u64) -> bool) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).retain(|id, _| is_member(*id));
    }
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = PeerClient;

    async fn new_client(&mut self, target: u64, node: &Machine) -> PeerClient {
        // Called inside the engine: it must not wait for a connection.
        PeerClient::new(self.get(target, node))
    }
}
