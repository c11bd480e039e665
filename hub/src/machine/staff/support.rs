//! The vendor's access ("break-glass"): one person of the centre asks, another opens it, it ends by itself.

use jikai_schema::command::Outcome;
use jikai_schema::event::{EventBody, StaffEvent};
use jikai_schema::staff::{Role, is_hidden};
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension, Row};

use super::DONE;
use crate::machine::error::Stop;
use crate::machine::{Machine, Stamp, rule, unknown};

/// Longest access. Minutes.
const MINUTES_MAX: u16 = 480;
/// How long an access may wait to be opened. Milliseconds.
const WAIT_MS_MAX: i64 = 24 * 3_600_000;
/// Longest reason. Bytes.
const REASON_BYTES_MAX: usize = 500;

/// One access of the vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SupportRow {
    /// Its number.
    pub number: u32,
    /// The vendor's account.
    pub login: String,
    /// What for.
    pub reason: String,
    /// How long, from the approval. Minutes.
    pub minutes: u16,
    /// Who asked.
    pub asked_by: String,
    /// When.
    pub asked_at_ms: TimeMs,
    /// Who opened it.
    pub opened_by: Option<String>,
    /// When it ends by itself.
    pub until_ms: Option<TimeMs>,
    /// Whether it was refused, or ended before its time.
    pub ended: bool,
}

/// How an access stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SupportState {
    /// Nobody opened it yet.
    Waiting,
    /// The account may be used.
    Open,
    /// Over.
    Ended,
}

impl SupportState {
    /// The name in interfaces.
    pub const fn name(self) -> &'static str {
        match self {
            SupportState::Waiting => "waiting",
            SupportState::Open => "open",
            SupportState::Ended => "ended",
        }
    }
}

impl SupportRow {
    /// The access of this number.
    pub fn read(store: &Connection, number: u32) -> Result<Option<Self>, rusqlite::Error> {
        let mut statement = store.prepare_cached("SELECT * FROM staff_support WHERE number = ?1")?;
        statement.query_row([number], SupportRow::from_row).optional()
    }

    /// Accesses before a number, newest first.
    pub fn page(store: &Connection, before: u32, limit: usize) -> Result<Vec<Self>, rusqlite::Error> {
        let sql = "SELECT * FROM staff_support WHERE number < ?1 ORDER BY number DESC LIMIT ?2";
        let mut statement = store.prepare_cached(sql)?;
        statement.query_map((before, limit as i64), SupportRow::from_row)?.collect()
    }

    /// Whether an account of the vendor may be used now.
    pub fn is_open_for(store: &Connection, login: &str, now_ms: TimeMs) -> Result<bool, rusqlite::Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM staff_support WHERE login = ?1 AND until_ms > ?2 AND NOT ended)";
        store.prepare_cached(sql)?.query_row((login, now_ms.ms()), |row| row.get(0))
    }

    /// How it stands.
    pub fn state(&self, now_ms: TimeMs) -> SupportState {
        match self.until_ms {
            _ if self.ended => SupportState::Ended,
            Some(until_ms) if now_ms < until_ms => SupportState::Open,
            Some(_) => SupportState::Ended,
            None if now_ms.ms() < self.asked_at_ms.ms() + WAIT_MS_MAX => SupportState::Waiting,
            None => SupportState::Ended,
        }
    }

    fn from_row(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        Ok(SupportRow {
            number: row.get(0)?,
            login: row.get(1)?,
            reason: row.get(2)?,
            minutes: row.get(3)?,
            asked_by: row.get(4)?,
            asked_at_ms: TimeMs::from_ms(row.get(5)?),
            opened_by: row.get(6)?,
            until_ms: row.get::<_, Option<i64>>(7)?.map(TimeMs::from_ms),
            ended: row.get(8)?,
        })
    }
}

impl Machine<'_> {
    /// Checks: a person asks → the account is the vendor's and in use → reason and time are possible.
    pub(super) fn ask_support(
        &mut self,
        stamp: Stamp<'_>,
        login: &str,
        reason: &str,
        minutes: u16,
    ) -> Result<Outcome, Stop> {
        let asked_by = person(stamp)?;
        let row = self.staff_row(login)?;
        if !row.active || !row.grants.iter().any(|grant| grant.role == Role::VendorSupport) {
            return Err(rule("not_vendor", "only an account of the vendor that is in use is opened for a while").into());
        }
        if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(is_hidden) {
            return Err(rule("invalid_reason", "a reason has 1 to 500 bytes on one line").into());
        }
        if !(1..=MINUTES_MAX).contains(&minutes) {
            return Err(rule("invalid_minutes", format!("access lasts 1 to {MINUTES_MAX} minutes")).into());
        }
        // After this point the command must succeed.
        let newest = "SELECT coalesce(max(number), 0) FROM staff_support";
        let number: u32 = self.tx.prepare_cached(newest)?.query_row([], |row| row.get::<_, u32>(0))? + 1;
        let insert = "INSERT INTO staff_support VALUES (?1, ?2, ?3, ?4, ?5, ?6, NULL, NULL, 0)";
        self.tx.prepare_cached(insert)?.execute((number, login, reason, minutes, asked_by, stamp.at_ms.ms()))?;
        let (login, reason) = (login.to_string(), reason.to_string());
        self.emit(stamp, EventBody::Staff(StaffEvent::SupportAsked { number, login, reason, minutes }))?;
        Ok(DONE)
    }

    /// Checks: known → waiting → approved by a person who neither asked nor will use it.
    pub(super) fn approve_support(&mut self, stamp: Stamp<'_>, number: u32) -> Result<Outcome, Stop> {
        let row = self.support(number)?;
        if row.state(stamp.at_ms) != SupportState::Waiting {
            return Err(rule("not_waiting", "this access was opened, refused or is too old: ask anew").into());
        }
        let opened_by = person(stamp)?;
        if opened_by == row.asked_by || opened_by == row.login {
            return Err(rule("same_person", "another person than who asked opens the access").into());
        }
        // After this point the command must succeed.
        let until_ms = TimeMs::from_ms(stamp.at_ms.ms() + i64::from(row.minutes) * 60_000);
        let update = "UPDATE staff_support SET opened_by = ?2, until_ms = ?3 WHERE number = ?1";
        self.tx.prepare_cached(update)?.execute((number, opened_by, until_ms.ms()))?;
        self.emit(stamp, EventBody::Staff(StaffEvent::SupportOpened { number, login: row.login, until_ms }))?;
        Ok(DONE)
    }

    /// Checks: known. One that is over already is no mistake.
    pub(super) fn end_support(&mut self, stamp: Stamp<'_>, number: u32) -> Result<Outcome, Stop> {
        let row = self.support(number)?;
        if row.state(stamp.at_ms) == SupportState::Ended {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        // After this point the command must succeed.
        self.tx.prepare_cached("UPDATE staff_support SET ended = 1 WHERE number = ?1")?.execute([number])?;
        let login = row.login;
        self.emit(stamp, EventBody::Staff(StaffEvent::SupportEnded { number, login: login.clone() }))?;
        self.end_sessions(stamp, &login)?;
        Ok(DONE)
    }

    fn support(&self, number: u32) -> Result<SupportRow, Stop> {
        SupportRow::read(self.tx, number)?.ok_or_else(|| unknown("support", number).into())
    }
}

/// The person who asks.
fn person(stamp: Stamp<'_>) -> Result<&str, Stop> {
    match stamp.actor.login() {
        Some(login) => Ok(login),
        _ => Err(rule("not_a_person", "only a person of the centre asks for this").into()),
    }
}
