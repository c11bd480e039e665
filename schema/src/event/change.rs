//! Facts about what one person proposed and another decided, and the parameters that came of it. Written by the hub.

use serde::{Deserialize, Serialize};

use super::{Audience, BatchNames};
use crate::id::{BatchNo, PackId};
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
    pub(super) fn view(&self, names: &BatchNames) -> serde_json::Value {
        use serde_json::json;
        match self {
            ChangeEvent::Proposed { number, kind, before, after, reason, expires_at_ms } => json!({
                "kind": "change_proposed", "number": number, "of": kind, "before": subject_view(before, names),
                "after": subject_view(after, names),
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

/// What a change is about, as it was or is to be: the JSON of its text, with packs and batches by their printed names. What is no
/// JSON stays a text.
pub fn subject_view(text: &str, names: &BatchNames) -> serde_json::Value {
    let Ok(mut view) = serde_json::from_str::<serde_json::Value>(text) else { return text.into() };
    if let Some(pack) = view["pack"].as_i64().and_then(|key| PackId::from_key(key).ok()) {
        view["pack"] = names.pack(pack).into();
    }
    let batch = view["batch"].as_u64().and_then(|number| u32::try_from(number).ok());
    if let Some(name) = batch.and_then(|number| BatchNo::new(number).ok()).and_then(|batch| names.batch(batch)) {
        view["batch_name"] = name.into();
    }
    view
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_proposal_shows_its_subject_as_json_and_its_pack_by_name() {
        let pack = PackId::new(BatchNo::new(3).unwrap(), 123).unwrap();
        let after = json!({ "pack": pack.key(), "hold": "damaged" }).to_string();
        let event = ChangeEvent::Proposed {
            number: 7,
            kind: "hold".to_string(),
            before: "null".to_string(),
            after,
            reason: "wet".to_string(),
            expires_at_ms: TimeMs::from_ms(1),
        };
        let view = event.view(&BatchNames::default());
        assert_eq!(view["after"], json!({ "pack": pack.to_string(), "hold": "damaged" }));
        assert_eq!(view["before"], json!(null));
        assert_eq!(subject_view("{1}", &BatchNames::default()), json!("{1}"));
    }
}
