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
        if id == self.shared.id {
            return Ok(self.shared.digests.told());
        }
        match self.shared.ask_member(id, Call::Digests, TELLING_WAIT).await? {
            Reply::Digests(told) => Ok(*told),
            _ => Err(ChangeError::other_answer(id)),
        }
    }

    /// Whether a machine has the same state as the others, as far as it found out. `None` before its first comparison.
    pub async fn agreement_of(&self, id: u64) -> Result<Option<Agreement>, ChangeError> {
        self.digests_of(id).await.map(|told| told.agreement)
    }
}
