//! The command log as a second witness: it holds the nodes' batches as they were proposed, and so names the very event
//! that was altered in a batch which has but one hash.

use std::path::Path;

use jikai_schema::command::{Command, NodeBatch, decode_entry};

use super::node_log::Frames;
use crate::raft::log_store::CommandReader;

/// Bytes of entries that are read at once.
const CHUNK_BYTES: usize = 8 << 20;

/// Looks for the events of one batch.
pub(super) struct Witness {
    node: i64,
    first: u64,
    /// As proposed, by place in the batch.
    proposed: Vec<Option<Vec<u8>>>,
}

impl Witness {
    /// Events of a node from `first` on, so many of them.
    pub fn new(node: i64, first: u64, count: i64) -> Self {
        // A damaged count promises nothing: a batch has at most as many events as its command has bytes.
        let count = count.clamp(0, jikai_schema::command::COMMAND_BYTES_MAX as i64) as usize;
        Witness { node, first, proposed: vec![None; count] }
    }

    /// First position at which `kept` is not what was proposed; behind the last when all agree; `None` when the command
    /// log does not tell.
    pub fn first_difference(mut self, data: &Path, kept: Frames<'_>) -> Option<u64> {
        self.read(data)?;
        let mut kept = kept;
        let agree = self.proposed.iter().take_while(|event| event.as_deref() == kept.next()).count();
        Some(self.first + agree as u64)
    }

    /// Reads the log until every event was seen; `None` when some were not, or the log cannot be read.
    fn read(&mut self, data: &Path) -> Option<()> {
        let mut log = CommandReader::open(data).ok()?;
        while self.proposed.contains(&None) {
            let entries = log.next(CHUNK_BYTES).ok()?;
            entries.last()?;
            for proposal in entries.iter().filter_map(|entry| decode_entry(entry).ok()).flatten() {
                if let Command::IngestEvents(batch) = proposal.command {
                    self.take(batch);
                }
            }
        }
        Some(())
    }

    /// The first proposal of an event is the one that was taken in.
    fn take(&mut self, batch: NodeBatch) {
        if i64::from(batch.node.get()) != self.node {
            return;
        }
        for (seq, event) in (batch.first_seq..).zip(batch.events) {
            let place = seq.checked_sub(self.first).and_then(|at| self.proposed.get_mut(at as usize));
            if let Some(place) = place {
                place.get_or_insert(event);
            }
        }
    }
}
