//! Devices and persons of outlets; certificates of nodes have a file of their own.

use jikai_schema::command::{AccessCommand, Outcome};
use jikai_schema::event::{AccessEvent, EventBody, MasterEvent, TerminalKind};
use jikai_schema::id::{NodeId, OperatorId, OutletId, TerminalId};
use jikai_schema::staff::is_hidden;
use jikai_schema::time::TimeMs;
use rusqlite::OptionalExtension;

use super::certificates::Renewal;
use super::error::Stop;
use super::master::check_operator;
use super::{Machine, Stamp, StorageError, rule, unknown};

/// Wrong codes after which a code is void.
const FAILURES_MAX: u32 = 5;
/// Longest validity of a code: a week.
const ENROLMENT_MS_MAX: i64 = 7 * 86_400_000;
/// Longest reason. Bytes.
const REASON_BYTES_MAX: usize = 200;

pub(super) const DONE: Outcome = Outcome::Done { events: 1, existing: 0 };
pub(super) const NOTHING: Outcome = Outcome::Done { events: 0, existing: 1 };

/// A code that waits for its device.
struct EnrolmentRow {
    kind: TerminalKind,
    code_hash: [u8; 32],
    expires_at_ms: TimeMs,
    failure_count: u32,
}

impl Machine<'_> {
    pub(super) fn access(&mut self, stamp: Stamp<'_>, command: &AccessCommand) -> Result<Outcome, Stop> {
        match command {
            AccessCommand::OfferEnrolment { terminal, kind, code_hash, expires_at_ms } => {
                self.offer_enrolment(stamp, *terminal, *kind, code_hash, *expires_at_ms)
            }
            AccessCommand::Enrol { node, terminal, code_hash, public_key } => {
                self.enrol(stamp, *node, *terminal, code_hash, *public_key)
            }
            AccessCommand::NoteEnrolmentFailure { node, terminal } => {
                self.note_enrolment_failure(stamp, *node, *terminal)
            }
            AccessCommand::RevokeTerminal { terminal, reason } => self.revoke_terminal(stamp, *terminal, reason),
            AccessCommand::DisableOperator { operator } => self.disable_operator(stamp, *operator),
            AccessCommand::DefineOperator { operator, name, role, password_hash } => {
                let node = self.node_of(operator.outlet())?;
                check_operator(name, password_hash)?;
                let (operator, role) = (*operator, *role);
                let (name, password_hash) = (name.clone(), password_hash.clone());
                // After this point the command must succeed.
                let defined = MasterEvent::OperatorDefined { operator, node, name, role, password_hash };
                self.emit(stamp, EventBody::Master(defined))?;
                Ok(DONE)
            }
            AccessCommand::RecordCertificate { node, serial, not_after_ms } => {
                self.record_certificate(stamp, *node, serial, *not_after_ms)
            }
            AccessCommand::RevokeCertificate { serial, reason } => self.revoke_certificate(stamp, serial, reason),
            AccessCommand::MeetCertificate { node, serial, not_after_ms } => {
                self.meet_certificate(stamp, *node, serial, *not_after_ms)
            }
            AccessCommand::RenewCertificate { node, renews, request_hash, serial, not_after_ms, certificate_pem } => {
                let (node, not_after_ms, request_hash) = (*node, *not_after_ms, *request_hash);
                let renewal = Renewal { node, renews, request_hash, serial, not_after_ms, certificate_pem };
                self.renew_certificate(stamp, &renewal)
            }
            AccessCommand::SupersedeCertificates { node, serial } => self.supersede(stamp, *node, serial),
            AccessCommand::RevokeCertificatesOf { node, reason } => self.revoke_all_of(stamp, *node, reason),
        }
    }

    /// Checks: the outlet is known → the code ends in time → the number is free, or its device was revoked.
    fn offer_enrolment(
        &mut self,
        stamp: Stamp<'_>,
        terminal: TerminalId,
        kind: TerminalKind,
        code_hash: &[u8; 32],
        expires_at_ms: TimeMs,
    ) -> Result<Outcome, Stop> {
        let node = self.node_of(terminal.outlet())?;
        let valid_ms = expires_at_ms.ms().saturating_sub(stamp.at_ms.ms());
        if !(1..=ENROLMENT_MS_MAX).contains(&valid_ms) {
            return Err(rule("invalid_expiry", "a code is valid for at most a week").into());
        }
        if self.is_defined("terminal", terminal.get())? && !self.projection.is_revoked(terminal)? {
            let text = format!("terminal {terminal} has a device: revoke it first");
            return Err(rule("terminal_in_use", text).into());
        }
        // After this point the command must succeed.
        let insert = "INSERT OR REPLACE INTO enrolment VALUES (?1, ?2, ?3, ?4, 0)";
        let key = terminal.get() as i64;
        self.tx.prepare_cached(insert)?.execute((key, kind as i64, code_hash, expires_at_ms.ms()))?;
        let event = AccessEvent::EnrolmentOffered { terminal, node, kind, expires_at_ms };
        self.emit(stamp, EventBody::Access(event))?;
        Ok(DONE)
    }

    /// Checks: a code waits and is not void → the node serves the outlet → the code is right. One answer to all. A device
    /// that was enrolled with just this key, and asks again since the answer was lost, is told so again.
    fn enrol(
        &mut self,
        stamp: Stamp<'_>,
        node: NodeId,
        terminal: TerminalId,
        code_hash: &[u8; 32],
        public_key: [u8; 32],
    ) -> Result<Outcome, Stop> {
        let refused = || Stop::from(rule("enrolment_refused", "this code does not enrol this terminal here"));
        let same = "SELECT EXISTS (SELECT 1 FROM terminal WHERE terminal = ?1 AND node = ?2 AND public_key = ?3)";
        let key = (terminal.get() as i64, node.get(), public_key);
        if self.tx.prepare_cached(same)?.query_row(key, |row| row.get(0))? && !self.projection.is_revoked(terminal)? {
            return Ok(NOTHING);
        }
        let row = self.enrolment(terminal)?.ok_or_else(refused)?;
        let void = row.expires_at_ms <= stamp.at_ms || row.failure_count >= FAILURES_MAX;
        if void || self.node_of(terminal.outlet())? != node || row.code_hash != *code_hash {
            return Err(refused());
        }
        // After this point the command must succeed.
        self.tx.prepare_cached("DELETE FROM enrolment WHERE terminal = ?1")?.execute([terminal.get() as i64])?;
        let defined = MasterEvent::TerminalDefined { terminal, node, kind: row.kind, public_key };
        self.emit(stamp, EventBody::Master(defined))?;
        Ok(DONE)
    }

    /// A wrong code for a number that waits for none, or at a node that does not serve it, leaves no trace: it costs the sender
    /// more than us, and nobody makes a code void from elsewhere.
    fn note_enrolment_failure(
        &mut self,
        stamp: Stamp<'_>,
        node: NodeId,
        terminal: TerminalId,
    ) -> Result<Outcome, Stop> {
        if !matches!(self.node_of(terminal.outlet()), Ok(serving) if serving == node) {
            return Ok(NOTHING);
        }
        let update =
            "UPDATE enrolment SET failure_count = failure_count + 1 WHERE terminal = ?1 AND failure_count < ?2";
        if self.tx.prepare_cached(update)?.execute((terminal.get() as i64, FAILURES_MAX))? == 0 {
            return Ok(NOTHING);
        }
        self.emit(stamp, EventBody::Access(AccessEvent::EnrolmentFailed { terminal, node }))?;
        Ok(DONE)
    }

    /// Checks: a reason is given → the terminal is known. One that is revoked already stays so.
    fn revoke_terminal(&mut self, stamp: Stamp<'_>, terminal: TerminalId, reason: &str) -> Result<Outcome, Stop> {
        check_reason(reason)?;
        if !self.is_defined("terminal", terminal.get())? {
            return Err(unknown("terminal", terminal).into());
        }
        if self.projection.is_revoked(terminal)? {
            return Ok(NOTHING);
        }
        let node = self.node_of(terminal.outlet())?;
        // After this point the command must succeed.
        let reason = reason.to_string();
        self.emit(stamp, EventBody::Access(AccessEvent::TerminalRevoked { terminal, node, reason }))?;
        Ok(DONE)
    }

    /// Checks: the person is known. One who is out of use already stays so.
    fn disable_operator(&mut self, stamp: Stamp<'_>, operator: OperatorId) -> Result<Outcome, Stop> {
        if !self.is_defined("operator", operator.get())? {
            return Err(unknown("operator", operator).into());
        }
        if self.projection.is_disabled(operator)? {
            return Ok(NOTHING);
        }
        let node = self.node_of(operator.outlet())?;
        // After this point the command must succeed.
        self.emit(stamp, EventBody::Access(AccessEvent::OperatorDisabled { operator, node }))?;
        Ok(DONE)
    }

    fn enrolment(&self, terminal: TerminalId) -> Result<Option<EnrolmentRow>, StorageError> {
        let sql = "SELECT kind, code_hash, expires_at_ms, failure_count FROM enrolment WHERE terminal = ?1";
        let mut statement = self.tx.prepare_cached(sql)?;
        let row = statement.query_row([terminal.get() as i64], |row| {
            let kind = match row.get::<_, i64>(0)? {
                0 => TerminalKind::Dedicated,
                1 => TerminalKind::Gun,
                _ => TerminalKind::Phone,
            };
            let expires_at_ms = TimeMs::from_ms(row.get(2)?);
            Ok(EnrolmentRow { kind, code_hash: row.get(1)?, expires_at_ms, failure_count: row.get(3)? })
        });
        Ok(row.optional()?)
    }

    fn node_of(&mut self, outlet: OutletId) -> Result<NodeId, Stop> {
        Ok(self.projection.outlet(outlet)?.ok_or_else(|| unknown("outlet", outlet))?.node)
    }

    /// Whether a terminal or operator of this number is defined.
    fn is_defined(&self, kind: &str, key: u64) -> Result<bool, StorageError> {
        let sql = match kind {
            "terminal" => "SELECT EXISTS (SELECT 1 FROM terminal WHERE terminal = ?1)",
            _ => "SELECT EXISTS (SELECT 1 FROM operator WHERE operator = ?1)",
        };
        Ok(self.tx.prepare_cached(sql)?.query_row([key as i64], |row| row.get(0))?)
    }
}

/// A reason that a person gave.
pub(super) fn check_reason(reason: &str) -> Result<(), Stop> {
    match reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX || reason.chars().any(is_hidden) {
        false => Ok(()),
        true => Err(rule("invalid_reason", format!("a reason has 1 to {REASON_BYTES_MAX} bytes on one line")).into()),
    }
}
