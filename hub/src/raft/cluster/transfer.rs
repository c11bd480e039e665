//! Handing over the lead.
//!
//! openraft 0.9 has no such thing, and its voters refuse every candidate for as long as they may still be led (`election_max` after
//! the leader's last word): a silence that long would hold up everything. So the leader stops taking proposals, waits until the
//! successor has everything, and has the other voters, then itself, vote for the successor in the next term before it stands: an
//! append of that term whose vote is not committed yet, at a place that no log has. The engine takes over the vote (that is how it
//! learns of another leader's term), refuses the append, and is bound to nobody's lease. The successor then stands and asks for votes as
//! always, so that a voter with more in its log still refuses it. Nothing is lost if it fails: then somebody stands within
//! `election_max`. Proposals wait for some round trips.

use std::time::Duration;

use openraft::LogIdOptionExt;
use openraft::raft::AppendEntriesRequest;

use super::{ChangeError, Cluster, Shared};
use crate::raft::network::{Call, Reply};
use crate::raft::types::{Machine, Membership, Vote, log_id};

/// How long a voter may take to be told; one that is away is not waited for longer.
const TELLING_WAIT: Duration = Duration::from_millis(300);
/// How long the successor may take to be told.
const STANDING_WAIT: Duration = Duration::from_secs(2);
/// A place in the log that no machine reaches: an append behind it is refused and cuts nothing off.
const BEYOND_EVERY_LOG: u64 = u64::MAX / 4;

/// Takes proposals again, whatever happened.
struct HandingOver<'a>(&'a Shared);

impl Drop for HandingOver<'_> {
    fn drop(&mut self) {
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
        let _changing = self.alone().await?;
        let membership = self.led_membership()?;
        if to == self.id {
            return Ok(());
        }
        let machine = membership.get_node(&to).filter(|_| membership.voter_ids().any(|voter| voter == to));
        let machine = machine.ok_or(ChangeError::NotMember(to))?;
        self.handing_over.send_replace(true);
        let _handing_over = HandingOver(self);
        let election_max = self.settings.election_max;
        let wait = self.raft.wait(Some(election_max * 2));
        let has_everything = wait.metrics(
            |metrics| {
                let Some(replication) = &metrics.replication else { return false };
                replication.get(&to).is_some_and(|matched| matched.index() == metrics.last_log_index)
                    && metrics.last_applied.index() == metrics.last_log_index
            },
            "the successor has everything",
        );
        let term = has_everything.await.map_err(|_| ChangeError::TooSlow(to))?.current_term + 1;
        self.have_voters_yield(&membership, term, to).await;
        self.yield_to(term, to).await.map_err(ChangeError::Engine)?;
        self.have_stand(to, machine).await?;
        let wait = self.raft.wait(Some(election_max * 3));
        wait.current_leader(to, "the successor leads").await.map_err(|_| ChangeError::TooSlow(to))?;
        Ok(())
    }

    /// Tells the voters but the successor and this machine; one that does not hear it keeps to the lease, and is not needed if a
    /// majority hears.
    async fn have_voters_yield(&self, membership: &Membership, term: u64, to: u64) {
        let others = membership.voter_ids().filter(|voter| *voter != to && *voter != self.id);
        let told = others.filter_map(|voter| {
            let peer = self.peers.get(voter, membership.get_node(&voter)?);
            Some(async move {
                if let Err(error) = peer.call(Call::Yield { term, to }, TELLING_WAIT).await {
                    tracing::info!(voter, %error, "a voter was not told of the new leader");
                }
            })
        });
        futures_util::future::join_all(told).await;
    }

    async fn have_stand(&self, to: u64, machine: &Machine) -> Result<(), ChangeError> {
        match self.peers.get(to, machine).call(Call::Elect, STANDING_WAIT).await {
            Ok(Reply::Elected) => Ok(()),
            Ok(_) => Err(ChangeError::Engine(format!("machine {to} does not stand"))),
            Err(error) => Err(ChangeError::Unreachable { id: to, why: error.to_string() }),
        }
    }

    /// Votes for a successor in a term that this machine has not voted in.
    pub(super) async fn yield_to(&self, term: u64, to: u64) -> Result<(), String> {
        let vote = Vote::new(term, to);
        let prev_log_id = Some(log_id(term, to, BEYOND_EVERY_LOG));
        let refused = AppendEntriesRequest { vote, prev_log_id, entries: Vec::new(), leader_commit: None };
        self.raft.append_entries(refused).await.map(drop).map_err(|error| error.to_string())
    }
}
