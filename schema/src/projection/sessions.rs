//! Terminal sessions.

use rusqlite::params;

use super::{Projection, ProjectionError};
use crate::event::{Event, SessionEvent};

impl Projection<'_> {
    pub(super) fn apply_session(&mut self, event: &Event, body: &SessionEvent) -> Result<(), ProjectionError> {
        match body {
            SessionEvent::Opened { terminal, operator, token, expires_at_ms } => {
                let known: bool = self
                    .store
                    .prepare_cached("SELECT EXISTS (SELECT 1 FROM terminal WHERE terminal = ?1)")?
                    .query_row([terminal.get() as i64], |row| row.get(0))?;
                if !known {
                    return Err(ProjectionError::Unknown { kind: "terminal", key: terminal.get() as i64 });
                }
                self.write(
                    "INSERT INTO session VALUES (?1, ?2, ?3, ?4, ?5, NULL) ON CONFLICT DO UPDATE SET \
                     operator = excluded.operator, token_tag = excluded.token_tag, opened_at_ms = excluded.opened_at_ms, \
                     expires_at_ms = excluded.expires_at_ms, closed_at_ms = NULL",
                    params![
                        terminal.get() as i64,
                        operator.get() as i64,
                        token.0,
                        event.at_ms.ms(),
                        expires_at_ms.ms()
                    ],
                )
            }
            SessionEvent::Closed { terminal } => self.write(
                "UPDATE session SET closed_at_ms = ?2 WHERE terminal = ?1",
                params![terminal.get() as i64, event.at_ms.ms()],
            ),
            // No row says more than the fact itself.
            SessionEvent::LoginFailed { .. } | SessionEvent::RightRefused { .. } => Ok(()),
        }
    }
}
