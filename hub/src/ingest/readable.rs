//! What of its feed a node can read: events of a newer build stop in front of it, and none is ever skipped.

use std::collections::BTreeMap;

use jikai_schema::codec::{self, EVENT_VERSION};
use jikai_schema::event::{EventBody, HandoffEvent};
use jikai_schema::id::NodeId;
use jikai_schema::outlet_rows::ROWS_SCHEMA_VERSION;
use jikai_schema::store::SCHEMA_VERSION;
use jikai_sync::session::LogRecord;
use jikai_sync::wire::RefusalV1;
use parking_lot::Mutex;

/// What a node can read, as it told in its greeting.
#[derive(Debug, Clone, Copy)]
struct Reader {
    /// Newest version of an event.
    event_version: u8,
    /// Version of its tables.
    schema_version: u32,
}

/// What each node can read. Bounded by the nodes that are registered.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<BTreeMap<NodeId, Reader>>);

impl Readers {
    pub(super) fn told(&self, node: NodeId, event_version: u8, schema_version: u32) {
        self.0.lock().insert(node, Reader { event_version, schema_version });
    }

    /// Of a run of a node's feed what the node can read; a refusal where that is nothing.
    pub(super) fn readable(&self, node: NodeId, records: Vec<LogRecord>) -> Result<Vec<LogRecord>, RefusalV1> {
        let newest = Reader { event_version: EVENT_VERSION, schema_version: SCHEMA_VERSION };
        let reader = self.0.lock().get(&node).copied().unwrap_or(newest);
        readable(reader.event_version, without_foreign_rows(reader, records)?)
    }
}

/// The records in front of the first that brings rows of an outlet which the node's tables cannot take.
fn without_foreign_rows(reader: Reader, mut records: Vec<LogRecord>) -> Result<Vec<LogRecord>, RefusalV1> {
    if reader.schema_version >= ROWS_SCHEMA_VERSION {
        return Ok(records);
    }
    let brings_rows = |record: &LogRecord| {
        let event = codec::decode_event(&record.bytes);
        event.is_ok_and(|event| matches!(event.body, EventBody::Handoff(HandoffEvent::RowsMoved { .. })))
    };
    if let Some(at) = records.iter().position(brings_rows) {
        if at == 0 {
            let short = |version: u32| u8::try_from(version).unwrap_or(u8::MAX);
            let (ours, theirs) = (short(ROWS_SCHEMA_VERSION), short(reader.schema_version));
            return Err(RefusalV1::SchemaTooOld { ours, theirs });
        }
        records.truncate(at);
    }
    Ok(records)
}

/// The records in front of the first that is newer than this version.
pub(super) fn readable(event_version: u8, mut records: Vec<LogRecord>) -> Result<Vec<LogRecord>, RefusalV1> {
    let version_of = |record: &LogRecord| record.bytes.first().copied().unwrap_or(0);
    if let Some(at) = records.iter().position(|record| version_of(record) > event_version) {
        if at == 0 {
            return Err(RefusalV1::SchemaTooOld { ours: version_of(&records[0]), theirs: event_version });
        }
        records.truncate(at);
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use jikai_schema::event::{Actor, Event, EventKey};
    use jikai_schema::id::OutletId;
    use jikai_schema::time::TimeMs;

    use super::*;

    fn records(versions: &[u8]) -> Vec<LogRecord> {
        (1..).zip(versions).map(|(seq, version)| LogRecord { seq, bytes: vec![*version, 9] }).collect()
    }

    #[test]
    fn the_feed_stops_in_front_of_what_a_node_cannot_read_and_skips_nothing() {
        assert_eq!(readable(3, records(&[1, 3, 2])), Ok(records(&[1, 3, 2])));
        assert_eq!(readable(3, records(&[1, 4, 2])), Ok(records(&[1])));
        assert_eq!(readable(3, records(&[4, 1])), Err(RefusalV1::SchemaTooOld { ours: 4, theirs: 3 }));
        assert_eq!(readable(3, Vec::new()), Ok(Vec::new()));
    }

    #[test]
    fn each_node_is_told_by_what_it_can_read_itself() {
        let (readers, node) = (Readers::default(), |number| NodeId::new(number).unwrap());
        readers.told(node(1), 3, SCHEMA_VERSION);
        assert!(readers.readable(node(1), records(&[4])).is_err());
        assert!(readers.readable(node(2), records(&[EVENT_VERSION])).is_ok());
        readers.told(node(1), 4, SCHEMA_VERSION);
        assert!(readers.readable(node(1), records(&[4])).is_ok(), "it was upgraded");
    }

    #[test]
    fn rows_of_an_outlet_wait_for_a_node_whose_tables_cannot_take_them() {
        let (readers, node, to) = (Readers::default(), NodeId::new(1).unwrap(), NodeId::new(1).unwrap());
        let (handoff, outlet, from) = (7, OutletId::new(13_010_001).unwrap(), NodeId::new(2).unwrap());
        let record = |seq, body| {
            let (key, at_ms) = (EventKey { origin: NodeId::HUB, seq }, TimeMs::from_ms(1));
            let event = Event { key, at_ms, actor: Actor::System, request: None, body: EventBody::Handoff(body) };
            LogRecord { seq, bytes: codec::encode_event(&event).unwrap() }
        };
        let ordered = record(1, HandoffEvent::Ordered { handoff, outlet, from, to });
        let moved = record(2, HandoffEvent::RowsMoved { handoff, outlet, to, rows: Vec::new() });
        let feed = || vec![ordered.clone(), moved.clone()];
        readers.told(node, EVENT_VERSION, ROWS_SCHEMA_VERSION - 1);
        assert_eq!(readers.readable(node, feed()), Ok(vec![ordered.clone()]));
        let (ours, theirs) = (ROWS_SCHEMA_VERSION as u8, ROWS_SCHEMA_VERSION as u8 - 1);
        assert_eq!(readers.readable(node, vec![moved.clone()]), Err(RefusalV1::SchemaTooOld { ours, theirs }));
        readers.told(node, EVENT_VERSION, ROWS_SCHEMA_VERSION);
        assert_eq!(readers.readable(node, feed()), Ok(feed()), "it was upgraded");
    }
}
