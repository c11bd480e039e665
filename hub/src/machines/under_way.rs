//! Taking a machine in and taking one out by request: either may last for minutes, and no request of the API does. One request begins
//! it, whoever wants its end asks on, and it goes on where nobody does. Only the machine that was asked knows of it: where it is
//! stopped, the other half is left to whoever asks again.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use jikai_schema::command::By;
use jikai_schema::id::MachineNo;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::change::not_now;
use super::{Machines, MachinesError};

/// How long who asks is let wait for the end: far less than the API has patience with a request.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// How long a machine that was taken out stays, so that whoever asked it for that hears the end.
const HEARD_WAIT: Duration = Duration::from_secs(5);

/// The end of a change, for all who wait for it.
#[derive(Clone)]
struct End {
    /// How it ended; `None` while it goes on.
    ended: watch::Receiver<Option<Result<(), MachinesError>>>,
    /// Whether somebody was told.
    heard: watch::Sender<bool>,
}

impl End {
    fn has_come(&self) -> bool {
        self.ended.borrow().is_some() || self.ended.has_changed().is_err()
    }

    fn is_success(&self) -> bool {
        matches!(*self.ended.borrow(), Some(Ok(())))
    }

    /// Waits a little; whether it has come.
    async fn wait(mut self) -> Result<bool, MachinesError> {
        let told = match tokio::time::timeout(ANSWERED_WITHIN, self.ended.wait_for(Option::is_some)).await {
            Err(_) => return Ok(false),
            // Given up, or it panicked.
            Ok(Err(_)) => Err(MachinesError::Stopping),
            Ok(Ok(end)) => end.clone().unwrap_or(Err(MachinesError::Stopping)).map(|()| true),
        };
        self.heard.send_replace(true);
        told
    }
}

/// What is under way, or has ended and may still be asked for.
struct Work {
    machine: MachineNo,
    /// Where it is reached; empty where that does not matter.
    peer_address: String,
    end: End,
    /// Given up when it is dropped.
    _task: JoinSet<()>,
}

impl Work {
    fn begin(
        machine: MachineNo,
        peer_address: &str,
        change: impl Future<Output = Result<(), MachinesError>> + Send + 'static,
    ) -> Self {
        let (told, ended) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let end = change.await;
            match &end {
                Ok(()) => tracing::info!(%machine, "the change of a machine is done"),
                Err(error) => tracing::warn!(%machine, %error, "the change of a machine ended before it was done"),
            }
            told.send_replace(Some(end));
        });
        let end = End { ended, heard: watch::Sender::new(false) };
        Work { machine, peer_address: peer_address.to_owned(), end, _task: task }
    }
}

/// Place for one change of a kind. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Slot(Arc<Mutex<Option<Work>>>);

impl Slot {
    /// Begins a change, unless the same is under way, which goes on. Fails with the machine of another one.
    fn begin<F>(&self, machine: MachineNo, peer_address: &str, change: impl FnOnce() -> F) -> Result<End, MachineNo>
    where
        F: Future<Output = Result<(), MachinesError>> + Send + 'static,
    {
        let mut slot = self.0.lock();
        match slot.as_ref().filter(|known| !known.end.has_come()) {
            Some(other) if other.machine != machine => Err(other.machine),
            Some(same) if same.peer_address == peer_address => Ok(same.end.clone()),
            _ => Ok(slot.insert(Work::begin(machine, peer_address, change())).end.clone()),
        }
    }

    fn end_of(&self, machine: MachineNo) -> Option<End> {
        self.0.lock().as_ref().filter(|known| known.machine == machine).map(|known| known.end.clone())
    }

    /// Gives up what is done to this machine.
    pub(super) fn give_up(&self, machine: MachineNo) {
        self.0.lock().take_if(|known| known.machine == machine);
    }
}

impl Machines {
    /// Begins to take a machine in, as [`Machines::add`] does, and waits a little; whether it has caught up. One at a time: where that
    /// machine is being taken in at that address already, it goes on.
    pub async fn begin_to_add(&self, machine: MachineNo, peer_address: &str) -> Result<bool, MachinesError> {
        // Without the slots, which would otherwise hold themselves.
        let machines = Machines { adding: Slot::default(), removing: Slot::default(), ..self.clone() };
        let address = peer_address.to_owned();
        let begun = self.adding.begin(machine, peer_address, || async move { machines.add(machine, &address).await });
        let other = |other| not_now("taking_in_another", format!("machine {other} is being taken in at this machine"));
        begun.map_err(other)?.wait().await
    }

    /// Waits on for what was begun; whether the machine has caught up.
    pub async fn go_on_adding(&self, machine: MachineNo) -> Result<bool, MachinesError> {
        let what = || not_now("not_taking_in", format!("machine {machine} is not being taken in at this machine"));
        self.adding.end_of(machine).ok_or_else(what)?.wait().await
    }

    /// Begins to take a machine out, as [`Machines::remove`] does, and waits a little; whether it is out. One at a time: where that
    /// machine is being taken out already, that goes on, and one that is out stays so.
    pub async fn begin_to_remove(&self, by: By, machine: MachineNo) -> Result<bool, MachinesError> {
        if let Some(done) = self.removing.end_of(machine).filter(End::is_success) {
            return done.wait().await;
        }
        // With the slot of those that are taken in: it gives up to take in the one that goes.
        let machines = Machines { removing: Slot::default(), ..self.clone() };
        let begun = self.removing.begin(machine, "", || async move { machines.remove(by, machine).await });
        let other =
            |other| not_now("taking_out_another", format!("machine {other} is being taken out at this machine"));
        begun.map_err(other)?.wait().await
    }

    /// Waits on for what was begun; whether the machine is out. One that is out is so wherever it was begun.
    pub async fn go_on_removing(&self, machine: MachineNo) -> Result<bool, MachinesError> {
        if let Some(end) = self.removing.end_of(machine) {
            return end.wait().await;
        }
        match self.is_out(machine).await {
            true => Ok(true),
            false => {
                let what = format!("machine {machine} is not out, and is not being taken out at this machine");
                Err(not_now("not_taking_out", what))
            }
        }
    }

    /// Waits until whoever had this machine take itself out was told the end, not for long; not at all where nobody had.
    pub async fn told_own_removal(&self) {
        let own = MachineNo::new(self.number).ok().and_then(|own| self.removing.end_of(own));
        if let Some(End { heard, .. }) = own {
            let mut heard = heard.subscribe();
            // Whoever asked may have gone away.
            let _ = tokio::time::timeout(HEARD_WAIT, heard.wait_for(|heard| *heard)).await;
        }
    }
}
