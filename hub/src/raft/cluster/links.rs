//! What machines tell each other of the links of the nodes: each sees its own only, and the log knows nothing of them.

use std::time::Duration;

use super::{ChangeError, Cluster, Shared};
use crate::raft::network::{Call, Reply};

/// Tells how the nodes' links stand at this machine, encoded for the others.
pub type LinksTold = Box<dyn Fn() -> Vec<u8> + Send + Sync>;

impl Cluster {
    /// What this machine tells from now on when another one asks; before, and where it serves nobody, nothing. Set once.
    pub fn tell_links(&self, told: LinksTold) {
        if self.shared.links.set(told).is_err() {
            tracing::error!("what is told of the links was set before, and stays");
        }
    }

    /// What another machine tells, asked now; it has `wait` to answer. Empty where it has nothing to tell.
    pub async fn links_of(&self, id: u64, wait: Duration) -> Result<Vec<u8>, ChangeError> {
        match self.shared.ask_member(id, Call::Links, wait).await? {
            Reply::Links(told) => Ok(told),
            _ => Err(ChangeError::other_answer(id)),
        }
    }
}

impl Shared {
    pub(super) fn told_links(&self) -> Vec<u8> {
        self.links.get().map_or_else(Vec::new, |told| told())
    }
}
