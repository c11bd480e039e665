//! Sessions: the proofs were checked off the writer thread; here they become facts.

use jikai_schema::event::{EventBody, SessionEvent, TokenTag};
use jikai_schema::projection::Projection;
use jikai_schema::time::TimeMs;

use super::{Asked, DecideError, Decision, Refusal, check_outlet_active};

/// Checks: the outlet may trade → device and person are in use.
pub(super) fn open(
    projection: &mut Projection<'_>,
    asked: &Asked<'_>,
    token: TokenTag,
    expires_at_ms: TimeMs,
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
    let opened = SessionEvent::Opened { terminal, operator, token, expires_at_ms };
    Ok(Decision::all(asked.request, [EventBody::Session(opened)]))
}

/// A logged-in terminal may always log out.
pub(super) fn close(asked: &Asked<'_>) -> Decision {
    Decision::all(asked.request, [EventBody::Session(SessionEvent::Closed { terminal: asked.caller.terminal })])
}
