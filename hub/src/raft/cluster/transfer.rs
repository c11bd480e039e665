//! Handing over the lead.
//!
//! openraft 0.9 has no such thing, and its voters refuse every candidate for as long as they may still be led
//! (`election_max` after the leader's last word). So the leader stops taking proposals, waits until the successor has
//! everything, falls silent for that long, and then has the successor stand at once, before the others' own patience
//! (`election_min` more) ends. Nothing is lost if it fails; the cluster takes no proposals for about `election_max`.

use std::time::Duration;

use openraft::LogIdOptionExt;

use super::{ChangeError, Cluster, Shared};
use crate::raft::network::{Call, Reply};

/// Above `election_max`: clocks of two machines do not run alike.
const MARGIN: Duration = Duration::from_millis(50);
/// How long the successor may take to be told.
const TELLING_WAIT: Duration = Duration::from_secs(2);

/// Puts heartbeats and proposals back, whatever happened.
struct HandingOver<'a>(&'a Shared);

impl Drop for HandingOver<'_> {
    fn drop(&mut self) {
        self.0.raft.runtime_config().heartbeat(true);
        self.0.handing_over.send_replace(false);
    }
}

impl Cluster {
    /// Hands the lead to another voter and waits until it leads. Only at the leader.
    pub async fn transfer(&self, to: u64) -> Result<(), ChangeError> {
        self.shared.transfer(to).await
    }
}

impl Shared {
    pub(super) async fn transfer(&self, to: u64) -> Result<(), ChangeError> {
        let shared = self;
        let _changing = shared.changing.lock().await;
        let membership = shared.led_membership()?;
        if to == shared.id {
            return Ok(());
        }
        let machine = membership.get_node(&to).filter(|_| membership.voter_ids().any(|voter| voter == to));
        let machine = machine.ok_or(ChangeError::NotMember(to))?;
        shared.handing_over.send_replace(true);
        let _handing_over = HandingOver(shared);
        let election_max = shared.settings.election_max;
        let wait = shared.raft.wait(Some(election_max * 2));
        let has_everything = wait.metrics(
            |metrics| {
                let Some(replication) = &metrics.replication else { return false };
                replication.get(&to).is_some_and(|matched| matched.index() == metrics.last_log_index)
                    && metrics.last_applied.index() == metrics.last_log_index
            },
            "the successor has everything",
        );
        has_everything.await.map_err(|_| ChangeError::TooSlow(to))?;
        shared.raft.runtime_config().heartbeat(false);
        tokio::time::sleep(election_max + MARGIN).await;
        match shared.peers.get(to, machine).call(Call::Elect, TELLING_WAIT).await {
            Ok(Reply::Elected) => {}
            Ok(_) => return Err(ChangeError::Engine(format!("machine {to} does not stand"))),
            Err(error) => return Err(ChangeError::Unreachable { id: to, why: error.to_string() }),
        }
        let wait = shared.raft.wait(Some(election_max * 3));
        wait.current_leader(to, "the successor leads").await.map_err(|_| ChangeError::TooSlow(to))?;
        Ok(())
    }
}
