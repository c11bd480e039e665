//! Commands about devices and persons of outlets, and certificates of nodes.

use serde::{Deserialize, Serialize};

use crate::event::{OperatorRole, TerminalKind};
use crate::id::{NodeId, OperatorId, TerminalId};
use crate::time::TimeMs;

/// What is to be done about access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessCommand {
    /// Issue a one-time code for a terminal number; an earlier code of it is void.
    OfferEnrolment {
        /// The terminal's number.
        terminal: TerminalId,
        /// What sort of device.
        kind: TerminalKind,
        /// Hash of the code.
        code_hash: [u8; 32],
        /// When the code is void.
        expires_at_ms: TimeMs,
    },
    /// Bind a device's key, which it has proven, to the terminal number of its code.
    Enrol {
        /// The node it came to.
        node: NodeId,
        /// The terminal's number.
        terminal: TerminalId,
        /// Hash of the code that was shown.
        code_hash: [u8; 32],
        /// Ed25519 public key.
        public_key: [u8; 32],
    },
    /// Note that a device came with a wrong code; some of them make the code void.
    NoteEnrolmentFailure {
        /// The node it came to.
        node: NodeId,
        /// The terminal's number.
        terminal: TerminalId,
    },
    /// Put a device out of use.
    RevokeTerminal {
        /// Which.
        terminal: TerminalId,
        /// Why.
        reason: String,
    },
    /// Put a person of an outlet out of use.
    DisableOperator {
        /// Who.
        operator: OperatorId,
    },
    /// Remember a certificate that was signed.
    RecordCertificate {
        /// Whose.
        node: NodeId,
        /// Serial number, hex.
        serial: String,
        /// When it expires.
        not_after_ms: TimeMs,
    },
    /// Let a certificate open no session any more.
    RevokeCertificate {
        /// Serial number, hex.
        serial: String,
        /// Why.
        reason: String,
    },
    /// Take a person of an outlet in, or give a known one another name, role and password.
    DefineOperator {
        /// Who.
        operator: OperatorId,
        /// Display name.
        name: String,
        /// What the person may do.
        role: OperatorRole,
        /// Argon2id in PHC form.
        password_hash: String,
    },
    /// Remember a certificate that a node showed and that nobody has recorded; refused once all of the node's were revoked.
    MeetCertificate {
        /// Whose.
        node: NodeId,
        /// Serial number, hex.
        serial: String,
        /// When it expires.
        not_after_ms: TimeMs,
    },
    /// Remember a certificate that was signed for a node which showed another one.
    RenewCertificate {
        /// Whose.
        node: NodeId,
        /// Serial number of the one that was shown, hex.
        renews: String,
        /// Hash of the node's request: the same request is never answered with two certificates.
        request_hash: [u8; 32],
        /// Serial number, hex.
        serial: String,
        /// When it expires.
        not_after_ms: TimeMs,
        /// The certificate itself, PEM; given again when the answer was lost.
        certificate_pem: String,
    },
    /// A node was seen with this certificate: those that it takes the place of open no session any more.
    SupersedeCertificates {
        /// Whose.
        node: NodeId,
        /// Serial number of the one in use, hex.
        serial: String,
    },
    /// Let no certificate of a node open a session any more, also those that nobody has recorded.
    RevokeCertificatesOf {
        /// Whose.
        node: NodeId,
        /// Why.
        reason: String,
    },
}
