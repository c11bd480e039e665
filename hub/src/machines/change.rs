//! Taking machines in and out.

use std::time::Duration;

use jikai_schema::command::{By, ClusterCommand, Command, Outcome};
use jikai_schema::event::MachineState;
use jikai_schema::id::MachineNo;

use super::view::Role;
use super::{ClusterView, Machines, MachinesError};
use crate::raft::cluster::{Change, ChangeError};

/// How often the lead is handed on before a removal is given up.
const HANDOVERS_MAX: u32 = 3;
/// How long the nodes of a machine that is removed have to go elsewhere.
const LEAVING_WAIT: Duration = Duration::from_secs(3);

impl Machines {
    /// Takes an invited machine in as one that follows; returns when it has nearly caught up. Checks: it was invited and not
    /// removed; the others can find this one.
    pub async fn add(&self, machine: MachineNo, peer_address: &str) -> Result<(), MachinesError> {
        let view = self.view().await?;
        let known = view.machines.iter().find(|known| known.machine == machine.get());
        match known.map(|known| known.state) {
            None => return Err(not_now("machine_not_invited", format!("machine {machine} was never invited"))),
            Some(Some(MachineState::Retired)) => {
                let what = format!("machine {machine} was removed: its number is not used again");
                return Err(not_now("machine_retired", what));
            }
            Some(_) => {}
        }
        if view
            .machines
            .iter()
            .any(|member| member.role == Role::Voter && !can_be_found(member.peer_address.as_deref()))
        {
            let what = "a machine of this hub has no address that another one could find";
            return Err(not_now("no_peer_address", what.to_owned()));
        }
        let (id, peer_address) = (u64::from(machine.get()), peer_address.to_owned());
        Ok(self.cluster()?.change(&Change::AddLearner { id, peer_address }).await?)
    }

    /// Gives a machine that follows a vote.
    pub async fn promote(&self, machine: MachineNo) -> Result<(), MachinesError> {
        Ok(self.cluster()?.change(&Change::Promote { id: u64::from(machine.get()) }).await?)
    }

    /// Hands a voter the lead.
    pub async fn transfer(&self, machine: MachineNo) -> Result<(), MachinesError> {
        Ok(self.cluster()?.change(&Change::Transfer { to: u64::from(machine.get()) }).await?)
    }

    /// Sends whoever uses a machine to others, or takes that back.
    pub async fn drain(&self, by: By, machine: MachineNo, draining: bool) -> Result<(), MachinesError> {
        self.propose(by, ClusterCommand::Drain { machine, draining }).await
    }

    /// Removes a machine for ever: its nodes go elsewhere, it hands over what it leads, it is retired, then it has no vote.
    pub async fn remove(&self, by: By, machine: MachineNo) -> Result<(), MachinesError> {
        let view = self.view().await?;
        let id = u64::from(machine.get());
        let known = view.machines.iter().find(|known| known.machine == machine.get());
        let known = known.ok_or_else(|| not_now("machine_not_invited", format!("machine {machine} is not known")))?;
        if known.role == Role::Voter && view.machines.iter().filter(|other| other.role == Role::Voter).count() == 1 {
            let what = format!("machine {machine} is the only one that votes");
            return Err(not_now("last_machine", what));
        }
        if known.state == Some(MachineState::Serving) {
            self.drain(by.clone(), machine, true).await?;
            // Nodes leave at once when they hear of it; one that cannot goes when its session ends.
            tokio::time::sleep(LEAVING_WAIT).await;
        }
        self.hand_over_from(id).await?;
        self.propose(by, ClusterCommand::Retire { machine }).await?;
        if known.role == Role::Outside {
            return Ok(());
        }
        for _ in 0..HANDOVERS_MAX {
            match self.cluster()?.change(&Change::Remove { id }).await {
                Err(ChangeError::Leads(_)) => self.hand_over_from(id).await?,
                removed => return Ok(removed?),
            }
        }
        Err(MachinesError::Change(ChangeError::Leads(id)))
    }

    /// Hands the lead on if this machine has it.
    async fn hand_over_from(&self, id: u64) -> Result<(), MachinesError> {
        for _ in 0..HANDOVERS_MAX {
            let view = self.view().await?;
            if view.leader != Some(id) {
                return Ok(());
            }
            let to = successor(&view, id, false);
            let to =
                to.ok_or_else(|| not_now("no_successor", "no other machine answers that could lead".to_owned()))?;
            match self.cluster()?.change(&Change::Transfer { to }).await {
                Ok(()) | Err(ChangeError::NotLeader { .. }) => {}
                Err(error) => tracing::warn!(to, %error, "the lead was not handed over"),
            }
        }
        match self.view().await?.leader == Some(id) {
            true => Err(not_now("no_successor", format!("machine {id} could not hand over the lead"))),
            false => Ok(()),
        }
    }

    async fn propose(&self, by: By, command: ClusterCommand) -> Result<(), MachinesError> {
        match self.sequencer.propose(by, Command::Cluster(command)).await? {
            Outcome::Refused(refusal) => Err(refusal.into()),
            _ => Ok(()),
        }
    }
}

/// Who should lead after `from`: a voter that answers, first of those that serve, the one that has most. With `must_serve` one
/// that only votes does not count.
pub(super) fn successor(view: &ClusterView, from: u64, must_serve: bool) -> Option<u64> {
    let others = view.machines.iter().filter(|machine| {
        u64::from(machine.machine) != from && machine.role == Role::Voter && !(must_serve && machine.voter_only)
    });
    let answering = others.filter_map(|machine| machine.status.as_ref().ok().map(|status| (machine, status)));
    let best = answering.max_by_key(|(machine, status)| {
        let serves = !machine.voter_only && machine.state == Some(MachineState::Serving);
        (serves, status.last_index)
    });
    best.map(|(machine, _)| u64::from(machine.machine))
}

fn can_be_found(peer_address: Option<&str>) -> bool {
    peer_address.and_then(|address| address.rsplit_once(':')).is_some_and(|(_, port)| port != "0")
}

fn not_now(code: &'static str, what: String) -> MachinesError {
    MachinesError::NotNow { code, what }
}
