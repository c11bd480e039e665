//! Where the machines of the hub are reached.

use rusqlite::params;

use super::{Projection, ProjectionError};
use crate::event::HubEvent;
use crate::id::MachineNo;

impl Projection<'_> {
    pub(super) fn apply_hub(&mut self, event: &HubEvent) -> Result<(), ProjectionError> {
        match event {
            HubEvent::MachineDefined { machine, http, voter_only, links } => {
                let (number, http) = (i64::from(machine.get()), http.map(|address| address.to_string()));
                self.write(
                    "INSERT INTO hub_machine VALUES (?1, ?2, ?3, 1) \
                     ON CONFLICT DO UPDATE SET http = excluded.http, voter_only = excluded.voter_only",
                    params![number, http, i64::from(*voter_only)],
                )?;
                self.write("DELETE FROM hub_link WHERE machine = ?1", [number])?;
                for link in links {
                    let values = params![number, link.name, link.address.to_string(), i64::from(link.weight)];
                    self.write("INSERT INTO hub_link VALUES (?1, ?2, ?3, ?4)", values)?;
                }
                Ok(())
            }
            HubEvent::MachineStateChanged { machine, state } => {
                if !self.is_machine(*machine)? {
                    let key = i64::from(machine.get());
                    return Err(ProjectionError::Unknown { kind: "machine of the hub", key });
                }
                self.write(
                    "UPDATE hub_machine SET state = ?2 WHERE machine = ?1",
                    params![i64::from(machine.get()), state.code()],
                )
            }
            // Rows about numbers, leases and generations are the hub's own; the fact itself is the trail.
            HubEvent::MachineInvited { .. }
            | HubEvent::LeaseTaken { .. }
            | HubEvent::MachineLost { .. }
            | HubEvent::MachineReturned { .. }
            | HubEvent::GenerationRaised { .. }
            | HubEvent::EventsLost { .. }
            | HubEvent::FeedRecovered { .. } => Ok(()),
        }
    }

    fn is_machine(&self, machine: MachineNo) -> Result<bool, ProjectionError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM hub_machine WHERE machine = ?1)";
        Ok(self.store.prepare_cached(sql)?.query_row([i64::from(machine.get())], |row| row.get(0))?)
    }
}
