//! Messages on a stream: a version, a length, then postcard.

use quinn::{ReadExactError, RecvStream, SendStream, WriteError};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::raft::types::ENTRY_BYTES_MAX;

/// First byte of every message; a peer of another one is refused.
const VERSION: u8 = 1;
/// Longest message: the longest entry, or as many shorter ones as fit into a read, and what stands around them. Bytes.
pub(crate) const FRAME_BYTES_MAX: usize = ENTRY_BYTES_MAX + 1024 * 1024;
/// Messages up to this length are read at once; longer ones wait for room in the memory set aside for them, so that no
/// vote or heartbeat ever waits behind entries. Bytes.
const SMALL_BYTES_MAX: usize = 64 * 1024;
const HEADER_BYTES: usize = 5;

/// A message that was not sent or received.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer speaks another version.
    #[error("the peer speaks version {0}, this build version {VERSION}")]
    Version(u8),
    /// Longer than any message may be.
    #[error("a message of {0} bytes, {FRAME_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not a message.
    #[error("a message cannot be read: {0}")]
    Malformed(#[from] postcard::Error),
    /// The stream ended.
    #[error("receiving: {0}")]
    Receive(#[from] ReadExactError),
    /// The stream ended.
    #[error("sending: {0}")]
    Send(#[from] WriteError),
    /// It did not arrive, or was not taken, in time.
    #[error("a message took too long")]
    TooSlow,
}

/// Encodes a message with its header.
pub(super) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = postcard::to_extend(message, vec![VERSION, 0, 0, 0, 0])?;
    let length = frame.len() - HEADER_BYTES;
    let length_bytes = u32::try_from(length).ok().filter(|_| length <= FRAME_BYTES_MAX);
    let length_bytes = length_bytes.ok_or(FrameError::TooLong(length))?;
    frame[1..HEADER_BYTES].copy_from_slice(&length_bytes.to_le_bytes());
    Ok(frame)
}

pub(super) async fn write(stream: &mut SendStream, frame: &[u8]) -> Result<(), FrameError> {
    stream.write_all(frame).await?;
    // Finishing fails only on a stream that was reset: then the reply tells.
    let _ = stream.finish();
    Ok(())
}

/// Reads one message; a long one only when `room` (in KiB) has space for it.
pub(super) async fn read<T: DeserializeOwned>(stream: &mut RecvStream, room: &Semaphore) -> Result<T, FrameError> {
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).await?;
    let [version, length_bytes @ ..] = header;
    if version != VERSION {
        return Err(FrameError::Version(version));
    }
    let length = u32::from_le_bytes(length_bytes) as usize;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(length));
    }
    // Held until the message is decoded. The semaphore is never closed.
    let _room = match length > SMALL_BYTES_MAX {
        true => room.acquire_many((length / 1024) as u32).await.ok(),
        false => None,
    };
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(postcard::from_bytes(&body)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_has_version_length_and_message() {
        assert_eq!(encode(&7u32).unwrap(), [VERSION, 1, 0, 0, 0, 7]);
    }

    #[test]
    fn a_message_that_is_too_long_is_not_sent() {
        let message = crate::raft::types::EntryBytes(vec![0; FRAME_BYTES_MAX]);
        assert!(matches!(encode(&message), Err(FrameError::TooLong(_))));
    }
}
