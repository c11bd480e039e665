//! Rows of `change` as the machine reads and writes them.

use jikai_schema::codec;
use jikai_schema::command::ChangeSubject;
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension, Row};

use crate::machine::StorageError;

/// Largest encoding of what a change does.
pub(super) const SUBJECT_BYTES_MAX: usize = 4 * 1024;

/// How a change stands in its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeState {
    /// Nobody decided yet; void once it has expired.
    Open,
    /// Done.
    Approved,
    /// Not to be done.
    Refused,
    /// Taken back by its maker.
    Withdrawn,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// Its number.
    pub number: u32,
    /// What it does.
    pub subject: ChangeSubject,
    /// JSON: the subject as it was when it was proposed.
    pub before: String,
    /// JSON: the subject as it is to be.
    pub after: String,
    /// Why.
    pub reason: String,
    /// Who proposed it.
    pub maker: String,
    /// When.
    pub proposed_at_ms: TimeMs,
    /// When it is void.
    pub expires_at_ms: TimeMs,
    /// How it stands.
    pub state: ChangeState,
    /// Who decided.
    pub checker: Option<String>,
    /// Why it was refused.
    pub answer: Option<String>,
}

impl ChangeRow {
    /// The change of a number.
    pub fn read(store: &Connection, number: u32) -> Result<Option<Self>, StorageError> {
        let mut statement = store.prepare_cached("SELECT * FROM change WHERE number = ?1")?;
        statement.query_row([number], |row| Ok(ChangeRow::from_row(row))).optional()?.transpose()
    }

    /// Changes before a number, newest first.
    pub fn page(store: &Connection, before: u32, limit: usize) -> Result<Vec<Self>, StorageError> {
        let sql = "SELECT * FROM change WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
        let mut statement = store.prepare_cached(sql)?;
        let mut rows = statement.query((before, limit as i64))?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(ChangeRow::from_row(row)?);
        }
        Ok(found)
    }

    /// The name of its state at a time.
    pub fn state_name(&self, now_ms: TimeMs) -> &'static str {
        match self.state {
            ChangeState::Open if now_ms >= self.expires_at_ms => "expired",
            ChangeState::Open => "open",
            ChangeState::Approved => "approved",
            ChangeState::Refused => "refused",
            ChangeState::Withdrawn => "withdrawn",
        }
    }

    fn from_row(row: &Row<'_>) -> Result<Self, StorageError> {
        let (number, subject): (u32, Vec<u8>) = (row.get(0)?, row.get(2)?);
        let state = match row.get::<_, i64>(9)? {
            0 => ChangeState::Open,
            1 => ChangeState::Approved,
            2 => ChangeState::Refused,
            _ => ChangeState::Withdrawn,
        };
        Ok(ChangeRow {
            number,
            subject: codec::decode(&subject, SUBJECT_BYTES_MAX)?,
            before: row.get(3)?,
            after: row.get(4)?,
            reason: row.get(5)?,
            maker: row.get(6)?,
            proposed_at_ms: TimeMs::from_ms(row.get(7)?),
            expires_at_ms: TimeMs::from_ms(row.get(8)?),
            state,
            checker: row.get(10)?,
            answer: row.get(11)?,
        })
    }
}
