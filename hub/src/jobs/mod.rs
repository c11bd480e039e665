//! Jobs: what the hub does by itself, on one machine at a time. The leader takes a lease in the log; what a job finds out is
//! proposed with the lease's fence, and refused once another machine has taken it. So a leader that was paused may go on with a
//! job for a moment, but nothing that it proposes counts.
//!
//! Whoever adds a job with an effect outside (a bank, a courier) gives it a key that makes it idempotent there, and calls
//! [`Lease::confirm`] before it: a fence cannot call back what has left the machine.

mod lease;
mod publish_directory;
mod watch_machines;

use std::time::Duration;

use tokio_util::sync::CancellationToken;

pub use lease::Lease;
pub use publish_directory::DirectorySigner;

use crate::machines::Machines;
use crate::sequencer::Sequencer;
use crate::store::ReadPool;

/// How long to wait before the lease is asked for again, where it could not be had.
const PAUSE: Duration = Duration::from_secs(1);

/// Does the jobs whenever this machine leads, until cancelled.
pub async fn keep_jobs(
    machines: Machines,
    sequencer: Sequencer,
    pool: ReadPool,
    signer: DirectorySigner,
    cancelled: CancellationToken,
) {
    let run = rand::random();
    let keeping = async {
        loop {
            if let Some(lease) = Lease::take(&machines, &sequencer, &pool, run).await {
                tracing::info!(fence = lease.fence(), "the jobs are this machine's");
                // The watch ends with the lead, the directory with the lease: with either, both.
                tokio::select! {
                    () = watch_machines::until_lost(&lease, &machines) => {}
                    () = publish_directory::until_lost(&lease, &signer, &pool) => {}
                }
                tracing::info!(fence = lease.fence(), "the jobs are not this machine's any more");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::select! {
        () = keeping => {}
        () = cancelled.cancelled() => {}
    }
}
