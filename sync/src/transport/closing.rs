//! Why a session ended, told in the close of its connection: bytes on a stream can be overtaken by the close, and a driver
//! that is writing notices the close first.

use quinn::{Connection, ConnectionError, VarInt};

use crate::wire::RefusalV1;

/// Code of a connection closed at its end.
pub(super) const ENDED: VarInt = VarInt::from_u32(0);
/// Code of a connection closed because the protocol gave a reason.
pub(super) const REFUSED: VarInt = VarInt::from_u32(1);
/// Longest reason. A close must fit one packet.
const REASON_BYTES_MAX: usize = 900;

/// Closes a connection, with the reason where there is one.
pub(super) fn close(connection: &Connection, refusal: Option<&RefusalV1>) {
    let Some(refusal) = refusal else { return connection.close(ENDED, b"ended") };
    let reason = postcard::to_stdvec(refusal).ok().filter(|reason| reason.len() <= REASON_BYTES_MAX);
    // The stream told the long ones.
    connection.close(REFUSED, reason.as_deref().unwrap_or_default());
}

/// The reason that the peer gave when it closed the connection.
pub(super) fn told(connection: &Connection) -> Option<RefusalV1> {
    match connection.close_reason()? {
        ConnectionError::ApplicationClosed(close) if close.error_code == REFUSED => {
            postcard::from_bytes(&close.reason).ok()
        }
        _ => None,
    }
}
