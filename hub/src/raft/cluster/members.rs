//! Who belongs to the cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::error::{ClientWriteError, RaftError};
use openraft::raft::ClientWriteResponse;
use openraft::{ChangeMembers, LogIdOptionExt};
use tokio::sync::MutexGuard;
use tokio::time::Instant;

use super::{ChangeError, Cluster, Shared, Status};
use crate::raft::network::{Call, CallError, Reply};
use crate::raft::types::{Machine, Membership, Metrics, Types};

/// Entries that a machine may be behind and count as caught up: what comes in meanwhile.
const NEARLY: u64 = 200;
/// How long a majority may take to agree to a change of the members, none of whom has to catch up for it.
const CHANGED_WAIT: Duration = Duration::from_secs(60);
/// How often it is looked whether a machine that has the log has applied it.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long a machine may take to tell how much it has applied.
const LOOK_WAIT: Duration = Duration::from_secs(2);
/// How long a machine that has nearly caught up may take to apply what came in meanwhile, before it gets its vote; less than a change waits for the
/// one before it.
const PROMOTE_WAIT: Duration = Duration::from_secs(3);
/// How long a change waits for the one before it.
const ALONE_WAIT: Duration = Duration::from_secs(5);

type Written = Result<ClientWriteResponse<Types>, RaftError<u64, ClientWriteError<u64, Machine>>>;

impl Cluster {
    /// Takes in a machine that follows and does not vote; returns when it has nearly caught up, with its log and with what it has applied of
    /// it. Asks the machine at the address who it is: an id that was in the cluster with another log is refused. Only at the leader; may be
    /// asked for again.
    pub async fn add_learner(&self, id: u64, peer_address: &str) -> Result<(), ChangeError> {
        self.shared.add_learner(id, peer_address).await
    }

    /// Gives a machine a vote; it should have caught up. Only at the leader.
    pub async fn promote(&self, id: u64) -> Result<(), ChangeError> {
        self.shared.promote(id).await
    }

    /// Removes a machine for ever: its id must not be used again. Only at the leader, which must be another one. The
    /// machine itself need not be reachable, and does not notice; it should be stopped.
    pub async fn remove(&self, id: u64) -> Result<(), ChangeError> {
        self.shared.remove(id).await
    }

    /// State of another machine, asked now; it has `wait` to answer.
    pub async fn status_of(&self, id: u64, wait: Duration) -> Result<Status, ChangeError> {
        if id == self.shared.id {
            return Ok(self.status());
        }
        status_in(id, self.shared.ask_member(id, Call::Status, wait).await?)
    }
}

impl Shared {
    pub(super) async fn add_learner(&self, id: u64, peer_address: &str) -> Result<(), ChangeError> {
        self.led_membership()?;
        let unknown = Machine { peer_address: peer_address.to_owned(), ..Machine::default() };
        let status = self.ask_status(id, &unknown, self.settings.propose_wait).await?;
        let Status { id: found, instance, last_index, .. } = status;
        if found != id {
            return Err(ChangeError::OtherMachine { expected: id, found });
        }
        self.copy_for(last_index.unwrap_or(0)).await?;
        let changing = self.alone().await?;
        let membership = self.led_membership()?;
        if membership.get_node(&id).is_some_and(|known| known.instance != instance) {
            return Err(ChangeError::Wiped(id));
        }
        // It may have been removed while the state was copied for it.
        if self.turned_away.read().contains(&id) {
            return Err(ChangeError::Removed(id));
        }
        let machine = Machine { instance, ..unknown };
        let added = self.raft.add_learner(id, machine, false);
        let added = tokio::time::timeout(self.settings.propose_wait, added).await;
        written(added.map_err(|_| ChangeError::TooSlow(id))?)?;
        // Others may change the cluster while it catches up, which can take long.
        drop(changing);
        let deadline = Instant::now() + self.settings.catch_up_wait;
        let wait = self.raft.wait(Some(self.settings.catch_up_wait));
        let has_caught_up = |metrics: &Metrics| behind(metrics, id).is_some_and(|behind| behind <= NEARLY);
        // Only who leads knows how far it is.
        let ended = |metrics: &Metrics| has_caught_up(metrics) || metrics.current_leader != Some(self.id);
        let metrics = wait.metrics(ended, "it caught up").await.map_err(|_| ChangeError::TooSlow(id))?;
        if !has_caught_up(&metrics) {
            return Err(ChangeError::NotLeader { leader: metrics.current_leader });
        }
        // Near is little in a long log and may be all of a young one. So what was there by now is waited for as well, but not for ever.
        let all = metrics.last_log_index;
        let has_it = |metrics: &Metrics| matched(metrics, id) >= all || metrics.current_leader != Some(self.id);
        let _ = self.raft.wait(Some(self.settings.propose_wait)).metrics(has_it, "it has what was there").await;
        self.await_applied(id, deadline).await
    }

    /// Waits until a machine that has the log has also applied it, nearly: it may lead the next moment, and shows what it has applied.
    async fn await_applied(&self, id: u64, deadline: Instant) -> Result<(), ChangeError> {
        loop {
            if self.led_membership()?.get_node(&id).is_none() {
                return Err(ChangeError::NotMember(id));
            }
            // One that cannot be asked now may be asked again, as the engine does.
            let told = self.ask_member(id, Call::Status, LOOK_WAIT).await.and_then(|reply| status_in(id, reply));
            match told {
                Ok(Status { stopped: Some(why), .. }) => return Err(ChangeError::Unreachable { id, why }),
                Ok(status) if unapplied(&status) <= NEARLY => return Ok(()),
                told if Instant::now() >= deadline => {
                    let behind = told.ok().map(|status| unapplied(&status));
                    return Err(ChangeError::Behind { id, behind });
                }
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Copies the state, and so shortens the log, where a machine that has the log up to `last_index` would have to apply far more than
    /// is kept behind a copy: it installs the copy instead, which costs all machines much less.
    async fn copy_for(&self, last_index: u64) -> Result<(), ChangeError> {
        let kept = self.settings.log_entries_kept;
        let (applied, copied) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            (metrics.last_applied.index().unwrap_or(0), metrics.snapshot.index().unwrap_or(0))
        };
        if applied.saturating_sub(last_index) <= 2 * kept || applied.saturating_sub(copied) <= 2 * kept {
            return Ok(());
        }
        self.raft.trigger().snapshot().await.map_err(|fatal| ChangeError::Engine(fatal.to_string()))?;
        let wait = self.raft.wait(Some(self.settings.catch_up_wait));
        let is_there = wait.metrics(
            |metrics| {
                let shortened = metrics.purged.index().unwrap_or(0) + 2 * kept >= applied;
                metrics.snapshot.index().unwrap_or(0) >= applied && shortened
            },
            "the state is copied and the log shortened",
        );
        is_there.await.map(drop).map_err(|error| ChangeError::Engine(error.to_string()))
    }

    pub(super) async fn promote(&self, id: u64) -> Result<(), ChangeError> {
        let _changing = self.alone().await?;
        let membership = self.led_membership()?;
        if membership.get_node(&id).is_none() {
            return Err(ChangeError::NotMember(id));
        }
        if membership.voter_ids().all(|voter| voter != id) {
            match behind(&self.raft.metrics().borrow(), id) {
                Some(behind) if behind <= NEARLY => {}
                behind => return Err(ChangeError::Behind { id, behind }),
            }
            self.await_applied(id, Instant::now() + self.settings.propose_wait.min(PROMOTE_WAIT)).await?;
        }
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await
    }

    pub(super) async fn remove(&self, id: u64) -> Result<(), ChangeError> {
        let _changing = self.alone().await?;
        let membership = self.led_membership()?;
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        if membership.get_node(&id).is_none() {
            return Err(ChangeError::NotMember(id));
        }
        if voters.len() == 1 && voters.contains(&id) {
            return Err(ChangeError::LastVoter(id));
        }
        if id == self.id {
            return Err(ChangeError::Leads(id));
        }
        let leaving = BTreeSet::from([id]);
        self.change(match voters.contains(&id) {
            true => ChangeMembers::RemoveVoters(leaving),
            false => ChangeMembers::RemoveNodes(leaving),
        })
        .await?;
        let membership = self.led_membership()?;
        self.peers.keep_only(|peer| membership.get_node(&peer).is_some());
        Ok(())
    }

    /// The status of a machine that may not be in the cluster yet: then through a peer of its own.
    async fn ask_status(&self, id: u64, machine: &Machine, wait: Duration) -> Result<Status, ChangeError> {
        let reply = match self.membership().get_node(&id) {
            Some(known) if known == machine => self.peers.get(id, machine).call(Call::Status, wait).await,
            _ => self.peers.make(id, machine).call(Call::Status, wait).await,
        };
        status_in(id, answered(id, reply)?)
    }

    /// Asks a machine of the cluster; one that refuses to answer counts as one that cannot be reached.
    pub(super) async fn ask_member(&self, id: u64, call: Call, wait: Duration) -> Result<Reply, ChangeError> {
        let membership = self.membership();
        let machine = membership.get_node(&id).ok_or(ChangeError::NotMember(id))?;
        answered(id, self.peers.get(id, machine).call(call, wait).await)
    }

    pub(super) fn membership(&self) -> Membership {
        self.raft.metrics().borrow().membership_config.membership().clone()
    }

    /// Waits for a change that is under way, not for long.
    pub(super) async fn alone(&self) -> Result<MutexGuard<'_, ()>, ChangeError> {
        let locked = tokio::time::timeout(ALONE_WAIT, self.changing.lock()).await;
        locked.map_err(|_| ChangeError::Engine("another change is under way".to_owned()))
    }

    /// The membership, if this machine leads.
    pub(super) fn led_membership(&self) -> Result<Membership, ChangeError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        if metrics.current_leader != Some(self.id) {
            return Err(ChangeError::NotLeader { leader: metrics.current_leader });
        }
        Ok(metrics.membership_config.membership().clone())
    }

    pub(super) async fn change(&self, change: ChangeMembers<u64, Machine>) -> Result<(), ChangeError> {
        // Without `retain` a voter that leaves does not stay behind as a learner.
        let changed = self.raft.change_membership(change, false);
        let changed = tokio::time::timeout(CHANGED_WAIT, changed).await;
        written(changed.map_err(|_| ChangeError::TooSlow(self.id))?)
    }
}

fn answered(id: u64, reply: Result<Reply, CallError>) -> Result<Reply, ChangeError> {
    match reply {
        Ok(Reply::Failed(why)) => Err(ChangeError::Unreachable { id, why }),
        Ok(reply) => Ok(reply),
        Err(error) => Err(ChangeError::Unreachable { id, why: error.to_string() }),
    }
}

fn status_in(id: u64, reply: Reply) -> Result<Status, ChangeError> {
    match reply {
        Reply::Status(status) => Ok(*status),
        _ => Err(ChangeError::other_answer(id)),
    }
}

/// How far a machine is behind this leader. Entries; `None` where nothing is known of it.
fn behind(metrics: &Metrics, id: u64) -> Option<u64> {
    Some(metrics.last_log_index?.saturating_sub(matched(metrics, id)?))
}

/// How much of its log a machine has not applied. Entries.
fn unapplied(status: &Status) -> u64 {
    let applied = status.applied.map_or(0, |applied| applied.index);
    status.last_index.unwrap_or(0).saturating_sub(applied)
}

/// The newest entry that a machine is known to have; `None` where nothing is known of it.
fn matched(metrics: &Metrics, id: u64) -> Option<u64> {
    (*metrics.replication.as_ref()?.get(&id)?).map(|matched| matched.index)
}

fn written(written: Written) -> Result<(), ChangeError> {
    match written {
        Ok(_) => Ok(()),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to))) => {
            Err(ChangeError::NotLeader { leader: to.leader_id })
        }
        Err(error) => Err(ChangeError::Engine(error.to_string())),
    }
}
