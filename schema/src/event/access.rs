//! Facts about who and what may connect: devices and persons of outlets, certificates of nodes. Written by the hub.

use serde::{Deserialize, Serialize};

use super::{Audience, TerminalKind};
use crate::id::{NodeId, OperatorId, TerminalId};
use crate::time::TimeMs;

/// Facts about access.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AccessEvent {
    /// A one-time code was issued with which a device may bind its key to this terminal number. The code is in no event.
    EnrolmentOffered {
        /// The terminal's number.
        terminal: TerminalId,
        /// The node that serves its outlet.
        node: NodeId,
        /// What sort of device.
        kind: TerminalKind,
        /// When the code is void.
        expires_at_ms: TimeMs,
    },
    /// A device came with a code that was not right.
    EnrolmentFailed {
        /// The terminal's number.
        terminal: TerminalId,
        /// The node it came to.
        node: NodeId,
    },
    /// A device is lost or out of use: its sessions end, and its key opens no other.
    TerminalRevoked {
        /// Which.
        terminal: TerminalId,
        /// The node that serves its outlet.
        node: NodeId,
        /// Why.
        reason: String,
    },
    /// A person works at the outlet no more: the sessions end. A later definition takes the person in again.
    OperatorDisabled {
        /// Who.
        operator: OperatorId,
        /// The node that serves the outlet.
        node: NodeId,
    },
    /// A certificate was signed for a node.
    CertificateIssued {
        /// Whose.
        node: NodeId,
        /// Its serial number, hex.
        serial: String,
        /// When it expires.
        not_after_ms: TimeMs,
    },
    /// A certificate opens no session any more.
    CertificateRevoked {
        /// Whose.
        node: NodeId,
        /// Its serial number, hex.
        serial: String,
        /// Why.
        reason: String,
    },
    /// A certificate was signed for a node that showed another one.
    CertificateRenewed {
        /// Whose.
        node: NodeId,
        /// Its serial number, hex.
        serial: String,
        /// When it expires.
        not_after_ms: TimeMs,
        /// Serial number of the one that was shown.
        renews: String,
    },
    /// A certificate opens no session any more: the node has another one in its place.
    CertificateSuperseded {
        /// Whose.
        node: NodeId,
        /// Its serial number, hex.
        serial: String,
        /// Serial number of the one in its place.
        by: String,
    },
    /// No certificate that a node had opens a session any more.
    NodeCertificatesRevoked {
        /// Whose.
        node: NodeId,
        /// How many were still good.
        count: u32,
        /// Why.
        reason: String,
    },
}

impl AccessEvent {
    /// Who receives it: what a node must obey, that node; the rest is the hub's trail.
    pub(super) fn audience(&self) -> Audience {
        match self {
            AccessEvent::TerminalRevoked { node, .. } | AccessEvent::OperatorDisabled { node, .. } => {
                Audience::Node(*node)
            }
            _ => Audience::HubOnly,
        }
    }

    /// As other programs read it.
    pub(super) fn view(&self) -> serde_json::Value {
        use serde_json::json;
        match self {
            AccessEvent::EnrolmentOffered { terminal, node, expires_at_ms, .. } => json!({
                "kind": "enrolment_offered", "terminal": terminal.to_string(), "node": node.get(),
                "expires_at_ms": expires_at_ms.ms(),
            }),
            AccessEvent::EnrolmentFailed { terminal, node } => {
                json!({ "kind": "enrolment_failed", "terminal": terminal.to_string(), "node": node.get() })
            }
            AccessEvent::TerminalRevoked { terminal, node, reason } => json!({
                "kind": "terminal_revoked", "terminal": terminal.to_string(), "node": node.get(), "reason": reason,
            }),
            AccessEvent::OperatorDisabled { operator, node } => {
                json!({ "kind": "operator_disabled", "operator": operator.to_string(), "node": node.get() })
            }
            AccessEvent::CertificateIssued { node, serial, not_after_ms } => json!({
                "kind": "certificate_issued", "node": node.get(), "serial": serial, "not_after_ms": not_after_ms.ms(),
            }),
            AccessEvent::CertificateRevoked { node, serial, reason } => json!({
                "kind": "certificate_revoked", "node": node.get(), "serial": serial, "reason": reason,
            }),
            AccessEvent::CertificateRenewed { node, serial, not_after_ms, renews } => json!({
                "kind": "certificate_renewed", "node": node.get(), "serial": serial, "not_after_ms": not_after_ms.ms(),
                "renews": renews,
            }),
            AccessEvent::CertificateSuperseded { node, serial, by } => {
                json!({ "kind": "certificate_superseded", "node": node.get(), "serial": serial, "by": by })
            }
            AccessEvent::NodeCertificatesRevoked { node, count, reason } => json!({
                "kind": "node_certificates_revoked", "node": node.get(), "count": count, "reason": reason,
            }),
        }
    }
}
