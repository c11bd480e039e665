//! The receiving half of a log: refuses gaps and rewrites, acknowledges only what is durable.

use std::collections::VecDeque;

use super::{VerifiedBatch, WINDOW_BATCHES};
use crate::wire::{BATCH_EVENTS_MAX, Batch, Cursor, RefusalV1, decode_body};

/// Receives one log.
#[derive(Debug)]
pub struct BatchReceiver {
    durable: Cursor,
    next: Cursor,
    /// Ends of the batches that were given out and are not durable yet.
    pending: VecDeque<Cursor>,
}

/// What a received batch means.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// New: make it durable.
    New(VerifiedBatch),
    /// Had before, byte for byte as far as can be told: acknowledge again.
    Repeated(Cursor),
}

impl BatchReceiver {
    /// Expects the log from `durable` on.
    pub fn new(durable: Cursor) -> Self {
        BatchReceiver { durable, next: durable, pending: VecDeque::new() }
    }

    /// The place up to which everything is durable.
    pub fn durable(&self) -> Cursor {
        self.durable
    }

    /// Checks a batch: position, previous hash, every event's place in the chain. Nothing is accepted that is not the
    /// continuation of what was received.
    pub fn receive(&mut self, batch: &Batch) -> Result<Received, RefusalV1> {
        let count = batch.count as usize;
        if count == 0 || count > BATCH_EVENTS_MAX {
            return Err(RefusalV1::Malformed { what: format!("a batch of {count} events") });
        }
        if batch.first_seq > self.next.next_seq {
            return Err(RefusalV1::Gap { expected: self.next.next_seq, found: batch.first_seq });
        }
        if batch.first_seq < self.next.next_seq {
            return self.repeated(batch);
        }
        if batch.prev_hash != self.next.hash {
            return Err(RefusalV1::Fork { at: batch.first_seq });
        }
        if self.pending.len() == WINDOW_BATCHES {
            return Err(RefusalV1::Malformed { what: "more batches than the window allows".into() });
        }
        let events =
            decode_body(&batch.body, count).map_err(|error| RefusalV1::Malformed { what: error.to_string() })?;
        let last_hash = events.iter().fold(batch.prev_hash, |hash, bytes| hash.next(bytes));
        if last_hash != batch.last_hash {
            return Err(RefusalV1::Malformed { what: "the chain of the batch does not add up".into() });
        }
        let (first_seq, prev_hash, head_seq) = (batch.first_seq, batch.prev_hash, batch.head_seq);
        let verified = VerifiedBatch { first_seq, prev_hash, last_hash, head_seq, events };
        self.next = verified.end();
        self.pending.push_back(self.next);
        Ok(Received::New(verified))
    }

    /// A batch from before the cursor: harmless if it ends where the log was cut before, else a rewrite.
    fn repeated(&self, batch: &Batch) -> Result<Received, RefusalV1> {
        let end = batch.first_seq + u64::from(batch.count);
        if end > self.next.next_seq || (end == self.next.next_seq && batch.last_hash != self.next.hash) {
            return Err(RefusalV1::Fork { at: batch.first_seq });
        }
        Ok(Received::Repeated(self.durable))
    }

    /// Everything before `cursor` is durable: what to acknowledge. A place where no batch of this session ends means that
    /// something else moved the store; the sender would take an acknowledgement of it for a fork, so the session ends and
    /// the next one starts from the store's place.
    pub fn delivered(&mut self, cursor: Cursor) -> Result<Cursor, RefusalV1> {
        if let Some(at) = self.pending.iter().position(|end| *end == cursor) {
            self.pending.drain(..=at);
            self.durable = cursor;
        } else if cursor != self.durable {
            let why = format!("the store moved to event {} beside this session", cursor.next_seq);
            return Err(RefusalV1::Unavailable { why });
        }
        Ok(self.durable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{BatchSender, LogRecord};
    use crate::wire::{Frame, FrameDecoder, encode_frame};

    fn batches(count: u64) -> Vec<Batch> {
        let mut sender = BatchSender::new(Cursor::START, count);
        let mut batches = Vec::new();
        for seq in 1..=count {
            sender.wants();
            match sender.pack(&[LogRecord { seq, bytes: vec![seq as u8; 40] }]).unwrap() {
                Some(Frame::Batch(batch)) => batches.push(batch),
                other => panic!("{other:?}"),
            }
        }
        batches
    }

    #[test]
    fn a_gap_is_refused_with_both_positions() {
        let batches = batches(3);
        let mut receiver = BatchReceiver::new(Cursor::START);
        receiver.receive(&batches[0]).unwrap();
        assert_eq!(receiver.receive(&batches[2]), Err(RefusalV1::Gap { expected: 2, found: 3 }));
    }

    #[test]
    fn another_history_is_refused_and_an_exact_repeat_is_not() {
        let batches = batches(3);
        let mut receiver = BatchReceiver::new(Cursor::START);
        receiver.receive(&batches[0]).unwrap();
        let durable = receiver.delivered(Cursor { next_seq: 2, hash: batches[0].last_hash }).unwrap();
        assert_eq!(receiver.receive(&batches[0]), Ok(Received::Repeated(durable)));
        let rewritten = Batch { last_hash: batches[1].last_hash, ..batches[0].clone() };
        assert_eq!(receiver.receive(&rewritten), Err(RefusalV1::Fork { at: 1 }));
        let forked = Batch { prev_hash: batches[2].last_hash, ..batches[1].clone() };
        assert_eq!(receiver.receive(&forked), Err(RefusalV1::Fork { at: 2 }));
        let longer = Batch { count: 2, ..batches[0].clone() };
        assert_eq!(receiver.receive(&longer), Err(RefusalV1::Fork { at: 1 }));
    }

    #[test]
    fn a_place_where_no_batch_ends_is_never_acknowledged() {
        let batches = batches(3);
        let mut receiver = BatchReceiver::new(Cursor::START);
        batches.iter().for_each(|batch| assert!(matches!(receiver.receive(batch), Ok(Received::New(_)))));
        let end = |at: usize| Cursor { next_seq: at as u64 + 2, hash: batches[at].last_hash };
        assert_eq!(receiver.delivered(end(0)), Ok(end(0)));
        assert_eq!(receiver.delivered(end(0)), Ok(end(0)), "the same again is no news");
        for elsewhere in [Cursor { next_seq: 9, ..end(1) }, Cursor { next_seq: 3, ..end(0) }] {
            let refusal = receiver.delivered(elsewhere).unwrap_err();
            assert!(refusal.is_passing(), "{refusal:?}: the next session starts from the store's place");
        }
        assert_eq!(receiver.delivered(end(2)), Ok(end(2)), "several at once");
    }

    #[test]
    fn a_window_of_batches_waits_for_the_store_and_no_more() {
        let batches = batches(WINDOW_BATCHES as u64 + 1);
        let mut receiver = BatchReceiver::new(Cursor::START);
        let (last, fitting) = batches.split_last().unwrap();
        fitting.iter().for_each(|batch| assert!(receiver.receive(batch).is_ok()));
        assert!(matches!(receiver.receive(last), Err(RefusalV1::Malformed { .. })));
        receiver.delivered(Cursor { next_seq: 2, hash: batches[0].last_hash }).unwrap();
        assert!(matches!(receiver.receive(last), Ok(Received::New(_))));
    }

    #[test]
    fn no_flipped_bit_of_a_compressed_frame_is_accepted_as_other_events() {
        let records: Vec<_> = (1..=30).map(|seq| LogRecord { seq, bytes: vec![seq as u8; 90] }).collect();
        let frame = BatchSender::new(Cursor::START, 30).pack(&records).unwrap().unwrap();
        let sent: Vec<Vec<u8>> = records.into_iter().map(|record| record.bytes).collect();
        let bytes = encode_frame(&frame).unwrap();
        assert!(bytes.len() < 30 * 90, "it is compressed");
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            let mut decoder = FrameDecoder::default();
            decoder.push(&altered);
            let Ok(Some(Frame::Batch(batch))) = decoder.next_frame() else { continue };
            if let Ok(Received::New(taken)) = BatchReceiver::new(Cursor::START).receive(&batch) {
                assert_eq!(taken.events, sent, "bit {bit}");
            }
        }
    }

    #[test]
    fn no_altered_byte_of_a_batch_is_accepted() {
        let batch = batches(1).remove(0);
        for at in 0..batch.body.len() {
            let mut altered = batch.clone();
            altered.body[at] ^= 1;
            assert!(BatchReceiver::new(Cursor::START).receive(&altered).is_err(), "byte {at}");
        }
        for count in [0, 2, 513, u32::MAX] {
            assert!(BatchReceiver::new(Cursor::START).receive(&Batch { count, ..batch.clone() }).is_err());
        }
    }
}
