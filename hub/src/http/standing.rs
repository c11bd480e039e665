//! How a session stands: whose it is, what the person must still do, how long it stays open.

use std::collections::HashMap;

use jikai_schema::command::{By, Command, SessionTag, StaffCommand};
use jikai_schema::staff::Role;
use jikai_schema::time::TimeMs;
use parking_lot::Mutex;

use super::guard::Origin;
use super::problem::Problem;
use crate::app::App;
use crate::machine::{SessionRow, StaffRow, SupportRow};
use crate::staff::StaffSettings;

/// A session that was used is remembered as used at most so often. Milliseconds.
const TOUCH_MS: i64 = 60_000;
/// The same note is written at most so often. Milliseconds.
const NOTE_MS: i64 = 60_000;
/// Notes that are remembered to have been written.
const NOTES_MAX: usize = 4_096;

/// What a person must do before anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// The password is temporary or too old.
    Password,
    /// A role needs a second factor, none is set up.
    Factor,
    /// A role needs a second factor, it was set up after this login.
    Proof,
    /// A role needs to know the person: nobody has confirmed who is behind the account.
    Confirmation,
}

impl Missing {
    pub(super) const fn code(self) -> &'static str {
        match self {
            Missing::Password => "password_must_change",
            Missing::Factor => "second_factor_missing",
            Missing::Proof => "second_factor_unproven",
            Missing::Confirmation => "confirmation_missing",
        }
    }

    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Missing::Password => "The password is temporary or too old.",
            Missing::Factor => "Your role needs a second factor, and none is set up.",
            Missing::Proof => "Your role needs a login with password and one-time code.",
            Missing::Confirmation => "Your role needs the code by which a security administrator knows you.",
        }
    }

    pub(super) const fn hint(self) -> &'static str {
        match self {
            Missing::Password => "Choose another: PUT /v1/own/password.",
            Missing::Factor => "Set one up: POST /v1/own/second-factor/offer, then PUT /v1/own/second-factor.",
            Missing::Proof => "Log out and in again with a code of the authenticator.",
            Missing::Confirmation => {
                "Ask a security administrator for the code, in person; then PUT /v1/own/confirmation."
            }
        }
    }
}

/// A person with an open session.
pub(super) struct Standing {
    /// The account.
    pub(super) row: StaffRow,
    /// The session.
    pub(super) session: SessionRow,
    /// What must be done first, in this order.
    pub(super) missing: Vec<Missing>,
    /// Whether an access of the vendor is open for this account.
    pub(super) support_is_open: bool,
    /// The request that this is about.
    pub(super) origin: Origin,
    /// Limits in force.
    pub(super) settings: StaffSettings,
}

impl Standing {
    /// The open session of a tag; one that is too old is ended.
    pub(super) async fn load(app: &App, tag: SessionTag, origin: Origin) -> Result<Option<Self>, Problem> {
        let now_ms = app.sequencer.now_ms();
        let found = app.pool.read(move |store| {
            let Some(session) = SessionRow::read(store, tag)? else { return Ok(None) };
            let Some(row) = StaffRow::read(store, &session.login)? else { return Ok(None) };
            let support_is_open = SupportRow::is_open_for(store, &row.login, now_ms)?;
            let settings = StaffSettings::read(store, now_ms)?;
            Ok::<_, crate::machine::StorageError>(Some((session, row, support_is_open, settings)))
        });
        let Some((session, row, support_is_open, settings)) = found.await??.filter(|(_, row, ..)| row.active) else {
            return Ok(None);
        };
        if session.ends_at_ms(&settings) <= now_ms {
            let command = Command::Staff(StaffCommand::EndSession { tag });
            app.sequencer.propose(origin.by_nobody(), command).await?;
            return Ok(None);
        }
        let missing = missing(&row, session.proven_twice, &settings, now_ms);
        Ok(Some(Standing { row, session, missing, support_is_open, origin, settings }))
    }

    /// Remembers that the session was used.
    pub(super) async fn keep_open(&self, app: &App) -> Result<(), Problem> {
        let now_ms = app.sequencer.now_ms();
        if now_ms.ms() - self.session.seen_at_ms.ms() >= TOUCH_MS {
            let command = Command::Staff(StaffCommand::TouchSession { tag: self.session.tag });
            app.sequencer.propose(self.by(), command).await?;
        }
        Ok(())
    }

    /// On whose behalf the person's own requests act.
    pub(super) fn by(&self) -> By {
        self.origin.by(&self.row.login)
    }

    pub(super) fn is_vendor(&self) -> bool {
        self.row.grants.iter().any(|grant| grant.role == Role::VendorSupport)
    }
}

fn missing(row: &StaffRow, proven_twice: bool, settings: &StaffSettings, now_ms: TimeMs) -> Vec<Missing> {
    let age_ms = now_ms.ms() - row.password_set_at_ms.ms();
    let old = age_ms > settings.password_ms_max;
    let needed = row.grants.iter().any(|grant| grant.role.needs_second_factor());
    let mut missing = Vec::new();
    if row.password_temporary || old {
        missing.push(Missing::Password);
    }
    match row.factor_sealed {
        None if needed => missing.push(Missing::Factor),
        Some(_) if needed && !proven_twice => missing.push(Missing::Proof),
        Some(_) if needed && !row.confirmed => missing.push(Missing::Confirmation),
        _ => {}
    }
    missing
}

/// What was noted lately, so that reading page by page leaves one line and not a thousand.
#[derive(Default)]
pub struct Notes(Mutex<HashMap<String, TimeMs>>);

impl Notes {
    /// Whether a note is to be written now.
    pub(super) fn is_due(&self, note: &str, now_ms: TimeMs) -> bool {
        self.0.lock().get(note).is_none_or(|at_ms| now_ms.ms() - at_ms.ms() >= NOTE_MS)
    }

    /// Remembers that a note is in the log.
    pub(super) fn written(&self, note: String, now_ms: TimeMs) {
        let mut written = self.0.lock();
        if written.len() >= NOTES_MAX {
            written.retain(|_, at_ms| now_ms.ms() - at_ms.ms() < NOTE_MS);
        }
        if written.len() < NOTES_MAX {
            written.insert(note, now_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_due_once_a_minute_and_the_memory_is_bounded() {
        let notes = Notes::default();
        let at = |ms| TimeMs::from_ms(ms);
        assert!(notes.is_due("a", at(0)) && notes.is_due("a", at(0)), "it is not in the log yet");
        notes.written("a".to_string(), at(0));
        assert!(notes.is_due("b", at(0)));
        assert!(!notes.is_due("a", at(59_999)) && notes.is_due("a", at(60_000)));
        for number in 0..2 * NOTES_MAX {
            notes.written(format!("x{number}"), at(60_000));
        }
        assert!(notes.0.lock().len() <= NOTES_MAX);
    }
}
