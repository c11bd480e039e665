//! Whether this machine is used, as the state says.

use std::time::Duration;

use jikai_schema::event::MachineState;
use jikai_sync::transport::HubDrain;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Machines;
use crate::machine::MachineRow;

/// How long to wait before the state is read again, where it could not be.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// How often it is looked whether a majority still confirms this machine's state.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The same after a look without it.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// How long the state may stay unconfirmed before nodes go elsewhere: longer than an election, through which they had better stay.
const UNCONFIRMED_WAIT: Duration = Duration::from_millis(2_500);

/// Whether a machine is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnState {
    /// It serves, or has not told where it is reached yet.
    Serving,
    /// Whoever uses it goes to another one.
    Draining,
    /// It was removed: it must serve nobody, and stop.
    Retired,
}

/// Follows what the state says of this machine, and has the log turn away those that were removed, until cancelled.
pub fn follow_own_state(
    machines: &Machines,
    cancelled: CancellationToken,
) -> (watch::Receiver<OwnState>, impl Future<Output = ()> + Send + use<>) {
    let (sender, receiver) = watch::channel(OwnState::Serving);
    let Machines { number, cluster, sequencer, pool, .. } = machines.clone();
    let mut changed = sequencer.machines();
    // What follows must not keep the log open.
    drop(sequencer);
    let following = async move {
        loop {
            changed.borrow_and_update();
            let read = pool.read(|store| MachineRow::list(store)).await;
            let is_read = matches!(read, Ok(Ok(_)));
            if let Ok(Ok(rows)) = read {
                if let Some(cluster) = cluster.upgrade() {
                    cluster.turn_away(removed(&rows).filter(|machine| *machine != u64::from(number)).collect());
                }
                let row = rows.into_iter().find(|row| row.machine == number);
                let state = match row.and_then(|row| row.state) {
                    Some(MachineState::Draining) => OwnState::Draining,
                    Some(MachineState::Retired) => OwnState::Retired,
                    Some(MachineState::Serving) | None => OwnState::Serving,
                };
                if sender.send_if_modified(|known| std::mem::replace(known, state) != state) {
                    tracing::warn!(?state, "what this machine is for has changed");
                }
            }
            tokio::select! {
                grown = changed.changed() => if grown.is_err() { return },
                () = tokio::time::sleep(READ_AGAIN), if !is_read => {}
                () = cancelled.cancelled() => return,
            }
        }
    };
    (receiver, following)
}

fn removed(rows: &[MachineRow]) -> impl Iterator<Item = u64> {
    let retired = rows.iter().filter(|row| row.state == Some(MachineState::Retired));
    retired.map(|row| u64::from(row.machine))
}

/// How long nodes may take to leave by themselves once the state says that this machine is not to be used: they hear of it by the log, and
/// open a connection to another machine before they leave. What is left then is sent away.
const OWN_LEAVE_WAIT: Duration = Duration::from_millis(1_500);

/// Sends the nodes of this machine to others while it is not to be used, while no majority confirms its state: what they sent would not
/// be taken in, and what they got might be old; and while its state differs from the leader's: what they got might be wrong. Ends with what
/// follows the state, or when cancelled.
pub async fn drain_nodes(
    drain: HubDrain,
    machines: Machines,
    mut own_state: watch::Receiver<OwnState>,
    cancelled: CancellationToken,
) {
    let (mut unconfirmed_since, mut unused_since) = (None, None);
    let mut told = machines.sequencer.told();
    loop {
        let look = Instant::now();
        // A look that finds nobody lasts longer than one that does; what was found out counts for a moment, so looks are not counted.
        unconfirmed_since = if machines.is_current().await { None } else { unconfirmed_since.or(Some(look)) };
        unused_since = match *own_state.borrow_and_update() {
            OwnState::Serving => None,
            OwnState::Draining | OwnState::Retired => unused_since.or_else(|| Some(Instant::now())),
        };
        let is_overdue = unused_since.is_some_and(|since| since.elapsed() >= OWN_LEAVE_WAIT);
        let is_unconfirmed = unconfirmed_since.is_some_and(|since| since.elapsed() >= UNCONFIRMED_WAIT);
        told.borrow_and_update();
        drain.set(is_overdue || is_unconfirmed || machines.sequencer.yielding().is_some());
        let is_quiet = unconfirmed_since.is_none() && unused_since.is_none();
        tokio::select! {
            changed = own_state.changed() => if changed.is_err() { return },
            changed = told.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(if is_quiet { LOOK_EVERY } else { LOOK_AGAIN }) => {}
            () = cancelled.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::settings::Settings;

    #[test]
    fn nodes_stay_through_an_election() {
        let Settings { election_max, .. } = Settings::default();
        // The lease of the leader that is gone, then the longest time until somebody stands.
        assert!(UNCONFIRMED_WAIT > 2 * election_max);
    }
}
