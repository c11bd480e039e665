//! Accounts, rights and passwords.

use jikai_schema::command::{NewStaff, Outcome};
use jikai_schema::event::{EventBody, StaffEvent};
use jikai_schema::staff::{Area, GRANTS_MAX, Grant, Role, check_login, check_name, conflict};
use jikai_schema::time::TimeMs;

use super::{DONE, PASSWORDS_KEPT, StaffRow, check_other_person, check_same_person};
use crate::machine::error::Stop;
use crate::machine::{Machine, Stamp, StorageError, exists_with_other, rule};

/// Most recovery codes of one person.
const RECOVERY_CODES_MAX: usize = 20;
/// Most outlets in all grants of one person: before and after must fit one event.
const GRANTED_OUTLETS_MAX: usize = 2_000;
/// Largest encrypted secret of a second factor. Bytes.
const SEALED_BYTES_MAX: usize = 200;

impl Machine<'_> {
    /// Checks: no account exists → name and grant are possible.
    pub(super) fn create_first(&mut self, stamp: Stamp<'_>, staff: &NewStaff, grant: &Grant) -> Result<Outcome, Stop> {
        let known: i64 = self.tx.prepare_cached("SELECT count(*) FROM staff")?.query_row([], |row| row.get(0))?;
        if known > 0 {
            return Err(rule("staff_exists", "the hub has accounts already: an administrator makes more").into());
        }
        check_grants(std::slice::from_ref(grant))?;
        let mut row = self.new_staff(stamp, staff)?;
        // After this point the command must succeed.
        self.add_staff(stamp, &row)?;
        row.grants = vec![grant.clone()];
        // Who set the hub up was handed the password at the machine.
        row.confirmed = true;
        row.write(self.tx)?;
        let (login, after) = (row.login, row.grants);
        self.emit(stamp, EventBody::Staff(StaffEvent::GrantsChanged { login, before: Vec::new(), after }))?;
        Ok(Outcome::Done { events: 2, existing: 0 })
    }

    /// Checks: the names are possible → the login name was never given.
    pub(super) fn create_staff(&mut self, stamp: Stamp<'_>, staff: &NewStaff) -> Result<Outcome, Stop> {
        let row = self.new_staff(stamp, staff)?;
        // After this point the command must succeed.
        self.add_staff(stamp, &row)?;
        Ok(DONE)
    }

    fn new_staff(&self, stamp: Stamp<'_>, staff: &NewStaff) -> Result<StaffRow, Stop> {
        let NewStaff { login, name, password_hash } = staff.clone();
        check_login(&login).map_err(|error| rule("invalid_login", error.to_string()))?;
        check_name(&name).map_err(|error| rule("invalid_name", error.to_string()))?;
        check_hash(&password_hash)?;
        if StaffRow::read(self.tx, &login)?.is_some() {
            return Err(exists_with_other("staff", login).into());
        }
        Ok(StaffRow {
            login,
            name,
            active: true,
            grants: Vec::new(),
            password_hash,
            password_set_at_ms: stamp.at_ms,
            password_temporary: true,
            failure_count: 0,
            locked_until_ms: TimeMs::from_ms(0),
            factor_sealed: None,
            factor_step: 0,
            confirmed: false,
            code_failure_count: 0,
        })
    }

    fn add_staff(&mut self, stamp: Stamp<'_>, row: &StaffRow) -> Result<(), StorageError> {
        row.write(self.tx)?;
        let (login, name) = (row.login.clone(), row.name.clone());
        self.emit(stamp, EventBody::Staff(StaffEvent::AccountCreated { login, name }))
    }

    /// Checks: another person's account → known → the name is possible.
    pub(super) fn change_staff(
        &mut self,
        stamp: Stamp<'_>,
        login: &str,
        name: &str,
        active: bool,
    ) -> Result<Outcome, Stop> {
        check_other_person(stamp, login)?;
        let row = self.staff_row(login)?;
        check_name(name).map_err(|error| rule("invalid_name", error.to_string()))?;
        if (row.name.as_str(), row.active) == (name, active) {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        // After this point the command must succeed.
        let row = StaffRow { name: name.to_string(), active, ..row };
        row.write(self.tx)?;
        let (login, name) = (row.login, row.name);
        self.emit(stamp, EventBody::Staff(StaffEvent::AccountChanged { login: login.clone(), name, active }))?;
        if !active {
            self.end_sessions(stamp, &login)?;
        }
        Ok(DONE)
    }

    /// Checks: another person's account → known, in use and without rights → nobody is security administrator, in use or not.
    pub(super) fn grant_first_security(&mut self, stamp: Stamp<'_>, login: &str) -> Result<Outcome, Stop> {
        check_other_person(stamp, login)?;
        let row = self.staff_row(login)?;
        if !row.active || !row.grants.is_empty() {
            let text = "the first security administrator is in use and has no other rights";
            return Err(rule("not_without_rights", text).into());
        }
        // Also one who was put out of use: else who does that becomes the first one.
        if self.has_security_administrator(|_| true)? {
            let text = "there is a security administrator: that person grants rights";
            return Err(rule("security_administrator_exists", text).into());
        }
        // After this point the command must succeed.
        let after = vec![Grant::everywhere(Role::SecurityAdministrator)];
        StaffRow { grants: after.clone(), ..row }.write(self.tx)?;
        let login = login.to_string();
        self.emit(
            stamp,
            EventBody::Staff(StaffEvent::GrantsChanged { login: login.clone(), before: Vec::new(), after }),
        )?;
        self.end_sessions(stamp, &login)?;
        Ok(DONE)
    }

    /// Checks: another person's account → no two could do it together ([`Machine::change`]) → known → as the proposer
    /// saw it → the grants are possible and may be one person's.
    pub(super) fn set_grants(
        &mut self,
        stamp: Stamp<'_>,
        login: &str,
        seen: &[Grant],
        grants: &[Grant],
    ) -> Result<Outcome, Stop> {
        check_other_person(stamp, login)?;
        let is_person = stamp.actor.login().is_some();
        if is_person && self.two_hold(Role::SecurityAdministrator, Role::SecurityAdministrator)? {
            let text = "there are two security administrators: one proposes a change of rights, another person decides";
            return Err(rule("two_persons_required", text).into());
        }
        let row = self.staff_row(login)?;
        if row.grants != seen {
            let text = "the rights were changed by somebody else meanwhile: look at them again";
            return Err(rule("changed_meanwhile", text).into());
        }
        self.replace_grants(stamp, login, grants)
    }

    /// Checks: known → the grants are possible and may be one person's.
    pub(in crate::machine) fn replace_grants(
        &mut self,
        stamp: Stamp<'_>,
        login: &str,
        grants: &[Grant],
    ) -> Result<Outcome, Stop> {
        let row = self.staff_row(login)?;
        check_grants(grants)?;
        if row.grants == grants {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        // After this point the command must succeed.
        let (before, after) = (row.grants.clone(), grants.to_vec());
        StaffRow { grants: after.clone(), ..row }.write(self.tx)?;
        let login = login.to_string();
        self.emit(stamp, EventBody::Staff(StaffEvent::GrantsChanged { login: login.clone(), before, after }))?;
        self.end_sessions(stamp, &login)?;
        Ok(DONE)
    }

    /// Checks: the own account → known, and the password still the one that was compared → new to this person.
    pub(super) fn change_password(
        &mut self,
        stamp: Stamp<'_>,
        login: &str,
        seen_hash: &str,
        password_hash: &str,
    ) -> Result<Outcome, Stop> {
        check_same_person(stamp, login)?;
        let row = self.staff_row(login)?;
        if row.password_hash != seen_hash {
            return Err(rule("changed_meanwhile", "the password was changed meanwhile: log in again").into());
        }
        check_hash(password_hash)?;
        // After this point the command must succeed.
        self.keep_password(&row)?;
        let row = StaffRow {
            password_hash: password_hash.to_string(),
            password_set_at_ms: stamp.at_ms,
            password_temporary: false,
            ..row
        };
        row.write(self.tx)?;
        self.emit(stamp, EventBody::Staff(StaffEvent::PasswordSet { login: row.login, temporary: false }))?;
        Ok(DONE)
    }

    /// Checks: another person's account → known. Who resets it knows the password: without a second factor in the way, the person
    /// has to be confirmed again.
    pub(super) fn reset_password(
        &mut self,
        stamp: Stamp<'_>,
        login: &str,
        password_hash: &str,
    ) -> Result<Outcome, Stop> {
        check_other_person(stamp, login)?;
        let row = self.staff_row(login)?;
        check_hash(password_hash)?;
        // After this point the command must succeed.
        self.keep_password(&row)?;
        let row = StaffRow {
            password_hash: password_hash.to_string(),
            password_set_at_ms: stamp.at_ms,
            password_temporary: true,
            failure_count: 0,
            locked_until_ms: TimeMs::from_ms(0),
            code_failure_count: 0,
            confirmed: row.confirmed && row.factor_sealed.is_some(),
            ..row
        };
        row.write(self.tx)?;
        self.tx.prepare_cached("DELETE FROM login_lock WHERE login = ?1")?.execute([login])?;
        self.emit(stamp, EventBody::Staff(StaffEvent::PasswordSet { login: row.login, temporary: true }))?;
        self.end_sessions(stamp, login)?;
        Ok(DONE)
    }

    /// Checks: the own account → known → not set up yet (a lost one is taken off by an administrator) → possible.
    pub(super) fn set_second_factor(
        &mut self,
        stamp: Stamp<'_>,
        login: &str,
        sealed: &[u8],
        step: u64,
        recovery: &[[u8; 32]],
    ) -> Result<Outcome, Stop> {
        check_same_person(stamp, login)?;
        let row = self.staff_row(login)?;
        if row.factor_sealed.is_some() {
            let text = "a second factor is set up: an administrator takes a lost one off";
            return Err(rule("second_factor_exists", text).into());
        }
        let possible = (1..=SEALED_BYTES_MAX).contains(&sealed.len()) && recovery.len() <= RECOVERY_CODES_MAX;
        if !possible || i64::try_from(step).is_err() {
            return Err(rule("invalid_second_factor", "the second factor cannot be kept").into());
        }
        // After this point the command must succeed.
        StaffRow { factor_sealed: Some(sealed.to_vec()), factor_step: step, ..row }.write(self.tx)?;
        self.forget_recovery(login)?;
        let mut insert = self.tx.prepare_cached("INSERT OR IGNORE INTO staff_recovery VALUES (?1, ?2)")?;
        for hash in recovery {
            insert.execute((login, hash))?;
        }
        drop(insert);
        self.note(stamp, StaffEvent::SecondFactorSet { login: login.to_string() })
    }

    /// Checks: another person's account → known. The person is to be confirmed again.
    pub(super) fn clear_second_factor(&mut self, stamp: Stamp<'_>, login: &str) -> Result<Outcome, Stop> {
        check_other_person(stamp, login)?;
        let row = self.staff_row(login)?;
        if row.factor_sealed.is_none() {
            return Ok(Outcome::Done { events: 0, existing: 1 });
        }
        // After this point the command must succeed.
        StaffRow { factor_sealed: None, factor_step: 0, confirmed: false, ..row }.write(self.tx)?;
        self.forget_recovery(login)?;
        self.forget_confirmation(login)?;
        self.emit(stamp, EventBody::Staff(StaffEvent::SecondFactorCleared { login: login.to_string() }))?;
        self.end_sessions(stamp, login)?;
        Ok(DONE)
    }

    fn forget_recovery(&self, login: &str) -> Result<(), StorageError> {
        self.tx.prepare_cached("DELETE FROM staff_recovery WHERE login = ?1")?.execute([login])?;
        Ok(())
    }

    /// Remembers the password that is being replaced, and forgets the oldest.
    fn keep_password(&self, row: &StaffRow) -> Result<(), StorageError> {
        let insert = "INSERT OR REPLACE INTO staff_password VALUES (?1, ?2, ?3)";
        self.tx.prepare_cached(insert)?.execute((&row.login, row.password_set_at_ms.ms(), &row.password_hash))?;
        let forget = "DELETE FROM staff_password WHERE login = ?1 AND set_at_ms NOT IN \
                      (SELECT set_at_ms FROM staff_password WHERE login = ?1 ORDER BY set_at_ms DESC LIMIT ?2)";
        self.tx.prepare_cached(forget)?.execute((&row.login, PASSWORDS_KEPT as i64 - 1))?;
        Ok(())
    }
}

pub(in crate::machine) fn check_grants(grants: &[Grant]) -> Result<(), Stop> {
    if grants.len() > GRANTS_MAX {
        return Err(rule("too_many_grants", format!("a person holds at most {GRANTS_MAX} grants")).into());
    }
    if let Some(fault) = grants.iter().find_map(Grant::fault) {
        return Err(rule("invalid_grant", fault).into());
    }
    let outlets: usize =
        grants.iter().map(|grant| if let Area::Outlets(outlets) = &grant.area { outlets.len() } else { 0 }).sum();
    if outlets > GRANTED_OUTLETS_MAX {
        return Err(
            rule("too_many_grants", format!("a person's grants name at most {GRANTED_OUTLETS_MAX} outlets")).into()
        );
    }
    let roles: Vec<Role> = grants.iter().map(|grant| grant.role).collect();
    match conflict(&roles) {
        Some((a, b)) => {
            let text = format!("{} and {} are never one person's", a.name(), b.name());
            Err(rule("roles_conflict", text).into())
        }
        None => Ok(()),
    }
}

fn check_hash(password_hash: &str) -> Result<(), Stop> {
    match password_hash.starts_with("$argon2id$") && password_hash.len() <= 200 {
        true => Ok(()),
        false => Err(rule("invalid_password_hash", "a password is kept as argon2id in PHC form").into()),
    }
}
