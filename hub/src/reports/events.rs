//! The logs as JSON lines: the hub's own, and the kept copies of the nodes'.

use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::event::{BatchNames, EventView};
use jikai_schema::id::NodeId;
use rusqlite::{Connection, OptionalExtension};

use super::{ReportError, at_once};
use crate::machine::NodeHistory;

/// Bytes of events after which a page ends; the lines are about twice as long.
const PAGE_BYTES: usize = 8 << 20;

/// Events of the hub behind `after`, one JSON line each.
pub fn hub_events(store: &mut Connection, after: u64, limit: usize) -> Result<Vec<u8>, ReportError> {
    at_once(store, |store, _| {
        let names = BatchNames::load(store)?;
        let mut prev = match after {
            0 => ChainHash::GENESIS,
            seq => {
                let sql = "SELECT hash FROM hub_log WHERE seq = ?1";
                let hash = store.prepare_cached(sql)?.query_row([seq as i64], |row| row.get(0)).optional()?;
                let Some(hash) = hash else { return Ok(Vec::new()) };
                ChainHash::from_bytes(hash)
            }
        };
        let mut statement =
            store.prepare_cached("SELECT seq, bytes FROM hub_log WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        let mut rows = statement.query((after.min(i64::MAX as u64) as i64, limit as i64))?;
        let (mut lines, mut gathered_bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(1)?;
            write_line(&mut lines, NodeId::HUB, row.get::<_, i64>(0)? as u64, &bytes, prev, &names);
            prev = prev.next(&bytes);
            gathered_bytes += bytes.len();
            if gathered_bytes >= PAGE_BYTES {
                break;
            }
        }
        Ok(lines)
    })
}

/// Events of a node behind `after`, one JSON line each.
pub fn node_events(store: &mut Connection, node: NodeId, after: u64, limit: usize) -> Result<Vec<u8>, ReportError> {
    at_once(store, |store, _| {
        let names = BatchNames::load(store)?;
        let mut lines = Vec::new();
        for event in NodeHistory::new(store, node).events_after(after, limit, PAGE_BYTES)? {
            write_line(&mut lines, node, event.seq, &event.bytes, event.prev, &names);
        }
        Ok(lines)
    })
}

/// An event that cannot be read (it is in quarantine) is shown with its bytes all the same: the chain goes through it.
fn write_line(lines: &mut Vec<u8>, origin: NodeId, seq: u64, bytes: &[u8], prev: ChainHash, names: &BatchNames) {
    use base64::Engine;
    let written = match codec::decode_event(bytes) {
        Ok(event) => serde_json::to_writer(&mut *lines, &EventView::new(&event, bytes, prev, names)),
        Err(_) => serde_json::to_writer(
            &mut *lines,
            &serde_json::json!({
                "origin": origin.get(),
                "seq": seq,
                "prev": prev.to_string(),
                "hash": prev.next(bytes).to_string(),
                "bytes": base64::engine::general_purpose::STANDARD.encode(bytes),
                "event": { "kind": "unreadable" },
            }),
        ),
    };
    written.expect("a view is plain data and memory does not refuse to be written");
    lines.push(b'\n');
}
