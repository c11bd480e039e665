//! Taking machines in and out.

use std::time::Duration;

use jikai_schema::command::{By, ClusterCommand, Command, Outcome};
use jikai_schema::event::MachineState;
use jikai_schema::id::MachineNo;
use jikai_schema::time::TimeMs;

use super::view::{ANSWER_WAIT, Role};
use super::{CURRENT_WAIT, ClusterView, MachineView, Machines, MachinesError};
use crate::raft::cluster::{Change, ChangeError};

/// How often the lead is handed on before a removal is given up.
const HANDOVERS_MAX: u32 = 3;
/// How far the clocks of two machines may be apart. Milliseconds.
pub(super) const CLOCK_APART_MS_MAX: i64 = 5_000;
/// How long the nodes of a machine that is removed have to go elsewhere.
const LEAVING_WAIT: Duration = Duration::from_secs(3);
/// How often it is looked whether a new machine has told where it is reached, before one that it is to stand in for goes.
const ANNOUNCED_LOOKS: u32 = 10;
/// Time between two looks.
const ANNOUNCED_PAUSE: Duration = Duration::from_millis(500);

impl Machines {
    /// Takes an invited machine in as one that follows; returns when it has nearly caught up. Checks: it was invited and not
    /// removed; the others can find this one.
    pub async fn add(&self, machine: MachineNo, peer_address: &str) -> Result<(), MachinesError> {
        self.check_belongs()?;
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
        self.cluster()?.change(&Change::AddLearner { id, peer_address }).await?;
        self.check_clock(id).await
    }

    /// Refuses a machine whose clock is wrong: what it proposes would take the time of all along.
    async fn check_clock(&self, id: u64) -> Result<(), MachinesError> {
        let status = self.cluster()?.status_of(id, ANSWER_WAIT).await?;
        let apart_ms = (status.now_ms - TimeMs::now().ms()).abs();
        if apart_ms > CLOCK_APART_MS_MAX {
            let what = format!("the clock of machine {id} is {} s apart from this one's", apart_ms / 1_000);
            return Err(not_now("clock_apart", what));
        }
        Ok(())
    }

    /// Gives a machine that follows a vote. Checks its clock.
    pub async fn promote(&self, machine: MachineNo) -> Result<(), MachinesError> {
        self.check_belongs()?;
        self.check_clock(u64::from(machine.get())).await?;
        Ok(self.cluster()?.change(&Change::Promote { id: u64::from(machine.get()) }).await?)
    }

    /// Hands a voter the lead.
    pub async fn transfer(&self, machine: MachineNo) -> Result<(), MachinesError> {
        self.check_belongs()?;
        if only_votes(&self.view().await?, machine) {
            let what = format!("machine {machine} only votes: it would hand the lead on at once");
            return Err(not_now("votes_only", what));
        }
        Ok(self.cluster()?.change(&Change::Transfer { to: u64::from(machine.get()) }).await?)
    }

    /// Sends whoever uses a machine to others, or takes that back. Checks: somebody can use it, and of the others that serve one answers, or
    /// there is none (which the command refuses).
    pub async fn drain(&self, by: By, machine: MachineNo, draining: bool) -> Result<(), MachinesError> {
        self.check_belongs()?;
        if draining {
            let view = self.view().await?;
            if only_votes(&view, machine) {
                return Err(not_now("votes_only", format!("machine {machine} only votes: nobody uses it")));
            }
            check_receivers(&view, machine)?;
        }
        self.propose(by, ClusterCommand::Drain { machine, draining }).await
    }

    /// Removes a machine for ever: its nodes go elsewhere, it hands over what it leads, it is retired, then it has no vote.
    pub async fn remove(&self, by: By, machine: MachineNo) -> Result<(), MachinesError> {
        self.check_belongs()?;
        let view = self.view().await?;
        let id = u64::from(machine.get());
        let known = view.machines.iter().find(|known| known.machine == machine.get());
        let known = known.ok_or_else(|| not_now("machine_not_invited", format!("machine {machine} is not known")))?;
        if known.role == Role::Voter && view.machines.iter().filter(|other| other.role == Role::Voter).count() == 1 {
            let what = format!("machine {machine} is the only one that votes");
            return Err(not_now("last_machine", what));
        }
        check_rest(&view, id)?;
        if known.state == Some(MachineState::Serving) && !known.voter_only {
            self.await_another(machine).await?;
            self.drain(by.clone(), machine, true).await?;
            // Nodes leave at once when they hear of it; one that cannot goes when its session ends.
            tokio::time::sleep(LEAVING_WAIT).await;
        }
        self.hand_over_from(id).await?;
        self.propose(by, ClusterCommand::Retire { machine }).await?;
        self.adding.give_up(machine);
        self.let_go(machine).await
    }

    /// Takes its vote, or its place, from a retired machine. Done as well where somebody else has done it, and where the answer was lost.
    async fn let_go(&self, machine: MachineNo) -> Result<(), MachinesError> {
        let id = u64::from(machine.get());
        for _ in 0..HANDOVERS_MAX {
            match self.cluster()?.change(&Change::Remove { id }).await {
                Ok(()) => return Ok(()),
                Err(ChangeError::Leads(_)) => self.hand_over_from(id).await?,
                Err(_) if self.is_out(machine).await => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Err(MachinesError::Change(ChangeError::Leads(id)))
    }

    /// Whether a machine is none of the hub's any more, by the newest that can be known here.
    pub(super) async fn is_out(&self, machine: MachineNo) -> bool {
        let told = || self.cluster().is_ok_and(|cluster| *cluster.removed().borrow());
        if machine.get() == self.number && told() {
            return true;
        }
        // What the leader did may not have come here yet; where it cannot be asked, what is here counts.
        let _ = tokio::time::timeout(CURRENT_WAIT, self.sequencer.catch_up()).await;
        let is_so = |known: &MachineView| known.role == Role::Outside && known.state == Some(MachineState::Retired);
        let view = self.view().await;
        view.is_ok_and(|view| view.machines.iter().any(|known| known.machine == machine.get() && is_so(known)))
    }

    /// Waits a little for another machine that can serve the nodes of this one: one that was just added says so a moment later.
    async fn await_another(&self, machine: MachineNo) -> Result<(), MachinesError> {
        for _ in 0..ANNOUNCED_LOOKS {
            let view = self.view().await?;
            let others = view.machines.iter().filter(|other| other.machine != machine.get() && !other.voter_only);
            let states: Vec<_> = others.map(|other| other.state).collect();
            if states.contains(&Some(MachineState::Serving)) || !states.contains(&None) {
                break;
            }
            tokio::time::sleep(ANNOUNCED_PAUSE).await;
        }
        Ok(())
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

    /// Refuses changes that are asked of a machine which is none of a hub's, or not yet.
    fn check_belongs(&self) -> Result<(), MachinesError> {
        match self.is_member() {
            true => Ok(()),
            false => Err(not_now("belongs_to_no_hub", "this machine belongs to no hub, or not yet".to_owned())),
        }
    }

    async fn propose(&self, by: By, command: ClusterCommand) -> Result<(), MachinesError> {
        match self.sequencer.propose(by, Command::Cluster(command)).await? {
            Outcome::Refused(refusal) => Err(refusal.into()),
            _ => Ok(()),
        }
    }
}

fn only_votes(view: &ClusterView, machine: MachineNo) -> bool {
    view.machines.iter().any(|known| known.machine == machine.get() && known.voter_only)
}

/// Refuses to send nodes to machines of which none answers.
fn check_receivers(view: &ClusterView, leaving: MachineNo) -> Result<(), MachinesError> {
    let others = view.machines.iter().filter(|other| other.machine != leaving.get() && !other.voter_only);
    let (answering, silent): (Vec<_>, Vec<_>) =
        others.filter(|other| other.state == Some(MachineState::Serving)).partition(|other| other.status.is_ok());
    if !answering.is_empty() || silent.is_empty() {
        return Ok(());
    }
    let silent: Vec<String> = silent.iter().map(|other| other.machine.to_string()).collect();
    let what = format!("machine {}, to which its nodes would go, does not answer", silent.join(", "));
    Err(not_now("machine_silent", what))
}

/// Refuses a removal after which no majority of the voters that are left would answer: nothing could be undone any more.
fn check_rest(view: &ClusterView, leaving: u64) -> Result<(), MachinesError> {
    let rest =
        view.machines.iter().filter(|machine| machine.role == Role::Voter && u64::from(machine.machine) != leaving);
    let (all, answering) =
        rest.fold((0, 0), |(all, answering), machine| (all + 1, answering + u32::from(machine.status.is_ok())));
    match all > 0 && answering * 2 <= all {
        true => {
            let what = format!("of the {all} voters that would be left only {answering} answer: that is no majority");
            Err(not_now("no_majority_left", what))
        }
        false => Ok(()),
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
    let parts = peer_address.and_then(|address| address.rsplit_once(':'));
    parts.is_some_and(|(host, port)| port != "0" && !matches!(host, "0.0.0.0" | "[::]"))
}

pub(super) fn not_now(code: &'static str, what: String) -> MachinesError {
    MachinesError::NotNow { code, what }
}
