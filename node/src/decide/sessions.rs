//! Sessions: the proofs were checked off the writer thread; here they become facts.

use jikai_schema::event::{EventBody, RequestKey, SessionEvent, TokenTag};
use jikai_schema::projection::{Projection, ProjectionError};
use jikai_schema::time::TimeMs;

use super::{Asked, DecideError, Decision, Refusal, check_outlet_active};
use crate::session::{Ground, load_secrets};

/// Milliseconds in which refusals of one person and request are noted once.
const REFUSAL_EVERY_MS: i64 = 60_000;

/// Checks: the outlet may trade → device and person are in use → key, password and role are still those that were proven.
pub(super) fn open(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    token: TokenTag,
    expires_at_ms: TimeMs,
    ground: &Ground,
) -> Result<Decision, DecideError> {
    let caller = asked.caller;
    check_outlet_active(projection, asked)?;
    let (terminal, operator) = (caller.terminal, caller.operator);
    if projection.is_revoked(terminal)? {
        return Err(Refusal::TerminalRevoked.into());
    }
    if projection.is_disabled(operator)? {
        return Err(Refusal::OperatorDisabled.into());
    }
    let secrets = load_secrets(projection.store(), terminal, operator).map_err(ProjectionError::from)?;
    if secrets.is_none_or(|secrets| secrets.ground() != *ground) {
        return Err(Refusal::LoginOutdated.into());
    }
    let opened = SessionEvent::Opened { terminal, operator, token, expires_at_ms };
    Ok(Decision::all(asked.request, [EventBody::Session(opened)]))
}

/// A logged-in terminal may always log out.
pub(super) fn close(asked: &Asked<'_>) -> Decision {
    Decision::all(asked.request, [EventBody::Session(SessionEvent::Closed { terminal: asked.caller.terminal })])
}

/// A wrong password of a device that proved its key.
pub(super) fn note_failure(asked: &Asked<'_>, failures: u32) -> Decision {
    let (terminal, operator) = (asked.caller.terminal, asked.caller.operator);
    let failed = SessionEvent::LoginFailed { terminal, operator, failures };
    Decision::all(asked.request, [EventBody::Session(failed)])
}

/// A refusal for want of a right: once a minute for each person and request, so that repeating it does not fill the log.
pub(super) fn note_refusal(asked: &Asked<'_>, request: &str) -> Result<Decision, DecideError> {
    let (terminal, operator) = (asked.caller.terminal, asked.caller.operator);
    let minute = asked.now_ms.ms().div_euclid(REFUSAL_EVERY_MS);
    let key = RequestKey::of_terminal(terminal, &format!("refused {operator} {minute} {request}"), "", &[]);
    if asked.answered.is_answered(&key)? {
        return Ok(Decision::default());
    }
    let refused = SessionEvent::RightRefused { terminal, operator, request: request.to_string() };
    Ok(Decision::all(key, [EventBody::Session(refused)]))
}
