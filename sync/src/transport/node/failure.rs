//! Why there was no session, where the protocol gave no reason.

use quinn::{ConnectionError, TransportErrorCode};

use crate::routes::Route;
use crate::transport::agreed::{NO_VERSION_HINT, share_no_version};

/// What to do where hub and node do not trust each other.
const STRANGERS_HINT: &str = "correct `hub` in node.toml, or enrol the node at this hub: `jikai-hub ca sign`, and `jikai-node enrol` \
                              with the ca.pem of this hub (`jikai-hub ca show`)";
/// What TLS says of a certificate that no known authority signed: it knows none of this name (48), or one of this name with
/// another key (51), for all authorities of an environment are called the same.
const OTHER_AUTHORITY: [u8; 2] = [48, 51];

/// A failure of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) error: String,
    /// Whether one end's certificate is of an authority that the other does not know.
    pub(super) strangers: bool,
    /// Whether both ends share no version of the wire.
    pub(super) no_version: bool,
}

impl Failure {
    /// Tells the operator.
    pub(super) fn tell(&self, route: &Route) {
        let error = &self.error;
        if self.no_version {
            tracing::warn!(%route, error, hint = NO_VERSION_HINT, "the hub and this node share no version of the wire");
            return;
        }
        match self.strangers {
            true => {
                tracing::warn!(%route, error, hint = STRANGERS_HINT, "the hub at this address and this node are of different authorities");
            }
            false => tracing::info!(%route, error, "no session with the hub"),
        }
    }
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Failure { error, strangers: false, no_version: false }
    }
}

impl From<ConnectionError> for Failure {
    fn from(error: ConnectionError) -> Self {
        let (strangers, no_version) = (are_strangers(&error), share_no_version(&error));
        Failure { error: error.to_string(), strangers, no_version }
    }
}

/// Whether a connection ended because one end does not know the authority of the other.
pub(super) fn are_strangers(error: &ConnectionError) -> bool {
    let is_other = |code| OTHER_AUTHORITY.map(TransportErrorCode::crypto).contains(&code);
    match error {
        // This end does not know the hub's authority.
        ConnectionError::TransportError(ours) => is_other(ours.code),
        // The hub does not know this node's.
        ConnectionError::ConnectionClosed(theirs) => is_other(theirs.error_code),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_another_authority_makes_strangers() {
        let alert = |alert| ConnectionError::from(quinn_proto::TransportError::from(TransportErrorCode::crypto(alert)));
        assert!(OTHER_AUTHORITY.into_iter().all(|code| Failure::from(alert(code)).strangers));
        assert!(!Failure::from(alert(45)).strangers, "an ended certificate is of the same authority");
        assert!(!Failure::from(ConnectionError::TimedOut).strangers);
        let other_version = Failure::from(alert(120));
        assert!(other_version.no_version && !other_version.strangers && !Failure::from(alert(48)).no_version);
    }
}
