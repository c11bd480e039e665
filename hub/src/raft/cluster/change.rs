//! Changes of the cluster, made here or by the leader on behalf of this machine.

use std::collections::BTreeMap;

use openraft::ChangeMembers;
use serde::{Deserialize, Serialize};

use super::{ChangeError, Cluster, Shared};
use crate::raft::network::{Call, Reply};
use crate::raft::types::Machine;

/// How often a change is asked for while the lead moves.
const ATTEMPTS_MAX: u32 = 3;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Take in a machine that follows and does not vote.
    AddLearner {
        /// Its number.
        id: u64,
        /// Where its peers reach it, `host:port`.
        peer_address: String,
    },
    /// Give it a vote.
    Promote {
        /// Its number.
        id: u64,
    },
    /// Remove it for ever.
    Remove {
        /// Its number.
        id: u64,
    },
    /// Hand it the lead.
    Transfer {
        /// Its number.
        to: u64,
    },
    /// It is reached elsewhere from now on.
    Move {
        /// Its number.
        id: u64,
        /// Where its peers reach it, `host:port`.
        peer_address: String,
    },
}

impl Cluster {
    /// Makes a change, here or at the leader; tries again while the lead moves.
    pub async fn change(&self, change: &Change) -> Result<(), ChangeError> {
        let mut attempt = 1;
        loop {
            match self.change_once(change).await {
                Err(ChangeError::NotLeader { .. }) if attempt < ATTEMPTS_MAX => {
                    attempt += 1;
                    let mut metrics = self.metrics();
                    let led = metrics.wait_for(|metrics| metrics.current_leader.is_some());
                    // Where none comes the next try says so.
                    let _ = tokio::time::timeout(self.shared.settings.election_max * 2, led).await;
                }
                done => return done,
            }
        }
    }

    async fn change_once(&self, change: &Change) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let (leader, machine) = shared.leader().ok_or(ChangeError::NotLeader { leader: None })?;
        if leader == shared.id {
            return shared.change_here(change).await;
        }
        let peer = shared.peers.get(leader, &machine);
        match peer.call(Call::Change(change.clone()), shared.settings.catch_up_wait).await {
            Ok(Reply::Changed(Ok(()))) => Ok(()),
            Ok(Reply::Changed(Err(Refused::NotLeader))) => Err(ChangeError::NotLeader { leader: None }),
            Ok(Reply::Changed(Err(Refused::Leads))) => Err(ChangeError::Leads(leader)),
            Ok(Reply::Changed(Err(Refused::Other(why))) | Reply::Failed(why)) => Err(ChangeError::Refused(why)),
            Ok(_) => Err(ChangeError::Engine("an answer to something else".to_owned())),
            Err(error) => Err(ChangeError::Unreachable { id: leader, why: error.to_string() }),
        }
    }

    /// Tells the others where this machine is reached, if they believe something else. Does nothing before it belongs to them.
    pub async fn tell_address(&self) -> Result<(), ChangeError> {
        let shared = &self.shared;
        let known = self.member_address(shared.id);
        match known {
            Some(known) if known != shared.address => {
                self.change(&Change::Move { id: shared.id, peer_address: shared.address.clone() }).await
            }
            _ => Ok(()),
        }
    }

    /// Where the members believe that a machine is reached; `None` for one that is no member.
    pub fn member_address(&self, id: u64) -> Option<String> {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow();
        let machine = metrics.membership_config.membership().get_node(&id)?;
        Some(machine.peer_address.clone())
    }
}

/// Why a leader did not make a change, as it tells another machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refused {
    NotLeader,
    Leads,
    Other(String),
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotLeader { .. } => Refused::NotLeader,
            ChangeError::Leads(_) => Refused::Leads,
            other => Refused::Other(other.to_string()),
        }
    }
}

impl Shared {
    /// Makes a change if this machine leads.
    pub(super) async fn change_here(&self, change: &Change) -> Result<(), ChangeError> {
        match change {
            Change::AddLearner { id, peer_address } => self.add_learner(*id, peer_address).await,
            Change::Promote { id } => self.promote(*id).await,
            Change::Remove { id } => self.remove(*id).await,
            Change::Transfer { to } => self.transfer(*to).await,
            Change::Move { id, peer_address } => self.move_to(*id, peer_address).await,
        }
    }

    async fn move_to(&self, id: u64, peer_address: &str) -> Result<(), ChangeError> {
        let _changing = self.alone().await?;
        let membership = self.led_membership()?;
        let known = membership.get_node(&id).ok_or(ChangeError::NotMember(id))?;
        let machine = Machine { peer_address: peer_address.to_owned(), ..known.clone() };
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, machine)]))).await
    }
}
