//! A slice as it is written: tables, the node's own log, and what the log alone tells.

use anyhow::{Context, bail};
use jikai_schema::chain::ChainHash;
use jikai_schema::codec;
use jikai_schema::event::{EventBody, HandoffEvent};
use jikai_schema::peer::SliceHead;
use jikai_schema::slice::{SliceImport, SlicePart};
use rusqlite::{Connection, params};

use crate::session::Ended;
use crate::store::{DownCursor, Joining, ReceivedFeed, take_moved};

/// Writes a slice into the caller's transaction.
pub(super) struct TakeIn<'store> {
    store: &'store Connection,
    tables: SliceImport<'store>,
    rows: u64,
    next_seq: u64,
    hash: ChainHash,
    /// Position of the hub's feed behind the newest event of it that came.
    feed_next_seq: Option<u64>,
}

impl<'store> TakeIn<'store> {
    /// Empties the store of what an earlier try may have left.
    pub(super) fn begin(store: &'store Connection) -> anyhow::Result<Self> {
        // The index of the own log's requests is read back from it at start.
        store.execute_batch(
            "DELETE FROM own_log; DELETE FROM request_index; UPDATE request_merged SET seq = 0; DELETE FROM session_end; \
             DELETE FROM received_feed",
        )?;
        let tables = SliceImport::begin(store)?;
        Ok(TakeIn { store, tables, rows: 0, next_seq: 1, hash: ChainHash::GENESIS, feed_next_seq: None })
    }

    /// Rows written so far.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Events of the own log written so far.
    pub(super) fn events(&self) -> u64 {
        self.next_seq - 1
    }

    /// Writes a part.
    pub(super) fn part(&mut self, part: SlicePart) -> anyhow::Result<()> {
        match part {
            SlicePart::Rows { table, columns, rows } => {
                self.tables.rows(&table, columns, &rows)?;
                self.rows += rows.len() as u64;
            }
            SlicePart::TableEnd { table, rows, hash } => self.tables.table_end(table, rows, hash),
            SlicePart::Log { first_seq, events } if first_seq == self.next_seq => {
                for bytes in events {
                    self.event(&bytes)?;
                }
            }
            SlicePart::Log { first_seq, .. } => bail!("events {} to {first_seq} of the log are missing", self.next_seq),
            SlicePart::Facts { events } => {
                for bytes in events {
                    self.fact(&bytes)?;
                }
            }
            SlicePart::Feed { first_seq, .. } if self.feed_next_seq.is_some_and(|next_seq| first_seq != next_seq) => {
                bail!("a run of the feed begins at event {first_seq}, not where the one before ended");
            }
            SlicePart::Feed { first_seq, events } => {
                self.feed_next_seq = Some(first_seq + events.len() as u64);
                for (seq, bytes) in (first_seq..).zip(&events) {
                    let event = codec::decode_event(bytes).context("read an event of the feed")?;
                    ReceivedFeed(self.store).keep(seq, event.at_ms, bytes)?;
                }
            }
            SlicePart::End => {}
        }
        Ok(())
    }

    /// Appends an event of the own log.
    fn event(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.hash = self.hash.next(bytes);
        let mut insert = self.store.prepare_cached("INSERT INTO own_log VALUES (?1, ?2, ?3)")?;
        insert.execute(params![self.next_seq as i64, bytes, self.hash.as_bytes()])?;
        self.next_seq += 1;
        Ok(())
    }

    /// A fact of the hub that ended sessions which were opened before it, or brought requests along that another node had answered.
    fn fact(&self, bytes: &[u8]) -> anyhow::Result<()> {
        let event = codec::decode_event(bytes).context("read a fact of the hub")?;
        if let Some(ended) = Ended::by(&event.body) {
            ended.note_before(self.store, event.at_ms)?;
        }
        if let EventBody::Handoff(HandoffEvent::RequestsMoved { outlet, requests, .. }) = &event.body {
            take_moved(self.store, *outlet, requests)?;
        }
        Ok(())
    }

    /// Checks that all came and equals the hub's; sets the places at which both logs go on.
    pub(super) fn finish(self, head: &SliceHead, joining: Joining) -> anyhow::Result<()> {
        if (self.next_seq, self.hash) != (joining.up_next, joining.up_hash) {
            bail!(
                "the node's log as it came ends with event {}, or has another chain than the hub said",
                self.events()
            );
        }
        self.tables.finish()?;
        let (next_seq, hash) = head.down;
        if self.feed_next_seq.is_some_and(|came| came != next_seq) {
            bail!("the hub's feed as it came does not end where the slice stands");
        }
        DownCursor { next_seq, hash }.save(self.store)?;
        DownCursor::save_latest_at_ms(self.store, head.down_at_ms)?;
        Ok(Joining::end(self.store)?)
    }
}
