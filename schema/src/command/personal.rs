//! Commands about personal data. The proposer has checked, masked and encrypted the value: the machine has no keys.

use core::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::id::OutletId;
use crate::personal::PersonalField;

/// What is to be done about personal data. The actor of the proposal is who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PersonalCommand {
    /// Keep a value.
    Keep {
        /// Whose owner's.
        outlet: OutletId,
        /// Which field.
        field: PersonalField,
        /// The value, encrypted for this outlet and field.
        sealed: Vec<u8>,
        /// The value, masked.
        masked: String,
    },
    /// Forget a value.
    Clear {
        /// Whose owner's.
        outlet: OutletId,
        /// Which field.
        field: PersonalField,
    },
    /// Note that somebody is going to read values in the clear.
    NoteReading {
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
