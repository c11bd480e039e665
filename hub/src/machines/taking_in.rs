//! Taking a machine in by request: it may last for minutes, and no request of the API does.

use std::time::Duration;

use jikai_schema::id::MachineNo;
use tokio::task::JoinSet;

use super::change::not_now;
use super::{Machines, MachinesError};

/// How long who asks is let wait for the end: less than the API has patience with a request (`patience_ms`, some seconds).
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);

/// What is under way, or has ended and was not told yet. Given up when it is dropped.
pub(super) struct TakingIn {
    machine: MachineNo,
    work: JoinSet<Result<(), MachinesError>>,
}

impl Machines {
    /// Begins to take a machine in, as [`Machines::add`] does, unless that is under way; whether it has caught up already. One at a time.
    pub async fn begin_to_add(&self, machine: MachineNo, peer_address: &str) -> Result<bool, MachinesError> {
        let mut slot = self.taking_in.lock().await;
        if let Some(other) = slot.as_mut().filter(|other| other.machine != machine)
            && other.work.try_join_next().is_none()
        {
            let what = format!("machine {} is being taken in at this machine", other.machine);
            return Err(not_now("taking_in_another", what));
        }
        if slot.as_ref().is_none_or(|known| known.machine != machine) {
            // Without the slot, which would otherwise hold itself.
            let machines = Machines { taking_in: Default::default(), ..self.clone() };
            let (peer_address, mut work) = (peer_address.to_owned(), JoinSet::new());
            work.spawn(async move { machines.add(machine, &peer_address).await });
            *slot = Some(TakingIn { machine, work });
        }
        wait_for(&mut slot).await
    }

    /// Waits on for what was begun; whether the machine has caught up. The end is told once.
    pub async fn go_on_adding(&self, machine: MachineNo) -> Result<bool, MachinesError> {
        let mut slot = self.taking_in.lock().await;
        match slot.as_ref().is_some_and(|known| known.machine == machine) {
            true => wait_for(&mut slot).await,
            false => Err(not_now("not_taking_in", format!("machine {machine} is not being taken in at this machine"))),
        }
    }
}

async fn wait_for(slot: &mut Option<TakingIn>) -> Result<bool, MachinesError> {
    let Some(TakingIn { work, .. }) = slot else { return Ok(true) };
    let Ok(ended) = tokio::time::timeout(ANSWERED_WITHIN, work.join_next()).await else { return Ok(false) };
    *slot = None;
    ended.and_then(Result::ok).unwrap_or(Err(MachinesError::Stopping)).map(|()| true)
}
