//! Nodes that are added and taken out of use.

use jikai_schema::chain::ChainHash;
use jikai_schema::command::{Outcome, Refusal};
use jikai_schema::event::{EventBody, MasterEvent, NodeEvent};
use jikai_schema::id::{NodeId, PrefectureCode};
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, Row};

use super::access::{DONE, check_reason};
use super::error::Stop;
use super::nodes::EPOCH_FIRST;
use super::{Machine, NodeCursor, Stamp, StorageError, rule, unknown};

const COLUMNS: &str = "node, name, prefectures, next_seq, retired_at_ms, reason";

/// A node that was taken out of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetiredRow {
    /// Its number, which no other node gets.
    pub node: NodeId,
    /// Its name at last.
    pub name: String,
    /// Prefectures whose new outlets it served at last, ascending.
    pub prefectures: Vec<String>,
    /// What its store holds from this position on never reached the hub.
    pub next_seq: u64,
    /// When.
    pub retired_at_ms: TimeMs,
    /// Why.
    pub reason: String,
}

impl RetiredRow {
    /// All of them, by number.
    pub fn all(store: &Connection) -> Result<Vec<Self>, rusqlite::Error> {
        let mut statement = store.prepare_cached(&format!("SELECT {COLUMNS} FROM node_retired ORDER BY node"))?;
        statement.query_map([], RetiredRow::from_row)?.collect()
    }

    /// Whether the node was taken out of use.
    pub fn is_retired(store: &Connection, node: NodeId) -> Result<bool, rusqlite::Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM node_retired WHERE node = ?1)";
        store.prepare_cached(sql)?.query_row([node.get()], |row| row.get(0))
    }

    fn from_row(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let prefectures: String = row.get(2)?;
        Ok(RetiredRow {
            node: NodeId::new(row.get(0)?).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, 0))?,
            name: row.get(1)?,
            prefectures: prefectures.split(',').filter(|code| !code.is_empty()).map(str::to_owned).collect(),
            next_seq: row.get::<_, i64>(3)? as u64,
            retired_at_ms: TimeMs::from_ms(row.get(4)?),
            reason: row.get(5)?,
        })
    }
}

/// A node that is to be added.
pub(super) struct NewNode<'a> {
    pub node: NodeId,
    pub name: &'a str,
    pub prefectures: &'a [PrefectureCode],
    pub incarnation: [u8; 16],
}

impl Machine<'_> {
    /// Checks: no node has the number → as for one that is imported. Its log may be opened by the one store alone.
    pub(super) fn add_node(&mut self, stamp: Stamp<'_>, new: &NewNode<'_>) -> Result<Outcome, Stop> {
        let NewNode { node, incarnation, .. } = *new;
        if self.feeds.is_registered(node) {
            return Err(rule("node_exists", format!("there is a node {node}")).into());
        }
        let (name, prefectures) = (new.name.to_string(), new.prefectures.to_vec());
        self.define_master(stamp, &[MasterEvent::NodeDefined { node, name, prefectures }])?;
        // After this point the command must succeed.
        let (next_seq, hash) = (1, ChainHash::GENESIS);
        self.cursors.insert(node, Some(NodeCursor { incarnation, next_seq, hash }));
        self.emit(stamp, EventBody::Node(NodeEvent::Invited { node }))?;
        Ok(Outcome::Replaced { epoch: EPOCH_FIRST, next_seq, hash })
    }

    /// Checks: a reason is given → the node is registered → no outlet is on its way from or to it, or waits for that → it serves
    /// none.
    pub(super) fn retire_node(&mut self, stamp: Stamp<'_>, node: NodeId, reason: &str) -> Result<Outcome, Stop> {
        check_reason(reason)?;
        if !self.feeds.is_registered(node) {
            return Err(unknown("node", node).into());
        }
        let on_their_way = self.count_of(
            "SELECT (SELECT count(*) FROM handoff WHERE ?1 IN (node, to_node)) + \
             (SELECT count(*) FROM handoff_waiting WHERE to_node = ?1)",
            node,
        )?;
        if on_their_way > 0 {
            let text = format!("{on_their_way} outlets are on their way from or to node {node}");
            return Err(rule("node_in_handoff", text).into());
        }
        let served = self.count_of("SELECT count(*) FROM outlet WHERE node = ?1", node)?;
        if served > 0 {
            return Err(rule("node_serves_outlets", format!("node {node} serves {served} outlets")).into());
        }
        let known = self.cursor(node)?;
        let (next_seq, hash) = known.map_or((1, ChainHash::GENESIS), |known| (known.next_seq, known.hash));
        // After this point the command must succeed.
        self.fence_certificates(stamp, node, reason)?;
        self.forget_runs(node)?;
        let reason = reason.to_string();
        self.emit(stamp, EventBody::Node(NodeEvent::Retired { node, next_seq, hash, reason }))?;
        self.feeds.retire(node);
        Ok(DONE)
    }

    /// Refuses a number that was given once.
    pub(super) fn check_not_retired(&self, node: NodeId) -> Result<(), Stop> {
        if RetiredRow::is_retired(self.tx, node)? {
            return Err(retired(node).into());
        }
        Ok(())
    }

    fn count_of(&self, sql: &str, node: NodeId) -> Result<i64, StorageError> {
        Ok(self.tx.prepare_cached(sql)?.query_row([node.get()], |row| row.get(0))?)
    }
}

fn retired(node: NodeId) -> Refusal {
    rule("node_retired", format!("node {node} was taken out of use, and its number is given to no other"))
}
