//! The machines of the hub: their numbers, where they are reached, which of them do the jobs.

use core::net::SocketAddr;
use std::collections::BTreeSet;

use jikai_schema::command::{ClusterCommand, Outcome, Refusal};
use jikai_schema::event::{EventBody, HUB_LINKS_MAX, HubEvent, HubLink, LINK_WEIGHT_MAX, MachineState};
use jikai_schema::id::MachineNo;
use rusqlite::{Connection, OptionalExtension, Row};

use super::error::Stop;
use super::{Machine, Stamp, rule, unknown};

/// Longest name of a link. Bytes.
const LINK_NAME_BYTES_MAX: usize = 32;

/// A machine of the hub, as the state knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineRow {
    /// Its number.
    pub machine: u16,
    /// Whether it votes only: it was invited so, or says so.
    pub voter_only: bool,
    /// Whether it is used; `None` while it has not told where it is reached.
    pub state: Option<MachineState>,
    /// Whether the leader does not hear it.
    pub lost: bool,
    /// Where the centre's API listens.
    pub http: Option<SocketAddr>,
    /// Where nodes reach it.
    pub links: Vec<HubLink>,
}

impl MachineRow {
    /// Every machine that was ever invited, by number.
    pub fn list(store: &Connection) -> Result<Vec<MachineRow>, rusqlite::Error> {
        let sql = "SELECT n.machine, max(n.voter_only, coalesce(m.voter_only, 0)), n.retired, n.lost, m.state, m.http \
                   FROM machine_number n LEFT JOIN hub_machine m ON m.machine = n.machine ORDER BY n.machine";
        let mut statement = store.prepare_cached(sql)?;
        let rows = statement.query_map([], |row| MachineRow::read(store, row))?;
        rows.collect()
    }

    fn read(store: &Connection, row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let machine: u16 = row.get(0)?;
        let retired: bool = row.get(2)?;
        let state = row.get::<_, Option<i64>>(4)?.and_then(MachineState::from_code);
        let http: Option<String> = row.get(5)?;
        Ok(MachineRow {
            machine,
            voter_only: row.get(1)?,
            state: if retired { Some(MachineState::Retired) } else { state },
            lost: row.get(3)?,
            http: http.and_then(|address| address.parse().ok()),
            links: links_of(store, machine)?,
        })
    }
}

/// Who does the jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRow {
    /// Which machine.
    pub machine: u16,
    /// Which run of it.
    pub run: [u8; 16],
    /// What its results must bear.
    pub fence: u64,
}

impl LeaseRow {
    /// The lease now; `None` before the first.
    pub fn read(store: &Connection) -> Result<Option<Self>, rusqlite::Error> {
        let mut statement = store.prepare_cached("SELECT machine, run, fence FROM lease")?;
        let lease = |row: &Row<'_>| {
            Ok(LeaseRow { machine: row.get(0)?, run: row.get(1)?, fence: row.get::<_, i64>(2)? as u64 })
        };
        statement.query_row([], lease).optional()
    }
}

/// How often a person had a machine take over without the others, from 1.
pub fn generation(store: &Connection) -> Result<u32, rusqlite::Error> {
    store.prepare_cached("SELECT generation FROM generation")?.query_row([], |row| row.get(0))
}

impl Machine<'_> {
    pub(super) fn cluster(&mut self, stamp: Stamp<'_>, command: &ClusterCommand) -> Result<Outcome, Stop> {
        self.machines_changed = true;
        match command {
            ClusterCommand::Invite { voter_only } => self.invite(stamp, *voter_only),
            ClusterCommand::Announce { machine, http, voter_only, links } => {
                self.announce(stamp, *machine, *http, *voter_only, links)
            }
            ClusterCommand::Drain { machine, draining: true } => {
                self.set_state(stamp, *machine, MachineState::Draining)
            }
            ClusterCommand::Drain { machine, draining: false } => {
                self.set_state(stamp, *machine, MachineState::Serving)
            }
            ClusterCommand::Retire { machine } => self.retire(stamp, *machine),
            ClusterCommand::TakeLease { machine, run, after } => self.take_lease(stamp, *machine, *run, *after),
            ClusterCommand::NoteMachine { fence, machine, answers } => {
                self.note_machine(stamp, *fence, *machine, *answers)
            }
            ClusterCommand::RaiseGeneration { machine, .. } => self.raise_generation(stamp, *machine),
        }
    }

    fn invite(&mut self, stamp: Stamp<'_>, voter_only: bool) -> Result<Outcome, Stop> {
        let next: i64 =
            self.tx.prepare_cached("SELECT max(machine) + 1 FROM machine_number")?.query_row([], |row| row.get(0))?;
        let next = u16::try_from(next).ok().and_then(|next| MachineNo::new(next).ok());
        let machine = next.ok_or_else(|| rule("no_machine_number", "every machine number was given"))?;
        // After this point the command must succeed.
        let insert = "INSERT INTO machine_number (machine, voter_only) VALUES (?1, ?2)";
        self.tx.prepare_cached(insert)?.execute((machine.get(), voter_only))?;
        self.emit(stamp, EventBody::Hub(HubEvent::MachineInvited { machine, voter_only }))?;
        Ok(Outcome::Invited { machine })
    }

    /// Checks: the machine was invited and not retired; it votes only if it was invited so; its links can be used.
    fn announce(
        &mut self,
        stamp: Stamp<'_>,
        machine: MachineNo,
        http: Option<SocketAddr>,
        voter_only: bool,
        links: &[HubLink],
    ) -> Result<Outcome, Stop> {
        self.usable(machine)?;
        if self.is_invited_to_vote_only(machine)? && !voter_only {
            let text = format!("machine {machine} was invited to vote only: it has no keys of the hub");
            return Err(rule("votes_only", text).into());
        }
        check_links(links)?;
        let (number, mut links) = (machine.get(), links.to_vec());
        links.sort_by(|one, other| one.name.cmp(&other.name));
        let known = MachineRow::list(self.tx)?.into_iter().find(|row| row.machine == number && row.state.is_some());
        let told: Option<bool> = self
            .tx
            .prepare_cached("SELECT voter_only FROM hub_machine WHERE machine = ?1")?
            .query_row([number], |row| row.get(0))
            .optional()?;
        if known.is_some_and(|row| row.http == http && row.links == links) && told == Some(voter_only) {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        // After this point the command must succeed.
        self.emit(stamp, EventBody::Hub(HubEvent::MachineDefined { machine, http, voter_only, links }))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }

    fn set_state(&mut self, stamp: Stamp<'_>, machine: MachineNo, state: MachineState) -> Result<Outcome, Stop> {
        self.usable(machine)?;
        let known = self.state_of(machine)?;
        let known = known.ok_or_else(|| rule("machine_not_announced", format!("machine {machine} never ran")))?;
        if known == state {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        let rows = MachineRow::list(self.tx)?;
        if state == MachineState::Draining && !rows.iter().any(|row| serves_beside(row, machine, known)) {
            return Err(last_machine(machine).into());
        }
        // After this point the command must succeed.
        self.emit(stamp, EventBody::Hub(HubEvent::MachineStateChanged { machine, state }))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }

    /// Checks: the machine was invited; another one is left, which serves where this one does.
    fn retire(&mut self, stamp: Stamp<'_>, machine: MachineNo) -> Result<Outcome, Stop> {
        let rows = MachineRow::list(self.tx)?;
        let row = rows.iter().find(|row| row.machine == machine.get());
        let row = row.ok_or_else(|| unknown("machine", machine))?;
        if row.state == Some(MachineState::Retired) {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        if row.state.is_some_and(|state| !rows.iter().any(|other| serves_beside(other, machine, state))) {
            return Err(last_machine(machine).into());
        }
        // After this point the command must succeed.
        self.retire_now(stamp, machine, row.state.is_some())?;
        Ok(Outcome::Done { events: u64::from(row.state.is_some()), existing: 0 })
    }

    fn retire_now(&mut self, stamp: Stamp<'_>, machine: MachineNo, announced: bool) -> Result<(), Stop> {
        let update = "UPDATE machine_number SET retired = 1, lost = 0 WHERE machine = ?1";
        self.tx.prepare_cached(update)?.execute([machine.get()])?;
        if announced {
            let state = MachineState::Retired;
            self.emit(stamp, EventBody::Hub(HubEvent::MachineStateChanged { machine, state }))?;
        }
        Ok(())
    }

    /// Checks: the machine is in use; nobody took the lease since the proposer looked.
    fn take_lease(&mut self, stamp: Stamp<'_>, machine: MachineNo, run: [u8; 16], after: u64) -> Result<Outcome, Stop> {
        self.usable(machine)?;
        let lease = LeaseRow::read(self.tx)?;
        let fence = lease.as_ref().map_or(0, |lease| lease.fence);
        if let Some(lease) = lease.filter(|lease| lease.machine == machine.get() && lease.run == run) {
            return Ok(Outcome::Leased { fence: lease.fence });
        }
        if fence != after {
            return Err(lease_lost(after).into());
        }
        // After this point the command must succeed.
        let fence = fence + 1;
        let insert = "INSERT OR REPLACE INTO lease VALUES (1, ?1, ?2, ?3)";
        self.tx.prepare_cached(insert)?.execute((machine.get(), run, fence as i64))?;
        self.emit(stamp, EventBody::Hub(HubEvent::LeaseTaken { machine }))?;
        Ok(Outcome::Leased { fence })
    }

    /// Refuses a result of a job under an older lease: another machine does the jobs by now.
    pub(super) fn check_fence(&self, fence: u64) -> Result<(), Stop> {
        match LeaseRow::read(self.tx)? {
            Some(lease) if lease.fence == fence => Ok(()),
            _ => Err(lease_lost(fence).into()),
        }
    }

    fn note_machine(
        &mut self,
        stamp: Stamp<'_>,
        fence: u64,
        machine: MachineNo,
        answers: bool,
    ) -> Result<Outcome, Stop> {
        self.check_fence(fence)?;
        self.usable(machine)?;
        let update = "UPDATE machine_number SET lost = ?2 WHERE machine = ?1 AND lost <> ?2";
        if self.tx.prepare_cached(update)?.execute((machine.get(), !answers))? == 0 {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        let event = if answers { HubEvent::MachineReturned { machine } } else { HubEvent::MachineLost { machine } };
        self.emit(stamp, EventBody::Hub(event))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }

    /// The others hold what this machine may not have: none of them comes back under its number.
    fn raise_generation(&mut self, stamp: Stamp<'_>, machine: MachineNo) -> Result<Outcome, Stop> {
        self.usable(machine)?;
        let others = MachineRow::list(self.tx)?;
        let generation = generation(self.tx)?.saturating_add(1);
        // After this point the command must succeed.
        self.tx.prepare_cached("UPDATE generation SET generation = ?1")?.execute([generation])?;
        // Which runs nodes began in what was lost is not known: each is taken as it comes.
        self.tx.prepare_cached("DELETE FROM node_run")?.execute([])?;
        self.emit(stamp, EventBody::Hub(HubEvent::GenerationRaised { generation, machine }))?;
        self.retire_others(stamp, machine, &others)?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }

    /// Takes all but one of these machines out for ever.
    pub(super) fn retire_others(
        &mut self,
        stamp: Stamp<'_>,
        machine: MachineNo,
        others: &[MachineRow],
    ) -> Result<(), Stop> {
        let left = others.iter().filter(|row| row.machine != machine.get() && row.state != Some(MachineState::Retired));
        for row in left {
            if let Ok(other) = MachineNo::new(row.machine) {
                self.retire_now(stamp, other, row.state.is_some())?;
            }
        }
        Ok(())
    }

    pub(super) fn usable(&self, machine: MachineNo) -> Result<(), Stop> {
        let mut statement = self.tx.prepare_cached("SELECT retired FROM machine_number WHERE machine = ?1")?;
        match statement.query_row([machine.get()], |row| row.get(0)).optional()? {
            None => Err(unknown("machine", machine).into()),
            Some(true) => {
                let text = format!("machine {machine} was removed: its number is not used again");
                Err(rule("machine_retired", text).into())
            }
            Some(false) => Ok(()),
        }
    }

    fn is_invited_to_vote_only(&self, machine: MachineNo) -> Result<bool, Stop> {
        let mut statement = self.tx.prepare_cached("SELECT voter_only FROM machine_number WHERE machine = ?1")?;
        Ok(statement.query_row([machine.get()], |row| row.get(0))?)
    }

    fn state_of(&self, machine: MachineNo) -> Result<Option<MachineState>, Stop> {
        let mut statement = self.tx.prepare_cached("SELECT state FROM hub_machine WHERE machine = ?1")?;
        let code: Option<i64> = statement.query_row([machine.get()], |row| row.get(0)).optional()?;
        Ok(code.and_then(MachineState::from_code))
    }
}

fn links_of(store: &Connection, machine: u16) -> Result<Vec<HubLink>, rusqlite::Error> {
    let sql = "SELECT name, address, weight FROM hub_link WHERE machine = ?1 ORDER BY name";
    let mut statement = store.prepare_cached(sql)?;
    let rows = statement.query_map([machine], |row| {
        let address: String = row.get(1)?;
        Ok(address.parse().ok().map(|address| (address, row.get(0), row.get(2))))
    })?;
    let mut links = Vec::new();
    for row in rows {
        if let Some((address, name, weight)) = row? {
            links.push(HubLink { name: name?, address, weight: weight? });
        }
    }
    Ok(links)
}

/// Refuses links that no node could use.
fn check_links(links: &[HubLink]) -> Result<(), Refusal> {
    if links.len() > HUB_LINKS_MAX {
        return Err(rule("too_many_links", format!("a machine has at most {HUB_LINKS_MAX} links")));
    }
    let mut names = BTreeSet::new();
    for link in links {
        if link.name.is_empty() || link.name.len() > LINK_NAME_BYTES_MAX || !names.insert(&link.name) {
            return Err(rule("invalid_link", "a link has a name of its own, 1 to 32 bytes"));
        }
        if !(1..=LINK_WEIGHT_MAX).contains(&link.weight) {
            return Err(rule("invalid_link", format!("a link has a weight of 1 to {LINK_WEIGHT_MAX}")));
        }
        if link.address.ip().is_unspecified() || link.address.port() == 0 {
            return Err(rule("invalid_link", format!("nobody can connect to {}", link.address)));
        }
    }
    Ok(())
}

fn lease_lost(fence: u64) -> Refusal {
    rule("lease_lost", format!("the jobs are another machine's by now: fence {fence} is not the newest"))
}

/// Whether another machine can serve the nodes of one: where that one serves now, the other must serve as well; where it does not, it is
/// enough that the other is in use.
fn serves_beside(other: &MachineRow, machine: MachineNo, state: MachineState) -> bool {
    let can = |of_other| match state {
        MachineState::Serving => of_other == MachineState::Serving && !other.lost,
        MachineState::Draining | MachineState::Retired => of_other != MachineState::Retired,
    };
    other.machine != machine.get() && !other.voter_only && other.state.is_some_and(can)
}

fn last_machine(machine: MachineNo) -> Refusal {
    rule("last_machine", format!("machine {machine} is the only one that serves: the nodes need one"))
}
