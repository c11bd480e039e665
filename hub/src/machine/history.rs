//! The nodes' logs as the hub keeps them: batches of raw events, read back one by one with their place in the chain.

use jikai_schema::chain::ChainHash;
use jikai_schema::id::NodeId;
use rusqlite::{Connection, OptionalExtension};

use super::StorageError;

/// Bits of the sequence in a row's key.
const SEQ_BITS: u32 = 48;

/// The kept log of one node.
pub struct NodeHistory<'store> {
    store: &'store Connection,
    node: NodeId,
}

/// One kept event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredNodeEvent {
    /// Position in the node's log.
    pub seq: u64,
    /// Chain before it.
    pub prev: ChainHash,
    /// The hashed bytes.
    pub bytes: Vec<u8>,
}

/// A row of `node_batch`.
struct BatchRow {
    first_seq: u64,
    bytes: Vec<u8>,
}

impl<'store> NodeHistory<'store> {
    /// The log of `node` as `store` keeps it.
    pub const fn new(store: &'store Connection, node: NodeId) -> Self {
        NodeHistory { store, node }
    }

    fn key(&self, seq: u64) -> i64 {
        i64::from(self.node.get()) << SEQ_BITS | (seq.min((1 << SEQ_BITS) - 1)) as i64
    }

    /// Keeps a batch.
    pub(super) fn keep(&self, first_seq: u64, events: &[Vec<u8>], last_hash: ChainHash) -> Result<(), StorageError> {
        let length = events.iter().map(|event| event.len() + 4).sum();
        let mut bytes = Vec::with_capacity(length);
        for event in events {
            bytes.extend_from_slice(&(event.len() as u32).to_le_bytes());
            bytes.extend_from_slice(event);
        }
        self.store.prepare_cached("INSERT INTO node_batch VALUES (?1, ?2, ?3, ?4)")?.execute((
            self.key(first_seq),
            events.len() as i64,
            last_hash.as_bytes(),
            bytes,
        ))?;
        Ok(())
    }

    /// The chain before `seq`; `None` when the log is not kept up to there.
    pub fn chain_before(&self, seq: u64) -> Result<Option<ChainHash>, StorageError> {
        if seq <= 1 {
            return Ok((seq == 1).then_some(ChainHash::GENESIS));
        }
        let Some(batch) = self.batch_with(seq - 1)? else { return Ok(None) };
        let mut hash = self.hash_before_batch(batch.first_seq)?;
        let mut next_seq = batch.first_seq;
        for event in self.events(&batch)? {
            if next_seq == seq {
                break;
            }
            hash = hash.next(event);
            next_seq += 1;
        }
        Ok((next_seq == seq).then_some(hash))
    }

    /// Events behind `after`, in order, at most so many and about so many bytes.
    pub fn events_after(
        &self,
        after: u64,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredNodeEvent>, StorageError> {
        let (mut found, mut gathered_bytes, mut seq) = (Vec::new(), 0, after.saturating_add(1));
        while let Some(batch) = self.batch_with(seq)? {
            let mut prev = self.hash_before_batch(batch.first_seq)?;
            for (event_seq, bytes) in (batch.first_seq..).zip(self.events(&batch)?) {
                let hash = prev.next(bytes);
                if event_seq >= seq {
                    found.push(StoredNodeEvent { seq: event_seq, prev, bytes: bytes.to_vec() });
                    gathered_bytes += bytes.len();
                    seq = event_seq + 1;
                }
                if found.len() == events_max || gathered_bytes >= bytes_max {
                    return Ok(found);
                }
                prev = hash;
            }
        }
        Ok(found)
    }

    /// The batch in which `seq` may lie.
    fn batch_with(&self, seq: u64) -> Result<Option<BatchRow>, StorageError> {
        let sql = "SELECT node_batch, event_count, bytes FROM node_batch WHERE node_batch BETWEEN ?1 AND ?2 \
                   ORDER BY node_batch DESC LIMIT 1";
        let row: Option<(i64, i64, Vec<u8>)> = self
            .store
            .prepare_cached(sql)?
            .query_row((self.key(0), self.key(seq)), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        let Some((key, event_count, bytes)) = row else { return Ok(None) };
        let first_seq = (key & ((1 << SEQ_BITS) - 1)) as u64;
        Ok((seq < first_seq + event_count as u64).then_some(BatchRow { first_seq, bytes }))
    }

    fn hash_before_batch(&self, first_seq: u64) -> Result<ChainHash, StorageError> {
        let sql =
            "SELECT last_hash FROM node_batch WHERE node_batch BETWEEN ?1 AND ?2 ORDER BY node_batch DESC LIMIT 1";
        let hash: Option<[u8; 32]> = self
            .store
            .prepare_cached(sql)?
            .query_row((self.key(0), self.key(first_seq) - 1), |row| row.get(0))
            .optional()?;
        Ok(hash.map_or(ChainHash::GENESIS, ChainHash::from_bytes))
    }

    fn events<'row>(&self, batch: &'row BatchRow) -> Result<Vec<&'row [u8]>, StorageError> {
        let damaged = || StorageError::Damaged { table: "node_batch", key: self.key(batch.first_seq) };
        let (mut events, mut rest) = (Vec::new(), batch.bytes.as_slice());
        while !rest.is_empty() {
            let (length, tail) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
            let (event, tail) = tail.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(damaged)?;
            events.push(event);
            rest = tail;
        }
        Ok(events)
    }
}
