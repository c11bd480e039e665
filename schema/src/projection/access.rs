//! Devices and persons that are out of use.

use rusqlite::params;

use super::{Projection, ProjectionError};
use crate::event::AccessEvent;
use crate::id::{OperatorId, TerminalId};

impl Projection<'_> {
    pub(super) fn apply_access(&mut self, event: &AccessEvent) -> Result<(), ProjectionError> {
        match event {
            AccessEvent::TerminalRevoked { terminal, reason, .. } => {
                self.known("terminal", terminal.get() as i64)?;
                self.write(
                    "INSERT INTO terminal_revoked VALUES (?1, ?2) ON CONFLICT DO UPDATE SET reason = excluded.reason",
                    params![terminal.get() as i64, reason],
                )
            }
            AccessEvent::OperatorDisabled { operator, .. } => {
                self.known("operator", operator.get() as i64)?;
                self.write("INSERT OR IGNORE INTO operator_disabled VALUES (?1)", [operator.get() as i64])
            }
            // Rows about codes and certificates are the hub's own; the fact itself is the trail.
            AccessEvent::EnrolmentOffered { .. }
            | AccessEvent::EnrolmentFailed { .. }
            | AccessEvent::CertificateIssued { .. }
            | AccessEvent::CertificateRevoked { .. }
            | AccessEvent::CertificateRenewed { .. }
            | AccessEvent::CertificateSuperseded { .. }
            | AccessEvent::NodeCertificatesRevoked { .. } => Ok(()),
        }
    }

    /// Whether a device was put out of use.
    pub fn is_revoked(&self, terminal: TerminalId) -> Result<bool, ProjectionError> {
        self.exists("SELECT EXISTS (SELECT 1 FROM terminal_revoked WHERE terminal = ?1)", terminal.get() as i64)
    }

    /// Whether a person of an outlet was put out of use.
    pub fn is_disabled(&self, operator: OperatorId) -> Result<bool, ProjectionError> {
        self.exists("SELECT EXISTS (SELECT 1 FROM operator_disabled WHERE operator = ?1)", operator.get() as i64)
    }

    fn known(&self, kind: &'static str, key: i64) -> Result<(), ProjectionError> {
        let sql = match kind {
            "terminal" => "SELECT EXISTS (SELECT 1 FROM terminal WHERE terminal = ?1)",
            _ => "SELECT EXISTS (SELECT 1 FROM operator WHERE operator = ?1)",
        };
        if self.exists(sql, key)? { Ok(()) } else { Err(ProjectionError::Unknown { kind, key }) }
    }

    fn exists(&self, sql: &str, key: i64) -> Result<bool, ProjectionError> {
        Ok(self.store.prepare_cached(sql)?.query_row([key], |row| row.get(0))?)
    }
}
