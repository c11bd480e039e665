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

/// Where an event stands in its log.
struct Place {
    origin: NodeId,
    seq: u64,
    prev: ChainHash,
    hash: ChainHash,
}

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
            store.prepare_cached("SELECT seq, bytes, hash FROM hub_log WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        let mut rows = statement.query((after.min(i64::MAX as u64) as i64, limit as i64))?;
        let (mut lines, mut gathered_bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let bytes: Vec<u8> = row.get(1)?;
            // What the store says, not what it should say: whoever reads it can check the chain.
            let hash = ChainHash::from_bytes(row.get(2)?);
            let place = Place { origin: NodeId::HUB, seq: row.get::<_, i64>(0)? as u64, prev, hash };
            write_line(&mut lines, &place, &bytes, &names);
            prev = hash;
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
            // Kept by the batch: the hash before each batch is a stored one, those inside follow from the bytes.
            let place = Place { origin: node, seq: event.seq, prev: event.prev, hash: event.prev.next(&event.bytes) };
            write_line(&mut lines, &place, &event.bytes, &names);
        }
        Ok(lines)
    })
}

/// An event that cannot be read (it is in quarantine) is shown with its bytes all the same: the chain goes through it.
fn write_line(lines: &mut Vec<u8>, place: &Place, bytes: &[u8], names: &BatchNames) {
    use base64::Engine;
    let written = match codec::decode_event(bytes) {
        Ok(event) => {
            let mut view = EventView::new(&event, bytes, place.prev, names);
            view.hash = place.hash.to_string();
            serde_json::to_writer(&mut *lines, &view)
        }
        Err(_) => serde_json::to_writer(
            &mut *lines,
            &serde_json::json!({
                "origin": place.origin.get(),
                "seq": place.seq,
                "prev": place.prev.to_string(),
                "hash": place.hash.to_string(),
                "bytes": base64::engine::general_purpose::STANDARD.encode(bytes),
                "event": { "kind": "unreadable" },
            }),
        ),
    };
    written.expect("a view is plain data and memory does not refuse to be written");
    lines.push(b'\n');
}
