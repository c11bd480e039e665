//! A machine that only votes: it keeps from leading as long as another one can.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::change::successor;
use super::{MachineView, Machines, MachinesError};
use crate::raft::cluster::Change;

/// How long no leader must be heard before it stands itself, whatever the others do: longer than two elections of theirs.
pub const PATIENCE: Duration = Duration::from_secs(6);
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long it leads before it tries again to hand over, or waits where it could not see how the machines stand.
const PAUSE: Duration = Duration::from_secs(1);
/// Entries that a successor may be behind: it is waited for while nothing is taken in.
const NEARLY: u64 = 200;

/// Stands for election only where it has entries that the others lack and so must refuse them, or when nobody was heard to lead for as
/// long as its patience; and hands over as soon as another machine can lead.
pub async fn keep_only_voting(machines: Machines, patience: Duration, cancelled: CancellationToken) {
    let keeping = async {
        loop {
            match one_round(&machines, patience).await {
                Ok(()) => {}
                Err(MachinesError::Stopping) => return,
                Err(error) => {
                    tracing::warn!(%error, "how the machines stand is looked at again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = keeping => {}
        () = cancelled.cancelled() => {}
    }
}

async fn one_round(machines: &Machines, patience: Duration) -> Result<(), MachinesError> {
    let cluster = machines.cluster()?;
    if machines.leads() {
        // Not again by itself once it has handed over, which may take a while.
        cluster.stand_for_election(false);
        drop(cluster);
        hand_over(machines, u64::from(machines.number)).await?;
    } else {
        cluster.stand_for_election(cluster.is_needed_to_lead() || cluster.unheard() > patience);
    }
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(())
}

async fn hand_over(machines: &Machines, id: u64) -> Result<(), MachinesError> {
    let view = machines.view().await?;
    let own = view.machines.iter().find(|machine| u64::from(machine.machine) == id).and_then(MachineView::last_index);
    let to = successor(&view, id, true).filter(|to| {
        let last =
            view.machines.iter().find(|machine| u64::from(machine.machine) == *to).and_then(MachineView::last_index);
        last.zip(own).is_some_and(|(last, own)| own.saturating_sub(last) <= NEARLY)
    });
    match to {
        Some(to) => {
            if let Err(error) = machines.cluster()?.change(&Change::Transfer { to }).await {
                tracing::warn!(to, %error, "the lead was not handed over yet");
                tokio::time::sleep(PAUSE).await;
            }
        }
        None => tokio::time::sleep(PAUSE).await,
    }
    Ok(())
}
