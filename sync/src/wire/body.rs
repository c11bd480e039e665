//! The events of a batch: records with length prefixes, compressed where that helps.

/// Largest body once decompressed: a batch's bytes, one event over the limit, and the lengths.
pub const BODY_BYTES_MAX: usize = 256 * 1024;
/// Bodies below this size are sent as they are.
const COMPRESS_FROM_BYTES: usize = 1024;
const RAW: u8 = 0;
const ZSTD: u8 = 1;

/// A body that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Unknown first byte, or bytes that do not decompress within [`BODY_BYTES_MAX`].
    #[error("the batch does not decompress within its bounds")]
    Compression,
    /// Lengths that do not fit the bytes or the announced count.
    #[error("the records of the batch do not fit its length")]
    Records,
}

/// Encodes records: one byte raw or zstd, then a 4-byte length and the bytes of each.
pub fn encode_body<'a>(records: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut raw = vec![RAW];
    for record in records {
        raw.extend_from_slice(&(record.len() as u32).to_le_bytes());
        raw.extend_from_slice(record);
    }
    if raw.len() < COMPRESS_FROM_BYTES {
        return raw;
    }
    match zstd::bulk::compress(&raw[1..], 1) {
        Ok(compressed) if compressed.len() + 1 < raw.len() => [&[ZSTD], compressed.as_slice()].concat(),
        _ => raw,
    }
}

/// Decodes exactly `count` records.
pub fn decode_body(body: &[u8], count: usize) -> Result<Vec<Vec<u8>>, BodyError> {
    let (kind, bytes) = body.split_first().ok_or(BodyError::Records)?;
    let decompressed;
    let mut rest = match *kind {
        RAW if bytes.len() <= BODY_BYTES_MAX => bytes,
        ZSTD => {
            decompressed = zstd::bulk::decompress(bytes, BODY_BYTES_MAX).map_err(|_| BodyError::Compression)?;
            &decompressed
        }
        _ => return Err(BodyError::Compression),
    };
    let mut records = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let length = u32::from_le_bytes(*length) as usize;
        let record = tail.get(..length).ok_or(BodyError::Records)?;
        if records.len() == count {
            return Err(BodyError::Records);
        }
        records.push(record.to_vec());
        rest = &tail[length..];
    }
    if rest.is_empty() && records.len() == count { Ok(records) } else { Err(BodyError::Records) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(records: &[Vec<u8>]) -> Vec<u8> {
        encode_body(records.iter().map(Vec::as_slice))
    }

    #[test]
    fn small_and_compressed_bodies_come_back_as_they_were() {
        for records in [vec![vec![1, 2], vec![], vec![3]], vec![vec![7; 5000]; 3]] {
            assert_eq!(decode_body(&encode(&records), records.len()), Ok(records));
        }
        assert!(encode(&vec![vec![7; 5000]; 3]).len() < 1000);
    }

    #[test]
    fn a_body_that_would_unpack_without_end_is_refused() {
        let bomb = [vec![ZSTD], zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap()].concat();
        assert!(bomb.len() < 64 * 1024);
        assert_eq!(decode_body(&bomb, 1), Err(BodyError::Compression));
    }

    #[test]
    fn counts_and_lengths_must_fit() {
        let body = encode(&[vec![1, 2], vec![3]]);
        assert_eq!(decode_body(&body, 1), Err(BodyError::Records));
        assert_eq!(decode_body(&body, 3), Err(BodyError::Records));
        assert_eq!(decode_body(&body[..body.len() - 1], 2), Err(BodyError::Records));
        assert_eq!(decode_body(&[9, 0], 0), Err(BodyError::Compression));
        assert_eq!(decode_body(&[], 0), Err(BodyError::Records));
    }
}
