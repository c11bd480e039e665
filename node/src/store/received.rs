//! The hub's feed as it was received, kept for a while: what a hub that is put back from an older copy lacks is here.

use jikai_schema::time::TimeMs;
use rusqlite::{Connection, params};

/// How long the received feed is kept: what is younger than this stays, and the newest events whatever their age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedRetention {
    /// Age up to which an event stays. Milliseconds.
    pub age_ms: i64,
    /// So many of the newest stay.
    pub events_min: u64,
}

impl Default for FeedRetention {
    /// A week, and 10,000 events: a hub is backed up at least so often.
    fn default() -> Self {
        FeedRetention { age_ms: 7 * 24 * 60 * 60 * 1000, events_min: 10_000 }
    }
}

/// Rows of the received feed that are looked at, to be deleted, for each event that comes in: what has gathered shrinks, and no
/// transaction grows long by it.
const FORGOTTEN_FOR_EACH: usize = 4;

/// The received feed's rows over one connection.
pub struct ReceivedFeed<'store>(pub &'store Connection);

impl ReceivedFeed<'_> {
    /// Keeps one event. One that could not be read is kept as well: the hub wants the bytes.
    pub fn keep(&self, seq: u64, at_ms: TimeMs, bytes: &[u8]) -> Result<(), rusqlite::Error> {
        let mut insert = self.0.prepare_cached("INSERT INTO received_feed VALUES (?1, ?2, ?3)")?;
        insert.execute(params![seq as i64, at_ms.ms(), bytes])?;
        Ok(())
    }

    /// Forgets what is old enough, a bounded part of it for the `came` events of a transaction; `next_seq` is the place behind them.
    pub fn forget(
        &self,
        retention: &FeedRetention,
        now_ms: TimeMs,
        next_seq: u64,
        came: usize,
    ) -> Result<(), rusqlite::Error> {
        let before_ms = now_ms.ms().saturating_sub(retention.age_ms);
        let before_seq = next_seq.saturating_sub(retention.events_min);
        let mut statement = self.0.prepare_cached("SELECT seq, at_ms FROM received_feed ORDER BY seq LIMIT ?1")?;
        let mut rows = statement.query([came.saturating_mul(FORGOTTEN_FOR_EACH) as i64])?;
        let mut last = None;
        while let Some(row) = rows.next()? {
            let (seq, at_ms): (i64, i64) = (row.get(0)?, row.get(1)?);
            if seq as u64 >= before_seq || at_ms >= before_ms {
                break;
            }
            last = Some(seq);
        }
        drop(rows);
        if let Some(last) = last {
            self.0.prepare_cached("DELETE FROM received_feed WHERE seq <= ?1")?.execute([last])?;
        }
        Ok(())
    }

    /// Events from a position on, about `bytes_max` bytes (at least one event). `None` where the first is not held any more.
    pub fn read(&self, from_seq: u64, bytes_max: usize) -> Result<Option<Vec<Vec<u8>>>, rusqlite::Error> {
        let mut statement =
            self.0.prepare_cached("SELECT seq, bytes FROM received_feed WHERE seq >= ?1 ORDER BY seq")?;
        let mut rows = statement.query([from_seq as i64])?;
        let (mut events, mut gathered_bytes) = (Vec::<Vec<u8>>::new(), 0);
        while let Some(row) = rows.next()? {
            let (seq, bytes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            if seq as u64 != from_seq + events.len() as u64 {
                break;
            }
            gathered_bytes += bytes.len();
            if gathered_bytes > bytes_max && !events.is_empty() {
                break;
            }
            events.push(bytes);
        }
        Ok((!events.is_empty()).then_some(events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(store: &Connection) -> (i64, i64) {
        let sql = "SELECT count(*), coalesce(min(seq), 0) FROM received_feed";
        store.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
    }

    #[test]
    fn what_is_old_goes_bit_by_bit_and_the_newest_stay_whatever_their_age() {
        let data = tempfile::tempdir().unwrap();
        let store = crate::store::open(data.path()).unwrap();
        let feed = ReceivedFeed(&store);
        for seq in 1..=100 {
            feed.keep(seq, TimeMs::from_ms(seq as i64), &[seq as u8; 10]).unwrap();
        }
        let retention = FeedRetention { age_ms: 50, events_min: 20 };
        let forget = |now_ms| feed.forget(&retention, TimeMs::from_ms(now_ms), 101, 2).unwrap();
        forget(60);
        assert_eq!(held(&store), (92, 9), "a bounded part at once");
        forget(60);
        assert_eq!(held(&store), (91, 10), "younger ones stay");
        for _ in 0..100 {
            forget(10_000);
        }
        assert_eq!(held(&store), (20, 81), "the newest stay");
    }

    #[test]
    fn a_run_is_read_whole_up_to_its_bytes_and_not_from_where_it_is_not_held() {
        let data = tempfile::tempdir().unwrap();
        let store = crate::store::open(data.path()).unwrap();
        let feed = ReceivedFeed(&store);
        for seq in 5..=8 {
            feed.keep(seq, TimeMs::from_ms(1), &[seq as u8; 10]).unwrap();
        }
        assert_eq!(feed.read(4, 100).unwrap(), None);
        assert_eq!(feed.read(5, 25).unwrap(), Some(vec![vec![5; 10], vec![6; 10]]));
        assert_eq!(feed.read(8, 1).unwrap(), Some(vec![vec![8; 10]]));
        assert_eq!(feed.read(9, 1).unwrap(), None);
    }
}
