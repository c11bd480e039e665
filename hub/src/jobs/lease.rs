//! The right to do the jobs.

use jikai_schema::command::{ClusterCommand, Command, Outcome, Refusal};
use jikai_schema::event::Actor;
use jikai_schema::id::MachineNo;

use crate::machine::LeaseRow;
use crate::machines::Machines;
use crate::sequencer::{ProposeError, Sequencer};
use crate::store::ReadPool;

/// The right to do the jobs, as long as nobody else has taken it.
pub struct Lease {
    machine: MachineNo,
    fence: u64,
    sequencer: Sequencer,
}

/// Why a job's result does not count.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    /// Another machine does the jobs.
    #[error("another machine does the jobs: {0}")]
    Fenced(Refusal),
    /// It is not known whether it was taken in.
    #[error(transparent)]
    Propose(#[from] ProposeError),
}

impl Lease {
    /// Takes the lease if this machine leads; `None` if it does not, or somebody else was quicker.
    pub async fn take(machines: &Machines, sequencer: &Sequencer, pool: &ReadPool, run: [u8; 16]) -> Option<Self> {
        if !machines.leads() {
            return None;
        }
        // A leader that slept, or that was started again, learns here that it is none: its state is the newest then, whoever confirmed it.
        sequencer.catch_up().await.ok()?;
        if !machines.leads() {
            return None;
        }
        let known = pool.read(|store| LeaseRow::read(store)).await.ok()?.ok()?;
        let after = known.map_or(0, |lease| lease.fence);
        let machine = MachineNo::new(machines.number()).ok()?;
        let command = Command::Cluster(ClusterCommand::TakeLease { machine, run, after });
        match sequencer.propose(Actor::System, command).await {
            Ok(Outcome::Leased { fence }) => Some(Lease { machine, fence, sequencer: sequencer.clone() }),
            Ok(_) | Err(_) => None,
        }
    }

    /// A lease as machine 1 has it under this fence.
    #[cfg(test)]
    pub(super) fn of_test(fence: u64, sequencer: &Sequencer) -> Self {
        Lease { machine: MachineNo::new(1).unwrap(), fence, sequencer: sequencer.clone() }
    }

    /// What every result must bear.
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// The machine that has it.
    pub(super) fn machine(&self) -> MachineNo {
        self.machine
    }

    /// Whether the lease still holds, as a quorum knows it. To be asked before an effect outside of the hub.
    pub async fn confirm(&self, pool: &ReadPool) -> bool {
        if self.sequencer.catch_up().await.is_err() {
            return false;
        }
        let fence = self.fence;
        matches!(pool.read(|store| LeaseRow::read(store)).await, Ok(Ok(Some(lease))) if lease.fence == fence)
    }

    /// Proposes what a job found out; an error once the lease is lost.
    pub(super) async fn report(&self, command: ClusterCommand) -> Result<(), Lost> {
        self.propose(Command::Cluster(command)).await.map(drop)
    }

    /// The same for any command; `false` where it was refused for another reason, which is told in the log.
    pub(super) async fn propose(&self, command: Command) -> Result<bool, Lost> {
        match self.sequencer.propose(Actor::System, command).await? {
            Outcome::Refused(refusal) if refusal.code() == "lease_lost" => Err(Lost::Fenced(refusal)),
            Outcome::Refused(refusal) => {
                tracing::warn!(%refusal, "what a job found out was refused");
                Ok(false)
            }
            _ => Ok(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::province::Machines as Province;
    use crate::raft::settings::Settings;

    async fn take(province: &Province, machine: u16) -> Option<Lease> {
        let running = &province[machine];
        let (sequencer, pool) = (running.sequencer.clone(), running.pool.clone());
        let machines = Machines::new(machine, &running.member.cluster, sequencer.clone(), pool.clone());
        Lease::take(&machines, &sequencer, &pool, [machine as u8; 16]).await
    }

    /// It holds itself for the leader that it was, until it hears of another one.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_leader_that_was_away_takes_no_lease_from_the_one_that_leads_now() {
        let mut province = Province::set_up(3, &Settings::default()).await;
        for _ in 2..=3 {
            province.ask(1, Command::Cluster(ClusterCommand::Invite { voter_only: false })).await;
        }
        assert_eq!(take(&province, 1).await.expect("it leads").fence(), 1);
        let data = province.stop(1).await;
        let mut metrics = province[2].member.cluster.metrics();
        let other = metrics.wait_for(|metrics| metrics.current_leader.is_some_and(|leader| leader != 1)).await;
        let leader = other.unwrap().current_leader.unwrap() as u16;
        let lease = take(&province, leader).await.expect("it leads now");
        assert_eq!(lease.fence(), 2);
        province.start(1, data).await;
        assert!(take(&province, 1).await.is_none());
        assert!(lease.confirm(&province[leader].pool).await, "nobody took it");
    }
}
