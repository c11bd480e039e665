//! Maker and checker: a change is proposed by one person and decided by another, whatever their roles; it is applied once,
//! and only if its subject still is as the maker saw it. Whether a *role* may propose or decide was checked where it came in.

mod row;
mod subject;

use jikai_schema::codec;
use jikai_schema::command::{ChangeCommand, ChangeSubject, Outcome};
use jikai_schema::event::{ChangeEvent, EventBody};
use jikai_schema::parameter::{Parameter, Place};
use jikai_schema::staff::{Area, Role, is_hidden};
use jikai_schema::time::TimeMs;

use super::error::Stop;
use super::{Machine, StaffRow, Stamp, rule, unknown};

use row::SUBJECT_BYTES_MAX;
pub use row::{ChangeRow, ChangeState};

/// Most open changes of one person.
const OPEN_MAX: i64 = 100;
/// Longest reason. Bytes.
const REASON_BYTES_MAX: usize = 500;
const DAY_MS: i64 = 86_400_000;

impl Machine<'_> {
    pub(super) fn change(&mut self, stamp: Stamp<'_>, command: &ChangeCommand) -> Result<Outcome, Stop> {
        match command {
            ChangeCommand::Propose { subject, reason } => self.propose_change(stamp, subject, reason),
            ChangeCommand::Approve { number } => self.approve_change(stamp, *number),
            ChangeCommand::Refuse { number, reason } => self.refuse_change(stamp, *number, reason),
            ChangeCommand::Withdraw { number } => self.withdraw_change(stamp, *number),
        }
    }

    /// Checks: a person proposes, not about the own rights → a reason is given → not too many wait → the subject is known and would change.
    fn propose_change(&mut self, stamp: Stamp<'_>, subject: &ChangeSubject, reason: &str) -> Result<Outcome, Stop> {
        let maker = person(stamp)?.to_string();
        check_not_own(&maker, subject)?;
        check_reason(reason)?;
        let open = "SELECT count(*) FROM change WHERE maker = ?1 AND state = 0 AND expires_at_ms > ?2";
        let open: i64 = self.tx.prepare_cached(open)?.query_row((&maker, stamp.at_ms.ms()), |row| row.get(0))?;
        if open >= OPEN_MAX {
            return Err(rule("too_many_changes", format!("{OPEN_MAX} changes of one person may wait")).into());
        }
        let (before, after) = self.describe(subject)?;
        if before == after {
            return Err(rule("nothing_changes", "it is so already").into());
        }
        let too_long = |_| Stop::from(rule("change_too_long", "this change is too long to be kept"));
        let bytes = codec::encode(subject, SUBJECT_BYTES_MAX).map_err(too_long)?;
        let days = Parameter::ChangeValidity.read(self.tx, &Place::PROVINCE, stamp.at_ms)?;
        let expires_at_ms = TimeMs::from_ms(stamp.at_ms.ms() + days * DAY_MS);
        // After this point the command must succeed.
        let newest = "SELECT coalesce(max(number), 0) FROM change";
        let number = self.tx.prepare_cached(newest)?.query_row([], |row| row.get::<_, u32>(0))? + 1;
        let insert = "INSERT INTO change VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, 0, NULL, NULL)";
        let (kind, at_ms) = (subject.kind(), stamp.at_ms.ms());
        let row = (number, kind, bytes, &before, &after, reason, &maker, at_ms, expires_at_ms.ms());
        self.tx.prepare_cached(insert)?.execute(row)?;
        let (kind, reason) = (kind.to_string(), reason.to_string());
        let proposed = ChangeEvent::Proposed { number, kind, before, after, reason, expires_at_ms };
        self.emit(stamp, EventBody::Change(proposed))?;
        Ok(Outcome::Change { number })
    }

    /// Checks: open and not void → decided by another person, whose rights it does not change, and who may decide about rights if it is about them → the subject still is as the maker saw it → its own rules.
    fn approve_change(&mut self, stamp: Stamp<'_>, number: u32) -> Result<Outcome, Stop> {
        let row = self.open_change(stamp, number)?;
        let checker = other_person(stamp, &row)?.to_string();
        check_not_own(&checker, &row.subject)?;
        self.check_rights_checker(&row, &checker)?;
        if StaffRow::read(self.tx, &row.maker)?.is_some_and(|maker| !maker.active) {
            let text = "who proposed it is out of use meanwhile: refuse it, and have it proposed anew";
            return Err(rule("maker_out_of_use", text).into());
        }
        let (before, _) = self.describe(&row.subject)?;
        if before != row.before {
            let text = "what it changes was changed meanwhile: refuse it, and have it proposed anew";
            return Err(rule("changed_meanwhile", text).into());
        }
        // A refusal from here changes nothing; once it is done, the rest must succeed.
        let done = self.perform(stamp, &row, &checker)?;
        self.decide(number, ChangeState::Approved, &checker, None)?;
        self.emit(stamp, EventBody::Change(ChangeEvent::Approved { number, maker: row.maker }))?;
        Ok(Outcome::Done { events: done + 1, existing: 0 })
    }

    /// Rights are decided by a security administrator; by the system administrator only where no other one is there to decide.
    fn check_rights_checker(&self, row: &ChangeRow, checker: &str) -> Result<(), Stop> {
        let ChangeSubject::Grants { login, .. } = &row.subject else { return Ok(()) };
        let whole = |row: &StaffRow| {
            row.grants.iter().any(|grant| grant.role == Role::SecurityAdministrator && grant.area == Area::Province)
        };
        if StaffRow::read(self.tx, checker)?.is_some_and(|row| whole(&row)) {
            return Ok(());
        }
        let other =
            |other: &StaffRow| whole(other) && other.active && other.login != row.maker && other.login != *login;
        if self.has_security_administrator(other)? {
            let text = "another security administrator decides about rights";
            return Err(rule("security_administrator_decides", text).into());
        }
        Ok(())
    }

    /// Checks: a reason is given → open and not void → decided by another person.
    fn refuse_change(&mut self, stamp: Stamp<'_>, number: u32, reason: &str) -> Result<Outcome, Stop> {
        check_reason(reason)?;
        let row = self.open_change(stamp, number)?;
        let checker = other_person(stamp, &row)?.to_string();
        // After this point the command must succeed.
        self.decide(number, ChangeState::Refused, &checker, Some(reason))?;
        let (maker, reason) = (row.maker, reason.to_string());
        self.emit(stamp, EventBody::Change(ChangeEvent::Refused { number, maker, reason }))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }

    /// Checks: open and not void → the own one.
    fn withdraw_change(&mut self, stamp: Stamp<'_>, number: u32) -> Result<Outcome, Stop> {
        let row = self.open_change(stamp, number)?;
        if person(stamp)? != row.maker {
            return Err(rule("not_own_change", "only who proposed a change takes it back").into());
        }
        // After this point the command must succeed.
        let update = "UPDATE change SET state = ?2 WHERE number = ?1";
        self.tx.prepare_cached(update)?.execute((number, ChangeState::Withdrawn as i64))?;
        self.emit(stamp, EventBody::Change(ChangeEvent::Withdrawn { number }))?;
        Ok(Outcome::Done { events: 1, existing: 0 })
    }

    fn open_change(&self, stamp: Stamp<'_>, number: u32) -> Result<ChangeRow, Stop> {
        let row = ChangeRow::read(self.tx, number)?.ok_or_else(|| unknown("change", number))?;
        match row.state_name(stamp.at_ms) {
            "open" => Ok(row),
            state => Err(rule("change_closed", format!("change {number} is {state}")).into()),
        }
    }

    fn decide(&self, number: u32, state: ChangeState, checker: &str, answer: Option<&str>) -> Result<(), Stop> {
        let update = "UPDATE change SET state = ?2, checker = ?3, answer = ?4 WHERE number = ?1";
        self.tx.prepare_cached(update)?.execute((number, state as i64, checker, answer))?;
        Ok(())
    }
}

/// The person who asks; the machine's token and jobs are none.
fn person<'a>(stamp: Stamp<'a>) -> Result<&'a str, Stop> {
    match stamp.actor.login() {
        Some(login) if !login.starts_with('@') => Ok(login),
        _ => Err(rule("not_a_person", "only a person of the centre proposes and decides").into()),
    }
}

/// The person who decides, who is not the maker: persons are compared, whatever their roles.
fn other_person<'a>(stamp: Stamp<'a>, row: &ChangeRow) -> Result<&'a str, Stop> {
    match person(stamp)? {
        checker if checker == row.maker => {
            Err(rule("same_person", "another person than who proposed it decides").into())
        }
        checker => Ok(checker),
    }
}

/// Nobody takes part in changing the own rights.
fn check_not_own(person: &str, subject: &ChangeSubject) -> Result<(), Stop> {
    match subject {
        ChangeSubject::Grants { login, .. } if login == person => {
            Err(rule("own_account", "nobody proposes or decides a change of the own rights").into())
        }
        _ => Ok(()),
    }
}

pub(super) fn check_reason(reason: &str) -> Result<(), Stop> {
    match reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(is_hidden) {
        false => Ok(()),
        true => Err(rule("invalid_reason", format!("a reason has 1 to {REASON_BYTES_MAX} bytes on one line")).into()),
    }
}
