//! Bytes of events and commands: a version byte, then postcard.
//!
//! What is hashed, stored and shipped are these bytes; they are never re-encoded.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::event::Event;

/// Version byte in front of every encoded value but an event. Another one means a newer writer: stop, never skip.
pub const VERSION: u8 = 1;

/// Newest version byte of an event that this build reads. An event carries the version that first knew its variant
/// ([`Event::since`]): an older build takes a new fact for too new, never for a bad one.
pub const EVENT_VERSION: u8 = 4;

/// Largest encoded event: a shipped pack of 1000 tickets × 24-byte records, and room for its envelope.
pub const EVENT_BYTES_MAX: usize = 32 * 1024;

/// Bytes that cannot be read, or a value that may not be written.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CodecError {
    /// Nothing where a value should be.
    #[error("the value is empty")]
    Empty,
    /// Written by a newer version.
    #[error("version {0} is not known here: upgrade this machine first")]
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
    encode_as(VERSION, value, bytes_max)
}

fn encode_as<T: Serialize>(version: u8, value: &T, bytes_max: usize) -> Result<Vec<u8>, CodecError> {
    let bytes = postcard::to_extend(value, vec![version]).map_err(|_| CodecError::Malformed)?;
    check_length(&bytes, bytes_max)?;
    Ok(bytes)
}

/// How many bytes [`encode`] would write, without writing them; `usize::MAX` for a value that cannot be encoded.
pub fn length_of<T: Serialize>(value: &T) -> usize {
    let size = postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default());
    size.map_or(usize::MAX, |bytes| bytes.saturating_add(1))
}

/// Decodes what [`encode`] wrote; refuses unknown versions, over-long values and trailing bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], bytes_max: usize) -> Result<T, CodecError> {
    decode_up_to(VERSION, bytes, bytes_max)
}

fn decode_up_to<T: DeserializeOwned>(newest: u8, bytes: &[u8], bytes_max: usize) -> Result<T, CodecError> {
    check_length(bytes, bytes_max)?;
    let (version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *version == 0 || *version > newest {
        return Err(CodecError::UnknownVersion(*version));
    }
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(CodecError::Malformed),
    }
}

/// Encodes an event as its log holds it.
pub fn encode_event(event: &Event) -> Result<Vec<u8>, CodecError> {
    encode_as(event.since(), event, EVENT_BYTES_MAX)
}

/// Reads an event from its log.
pub fn decode_event(bytes: &[u8]) -> Result<Event, CodecError> {
    let event: Event = decode_up_to(EVENT_VERSION, bytes, EVENT_BYTES_MAX)?;
    // One fact has one writing: its bytes are hashed.
    if bytes.first() == Some(&event.since()) { Ok(event) } else { Err(CodecError::Malformed) }
}

/// Whether an event was written by a newer build: it is refused, never taken for a bad one.
pub fn is_too_new(event: &[u8]) -> bool {
    event.first().is_some_and(|version| *version > EVENT_VERSION)
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
        assert_eq!(length_of(&(7u32, "x")), bytes.len());
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
