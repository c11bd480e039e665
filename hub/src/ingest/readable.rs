//! What of its feed a node can read: events of a newer build stop in front of it, and none is ever skipped.

use std::collections::BTreeMap;

use jikai_schema::codec::EVENT_VERSION;
use jikai_schema::id::NodeId;
use jikai_sync::session::LogRecord;
use jikai_sync::wire::RefusalV1;
use parking_lot::Mutex;

/// The newest event that each node can read, as it told in its greeting. Bounded by the nodes that are registered.
#[derive(Debug, Default)]
pub(super) struct Readers(Mutex<BTreeMap<NodeId, u8>>);

impl Readers {
    pub(super) fn told(&self, node: NodeId, event_version: u8) {
        self.0.lock().insert(node, event_version);
    }

    /// Of a run of a node's feed what the node can read; a refusal where that is nothing.
    pub(super) fn readable(&self, node: NodeId, records: Vec<LogRecord>) -> Result<Vec<LogRecord>, RefusalV1> {
        let event_version = self.0.lock().get(&node).copied().unwrap_or(EVENT_VERSION);
        readable(event_version, records)
    }
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
        readers.told(node(1), 3);
        assert!(readers.readable(node(1), records(&[4])).is_err());
        assert!(readers.readable(node(2), records(&[EVENT_VERSION])).is_ok());
        readers.told(node(1), 4);
        assert!(readers.readable(node(1), records(&[4])).is_ok(), "it was upgraded");
    }
}
