//! Confirmation: an account gets what its rights promise once the person behind it has shown a code that another person than the
//! account's maker handed over. Who makes an account or resets it knows its password, and could else move in first.

use jikai_schema::command::Outcome;
use jikai_schema::crypto::equal;
use jikai_schema::event::StaffEvent;
use jikai_schema::staff::Role;
use jikai_schema::time::TimeMs;
use rusqlite::OptionalExtension;

use super::{StaffRow, check_other_person, check_same_person};
use crate::machine::error::Stop;
use crate::machine::{Machine, Stamp, StorageError, rule};

/// Longest time that a code is good. Milliseconds.
const VALID_MS_MAX: i64 = 7 * 86_400_000;

impl Machine<'_> {
    /// Checks: another person's account → known and in use → the machine's own token only for the first security administrator →
    /// the code ends in time.
    pub(super) fn offer_confirmation(
        &mut self,
        stamp: Stamp<'_>,
        login: &str,
        code_hash: &[u8; 32],
        expires_at_ms: TimeMs,
    ) -> Result<Outcome, Stop> {
        check_other_person(stamp, login)?;
        let row = self.staff_row(login)?;
        if !row.active {
            return Err(rule("account_out_of_use", "the account is out of use").into());
        }
        let is_machine = stamp.actor.login().is_some_and(|actor| actor.starts_with('@'));
        if is_machine && self.has_security_administrator(|row| row.confirmed)? {
            let text = "there is a security administrator: that person confirms accounts";
            return Err(rule("security_administrator_exists", text).into());
        }
        let valid_ms = expires_at_ms.ms() - stamp.at_ms.ms();
        if !(1..=VALID_MS_MAX).contains(&valid_ms) {
            return Err(rule("invalid_expiry", "a code is good for 7 days at most").into());
        }
        // After this point the command must succeed.
        let insert = "INSERT OR REPLACE INTO staff_confirmation VALUES (?1, ?2, ?3)";
        self.tx.prepare_cached(insert)?.execute((login, code_hash, expires_at_ms.ms()))?;
        self.note(stamp, StaffEvent::ConfirmationOffered { login: login.to_string(), expires_at_ms })
    }

    /// Checks: the own account → known → the second factor is set up, so that nobody else can come behind → the code that waits.
    pub(super) fn confirm(&mut self, stamp: Stamp<'_>, login: &str, code_hash: &[u8; 32]) -> Result<Outcome, Stop> {
        check_same_person(stamp, login)?;
        let row = self.staff_row(login)?;
        if row.factor_sealed.is_none() {
            return Err(rule("second_factor_missing", "set the second factor up first").into());
        }
        let select = "SELECT code_hash FROM staff_confirmation WHERE login = ?1 AND expires_at_ms > ?2";
        let mut statement = self.tx.prepare_cached(select)?;
        let waiting: Option<[u8; 32]> = statement.query_row((login, stamp.at_ms.ms()), |row| row.get(0)).optional()?;
        drop(statement);
        if !waiting.is_some_and(|waiting| equal(&waiting, code_hash)) {
            return Err(rule("confirmation_refused", "this is not the code that waits for this account").into());
        }
        // After this point the command must succeed.
        StaffRow { confirmed: true, ..row }.write(self.tx)?;
        self.forget_confirmation(login)?;
        self.note(stamp, StaffEvent::Confirmed { login: login.to_string() })
    }

    /// A code that was handed out before does not count any more.
    pub(super) fn forget_confirmation(&self, login: &str) -> Result<(), StorageError> {
        self.tx.prepare_cached("DELETE FROM staff_confirmation WHERE login = ?1")?.execute([login])?;
        Ok(())
    }

    /// Whether anybody, in use or not, holds that role and fits.
    pub(in crate::machine) fn has_security_administrator(
        &self,
        fits: impl Fn(&StaffRow) -> bool,
    ) -> Result<bool, StorageError> {
        let mut after = String::new();
        loop {
            let page = StaffRow::page(self.tx, &after, 500)?;
            let Some(last) = page.last() else { return Ok(false) };
            after.clone_from(&last.login);
            let security = |row: &StaffRow| row.grants.iter().any(|grant| grant.role == Role::SecurityAdministrator);
            if page.iter().any(|row| security(row) && fits(row)) {
                return Ok(true);
            }
        }
    }
}
