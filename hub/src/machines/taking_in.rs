//! Taking a machine in by request: it may last for minutes, and no request of the API does.

use std::time::Duration;

use jikai_schema::id::MachineNo;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::change::not_now;
use super::{Machines, MachinesError};

/// How long who asks is let wait for the end: far less than the API has patience with a request.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// How a taking-in ended; `None` while it goes on.
type End = watch::Receiver<Option<Result<(), MachinesError>>>;

/// What is under way, or has ended and may still be asked for.
pub(super) struct TakingIn {
    machine: MachineNo,
    peer_address: String,
    end: End,
    /// Given up when it is dropped.
    _work: JoinSet<()>,
}

impl TakingIn {
    fn is_under_way(&self) -> bool {
        self.end.borrow().is_none() && self.end.has_changed().is_ok()
    }
}

impl Machines {
    /// Begins to take a machine in, as [`Machines::add`] does, and waits a little; whether it has caught up. One at a time: where that
    /// machine is being taken in at that address already, it goes on.
    pub async fn begin_to_add(&self, machine: MachineNo, peer_address: &str) -> Result<bool, MachinesError> {
        let end = {
            let mut slot = self.taking_in.lock();
            match slot.as_ref().filter(|known| known.is_under_way()) {
                Some(other) if other.machine != machine => {
                    let what = format!("machine {} is being taken in at this machine", other.machine);
                    return Err(not_now("taking_in_another", what));
                }
                Some(same) if same.peer_address == peer_address => same.end.clone(),
                _ => slot.insert(self.begin(machine, peer_address)).end.clone(),
            }
        };
        wait_for(end).await
    }

    fn begin(&self, machine: MachineNo, peer_address: &str) -> TakingIn {
        // Without the slot, which would otherwise hold itself.
        let machines = Machines { taking_in: Default::default(), ..self.clone() };
        let (told, end) = watch::channel(None);
        let (address, mut work) = (peer_address.to_owned(), JoinSet::new());
        work.spawn(async move {
            told.send_replace(Some(machines.add(machine, &address).await));
        });
        TakingIn { machine, peer_address: peer_address.to_owned(), end, _work: work }
    }

    /// Waits on for what was begun; whether the machine has caught up.
    pub async fn go_on_adding(&self, machine: MachineNo) -> Result<bool, MachinesError> {
        let end =
            self.taking_in.lock().as_ref().filter(|known| known.machine == machine).map(|known| known.end.clone());
        let what = || format!("machine {machine} is not being taken in at this machine");
        wait_for(end.ok_or_else(|| not_now("not_taking_in", what()))?).await
    }

    /// Gives up to take in a machine that is removed.
    pub(super) fn give_up_adding(&self, machine: MachineNo) {
        self.taking_in.lock().take_if(|known| known.machine == machine);
    }
}

async fn wait_for(mut end: End) -> Result<bool, MachinesError> {
    match tokio::time::timeout(ANSWERED_WITHIN, end.wait_for(Option::is_some)).await {
        Err(_) => Ok(false),
        // Given up, or it panicked.
        Ok(Err(_)) => Err(MachinesError::Stopping),
        Ok(Ok(end)) => end.clone().unwrap_or(Err(MachinesError::Stopping)).map(|()| true),
    }
}
