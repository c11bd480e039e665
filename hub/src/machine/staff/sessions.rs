//! Sessions, and logins that failed.

use core::net::IpAddr;

use jikai_schema::command::{Factor, Outcome, SessionTag};
use jikai_schema::event::{EventBody, Proof, StaffEvent};
use jikai_schema::time::TimeMs;
use rusqlite::{Connection, OptionalExtension};

use super::{DONE, StaffRow, is_revocation, session_no};
use crate::machine::error::Stop;
use crate::machine::{Machine, Stamp, rule};

/// Failures in a row after which login waits.
pub const FAILURES_FREE: u32 = 5;
/// Wrong codes behind a right password after which only a reset of the password helps: somebody else knows it.
pub const CODE_FAILURES_MAX: u32 = 10;
/// First wait; it doubles with each further failure.
const LOCK_MS_MIN: i64 = 60_000;
/// Longest wait.
const LOCK_MS_MAX: i64 = 3_600_000;
/// Most accounts and places whose failures are remembered; those that failed longest ago are forgotten.
const LOCKS_MAX: i64 = 10_000;
/// Most sessions of one person; the oldest makes room.
const SESSIONS_MAX: i64 = 5;
/// Longest name that was given and is remembered. Bytes.
const GIVEN_BYTES_MAX: usize = 64;

impl Machine<'_> {
    /// Checks: known and in use → the password still the one that was compared → not locked, nor guessed at behind the password → the one-time or recovery code
    /// not used before.
    pub(super) fn open_session(
        &mut self,
        stamp: Stamp<'_>,
        login: &str,
        seen_hash: &str,
        tag: SessionTag,
        address: IpAddr,
        factor: Factor,
    ) -> Result<Outcome, Stop> {
        let row = self.staff_row(login)?;
        if !row.active || row.password_hash != seen_hash {
            return Err(rule("login_refused", "the account was changed meanwhile").into());
        }
        if LoginLock::read(self.tx, login, address)?.is_some_and(|lock| lock.until_ms > stamp.at_ms) {
            return Err(rule("login_locked", "too many logins failed: wait").into());
        }
        if row.code_failure_count >= CODE_FAILURES_MAX {
            let text = "too many wrong codes came with the right password: have it reset";
            return Err(rule("login_locked", text).into());
        }
        let (proof, factor_step) = self.take_factor(&row, factor)?;
        // After this point the command must succeed.
        let (failure_count, locked_until_ms) = (0, TimeMs::from_ms(0));
        StaffRow { failure_count, locked_until_ms, code_failure_count: 0, factor_step, ..row }.write(self.tx)?;
        let forget = "DELETE FROM login_lock WHERE login = ?1 AND place = ?2";
        self.tx.prepare_cached(forget)?.execute((login, place_of(address)))?;
        self.make_room(stamp, login)?;
        let insert = "INSERT OR IGNORE INTO staff_session VALUES (?1, ?2, ?3, ?3, ?4, ?5)";
        let proven_twice = proof != Proof::Password;
        self.tx.prepare_cached(insert)?.execute((tag.0, login, stamp.at_ms.ms(), address.to_string(), proven_twice))?;
        let (login, session) = (login.to_string(), session_no(&tag.0));
        self.note(stamp, StaffEvent::SessionOpened { login, session, address, proof })
    }

    /// What was shown besides the password, used up; and the newest step taken from then on.
    fn take_factor(&self, row: &StaffRow, factor: Factor) -> Result<(Proof, u64), Stop> {
        match factor {
            Factor::None if row.factor_sealed.is_some() => {
                Err(rule("second_factor_needed", "this account needs a one-time code").into())
            }
            Factor::None => Ok((Proof::Password, row.factor_step)),
            Factor::OneTimeCode { step } if step <= row.factor_step || i64::try_from(step).is_err() => {
                Err(rule("code_used", "this one-time code was used before: wait for the next one").into())
            }
            Factor::OneTimeCode { step } => Ok((Proof::OneTimeCode, step)),
            Factor::RecoveryCode { hash } => {
                let delete = "DELETE FROM staff_recovery WHERE login = ?1 AND hash = ?2";
                match self.tx.prepare_cached(delete)?.execute((&row.login, hash))? {
                    0 => Err(rule("code_used", "this recovery code was used before").into()),
                    _ => Ok((Proof::RecoveryCode, row.factor_step)),
                }
            }
        }
    }

    /// Ends the oldest sessions of a person who has as many as are allowed.
    fn make_room(&mut self, stamp: Stamp<'_>, login: &str) -> Result<(), Stop> {
        let oldest =
            "SELECT tag FROM staff_session WHERE login = ?1 ORDER BY opened_at_ms DESC, tag LIMIT -1 OFFSET ?2";
        let mut statement = self.tx.prepare_cached(oldest)?;
        let tags = statement.query_map((login, SESSIONS_MAX - 1), |row| row.get::<_, [u8; 32]>(0))?;
        let tags = tags.collect::<Result<Vec<_>, _>>()?;
        drop(statement);
        for tag in tags {
            self.end_session(stamp, SessionTag(tag))?;
        }
        Ok(())
    }

    pub(super) fn touch_session(&mut self, stamp: Stamp<'_>, tag: SessionTag) -> Result<Outcome, Stop> {
        let update = "UPDATE staff_session SET seen_at_ms = max(seen_at_ms, ?2) WHERE tag = ?1";
        let touched = self.tx.prepare_cached(update)?.execute((tag.0, stamp.at_ms.ms()))?;
        Ok(Outcome::Done { events: 0, existing: touched as u64 })
    }

    /// Ends a session; one that has ended already is no mistake.
    pub(super) fn end_session(&mut self, stamp: Stamp<'_>, tag: SessionTag) -> Result<Outcome, Stop> {
        let select = "SELECT login FROM staff_session WHERE tag = ?1";
        let login: Option<String> = self.tx.prepare_cached(select)?.query_row([tag.0], |row| row.get(0)).optional()?;
        let Some(login) = login else { return Ok(Outcome::Done { events: 0, existing: 1 }) };
        self.tx.prepare_cached("DELETE FROM staff_session WHERE tag = ?1")?.execute([tag.0])?;
        let revoked = is_revocation(stamp, &login);
        self.note(stamp, StaffEvent::SessionEnded { login, session: session_no(&tag.0), revoked })
    }

    /// A failed login is a fact, whatever name was given. After five in a row from one place the account waits there, longer
    /// each time; what is tried meanwhile does not make it wait longer. The row shows the newest failures from anywhere.
    pub(super) fn note_failure(&mut self, stamp: Stamp<'_>, given: &str, address: IpAddr) -> Result<Outcome, Stop> {
        let mut failures = 0;
        if let Some(row) = StaffRow::read(self.tx, given)? {
            let known = LoginLock::read(self.tx, given, address)?.unwrap_or_default();
            failures = known.failures;
            if known.until_ms <= stamp.at_ms {
                failures = failures.saturating_add(1);
                let until_ms = TimeMs::from_ms(match lock_ms(failures) {
                    0 => 0,
                    lock_ms => stamp.at_ms.ms() + lock_ms,
                });
                self.keep_lock(stamp, given, address, LoginLock { failures, until_ms })?;
                StaffRow { failure_count: failures, locked_until_ms: until_ms, ..row }.write(self.tx)?;
            }
        }
        self.failed(stamp, given, address, failures)
    }

    /// A wrong code behind a right password counts for the account wherever it came from: only who knows the password can do
    /// that, so nobody keeps the person out by it.
    pub(super) fn note_code_failure(
        &mut self,
        stamp: Stamp<'_>,
        login: &str,
        address: IpAddr,
    ) -> Result<Outcome, Stop> {
        let row = self.staff_row(login)?;
        // After this point the command must succeed.
        let code_failure_count = row.code_failure_count.saturating_add(1);
        StaffRow { code_failure_count, ..row }.write(self.tx)?;
        self.note_failure(stamp, login, address)
    }

    fn failed(&mut self, stamp: Stamp<'_>, given: &str, address: IpAddr, failures: u32) -> Result<Outcome, Stop> {
        let given = given[..given.floor_char_boundary(GIVEN_BYTES_MAX)].to_string();
        self.emit(stamp, EventBody::Staff(StaffEvent::LoginFailed { given, address, failures }))?;
        Ok(DONE)
    }
}

impl Machine<'_> {
    fn keep_lock(&self, stamp: Stamp<'_>, login: &str, address: IpAddr, lock: LoginLock) -> Result<(), Stop> {
        let insert = "INSERT OR REPLACE INTO login_lock VALUES (?1, ?2, ?3, ?4, ?5)";
        let row = (login, place_of(address), lock.failures, lock.until_ms.ms(), stamp.at_ms.ms());
        self.tx.prepare_cached(insert)?.execute(row)?;
        let forget = "DELETE FROM login_lock WHERE (login, place) IN (SELECT login, place FROM login_lock \
                      ORDER BY failed_at_ms DESC, login, place LIMIT -1 OFFSET ?1)";
        let known: i64 = self.tx.prepare_cached("SELECT count(*) FROM login_lock")?.query_row([], |row| row.get(0))?;
        if known > LOCKS_MAX {
            self.tx.prepare_cached(forget)?.execute([LOCKS_MAX / 2])?;
        }
        Ok(())
    }
}

/// Failures in a row of one account from one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LoginLock {
    /// How many.
    pub failures: u32,
    /// No login from there before then.
    pub until_ms: TimeMs,
}

impl LoginLock {
    /// What is remembered of an account at the place of an address; `None` where nothing is.
    pub fn read(store: &Connection, login: &str, address: IpAddr) -> Result<Option<Self>, rusqlite::Error> {
        let sql = "SELECT failure_count, locked_until_ms FROM login_lock WHERE login = ?1 AND place = ?2";
        let mut statement = store.prepare_cached(sql)?;
        let lock =
            |row: &rusqlite::Row<'_>| Ok(LoginLock { failures: row.get(0)?, until_ms: TimeMs::from_ms(row.get(1)?) });
        statement.query_row((login, place_of(address)), lock).optional()
    }
}

/// One place: an address; of IPv6 its /64, which one household or office has whole.
fn place_of(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// How long login waits after so many failures in a row.
fn lock_ms(failures: u32) -> i64 {
    match failures.checked_sub(FAILURES_FREE) {
        None => 0,
        Some(more) => (LOCK_MS_MIN << more.min(10)).min(LOCK_MS_MAX),
    }
}
