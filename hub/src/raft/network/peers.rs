//! All peers of a machine; each has one connection that every call shares.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use openraft::RaftNetworkFactory;
use parking_lot::RwLock;
use quinn::Endpoint;
use tokio::sync::watch;

use super::client::PeerClient;
use super::endpoint::{EndpointError, Identity, client_config};
use super::peer::{Caller, Peer};
use crate::raft::types::{Machine, Types};

/// Calls the other machines. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Peers {
    caller: Caller,
    known: Arc<Mutex<BTreeMap<u64, Arc<Peer>>>>,
}

impl Peers {
    pub fn new(endpoint: Endpoint, identity: &Identity) -> Result<Self, EndpointError> {
        let client = Arc::new(RwLock::new(client_config(identity)?));
        let (server_name, identify) = (identity.server_name.clone(), identity.identify.clone());
        let removed = watch::Sender::new(false);
        let caller = Caller { endpoint, client, server_name, identify, removed };
        Ok(Peers { caller, known: Arc::default() })
    }

    /// Becomes true when a peer says that this machine was removed.
    pub fn removed(&self) -> watch::Receiver<bool> {
        self.caller.removed.subscribe()
    }

    /// Shows the certificate of this identity in every connection from now on.
    pub fn present(&self, identity: &Identity) -> Result<(), EndpointError> {
        *self.caller.client.write() = client_config(identity)?;
        Ok(())
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
        Peer::new(id, machine.clone(), self.caller.clone())
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
