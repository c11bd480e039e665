//! Staff: accounts, rights, passwords, sessions. Whether the *role* of the actor allows a request was decided where it came
//! in; here stands what holds for persons, and what two requests at once could race for.

mod accounts;
mod confirmation;
mod row;
mod sessions;
mod support;

use jikai_schema::command::{Outcome, StaffCommand};
use jikai_schema::event::{EventBody, SessionNo, StaffEvent};
use jikai_schema::staff::{Area, Role};

use super::error::Stop;
use super::{Machine, Stamp, StorageError, rule, unknown};

pub(super) use accounts::check_grants;
pub use row::{SessionRow, StaffRow};
pub use sessions::{CODE_FAILURES_MAX, FAILURES_FREE, LoginLock};
pub use support::{SupportRow, SupportState};

/// Passwords that may not come back.
pub const PASSWORDS_KEPT: usize = 5;
/// Longest text of a request in the trail. Bytes.
const REQUEST_BYTES_MAX: usize = 300;

const DONE: Outcome = Outcome::Done { events: 1, existing: 0 };

impl Machine<'_> {
    pub(super) fn staff(&mut self, stamp: Stamp<'_>, command: &StaffCommand) -> Result<Outcome, Stop> {
        match command {
            StaffCommand::CreateFirst(staff, grant) => self.create_first(stamp, staff, grant),
            StaffCommand::Create(staff) => self.create_staff(stamp, staff),
            StaffCommand::Change { login, name, active } => self.change_staff(stamp, login, name, *active),
            StaffCommand::SetGrants { login, seen, grants } => self.set_grants(stamp, login, seen, grants),
            StaffCommand::ChangePassword { login, seen_hash, password_hash } => {
                self.change_password(stamp, login, seen_hash, password_hash)
            }
            StaffCommand::ResetPassword { login, password_hash } => self.reset_password(stamp, login, password_hash),
            StaffCommand::SetSecondFactor { login, sealed, step, recovery } => {
                self.set_second_factor(stamp, login, sealed, *step, recovery)
            }
            StaffCommand::ClearSecondFactor { login } => self.clear_second_factor(stamp, login),
            StaffCommand::OpenSession { login, seen_hash, tag, address, factor } => {
                self.open_session(stamp, login, seen_hash, *tag, *address, *factor)
            }
            StaffCommand::TouchSession { tag } => self.touch_session(stamp, *tag),
            StaffCommand::EndSession { tag } => self.end_session(stamp, *tag),
            StaffCommand::NoteFailure { given, address } => self.note_failure(stamp, given, *address),
            StaffCommand::NoteRefusal { request, needed, address } => {
                let (request, needed) = (shortened(request), shortened(needed));
                self.note(stamp, StaffEvent::AccessRefused { request, needed, address: *address })
            }
            StaffCommand::NoteReading { request, address } => {
                self.note(stamp, StaffEvent::SensitiveRead { request: shortened(request), address: *address })
            }
            StaffCommand::GrantFirstSecurity { login } => self.grant_first_security(stamp, login),
            StaffCommand::AskSupport { login, reason, minutes } => self.ask_support(stamp, login, reason, *minutes),
            StaffCommand::ApproveSupport { number } => self.approve_support(stamp, *number),
            StaffCommand::EndSupport { number } => self.end_support(stamp, *number),
            StaffCommand::OfferConfirmation { login, code_hash, expires_at_ms } => {
                self.offer_confirmation(stamp, login, code_hash, *expires_at_ms)
            }
            StaffCommand::Confirm { login, code_hash } => self.confirm(stamp, login, code_hash),
            StaffCommand::NoteCodeFailure { login, address } => self.note_code_failure(stamp, login, *address),
        }
    }

    fn note(&mut self, stamp: Stamp<'_>, event: StaffEvent) -> Result<Outcome, Stop> {
        self.emit(stamp, EventBody::Staff(event))?;
        Ok(DONE)
    }

    /// Whether a person holds one role for the whole province and another one the other.
    pub(super) fn two_hold(&self, maker: Role, checker: Role) -> Result<bool, StorageError> {
        let holds =
            |row: &StaffRow, role| row.grants.iter().any(|grant| grant.role == role && grant.area == Area::Province);
        StaffRow::two_persons(self.tx, |row| holds(row, maker), |row| holds(row, checker))
    }

    /// The account with this login name.
    pub(super) fn staff_row(&self, login: &str) -> Result<StaffRow, Stop> {
        StaffRow::read(self.tx, login)?.ok_or_else(|| unknown("staff", login.escape_default()).into())
    }

    /// Ends all sessions of a person.
    fn end_sessions(&mut self, stamp: Stamp<'_>, login: &str) -> Result<(), StorageError> {
        let mut statement = self.tx.prepare_cached("SELECT tag FROM staff_session WHERE login = ?1 ORDER BY tag")?;
        let tags = statement.query_map([login], |row| row.get::<_, [u8; 32]>(0))?.collect::<Result<Vec<_>, _>>()?;
        drop(statement);
        let revoked = is_revocation(stamp, login);
        for tag in tags {
            self.tx.prepare_cached("DELETE FROM staff_session WHERE tag = ?1")?.execute([tag])?;
            let (login, session) = (login.to_string(), session_no(&tag));
            self.emit(stamp, EventBody::Staff(StaffEvent::SessionEnded { login, session, revoked }))?;
        }
        Ok(())
    }
}

/// Whether another person ends the session: what ran out, or made room, was revoked by nobody.
fn is_revocation(stamp: Stamp<'_>, login: &str) -> bool {
    stamp.actor.login().is_some_and(|by| by != login)
}

/// The part of a tag by which people and the trail name a session.
pub fn session_no(tag: &[u8; 32]) -> SessionNo {
    let mut number = [0; 8];
    number.copy_from_slice(&tag[..8]);
    SessionNo(number)
}

/// Refuses what a person does to the own account that another person must do.
fn check_other_person(stamp: Stamp<'_>, login: &str) -> Result<(), Stop> {
    if stamp.actor.login() == Some(login) {
        return Err(rule("own_account", "nobody changes the own account's rights or state: ask a colleague").into());
    }
    Ok(())
}

/// Refuses what only the person may do to the own account.
fn check_same_person(stamp: Stamp<'_>, login: &str) -> Result<(), Stop> {
    if stamp.actor.login() == Some(login) {
        return Ok(());
    }
    Err(rule("not_own_account", "only the person does this to the own account").into())
}

/// At most so many bytes of a text, cut between characters.
fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(REQUEST_BYTES_MAX)].to_string()
}
