//! The node's own log: append, read a run, head.

use jikai_schema::chain::ChainHash;
use jikai_schema::codec::{self, CodecError};
use jikai_schema::event::Event;
use jikai_schema::store::Statements;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension, params};

/// The newest event of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// Its position; 0 for an empty log.
    pub seq: u64,
    /// Chain after it.
    pub hash: ChainHash,
    /// When it was decided; the next one is later.
    pub at_ms: TimeMs,
}

/// One event as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Position.
    pub seq: u64,
    /// The hashed bytes.
    pub bytes: Vec<u8>,
    /// Chain after it.
    pub hash: ChainHash,
}

/// The log's rows over one connection.
pub struct OwnLog<'store>(pub &'store Connection);

impl OwnLog<'_> {
    /// The newest event. An undecodable one is reported as damage by the caller.
    pub fn head(&self) -> Result<Result<LogHead, CodecError>, rusqlite::Error> {
        let newest = self
            .0
            .query_row("SELECT seq, bytes, hash FROM own_log ORDER BY seq DESC LIMIT 1", [], read_row)
            .optional()?;
        Ok(match newest {
            None => Ok(LogHead { seq: 0, hash: ChainHash::GENESIS, at_ms: TimeMs::from_ms(0) }),
            Some(event) => codec::decode_event(&event.bytes).map(|decoded| LogHead {
                seq: event.seq,
                hash: event.hash,
                at_ms: decoded.at_ms,
            }),
        })
    }

    /// Events from `from_seq` on, at most `events_max` and about `bytes_max` (at least one event).
    pub fn read(
        &self,
        from_seq: u64,
        events_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<StoredEvent>, rusqlite::Error> {
        let mut statement =
            self.0.prepare_cached("SELECT seq, bytes, hash FROM own_log WHERE seq >= ?1 ORDER BY seq LIMIT ?2")?;
        let mut rows = statement.query(params![from_seq as i64, events_max as i64])?;
        let (mut events, mut bytes) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let event = read_row(row)?;
            bytes += event.bytes.len();
            if !events.is_empty() && bytes > bytes_max {
                break;
            }
            events.push(event);
        }
        Ok(events)
    }

    /// Chain after `seq`; genesis for 0, `None` for a position that the log does not hold.
    pub fn hash_at(&self, seq: u64) -> Result<Option<ChainHash>, rusqlite::Error> {
        if seq == 0 {
            return Ok(Some(ChainHash::GENESIS));
        }
        self.0
            .prepare_cached("SELECT hash FROM own_log WHERE seq = ?1")?
            .query_row([seq as i64], |row| row.get(0).map(ChainHash::from_bytes))
            .optional()
    }
}

/// Appends one event behind `head` and gives the new head. `bytes` is the encoded `event`.
pub fn append(
    statements: &Statements<'_>,
    head: &LogHead,
    event: &Event,
    bytes: &[u8],
) -> Result<LogHead, rusqlite::Error> {
    let next = LogHead { seq: event.key.seq, hash: head.hash.next(bytes), at_ms: event.at_ms };
    let mut insert = statements.get("INSERT INTO own_log VALUES (?1, ?2, ?3)")?;
    insert.execute((next.seq as i64, bytes, next.hash.as_bytes()))?;
    Ok(next)
}

fn read_row(row: &rusqlite::Row<'_>) -> Result<StoredEvent, rusqlite::Error> {
    Ok(StoredEvent { seq: row.get::<_, i64>(0)? as u64, bytes: row.get(1)?, hash: ChainHash::from_bytes(row.get(2)?) })
}
