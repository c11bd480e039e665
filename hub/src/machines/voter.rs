//! A machine that only votes: it keeps from leading as long as another one can.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::change::successor;
use super::{Machines, MachinesError};
use crate::raft::cluster::Change;

/// How long there must be no leader before it stands itself: longer than two elections of the others. It is needed where it has
/// entries that the others lack.
const PATIENCE: Duration = Duration::from_secs(6);
/// How long it leads before it tries again to hand over.
const PAUSE: Duration = Duration::from_secs(1);

/// Stands for election only when nobody else has won for a while, and hands over as soon as another machine can lead.
pub async fn keep_only_voting(machines: Machines, cancelled: CancellationToken) {
    let keeping = async { while let Ok(()) = one_round(&machines).await {} };
    tokio::select! {
        () = keeping => {}
        () = cancelled.cancelled() => {}
    }
}

/// Waits until nobody leads, or this machine does, and does what is to be done then.
async fn one_round(machines: &Machines) -> Result<(), MachinesError> {
    let (id, mut metrics) = {
        let cluster = machines.cluster()?;
        cluster.stand_for_election(false);
        (u64::from(machines.number), cluster.metrics())
    };
    let others_lead = metrics.wait_for(|metrics| metrics.current_leader.is_none_or(|leader| leader == id)).await;
    let leads = others_lead.map_err(|_| MachinesError::Stopping)?.current_leader == Some(id);
    if leads {
        return hand_over(machines, id).await;
    }
    let somebody = metrics.wait_for(|metrics| metrics.current_leader.is_some());
    if timeout_at(Instant::now() + PATIENCE, somebody).await.is_err() {
        tracing::warn!("nobody has led for {PATIENCE:?}: this machine stands for election, to hand over at once");
        machines.cluster()?.stand_for_election(true);
        let somebody = metrics.wait_for(|metrics| metrics.current_leader.is_some());
        // Without a majority nobody wins; then it is tried again.
        let _ = timeout_at(Instant::now() + PATIENCE, somebody).await;
    }
    Ok(())
}

async fn hand_over(machines: &Machines, id: u64) -> Result<(), MachinesError> {
    let view = machines.view().await?;
    match successor(&view, id, true) {
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
