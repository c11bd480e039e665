//! What a recovery brought back, from whom, and what a person must look after.

use std::collections::BTreeMap;

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::event::{BatchNames, EventBody, EventView, HubEvent};
use rusqlite::Connection;

use crate::machine::{NodeReturn, RecoveryNodeRow, RecoveryRow, RecoveryState};

/// Most gaps that a report names.
const GAPS_MAX: usize = 100;

/// A node in the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLine {
    /// Its number.
    pub node: u16,
    /// awaited, returned, left_out, or differs: it is refused from now on and must be replaced.
    pub state: &'static str,
    /// Events that it returned.
    pub events: u64,
    /// Epoch of its store, where the copy does not know that it took the node's place.
    pub met_epoch: Option<u32>,
}

/// How a recovery stands, or what it led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The recovery.
    pub row: RecoveryRow,
    /// awaiting, merging or over.
    pub state: &'static str,
    /// Its nodes.
    pub nodes: Vec<NodeLine>,
    /// Events that came back, by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Positions of the hub's log that nobody had, first and last of each gap.
    pub gaps: Vec<[u64; 2]>,
    /// Batches whose key nobody returned: their printer's package must be imported again.
    pub batches_without_key: Vec<u32>,
    /// Batches whose approval number is gone: it must be entered again before the sale is opened anew.
    pub batches_without_approval: Vec<u32>,
    /// Returned events that the tables refused: they wait in quarantine.
    pub quarantined: u64,
}

impl Report {
    /// Reads it; `None` if the hub was never put back from a copy.
    pub fn read(store: &Connection) -> Result<Option<Self>, rusqlite::Error> {
        let Some(row) = RecoveryRow::read(store)? else { return Ok(None) };
        let nodes = RecoveryNodeRow::list(store)?.into_iter().map(|node| NodeLine {
            node: node.node.get(),
            state: match node.state {
                NodeReturn::Awaited => "awaited",
                NodeReturn::Returned => "returned",
                NodeReturn::LeftOut => "left_out",
                NodeReturn::Differs => "differs",
            },
            events: node.events,
            met_epoch: node.met_epoch,
        });
        let mut report = Report {
            row,
            state: match row.state {
                RecoveryState::Awaiting => "awaiting",
                RecoveryState::Merging => "merging",
                RecoveryState::Over => "over",
            },
            nodes: nodes.collect(),
            kinds: BTreeMap::new(),
            gaps: Vec::new(),
            batches_without_key: numbers(
                store,
                "SELECT batch FROM batch WHERE batch NOT IN (SELECT batch FROM batch_key) ORDER BY batch",
            )?,
            batches_without_approval: numbers(
                store,
                "SELECT batch FROM batch WHERE sale_state > 0 AND batch NOT IN (SELECT batch FROM sale_approval) ORDER BY batch",
            )?,
            quarantined: store.query_row("SELECT count(*) FROM quarantine WHERE node = 0", [], |row| {
                row.get::<_, i64>(0).map(|count| count as u64)
            })?,
        };
        report.count(store)?;
        Ok(Some(report))
    }

    fn count(&mut self, store: &Connection) -> Result<(), rusqlite::Error> {
        let mut statement =
            store.prepare("SELECT seq, bytes FROM hub_log WHERE seq > ?1 AND seq <= ?2 ORDER BY seq")?;
        let mut rows = statement.query((self.row.head_seq as i64, self.row.merged_seq as i64))?;
        let names = BatchNames::default();
        let mut covered_to = 0;
        while let Some(row) = rows.next()? {
            let (seq, bytes) = (row.get::<_, i64>(0)? as u64, row.get_ref(1)?.as_blob()?);
            let Ok(event) = codec::decode_event(bytes) else { continue };
            if let EventBody::Hub(HubEvent::EventsLost { to_seq, .. }) = event.body {
                if seq > covered_to && self.gaps.len() < GAPS_MAX {
                    self.gaps.push([seq, to_seq]);
                }
                covered_to = covered_to.max(to_seq);
                continue;
            }
            let view = EventView::new(&event, &[], ChainHash::GENESIS, &names);
            let kind = view.event["kind"].as_str().unwrap_or("unknown").to_owned();
            *self.kinds.entry(kind).or_default() += 1;
        }
        Ok(())
    }
}

fn numbers(store: &Connection, sql: &str) -> Result<Vec<u32>, rusqlite::Error> {
    let mut statement = store.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}
