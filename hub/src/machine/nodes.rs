//! The stores of nodes: which epoch each has reached, which run of it was admitted last, which runs are on copies.

use jikai_schema::chain::ChainHash;
use jikai_schema::command::{NodeCommand, Outcome, Refusal};
use jikai_schema::event::{EventBody, NodeEvent};
use jikai_schema::id::NodeId;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension, Row};

use super::access::{DONE, NOTHING, check_reason};
use super::error::Stop;
use super::fleet::NewNode;
use super::{Machine, NodeCursor, Stamp, StorageError, rule, unknown};

/// The first store of a node.
pub(super) const EPOCH_FIRST: u32 = 1;
/// Most copies of a node's store that are remembered; a person has long been called by then.
const CLONES_MAX: i64 = 1_000;

/// A store that took the place of an earlier one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochRow {
    /// Whose store.
    pub node: u16,
    /// Its epoch.
    pub epoch: u32,
    /// Position at which it went on.
    pub next_seq: u64,
    /// Chain before it.
    pub hash: ChainHash,
    /// When.
    pub replaced_at_ms: TimeMs,
    /// Why.
    pub reason: String,
}

impl EpochRow {
    /// Every replacement, by node and epoch.
    pub fn all(store: &Connection) -> Result<Vec<Self>, rusqlite::Error> {
        let sql = "SELECT node, epoch, next_seq, hash, replaced_at_ms, reason FROM node_epoch ORDER BY node, epoch";
        let row = |row: &Row<'_>| {
            Ok(EpochRow {
                node: row.get(0)?,
                epoch: row.get(1)?,
                next_seq: row.get::<_, i64>(2)? as u64,
                hash: ChainHash::from_bytes(row.get(3)?),
                replaced_at_ms: TimeMs::from_ms(row.get(4)?),
                reason: row.get(5)?,
            })
        };
        store.prepare_cached(sql)?.query_map([], row)?.collect()
    }

    pub(super) fn insert(&self, store: &Connection) -> Result<(), rusqlite::Error> {
        let EpochRow { node, epoch, next_seq, hash, replaced_at_ms, reason } = self;
        let row = (node, epoch, *next_seq as i64, hash.as_bytes(), replaced_at_ms.ms(), reason);
        store.prepare_cached("INSERT INTO node_epoch VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(row)?;
        Ok(())
    }

    /// The epoch of the store that a node has now.
    pub fn newest(store: &Connection, node: NodeId) -> Result<u32, rusqlite::Error> {
        let sql = "SELECT max(epoch) FROM node_epoch WHERE node = ?1";
        let newest: Option<u32> = store.prepare_cached(sql)?.query_row([node.get()], |row| row.get(0))?;
        Ok(newest.unwrap_or(EPOCH_FIRST))
    }
}

/// The run of a node's store that was admitted last.
pub fn admitted_run(store: &Connection, node: NodeId) -> Result<Option<[u8; 16]>, rusqlite::Error> {
    let sql = "SELECT run FROM node_run WHERE node = ?1";
    store.prepare_cached(sql)?.query_row([node.get()], |row| row.get(0)).optional()
}

/// The run that wants to follow it.
pub fn claimed_run(store: &Connection, node: NodeId) -> Result<Option<[u8; 16]>, rusqlite::Error> {
    let sql = "SELECT run FROM node_claim WHERE node = ?1";
    store.prepare_cached(sql)?.query_row([node.get()], |row| row.get(0)).optional()
}

/// When a copy of the node's present store was refused last.
pub fn clone_refused_at_ms(store: &Connection, node: NodeId) -> Result<Option<TimeMs>, rusqlite::Error> {
    let sql = "SELECT max(refused_at_ms) FROM node_clone WHERE node = ?1";
    let at_ms: Option<i64> = store.prepare_cached(sql)?.query_row([node.get()], |row| row.get(0))?;
    Ok(at_ms.map(TimeMs::from_ms))
}

impl Machine<'_> {
    pub(super) fn node(&mut self, stamp: Stamp<'_>, command: &NodeCommand) -> Result<Outcome, Stop> {
        match command {
            NodeCommand::Replace { node, incarnation, reason } => self.replace(stamp, *node, *incarnation, reason),
            NodeCommand::BeginRun { node, incarnation, after, run } => {
                self.begin_run(*node, *incarnation, *after, *run)
            }
            NodeCommand::ClaimRun { node, incarnation, after, run } => {
                self.claim_run(*node, *incarnation, *after, *run)
            }
            NodeCommand::NoteClone { node, run } => self.note_clone(stamp, *node, *run),
            NodeCommand::Add { node, name, prefectures, incarnation } => {
                self.add_node(stamp, &NewNode { node: *node, name, prefectures, incarnation: *incarnation })
            }
            NodeCommand::Retire { node, reason } => self.retire_node(stamp, *node, reason),
        }
    }

    /// Checks: a reason is given → the node is registered → the store is another one than it has → an epoch is left.
    fn replace(
        &mut self,
        stamp: Stamp<'_>,
        node: NodeId,
        incarnation: [u8; 16],
        reason: &str,
    ) -> Result<Outcome, Stop> {
        check_reason(reason)?;
        if !self.feeds.is_registered(node) {
            return Err(unknown("node", node).into());
        }
        let first = NodeCursor { incarnation, next_seq: 1, hash: ChainHash::GENESIS };
        let known = self.cursor(node)?;
        if known.is_some_and(|known| known.incarnation == incarnation) {
            return Err(rule("same_store", "a store does not take its own place").into());
        }
        let epoch = EpochRow::newest(self.tx, node)?.checked_add(1);
        let epoch = epoch.ok_or_else(|| rule("no_epoch", "this node was replaced too often"))?;
        // After this point the command must succeed.
        let next = NodeCursor { incarnation, ..known.unwrap_or(first) };
        let (next_seq, hash) = (next.next_seq, next.hash);
        self.cursors.insert(node, Some(next));
        let (replaced_at_ms, reason) = (stamp.at_ms, reason.to_string());
        EpochRow { node: node.get(), epoch, next_seq, hash, replaced_at_ms, reason: reason.clone() }.insert(self.tx)?;
        self.forget_runs(node)?;
        self.tx.prepare_cached("DELETE FROM recovery_node WHERE node = ?1")?.execute([node.get()])?;
        // What is open looks whether it may go on.
        self.revoked = true;
        self.emit(stamp, EventBody::Node(NodeEvent::Replaced { node, epoch, next_seq, hash, reason }))?;
        Ok(Outcome::Replaced { epoch, next_seq, hash })
    }

    /// Runs and copies were those of a store that is not the node's any more.
    pub(super) fn forget_runs(&mut self, node: NodeId) -> Result<(), StorageError> {
        for forgotten in ["node_run", "node_claim", "node_clone"] {
            self.tx.prepare_cached(&format!("DELETE FROM {forgotten} WHERE node = ?1"))?.execute([node.get()])?;
        }
        Ok(())
    }

    fn begin_run(
        &mut self,
        node: NodeId,
        incarnation: [u8; 16],
        after: Option<[u8; 16]>,
        run: [u8; 16],
    ) -> Result<Outcome, Stop> {
        if self.is_admitted(node, incarnation, after, run)? {
            return Ok(NOTHING);
        }
        // After this point the command must succeed.
        self.tx.prepare_cached("INSERT OR REPLACE INTO node_run VALUES (?1, ?2)")?.execute((node.get(), run))?;
        self.tx.prepare_cached("DELETE FROM node_claim WHERE node = ?1")?.execute([node.get()])?;
        Ok(Outcome::Done { events: 0, existing: 0 })
    }

    fn claim_run(
        &mut self,
        node: NodeId,
        incarnation: [u8; 16],
        after: Option<[u8; 16]>,
        run: [u8; 16],
    ) -> Result<Outcome, Stop> {
        if self.is_admitted(node, incarnation, after, run)? {
            return Ok(NOTHING);
        }
        // After this point the command must succeed.
        self.tx.prepare_cached("INSERT OR REPLACE INTO node_claim VALUES (?1, ?2)")?.execute((node.get(), run))?;
        // Whoever has a session of the older run is woken.
        self.revoked = true;
        Ok(Outcome::Done { events: 0, existing: 0 })
    }

    /// Whether the run is the one that was admitted last. Checks: the node is registered → the store is the one that it has → the run
    /// was not found to be on a copy → it is the one that was admitted last, or follows it.
    fn is_admitted(
        &self,
        node: NodeId,
        incarnation: [u8; 16],
        after: Option<[u8; 16]>,
        run: [u8; 16],
    ) -> Result<bool, Stop> {
        if !self.feeds.is_registered(node) {
            return Err(unknown("node", node).into());
        }
        if self.cursor(node)?.is_none_or(|known| known.incarnation != incarnation) {
            return Err(Refusal::Incarnation { node }.into());
        }
        let noted = "SELECT EXISTS (SELECT 1 FROM node_clone WHERE node = ?1 AND run = ?2)";
        let is_clone: bool = self.tx.prepare_cached(noted)?.query_row((node.get(), run), |row| row.get(0))?;
        let admitted = admitted_run(self.tx, node)?;
        if !is_clone && admitted == Some(run) {
            return Ok(true);
        }
        if is_clone || (admitted.is_some() && admitted != after) {
            return Err(rule("store_cloned", format!("the store of node {node} is a copy")).into());
        }
        Ok(false)
    }

    /// Checks: the node is registered → the run is not the one that was admitted → not too many are remembered. One that was noted
    /// already is not noted again.
    fn note_clone(&mut self, stamp: Stamp<'_>, node: NodeId, run: [u8; 16]) -> Result<Outcome, Stop> {
        if !self.feeds.is_registered(node) {
            return Err(unknown("node", node).into());
        }
        if admitted_run(self.tx, node)? == Some(run) {
            return Err(rule("run_admitted", "this run was admitted: it is on no copy").into());
        }
        let count = "SELECT count(*) FROM node_clone WHERE node = ?1";
        let count: i64 = self.tx.prepare_cached(count)?.query_row([node.get()], |row| row.get(0))?;
        if count >= CLONES_MAX {
            return Err(rule("too_many_clones", format!("{CLONES_MAX} copies of this store are known")).into());
        }
        // After this point the command must succeed.
        let insert = "INSERT OR IGNORE INTO node_clone VALUES (?1, ?2, ?3)";
        if self.tx.prepare_cached(insert)?.execute((node.get(), run, stamp.at_ms.ms()))? == 0 {
            return Ok(NOTHING);
        }
        self.emit(stamp, EventBody::Node(NodeEvent::CloneRefused { node }))?;
        Ok(DONE)
    }

    /// How far the node's log was taken in, also by earlier commands of this transaction.
    pub(super) fn cursor(&self, node: NodeId) -> Result<Option<NodeCursor>, StorageError> {
        match self.cursors.get(&node) {
            Some(known) => Ok(*known),
            None => Ok(NodeCursor::load(self.tx, node)?),
        }
    }
}
