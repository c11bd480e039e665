//! Facts about what one person proposed and another decided, and the parameters that came of it. Written by the hub.

use serde::{Deserialize, Serialize};

use super::Audience;
use crate::parameter::ParameterScope;
use crate::time::TimeMs;

/// Facts about changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChangeEvent {
    /// A person proposed a change; nothing was changed yet. The actor is its maker.
    Proposed {
        /// Its number.
        number: u32,
        /// What it is about, such as `parameter`.
        kind: String,
        /// JSON: the subject as it is.
        before: String,
        /// JSON: the subject as it would be.
        after: String,
        /// Why.
        reason: String,
        /// When it is void.
        expires_at_ms: TimeMs,
    },
    /// Another person approved it; what it does stands right before this. The actor is its checker.
    Approved {
        /// Which.
        number: u32,
        /// Who had proposed it.
        maker: String,
    },
    /// Another person refused it.
    Refused {
        /// Which.
        number: u32,
        /// Who had proposed it.
        maker: String,
        /// Why.
        reason: String,
    },
    /// Its maker took it back.
    Withdrawn {
        /// Which.
        number: u32,
    },
    /// A parameter has another value from an instant on.
    ParameterSet {
        /// Its key.
        key: String,
        /// Where.
        scope: ParameterScope,
        /// In the parameter's unit.
        value: i64,
        /// First instant.
        effective_from_ms: TimeMs,
        /// Who proposed it.
        maker: String,
        /// Who approved it.
        checker: String,
    },
}

impl ChangeEvent {
    /// Who receives it: values every node, the rest is the hub's trail.
    pub(super) fn audience(&self) -> Audience {
        match self {
            ChangeEvent::ParameterSet { .. } => Audience::All,
            _ => Audience::HubOnly,
        }
    }

    /// As other programs read it.
    pub(super) fn view(&self) -> serde_json::Value {
        use serde_json::json;
        match self {
            ChangeEvent::Proposed { number, kind, before, after, reason, expires_at_ms } => json!({
                "kind": "change_proposed", "number": number, "of": kind, "before": before, "after": after,
                "reason": reason, "expires_at_ms": expires_at_ms.ms(),
            }),
            ChangeEvent::Approved { number, maker } => {
                json!({ "kind": "change_approved", "number": number, "maker": maker })
            }
            ChangeEvent::Refused { number, maker, reason } => {
                json!({ "kind": "change_refused", "number": number, "maker": maker, "reason": reason })
            }
            ChangeEvent::Withdrawn { number } => json!({ "kind": "change_withdrawn", "number": number }),
            ChangeEvent::ParameterSet { key, scope, value, effective_from_ms, maker, checker } => json!({
                "kind": "parameter_set", "key": key, "scope": scope.number(), "value": value,
                "effective_from_ms": effective_from_ms.ms(), "maker": maker, "checker": checker,
            }),
        }
    }
}
