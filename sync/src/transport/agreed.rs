//! On which version of the wire the two ends of a connection have agreed in their handshake.

use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, ConnectionError, TransportErrorCode};

use crate::wire::WireVersion;

/// What to do where there is none.
pub(super) const NO_VERSION_HINT: &str = "upgrade whichever is older, the hub before its nodes: each release speaks its own version of the \
                                          wire and the one before it";
/// TLS's word for it: no application protocol.
const NO_PROTOCOL: u8 = 120;

/// The version; `None` where the peer named none.
pub(super) fn wire_version(connection: &Connection) -> Option<WireVersion> {
    let handshake = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    WireVersion::of_alpn(handshake.protocol.as_deref()?)
}

/// Whether a connection was not opened because its ends share no version.
pub(super) fn share_no_version(error: &ConnectionError) -> bool {
    let is_it = |code| code == TransportErrorCode::crypto(NO_PROTOCOL);
    match error {
        ConnectionError::TransportError(ours) => is_it(ours.code),
        ConnectionError::ConnectionClosed(theirs) => is_it(theirs.error_code),
        _ => false,
    }
}
