//! Parameters.

use rusqlite::params;

use super::{Projection, ProjectionError};
use crate::event::{ChangeEvent, Event};

impl Projection<'_> {
    pub(super) fn apply_change(&mut self, event: &Event, body: &ChangeEvent) -> Result<(), ProjectionError> {
        // Rows about changes are the hub's own; the fact itself is the trail.
        let ChangeEvent::ParameterSet { key, scope, value, effective_from_ms, maker, checker } = body else {
            return Ok(());
        };
        if maker == checker {
            return Err(ProjectionError::Contradiction("one person set a parameter alone"));
        }
        self.forget_catalog();
        self.write(
            "INSERT INTO parameter VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![key, scope.number(), effective_from_ms.ms(), event.key.seq as i64, value, maker, checker],
        )
    }
}
