//! The sending half of a log: reads ahead within a bounded window, resumes from the receiver's acknowledgement.
//!
//! What does not fill a batch is sent when nothing is on its way; until then more gathers (as TCP does, by Nagle's rule). A log that
//! grows slowly is sent at once, a busy one in fewer and fuller batches: reading, packing and verifying one, and committing it at the
//! hub, cost the same for one event as for hundreds.

use std::collections::VecDeque;

use jikai_schema::chain::ChainHash;

use super::LogRecord;
use crate::wire::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Batch, Cursor, Frame, RECORD_BYTES_MAX, RefusalV1, encode_body};

/// Most batches on their way.
pub const WINDOW_BATCHES: usize = 8;
/// Most bytes on their way; below the flow-control window of a stream, so that a write never waits for the peer's reader.
pub const WINDOW_BYTES: usize = 512 * 1024;

/// Largest body of a batch: its events, a length for each, and the byte that says how they are packed.
const BODY_BYTES: usize = BATCH_BYTES_MAX + 4 * BATCH_EVENTS_MAX + 1;

/// Sends one log.
#[derive(Debug)]
pub struct BatchSender {
    acked: Cursor,
    next: Cursor,
    head_seq: u64,
    reading: bool,
    /// End of the log when the newest batch was read.
    read_head_seq: u64,
    /// Whether the newest batch was too small for what had gathered.
    is_behind: bool,
    /// Nothing more is sent: the receiver cannot read what comes next.
    stopped: bool,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
}

#[derive(Debug)]
struct InFlight {
    end: Cursor,
    bytes: usize,
}

impl BatchSender {
    /// Sends from `acked` on, up to `head_seq` and beyond as the log grows.
    pub fn new(acked: Cursor, head_seq: u64) -> Self {
        let (next, in_flight) = (acked, VecDeque::new());
        BatchSender {
            acked,
            next,
            head_seq,
            reading: false,
            read_head_seq: 0,
            is_behind: false,
            stopped: false,
            in_flight,
            in_flight_bytes: 0,
        }
    }

    /// The log has grown to this position.
    pub fn log_grew(&mut self, head_seq: u64) {
        self.head_seq = self.head_seq.max(head_seq);
    }

    /// What to read next, if the window has room and either nothing is on its way or there is enough for a batch: position, most events,
    /// most bytes.
    pub fn wants(&mut self) -> Option<(u64, usize, usize)> {
        let room = self.in_flight.len() < WINDOW_BATCHES && self.in_flight_bytes + BODY_BYTES <= WINDOW_BYTES;
        let gathered = (self.head_seq + 1).saturating_sub(self.next.next_seq);
        let is_enough = self.in_flight.is_empty() || self.is_behind || gathered >= BATCH_EVENTS_MAX as u64;
        if self.reading || self.stopped || !room || !is_enough || gathered == 0 {
            return None;
        }
        (self.reading, self.read_head_seq) = (true, self.head_seq);
        Some((self.next.next_seq, BATCH_EVENTS_MAX, BATCH_BYTES_MAX))
    }

    /// Answers what was wanted: the log goes on with what the receiver cannot read. What is on its way is acknowledged still.
    pub fn stop(&mut self) {
        (self.reading, self.stopped) = (false, true);
    }

    /// Packs records that were read into a batch, as many as fit; the rest is read again. Records that do not continue the
    /// log are a defect of the reader: `Gap`. One that no batch can hold stops the log before it is sent: `Malformed`.
    pub fn pack(&mut self, records: &[LogRecord]) -> Result<Option<Frame>, RefusalV1> {
        self.reading = false;
        for (expected, record) in (self.next.next_seq..).zip(records) {
            if record.seq != expected {
                return Err(RefusalV1::Gap { expected, found: record.seq });
            }
        }
        let records = fitting(records)?;
        let prev_hash = self.next.hash;
        let mut end = self.next;
        for record in records {
            end = Cursor { next_seq: end.next_seq + 1, hash: end.hash.next(&record.bytes) };
        }
        if records.is_empty() {
            // The log is not as long as it was said to be; wait until it grows again.
            self.head_seq = self.next.next_seq - 1;
            return Ok(None);
        }
        let body = encode_body(records.iter().map(|record| record.bytes.as_slice()));
        self.in_flight_bytes += body.len();
        self.in_flight.push_back(InFlight { end, bytes: body.len() });
        let (first_seq, count) = (self.next.next_seq, records.len() as u32);
        self.next = end;
        self.is_behind = end.next_seq <= self.read_head_seq;
        self.head_seq = self.head_seq.max(end.next_seq - 1);
        Ok(Some(Frame::Batch(Batch {
            first_seq,
            prev_hash,
            count,
            last_hash: end.hash,
            head_seq: self.head_seq,
            body,
        })))
    }

    /// Takes a cumulative acknowledgement. `true` when it is news; one that matches no batch sent means two histories.
    pub fn acked(&mut self, ack: Cursor) -> Result<bool, RefusalV1> {
        if ack.next_seq < self.acked.next_seq || ack == self.acked {
            return Ok(false);
        }
        let Some(at) = self.in_flight.iter().position(|sent| sent.end == ack) else {
            return Err(RefusalV1::Fork { at: ack.next_seq });
        };
        for sent in self.in_flight.drain(..=at) {
            self.in_flight_bytes -= sent.bytes;
        }
        self.acked = ack;
        Ok(true)
    }

    /// Whether all that was given out has been acknowledged, and no read is under way.
    pub fn is_settled(&self) -> bool {
        self.in_flight.is_empty() && !self.reading
    }

    /// What the receiver has made durable.
    pub fn acked_cursor(&self) -> Cursor {
        self.acked
    }

    /// Chain of the log up to which batches were packed.
    pub fn packed_hash(&self) -> ChainHash {
        self.next.hash
    }
}

/// The records from the first on that one batch may hold.
fn fitting(records: &[LogRecord]) -> Result<&[LogRecord], RefusalV1> {
    let (mut count, mut gathered_bytes) = (0, 0);
    for record in records.iter().take(BATCH_EVENTS_MAX) {
        let bytes = record.bytes.len();
        gathered_bytes += bytes;
        if count == 0 && bytes > RECORD_BYTES_MAX {
            let what = format!("event {} of {bytes} bytes, at most {RECORD_BYTES_MAX} travel", record.seq);
            return Err(RefusalV1::Malformed { what });
        }
        if gathered_bytes > BATCH_BYTES_MAX {
            break;
        }
        count += 1;
    }
    Ok(&records[..count])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(seq: u64) -> LogRecord {
        LogRecord { seq, bytes: vec![seq as u8; 60_000] }
    }

    #[test]
    fn the_window_bounds_what_is_on_its_way() {
        let mut sender = BatchSender::new(Cursor::START, 1_000);
        let mut sent = 0;
        while let Some((from_seq, ..)) = sender.wants() {
            // Bytes that do not compress.
            let bytes = (0..60_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
            sender.pack(&[LogRecord { seq: from_seq, bytes }]).unwrap();
            sent += 1;
        }
        assert!((1..=WINDOW_BATCHES).contains(&sent));
        assert!(sender.in_flight_bytes <= WINDOW_BYTES);
        let first = sender.in_flight[0].end;
        assert_eq!(sender.acked(first), Ok(true));
        assert!(sender.wants().is_some());
    }

    #[test]
    fn what_does_not_fill_a_batch_gathers_until_nothing_is_on_its_way() {
        let mut sender = BatchSender::new(Cursor::START, 1);
        assert_eq!(sender.wants().map(|(seq, ..)| seq), Some(1), "the first event goes at once");
        sender.log_grew(2);
        sender.pack(&[record(1)]).unwrap();
        sender.log_grew(3);
        assert_eq!(sender.wants(), None, "came while the first was read, or is on its way");
        let end = sender.in_flight[0].end;
        assert_eq!(sender.acked(end), Ok(true));
        assert_eq!(sender.wants().map(|(seq, ..)| seq), Some(2), "both together");
        sender.pack(&[record(2), record(3)]).unwrap();
        let ends_at = sender.next.next_seq;
        sender.log_grew(ends_at + BATCH_EVENTS_MAX as u64 - 2);
        sender.is_behind = false;
        assert_eq!(sender.wants(), None, "one too few for a batch");
        sender.log_grew(ends_at + BATCH_EVENTS_MAX as u64 - 1);
        assert_eq!(sender.wants().map(|(seq, ..)| seq), Some(ends_at), "a full one need not wait");
    }

    #[test]
    fn what_does_not_fit_into_a_batch_follows_before_it_is_acknowledged() {
        let mut sender = BatchSender::new(Cursor::START, 3);
        for seq in 1..=2 {
            assert_eq!(sender.wants().map(|(seq, ..)| seq), Some(seq));
            sender.pack(&[record(seq), record(seq + 1)]).unwrap();
        }
        assert_eq!(sender.wants().map(|(seq, ..)| seq), Some(3), "one event fits into a batch");
        sender.pack(&[record(3)]).unwrap();
        sender.log_grew(4);
        assert_eq!((sender.in_flight.len(), sender.wants()), (3, None));
    }

    #[test]
    fn a_log_that_is_stopped_sends_nothing_more_and_takes_acknowledgements_still() {
        let mut sender = BatchSender::new(Cursor::START, 2);
        sender.wants();
        sender.pack(&[record(1)]).unwrap();
        sender.wants();
        sender.stop();
        sender.log_grew(9);
        assert_eq!((sender.wants(), sender.is_settled()), (None, false));
        let end = sender.in_flight[0].end;
        assert_eq!((sender.acked(end), sender.is_settled()), (Ok(true), true));
        assert_eq!(sender.wants(), None);
    }

    #[test]
    fn an_acknowledgement_of_what_was_never_sent_is_a_fork() {
        let mut sender = BatchSender::new(Cursor::START, 2);
        sender.wants();
        sender.pack(&[record(1)]).unwrap();
        let end = sender.in_flight[0].end;
        assert_eq!(sender.acked(Cursor { next_seq: 3, ..end }), Err(RefusalV1::Fork { at: 3 }));
        assert_eq!(sender.acked(Cursor { hash: ChainHash::GENESIS, ..end }), Err(RefusalV1::Fork { at: 2 }));
        assert_eq!(sender.acked(end), Ok(true));
        assert_eq!(sender.acked(end), Ok(false), "a repeat is harmless");
        assert_eq!(sender.acked(Cursor::START), Ok(false), "an older one is harmless");
    }

    #[test]
    fn a_batch_takes_what_fits_and_an_event_that_fits_nowhere_stops_the_log() {
        let count = |records: &[LogRecord]| match BatchSender::new(Cursor::START, 9).pack(records) {
            Ok(Some(Frame::Batch(batch))) => Ok(batch.count),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal),
        };
        let small: Vec<_> = (1..=600).map(|seq| LogRecord { seq, bytes: vec![1; 10] }).collect();
        assert_eq!(count(&small), Ok(BATCH_EVENTS_MAX as u32));
        assert_eq!(count(&[record(1), record(2)]), Ok(1));
        let sized = |seq, bytes| LogRecord { seq, bytes: vec![0; bytes] };
        assert_eq!(count(&[sized(1, RECORD_BYTES_MAX)]), Ok(1));
        assert!(matches!(count(&[sized(1, RECORD_BYTES_MAX + 1)]), Err(RefusalV1::Malformed { .. })));
        assert_eq!(count(&[record(1), sized(2, RECORD_BYTES_MAX + 1)]), Ok(1), "what comes before it still travels");
    }

    #[test]
    fn the_head_that_is_told_is_never_behind_what_is_sent() {
        let mut sender = BatchSender::new(Cursor::START, 1);
        let Ok(Some(Frame::Batch(batch))) = sender.pack(&[record(1), record(2)].map(|mut record| {
            record.bytes.truncate(9);
            record
        })) else {
            panic!("nothing was packed")
        };
        assert_eq!(batch.head_seq, 2);
    }

    #[test]
    fn a_reader_that_skips_an_event_is_caught() {
        let mut sender = BatchSender::new(Cursor::START, 9);
        sender.wants();
        assert_eq!(sender.pack(&[record(1), record(3)]), Err(RefusalV1::Gap { expected: 2, found: 3 }));
    }
}
