//! Who caused an event, and in answer to which request.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::crypto::{Suite, hash};
use crate::id::{OperatorId, TerminalId};

/// Who caused an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Actor {
    /// The system itself: imports at set-up, jobs.
    System,
    /// A member of staff at the centre, by account name (≤ 64 characters), at the hub's own machine or where the place is not
    /// known.
    Staff(String),
    /// A person at a terminal of an outlet; the outlet is the terminal's.
    Terminal {
        /// The device.
        terminal: TerminalId,
        /// The person.
        operator: OperatorId,
    },
    /// A member of staff at the centre, and from where.
    StaffAt {
        /// Account name, ≤ 64 characters.
        login: String,
        /// The address that the request came from.
        address: IpAddr,
    },
    /// A person at a terminal of an outlet, and from where.
    TerminalAt {
        /// The device.
        terminal: TerminalId,
        /// The person.
        operator: OperatorId,
        /// The address that the request came from.
        address: IpAddr,
    },
}

impl Actor {
    /// The release that first wrote this sort of actor.
    pub(super) const fn since(&self) -> u8 {
        match self {
            Actor::System | Actor::Staff(_) | Actor::Terminal { .. } => 1,
            Actor::StaffAt { .. } | Actor::TerminalAt { .. } => 2,
        }
    }

    /// The account name, if this is a member of staff.
    pub fn login(&self) -> Option<&str> {
        match self {
            Actor::Staff(login) | Actor::StaffAt { login, .. } => Some(login),
            Actor::System | Actor::Terminal { .. } | Actor::TerminalAt { .. } => None,
        }
    }

    /// The device and the person at it, if this is a terminal.
    pub fn terminal(&self) -> Option<(TerminalId, OperatorId)> {
        match self {
            Actor::Terminal { terminal, operator } | Actor::TerminalAt { terminal, operator, .. } => {
                Some((*terminal, *operator))
            }
            _ => None,
        }
    }

    /// The address that the actor acted from, as far as it is known.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Actor::StaffAt { address, .. } | Actor::TerminalAt { address, .. } => Some(*address),
            _ => None,
        }
    }
}

/// A request of a member of staff: drawn when it arrives, told in its answer, and found again in the trail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestId(pub [u8; 16]);

impl core::fmt::Display for RequestId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A request as its event remembers it, so that a repeat renders the same reply for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RequestKey {
    /// Of a terminal: first 16 bytes of the hash of (terminal id ‖ "\n" ‖ Idempotency-Key): two terminals may use one key. Of a
    /// member of staff: its [`RequestId`]. Of a fact that is noted once, whoever leads to it: of the hash over its subject.
    pub id: [u8; 16],
    /// Of a terminal: first 8 bytes of the hash over verb and body: the same key with another body is refused. Of a member of
    /// staff: of the hash over the command, since one request may lead to several.
    pub body_hash: [u8; 8],
}

impl RequestKey {
    /// The key of a terminal's request. `verb` separates two calls that happen to have equal bodies.
    pub fn of_terminal(terminal: TerminalId, idempotency_key: &str, verb: &str, body: &[u8]) -> Self {
        let suite = Suite::configured();
        let id = hash(suite, &[terminal.to_string().as_bytes(), b"\n", idempotency_key.as_bytes()]);
        let body = hash(suite, &[verb.as_bytes(), b"\n", body]);
        let (mut key, mut body_hash) = ([0; 16], [0; 8]);
        key.copy_from_slice(&id[..16]);
        body_hash.copy_from_slice(&body[..8]);
        RequestKey { id: key, body_hash }
    }

    /// The key of one command that a request of a member of staff led to, by the command's bytes.
    pub fn of_command(request: RequestId, command: &[u8]) -> Self {
        let mut body_hash = [0; 8];
        body_hash.copy_from_slice(&hash(Suite::configured(), &[command])[..8]);
        RequestKey { id: request.0, body_hash }
    }

    /// The key of a fact that is noted once for a subject, by whatever request: `kind` holds no line feed and no digit first, so
    /// that no terminal's key is the same.
    pub fn of_fact(kind: &str, subject: i64) -> Self {
        let mut id = [0; 16];
        id.copy_from_slice(&hash(Suite::configured(), &[kind.as_bytes(), b"\n", &subject.to_be_bytes()])[..16]);
        RequestKey { id, body_hash: [0; 8] }
    }

    /// Whether it is the key of a fact that is noted once, whichever outlet leads to it, see [`RequestKey::of_fact`].
    pub fn is_fact(&self) -> bool {
        self.body_hash == [0; 8]
    }

    /// The integer under which the id is indexed: its first 8 bytes.
    pub fn index_key(&self) -> i64 {
        let mut first = [0; 8];
        first.copy_from_slice(&self.id[..8]);
        i64::from_be_bytes(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_of_two_terminals_is_two_requests_and_another_body_is_seen() {
        let terminal = |id: u64| TerminalId::new(id).unwrap();
        let key = RequestKey::of_terminal(terminal(1_301_000_101), "k", "pay", b"a");
        assert_ne!(key.id, RequestKey::of_terminal(terminal(1_301_000_102), "k", "pay", b"a").id);
        let other_body = RequestKey::of_terminal(terminal(1_301_000_101), "k", "pay", b"b");
        assert_eq!(key.id, other_body.id);
        assert_ne!(key.body_hash, other_body.body_hash);
        assert_ne!(key.body_hash, RequestKey::of_terminal(terminal(1_301_000_101), "k", "sell", b"a").body_hash);
    }
}
