//! Bytes of events and commands: a version byte, then postcard.
//!
//! What is hashed, stored and shipped are these bytes; they are never re-encoded.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Event;

/// Version byte in front of every encoded value. Another one means a newer writer: stop, never skip.
pub const VERSION: u8 = 1;

/// Largest encoded event: a shipped pack of 1000 tickets × 24-byte records, and room for its envelope.
pub const EVENT_BYTES_MAX: usize = 32 * 1024;

/// Bytes that cannot be read, or a value that may not be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CodecError {
    /// Nothing where a value should be.
    #[error("the value is empty")]
    Empty,
    /// Written by a newer version.
    #[error("version {0} is not known here (this build reads {VERSION}): upgrade this machine first")]
    UnknownVersion(u8),
    /// Longer than allowed.
    #[error("{bytes} bytes are more than the {bytes_max} allowed")]
    TooLong {
        /// Length met.
        bytes: usize,
        /// Length allowed.
        bytes_max: usize,
    },
    /// Not a value of this type, or bytes behind it.
    #[error("the bytes are not a value of the expected type")]
    Malformed,
}

/// Encodes any value with the version byte.
pub fn encode<T: Serialize>(value: &T, bytes_max: usize) -> Result<Vec<u8>, CodecError> {
    let bytes = postcard::to_extend(value, vec![VERSION]).map_err(|_| CodecError::Malformed)?;
    check_length(&bytes, bytes_max)?;
    Ok(bytes)
}

/// Decodes what [`encode`] wrote; refuses unknown versions, over-long values and trailing bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], bytes_max: usize) -> Result<T, CodecError> {
    check_length(bytes, bytes_max)?;
    let (version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *version != VERSION {
        return Err(CodecError::UnknownVersion(*version));
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(CodecError::Malformed),
    }
}

/// Encodes an event as its log holds it.
pub fn encode_event(event: &Event) -> Result<Vec<u8>, CodecError> {
    encode(event, EVENT_BYTES_MAX)
}

/// Reads an event from its log.
pub fn decode_event(bytes: &[u8]) -> Result<Event, CodecError> {
    decode(bytes, EVENT_BYTES_MAX)
}

fn check_length(bytes: &[u8], bytes_max: usize) -> Result<(), CodecError> {
    if bytes.len() > bytes_max { Err(CodecError::TooLong { bytes: bytes.len(), bytes_max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_bytes_unknown_versions_and_long_values_are_refused() {
        let bytes = encode(&(7u32, "x"), 64).unwrap();
        assert_eq!(decode::<(u32, String)>(&bytes, 64), Ok((7, "x".to_string())));
        let mut longer = bytes.clone();
        longer.push(0);
        assert_eq!(decode::<(u32, String)>(&longer, 64), Err(CodecError::Malformed));
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert_eq!(decode::<(u32, String)>(&newer, 64), Err(CodecError::UnknownVersion(2)));
        assert_eq!(decode::<(u32, String)>(&[], 64), Err(CodecError::Empty));
        assert!(matches!(encode(&[0u8; 100].as_slice(), 64), Err(CodecError::TooLong { .. })));
        assert!(matches!(decode::<u8>(&[1; 65], 64), Err(CodecError::TooLong { .. })));
    }
}
