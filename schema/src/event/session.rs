//! Terminal sessions.

use core::fmt;

use serde::{Deserialize, Serialize};

use crate::crypto::{Suite, hash};
use crate::id::{OperatorId, TerminalId};
use crate::time::TimeMs;

/// What a store keeps of a session token: the first 16 bytes of its hash. The token itself is never stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TokenTag(pub [u8; 16]);

impl TokenTag {
    /// The tag of a token as the terminal presents it.
    pub fn of(token: &[u8]) -> Self {
        let mut tag = [0; 16];
        tag.copy_from_slice(&hash(Suite::configured(), &[token])[..16]);
        TokenTag(tag)
    }
}

impl fmt::Debug for TokenTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenTag(…)")
    }
}

/// Facts about sessions, decided by the node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEvent {
    /// The terminal proved its key and the operator the password. An earlier session of the terminal ends.
    Opened {
        /// The device.
        terminal: TerminalId,
        /// The person.
        operator: OperatorId,
        /// Tag of the token.
        token: TokenTag,
        /// When it ends at the latest.
        expires_at_ms: TimeMs,
    },
    /// The operator logged out.
    Closed {
        /// The device.
        terminal: TerminalId,
    },
    /// A device proved its key, the person at it typed a wrong password.
    LoginFailed {
        /// The device.
        terminal: TerminalId,
        /// Who the person said to be.
        operator: OperatorId,
        /// Wrong passwords in a row, this one included.
        failures: u32,
    },
    /// Somebody logged in asked for what only the owner may do. Noted once a minute for each person and request.
    RightRefused {
        /// The device.
        terminal: TerminalId,
        /// The person.
        operator: OperatorId,
        /// What was asked for, such as `receive packs`.
        request: String,
    },
}
