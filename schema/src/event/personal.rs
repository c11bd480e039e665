//! Facts about personal data: that it is kept, was cleared or was read. The values stand in no event.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Audience;
use crate::id::OutletId;
use crate::personal::PersonalField;

/// Facts about personal data of outlets' owners. Written by the hub, for nobody else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PersonalEvent {
    /// A field was set.
    Kept {
        /// Whose owner's.
        outlet: OutletId,
        /// Which field.
        field: PersonalField,
        /// What was kept before, masked.
        before: Option<String>,
        /// What is kept now, masked.
        after: String,
    },
    /// A field was cleared.
    Cleared {
        /// Whose owner's.
        outlet: OutletId,
        /// Which field.
        field: PersonalField,
    },
    /// Fields were read in the clear.
    Read {
        /// Whose owner's.
        outlet: OutletId,
        /// Which fields.
        fields: Vec<PersonalField>,
        /// What for.
        reason: String,
        /// From where.
        address: IpAddr,
    },
}

impl PersonalEvent {
    pub(super) fn audience(&self) -> Audience {
        Audience::HubOnly
    }

    /// As other programs read it.
    pub(super) fn view(&self) -> serde_json::Value {
        use serde_json::json;
        match self {
            PersonalEvent::Kept { outlet, field, before, after } => json!({
                "kind": "personal_data_kept", "outlet": outlet.to_string(), "field": field.name(), "before": before,
                "after": after,
            }),
            PersonalEvent::Cleared { outlet, field } => {
                json!({ "kind": "personal_data_cleared", "outlet": outlet.to_string(), "field": field.name() })
            }
            PersonalEvent::Read { outlet, fields, reason, address } => json!({
                "kind": "personal_data_read", "outlet": outlet.to_string(), "reason": reason,
                "fields": fields.iter().map(|field| field.name()).collect::<Vec<_>>(), "address": address.to_string(),
            }),
        }
    }
}
