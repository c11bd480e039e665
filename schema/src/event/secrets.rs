//! Facts about the secrets of the state: under which version of the keys they lie. Written by the hub.

use serde::{Deserialize, Serialize};

use super::Audience;

/// Facts about secrets. No event holds one, not even encrypted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretsEvent {
    /// Secrets of the state were encrypted anew; what they are has not changed.
    Resealed {
        /// The version of the keys, 1 to 63.
        key_version: u8,
        /// How many batch keys.
        batch_key_count: u32,
        /// How many second factors of staff.
        factor_count: u32,
    },
}

impl SecretsEvent {
    /// Nobody but the hub: a node has keys of its own.
    pub(super) fn audience(&self) -> Audience {
        match self {
            SecretsEvent::Resealed { .. } => Audience::HubOnly,
        }
    }

    /// As other programs read it.
    pub(super) fn view(&self) -> serde_json::Value {
        match self {
            SecretsEvent::Resealed { key_version, batch_key_count, factor_count } => serde_json::json!({
                "kind": "secrets_resealed", "key_version": key_version, "batch_key_count": batch_key_count,
                "factor_count": factor_count,
            }),
        }
    }
}
