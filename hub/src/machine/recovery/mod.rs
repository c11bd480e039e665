//! A hub that was put back from an older copy gets back from its nodes what they had received of it.
//!
//! `Begin` → nodes `Return` what their feeds held → `Finish` → `Merge` until all of it stands in the log again. In between every
//! other command is refused: one event appended now would take the place of one that a node knows.

mod handoffs;
mod merge;
mod returns;
mod stores;

use jikai_schema::chain::ChainHash;
use jikai_schema::command::{Outcome, RecoveryCommand, Refusal};
use jikai_schema::id::{MachineNo, NodeId};
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension, Row};

pub use handoffs::AwaitedRelease;

use super::error::Stop;
use super::{Machine, Stamp, StorageError, generation, rule, unknown};

/// Code of the refusal of every other command while a recovery is on.
pub const RECOVERING: &str = "recovering";

/// How far a recovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryState {
    /// Nodes are awaited.
    Awaiting,
    /// What they returned is being appended.
    Merging,
    /// It is over.
    Over,
}

/// The recovery that is on, or the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryRow {
    /// The generation that it began.
    pub generation: u32,
    /// The machine whose directory was put back.
    pub machine: u16,
    /// When a person said so.
    pub began_at_ms: TimeMs,
    /// Newest event of the hub in the copy.
    pub head_seq: u64,
    /// How far it is.
    pub state: RecoveryState,
    /// Newest event of the hub that was merged.
    pub merged_seq: u64,
    /// Events that came back so far.
    pub recovered: u64,
    /// Events that nobody had, so far.
    pub lost: u64,
    /// Events that nodes had received differently.
    pub conflicts: u64,
    /// How much of a node's log the merge needs to go on.
    pub release: Option<AwaitedRelease>,
}

/// How a node stands in a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeReturn {
    /// It has not returned all yet.
    Awaited,
    /// It has.
    Returned,
    /// It was not waited for.
    LeftOut,
    /// It has another feed than was merged: it must be replaced.
    Differs,
}

/// A node in a recovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveryNodeRow {
    /// Which.
    pub node: NodeId,
    /// How it stands.
    pub state: NodeReturn,
    /// Position of its feed from which on it has not returned.
    pub next_seq: u64,
    /// Chain before it.
    pub hash: ChainHash,
    /// Events that it returned.
    pub events: u64,
    /// Epoch of its store, where the copy does not know that it took the node's place.
    pub met_epoch: Option<u32>,
    /// Newest event of the hub that the store before it had returned, and proven to its end; 0 where it had not.
    pub proven_seq: u64,
}

impl RecoveryRow {
    /// The recovery that is on, or the last one; `None` if there never was one.
    pub fn read(store: &Connection) -> Result<Option<Self>, rusqlite::Error> {
        let sql = "SELECT generation, machine, began_at_ms, head_seq, state, merged_seq, recovered, lost, conflicts, \
                   awaited_node, awaited_handoff FROM recovery";
        let read = |row: &Row<'_>| {
            let number = |column| row.get::<_, i64>(column).map(|number| number as u64);
            Ok(RecoveryRow {
                generation: row.get(0)?,
                machine: row.get(1)?,
                began_at_ms: row.get(2).map(TimeMs::from_ms)?,
                head_seq: number(3)?,
                state: match row.get(4)? {
                    1 => RecoveryState::Awaiting,
                    2 => RecoveryState::Merging,
                    _ => RecoveryState::Over,
                },
                merged_seq: number(5)?,
                recovered: number(6)?,
                lost: number(7)?,
                conflicts: number(8)?,
                release: match row.get(9)? {
                    None => None,
                    Some(node) => Some(AwaitedRelease { node: node_of(node)?, handoff: number(10)? }),
                },
            })
        };
        store.prepare_cached(sql)?.query_row([], read).optional()
    }

    /// Whether a recovery is on.
    pub fn is_on(store: &Connection) -> Result<bool, rusqlite::Error> {
        store.prepare_cached("SELECT EXISTS (SELECT 1 FROM recovery WHERE state < 3)")?.query_row([], |row| row.get(0))
    }
}

impl RecoveryNodeRow {
    /// All nodes of the recovery, by number.
    pub fn list(store: &Connection) -> Result<Vec<Self>, rusqlite::Error> {
        let mut statement = store.prepare_cached(
            "SELECT node, state, next_seq, hash, events, met_epoch, proven_seq FROM recovery_node ORDER BY node",
        )?;
        let rows = statement.query_map([], Self::of)?;
        rows.collect()
    }

    /// Where a node goes on returning. One that nobody awaits, for the copy does not know that it ever connected, may return from
    /// where the copy's feed ends; one that the copy does not know at all from where what is for every node ends there: its feed begins
    /// with that, and it keeps the newest part of it.
    pub fn place(store: &Connection, node: NodeId) -> Result<Self, rusqlite::Error> {
        Self::place_beside(store, node, &mut None)
    }

    /// The same; `of_all` is where the copy ends for nodes that it does not know, once it was looked for.
    fn place_beside(
        store: &Connection,
        node: NodeId,
        of_all: &mut Option<(u64, ChainHash)>,
    ) -> Result<Self, rusqlite::Error> {
        let sql =
            "SELECT node, state, next_seq, hash, events, met_epoch, proven_seq FROM recovery_node WHERE node = ?1";
        if let Some(row) = store.prepare_cached(sql)?.query_row([node.get()], Self::of).optional()? {
            return Ok(row);
        }
        let mut statement = store.prepare_cached("SELECT seq + 1, hash FROM feed_head WHERE node = ?1")?;
        let head = statement
            .query_row([node.get()], |row| Ok((row.get::<_, i64>(0)? as u64, ChainHash::from_bytes(row.get(1)?))));
        let (next_seq, hash) = match head.optional()?.or(*of_all) {
            Some(head) => head,
            None => *of_all.insert(returns::for_all(store, u64::MAX)?),
        };
        Ok(RecoveryNodeRow {
            node,
            state: NodeReturn::Awaited,
            next_seq,
            hash,
            events: 0,
            met_epoch: None,
            proven_seq: 0,
        })
    }

    /// Whether a node is a part of the recovery. Who ever connected is; another one becomes a part when it returns, or when another node
    /// returns that it came.
    pub fn takes_part(store: &Connection, node: NodeId) -> Result<bool, rusqlite::Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM recovery_node WHERE node = ?1)";
        store.prepare_cached(sql)?.query_row([node.get()], |row| row.get(0))
    }

    fn of(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let number: u16 = row.get(0)?;
        Ok(RecoveryNodeRow {
            node: node_of(number)?,
            state: match row.get(1)? {
                1 => NodeReturn::Awaited,
                2 => NodeReturn::Returned,
                3 => NodeReturn::LeftOut,
                _ => NodeReturn::Differs,
            },
            next_seq: row.get::<_, i64>(2)? as u64,
            hash: ChainHash::from_bytes(row.get(3)?),
            events: row.get::<_, i64>(4)? as u64,
            met_epoch: row.get(5)?,
            proven_seq: row.get::<_, i64>(6)? as u64,
        })
    }

    fn save(&self, store: &Connection) -> Result<(), StorageError> {
        let state = match self.state {
            NodeReturn::Awaited => 1,
            NodeReturn::Returned => 2,
            NodeReturn::LeftOut => 3,
            NodeReturn::Differs => 4,
        };
        let sql = "INSERT OR REPLACE INTO recovery_node (node, state, next_seq, hash, events, met_epoch, proven_seq) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let (node, next_seq, events) = (self.node.get(), self.next_seq as i64, self.events as i64);
        let (met_epoch, proven_seq) = (self.met_epoch, self.proven_seq as i64);
        let row = (node, state, next_seq, self.hash.as_bytes(), events, met_epoch, proven_seq);
        store.prepare_cached(sql)?.execute(row)?;
        Ok(())
    }
}

fn node_of(number: u16) -> Result<NodeId, rusqlite::Error> {
    NodeId::new(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, i64::from(number)))
}

/// What every other command is told while a recovery is on.
pub(super) fn recovering() -> Refusal {
    rule(
        RECOVERING,
        "the hub was put back from a copy and awaits what its nodes had received of it: `jikai-hub restore --status`",
    )
}

impl Machine<'_> {
    pub(super) fn is_recovering(&self) -> Result<bool, StorageError> {
        Ok(RecoveryRow::is_on(self.tx)?)
    }

    pub(super) fn recovery(&mut self, stamp: Stamp<'_>, command: &RecoveryCommand) -> Result<Outcome, Stop> {
        self.machines_changed = true;
        self.settle()?;
        if let RecoveryCommand::Begin { machine, said_at_ms } = command {
            return self.begin_recovery(*machine, *said_at_ms);
        }
        let Some(row) = RecoveryRow::read(self.tx)?.filter(|row| row.state != RecoveryState::Over) else {
            return Err(rule("not_recovering", "no recovery is on").into());
        };
        match command {
            RecoveryCommand::Begin { .. } => Err(recovering().into()),
            RecoveryCommand::Return(run) => self.take_return(&row, run),
            RecoveryCommand::ReturnKey { batch, wrapped_key } => self.take_key(*batch, wrapped_key),
            RecoveryCommand::Finish { without } => self.finish_recovery(&row, without),
            RecoveryCommand::Merge { from_seq } => self.merge(stamp, &row, *from_seq),
            RecoveryCommand::ReturnLog(batch) => self.take_log(stamp, &row, batch),
            RecoveryCommand::MeetStore { node, incarnation, epoch } => {
                self.meet_store(stamp, &row, (*node, *incarnation, *epoch))
            }
        }
    }

    /// Writes no event: it would take the place of one that a node knows. Who ever connected is awaited.
    fn begin_recovery(&mut self, machine: MachineNo, began_at_ms: TimeMs) -> Result<Outcome, Stop> {
        self.usable(machine)?;
        if self.is_recovering()? {
            return Err(recovering().into());
        }
        let generation = generation(self.tx)?.saturating_add(1);
        let head_seq: i64 =
            self.tx.prepare_cached("SELECT seq FROM feed_head WHERE node = 0")?.query_row([], |row| row.get(0))?;
        // After this point the command must succeed.
        self.tx.prepare_cached("UPDATE generation SET generation = ?1")?.execute([generation])?;
        // Which runs nodes began since the copy is not known: each is taken as it comes.
        self.tx.execute("DELETE FROM node_run", [])?;
        self.tx.execute("DELETE FROM recovery_node", [])?;
        let insert = "INSERT OR REPLACE INTO recovery (only_row, generation, machine, began_at_ms, head_seq, state, merged_seq) \
                      VALUES (1, ?1, ?2, ?3, ?4, 1, ?4)";
        self.tx.prepare_cached(insert)?.execute((generation, machine.get(), began_at_ms.ms(), head_seq))?;
        let awaited = "INSERT INTO recovery_node (node, state, next_seq, hash) \
                       SELECT c.node, 1, h.seq + 1, h.hash FROM node_cursor c JOIN feed_head h ON h.node = c.node \
                       WHERE c.node NOT IN (SELECT node FROM node_retired) ORDER BY c.node";
        self.tx.execute(awaited, [])?;
        Ok(Outcome::Done { events: 0, existing: 0 })
    }

    /// Checks: each node that is named is awaited; no other is.
    fn finish_recovery(&mut self, row: &RecoveryRow, without: &[NodeId]) -> Result<Outcome, Stop> {
        if row.state == RecoveryState::Merging {
            return self.leave_log_out(row, without);
        }
        let mut nodes = RecoveryNodeRow::list(self.tx)?;
        for node in without {
            match nodes.iter_mut().find(|row| row.node == *node) {
                None => return Err(unknown("awaited node", node).into()),
                Some(row) if row.state == NodeReturn::Returned => {
                    return Err(rule("node_returned", format!("node {node} has returned: leave it in")).into());
                }
                Some(row) => row.state = NodeReturn::LeftOut,
            }
        }
        let awaited: Vec<String> =
            nodes.iter().filter(|row| row.state == NodeReturn::Awaited).map(|row| row.node.to_string()).collect();
        if !awaited.is_empty() {
            let text = format!("nodes {} have not returned: wait, or name them to be left out", awaited.join(", "));
            return Err(rule("nodes_awaited", text).into());
        }
        // After this point the command must succeed.
        for left_out in nodes.iter().filter(|row| row.state == NodeReturn::LeftOut) {
            // What they returned was not proven to the end, but for what an earlier store of theirs did.
            let unproven = "DELETE FROM recovery_event WHERE node = ?1 AND hub_seq > ?2";
            self.tx.prepare_cached(unproven)?.execute((left_out.node.get(), left_out.proven_seq as i64))?;
            left_out.save(self.tx)?;
        }
        self.tx.execute("UPDATE recovery SET state = 2", [])?;
        Ok(Outcome::Done { events: 0, existing: 0 })
    }

    /// A node whose log the merge awaits may be left out as well: then facts that rest on it are taken without it.
    fn leave_log_out(&mut self, row: &RecoveryRow, without: &[NodeId]) -> Result<Outcome, Stop> {
        let Some(release) = row.release.filter(|release| without.contains(&release.node)) else {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        };
        // After this point the command must succeed.
        let place = RecoveryNodeRow::place(self.tx, release.node)?;
        RecoveryNodeRow { state: NodeReturn::LeftOut, ..place }.save(self.tx)?;
        self.tx.execute("UPDATE recovery SET awaited_node = NULL, awaited_handoff = NULL", [])?;
        Ok(Outcome::Done { events: 0, existing: 0 })
    }
}
