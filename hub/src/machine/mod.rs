//! The machine: what each command does to the state. Deterministic: the same log gives the same bytes on every replica.
//!
//! Nothing here reads a clock or draws a number; whoever proposed the command did. Each command is **read → check in a
//! documented order → "after this point the command must succeed" → write**; a refused command changes nothing. A
//! [`Machine`] lives for one transaction and may apply many commands in it: rows that several of them touch are written
//! once, with the place up to which the log was applied.

mod access;
mod answered;
mod batches;
mod certificates;
mod changes;
mod cluster;
mod commit;
mod directory;
mod emit;
mod error;
mod fleet;
mod handoff;
mod history;
mod ingest;
mod master;
mod money;
mod nodes;
mod packs;
mod personal;
mod recovery;
mod secrets;
mod staff;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use jikai_schema::command::{Command, Outcome, Proposal, Refusal};
use jikai_schema::event::{Actor, CommandRun, EventBody, MachineEvent, RequestKey};
use jikai_schema::id::NodeId;
use jikai_schema::projection::{Catalog, Projection};
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, Transaction};

use crate::log::LogPosition;

pub use certificates::CertificateRow;
pub use changes::{ChangeRow, ChangeState};
pub use cluster::{LeaseRow, MachineRow, generation};
use commit::Poison;
pub use commit::{commit, commit_beside};
use emit::Feeds;
use error::Stop;
pub use error::StorageError;
pub use fleet::RetiredRow;
pub use history::{NodeHistory, StoredNodeEvent};
pub use ingest::NodeCursor;
pub use nodes::{EpochRow, admitted_run, claimed_run, clone_refused_at_ms};
pub use personal::PersonalRow;
pub use recovery::{NodeReturn, RECOVERING, RecoveryNodeRow, RecoveryRow, RecoveryState};
pub use staff::{
    CODE_FAILURES_MAX, FAILURES_FREE, LoginLock, SessionRow, StaffRow, SupportRow, SupportState, session_no,
};

/// Longest staff name that an event remembers. Bytes.
const STAFF_BYTES_MAX: usize = 64;
/// Longest text of a command that was run on a machine. Bytes.
const MACHINE_TEXT_BYTES_MAX: usize = 500;
/// Longest display name. Bytes.
const NAME_BYTES_MAX: usize = 200;

/// The state during one transaction.
struct Machine<'tx> {
    tx: &'tx Connection,
    projection: Projection<'tx>,
    position: LogPosition,
    at_ms: TimeMs,
    feeds: Feeds,
    cursors: BTreeMap<NodeId, Option<NodeCursor>>,
    revoked: bool,
    machines_changed: bool,
    /// Events that a table refused when this transaction was tried before.
    poison: Poison,
}

/// What a transaction will have changed once it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Place up to which the log is applied.
    pub position: LogPosition,
    /// Newest positions of the nodes' feeds that grew.
    pub feed_heads: Vec<(NodeId, u64)>,
    /// Whether a certificate was revoked, or a node's store replaced: sessions must look whether they may go on.
    pub revoked: bool,
    /// Whether something about the machines of the hub changed.
    pub machines_changed: bool,
}

/// When and by whom a command was proposed, and in answer to which request.
#[derive(Clone, Copy)]
struct Stamp<'a> {
    at_ms: TimeMs,
    actor: &'a Actor,
    request: Option<RequestKey>,
}

/// Applies one committed command in a transaction of its own. `Err` means storage failed: the replica stops. A refused
/// command is `Ok(Outcome::Refused(_))`.
pub fn apply(tx: &Transaction<'_>, at: LogPosition, proposal: &Proposal) -> Result<Outcome, StorageError> {
    let mut machine = Machine::begin(tx, Catalog::default())?;
    machine.enter(at)?;
    let outcome = machine.apply(proposal)?;
    machine.finish()?;
    Ok(outcome)
}

/// Place up to which the log was applied to a store.
pub fn applied_position(store: &Connection) -> Result<LogPosition, rusqlite::Error> {
    let position: i64 = store.prepare_cached("SELECT position FROM applied")?.query_row([], |row| row.get(0))?;
    Ok(LogPosition::new(position as u64))
}

impl<'tx> Machine<'tx> {
    /// Starts over the rows of a transaction, with what the last committed one knew of the master data.
    fn begin(tx: &'tx Transaction<'_>, catalog: Catalog) -> Result<Self, StorageError> {
        let tx: &Connection = tx;
        let at_ms = tx.prepare_cached("SELECT at_ms FROM applied")?.query_row([], |row| row.get(0))?;
        Ok(Machine {
            tx,
            projection: Projection::with_catalog(tx, catalog),
            position: applied_position(tx)?,
            at_ms: TimeMs::from_ms(at_ms),
            feeds: Feeds::load(tx)?,
            cursors: BTreeMap::new(),
            revoked: false,
            machines_changed: false,
            poison: Poison::new(),
        })
    }

    /// Goes on to the entry at `at`; one without commands counts as applied.
    fn enter(&mut self, at: LogPosition) -> Result<(), StorageError> {
        if at != self.position && at != self.position.next() {
            return Err(StorageError::OutOfOrder { at, applied: self.position });
        }
        self.position = at;
        Ok(())
    }

    /// Applies one command of the entry that was entered.
    fn apply(&mut self, proposal: &Proposal) -> Result<Outcome, StorageError> {
        if let Some(request) = &proposal.request
            && let Some(outcome) = self.answered(request)?
        {
            return Ok(outcome);
        }
        match self.dispatch(proposal) {
            Ok(outcome) => {
                if let Some(request) = &proposal.request {
                    self.remember(request, &outcome)?;
                }
                Ok(outcome)
            }
            Err(Stop::Refused(refusal)) => Ok(Outcome::Refused(refusal)),
            Err(Stop::Storage(error)) => Err(error),
        }
    }

    /// Writes what was gathered, for a command that reads it from the tables: what it finds there must not hang on which commands share
    /// its transaction.
    fn settle(&mut self) -> Result<(), StorageError> {
        self.projection.settle()?;
        self.save_places().map(drop)
    }

    /// Writes the places in all logs; gives the heads of the feeds that grew.
    fn save_places(&self) -> Result<Vec<(NodeId, u64)>, StorageError> {
        for (node, cursor) in &self.cursors {
            if let Some(cursor) = cursor {
                cursor.save(self.tx, *node)?;
            }
        }
        self.feeds.save(self.tx)
    }

    /// Writes what was gathered. The transaction may be committed after it; the catalog is true for the next one if it is.
    fn finish(self) -> Result<(Applied, Catalog), StorageError> {
        let feed_heads = self.save_places()?;
        let catalog = self.projection.flush()?;
        self.tx
            .prepare_cached("UPDATE applied SET position = ?1, at_ms = ?2")?
            .execute((self.position.get() as i64, self.at_ms.ms()))?;
        let (position, revoked, machines_changed) = (self.position, self.revoked, self.machines_changed);
        Ok((Applied { position, feed_heads, revoked, machines_changed }, catalog))
    }

    /// A command that was noted before, from its file or a copy of it, is not noted again.
    fn note_machine_command(&mut self, stamp: Stamp<'_>, run: &CommandRun) -> Result<Outcome, Stop> {
        let texts = [&run.user, &run.address, &run.command, &run.outcome];
        if texts.iter().any(|text| text.len() > MACHINE_TEXT_BYTES_MAX) {
            return Err(rule("invalid_machine_command", "a text of a command has at most 500 bytes").into());
        }
        // After this point the command must succeed.
        let insert = "INSERT OR IGNORE INTO machine_command VALUES (?1, ?2)";
        if self.tx.prepare_cached(insert)?.execute((run.id as i64, run.began_at_ms))? == 0 {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        self.emit(stamp, EventBody::Machine(MachineEvent::RunAtHub(run.clone())))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }

    fn dispatch(&mut self, proposal: &Proposal) -> Result<Outcome, Stop> {
        if proposal.actor.login().is_some_and(|name| name.len() > STAFF_BYTES_MAX || name.is_empty()) {
            return Err(rule("invalid_actor", "a staff name has 1 to 64 bytes").into());
        }
        let stamp = Stamp { at_ms: proposal.at_ms, actor: &proposal.actor, request: proposal.request };
        if !matches!(proposal.command, Command::Recovery(_)) && self.is_recovering()? {
            return Err(recovery::recovering().into());
        }
        match &proposal.command {
            Command::IngestEvents(batch) => self.ingest_events(proposal.at_ms, batch),
            Command::DefineMaster(definitions) => self.define_master(stamp, definitions),
            Command::ImportBatch { facts, wrapped_key } => self.import_batch(stamp, facts, wrapped_key),
            Command::StockPacks { batch, packs } => self.stock_packs(*batch, packs),
            Command::ChangeSale { batch, state, approval } => {
                self.change_sale(stamp, *batch, *state, approval.as_ref().map(|(number, day)| (number.as_str(), *day)))
            }
            Command::AnnounceRedemptionEnd { batch, ends_at_ms } => {
                self.announce_redemption_end(stamp, *batch, *ends_at_ms)
            }
            Command::ShipPacks { shipment, outlet, packs } => self.ship_packs(stamp, *shipment, *outlet, packs),
            Command::HoldPack { pack, hold } => self.hold_pack(stamp, *pack, *hold),
            Command::CreditDeposits(deposits) => self.credit_deposits(stamp, deposits),
            Command::ReserveBatch { game, code } => self.reserve_batch(*game, *code),
            Command::Staff(command) => self.staff(stamp, command),
            Command::Access(command) => self.access(stamp, command),
            Command::Change(command) => self.change(stamp, command),
            Command::Reseal(command) => self.reseal(stamp, command),
            Command::Personal(command) => self.personal(stamp, command),
            Command::NoteMachineCommand(run) => self.note_machine_command(stamp, run),
            Command::Cluster(command) => self.cluster(stamp, command),
            Command::Handoff(command) => self.handoff(stamp, command),
            Command::Directory(command) => self.directory(stamp, command),
            Command::Node(command) => self.node(stamp, command),
            Command::Recovery(command) => self.recovery(stamp, command),
        }
    }
}

fn rule(code: &str, rule: impl Into<String>) -> Refusal {
    Refusal::Rule { code: code.to_string(), rule: rule.into() }
}

fn unknown(kind: &str, id: impl core::fmt::Display) -> Refusal {
    Refusal::Unknown { kind: kind.to_string(), id: id.to_string() }
}

fn exists_with_other(kind: &str, id: impl core::fmt::Display) -> Refusal {
    Refusal::ExistsWithOther { kind: kind.to_string(), id: id.to_string() }
}
