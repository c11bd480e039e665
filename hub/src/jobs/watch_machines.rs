//! The job that notes which machines do not answer: an operator finds in the trail when one was lost, and when it came back.

use std::collections::BTreeMap;
use std::time::Duration;

use jikai_schema::command::ClusterCommand;
use jikai_schema::event::MachineState;
use jikai_schema::id::MachineNo;

use super::lease::{Lease, Lost};
use crate::machines::{MachineView, Machines, Role};

/// How often they are asked.
const EVERY: Duration = Duration::from_secs(1);
/// Answers that must be missing in a row: shorter than a restart, longer than a busy moment.
const MISSED_MAX: u32 = 5;

/// Watches until the lease or the lead is lost.
pub(super) async fn until_lost(lease: &Lease, machines: &Machines) {
    let mut missed: BTreeMap<u16, u32> = BTreeMap::new();
    while machines.leads() {
        if let Ok(view) = machines.view().await {
            for machine in view.machines.iter().filter(|machine| is_watched(machine)) {
                let count = missed.entry(machine.machine).or_default();
                *count = if machine.status.is_ok() { 0 } else { count.saturating_add(1) };
                if let Err(lost) = note(lease, machine, *count).await {
                    return tracing::info!(%lost, "the machines are watched by another one");
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn is_watched(machine: &MachineView) -> bool {
    machine.role != Role::Outside && machine.state.is_some_and(|state| state != MachineState::Retired)
}

async fn note(lease: &Lease, known: &MachineView, missed: u32) -> Result<(), Lost> {
    let answers = match (known.lost, missed) {
        (true, 0) => true,
        (false, count) if count >= MISSED_MAX => false,
        _ => return Ok(()),
    };
    let Ok(machine) = MachineNo::new(known.machine) else { return Ok(()) };
    tracing::warn!(%machine, answers, by = %lease.machine(), "a machine of the hub is noted");
    lease.report(ClusterCommand::NoteMachine { fence: lease.fence(), machine, answers }).await
}
