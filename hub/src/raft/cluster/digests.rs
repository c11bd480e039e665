//! Digests of the states of this machine and of the others.

use std::time::Duration;

use super::{ChangeError, Cluster};
use crate::raft::digests::{Agreement, Digests, Told};
use crate::raft::network::{Call, Reply};

/// How long a machine may take to tell its digests: it has them in memory.
const TELLING_WAIT: Duration = Duration::from_secs(2);

impl Cluster {
    /// The digests of this machine.
    pub fn digests(&self) -> &Digests {
        &self.shared.digests
    }

    /// What a machine tells of its state, asked now.
    pub async fn digests_of(&self, id: u64) -> Result<Told, ChangeError> {
        let shared = &self.shared;
        if id == shared.id {
            return Ok(shared.digests.told());
        }
        let membership = shared.membership();
        let machine = membership.get_node(&id).ok_or(ChangeError::NotMember(id))?;
        let why = match shared.peers.get(id, machine).call(Call::Digests, TELLING_WAIT).await {
            Ok(Reply::Digests(told)) => return Ok(*told),
            Ok(Reply::Failed(why)) => why,
            Ok(_) => "an answer to something else".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(ChangeError::Unreachable { id, why })
    }

    /// Whether a machine has the same state as the others, as far as it found out. `None` before its first comparison.
    pub async fn agreement_of(&self, id: u64) -> Result<Option<Agreement>, ChangeError> {
        self.digests_of(id).await.map(|told| told.agreement)
    }
}
