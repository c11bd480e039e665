//! Frames out of a byte stream that may be cut anywhere.

use super::{FRAME_BYTES_MAX, Frame, WireVersion};

/// Bytes in front of a frame: its length, little endian.
const LENGTH_BYTES: usize = 4;

/// Bytes that are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_BYTES_MAX`], or without even a version byte.
    #[error("a frame of {0} bytes is out of bounds")]
    Length(usize),
    /// Written by another version.
    #[error("frame version {0} is not known here")]
    UnknownVersion(u8),
    /// Not a frame of this version.
    #[error("the frame cannot be read")]
    Malformed,
}

/// Encodes one frame of the present version with its length.
pub fn encode_frame(frame: &Frame) -> Result<Vec<u8>, FrameError> {
    encode_frame_as(WireVersion::NEWEST, frame)
}

/// Encodes one frame of this version with its length.
pub fn encode_frame_as(version: WireVersion, frame: &Frame) -> Result<Vec<u8>, FrameError> {
    let prefix = vec![0, 0, 0, 0, version.byte()];
    let mut bytes = postcard::to_extend(frame, prefix).map_err(|_| FrameError::Malformed)?;
    let length = bytes.len() - LENGTH_BYTES;
    if length > FRAME_BYTES_MAX {
        return Err(FrameError::Length(length));
    }
    bytes[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// Gathers bytes and gives out whole frames. Holds at most one frame and what came with it
/// if frames are taken out as they come.
#[derive(Debug)]
pub struct FrameDecoder {
    version: WireVersion,
    buffer: Vec<u8>,
    read: usize,
}

impl Default for FrameDecoder {
    fn default() -> Self {
        FrameDecoder::of(WireVersion::NEWEST)
    }
}

impl FrameDecoder {
    /// Reads frames of this version, and of no other.
    pub fn of(version: WireVersion) -> Self {
        FrameDecoder { version, buffer: Vec::new(), read: 0 }
    }

    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.read > 0 {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that were received and not yet given out.
    pub fn waiting_bytes(&self) -> usize {
        self.buffer.len() - self.read
    }

    /// The next whole frame; `None` until more bytes come. After an error the stream is of no more use.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let rest = &self.buffer[self.read..];
        let Some((prefix, rest)) = rest.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes(*prefix) as usize;
        if length == 0 || length > FRAME_BYTES_MAX {
            return Err(FrameError::Length(length));
        }
        let Some(bytes) = rest.get(..length) else { return Ok(None) };
        let frame = decode(self.version, bytes)?;
        self.read += LENGTH_BYTES + length;
        Ok(Some(frame))
    }
}

fn decode(spoken: WireVersion, bytes: &[u8]) -> Result<Frame, FrameError> {
    let (version, body) = bytes.split_first().ok_or(FrameError::Length(0))?;
    if *version != spoken.byte() {
        return Err(FrameError::UnknownVersion(*version));
    }
    match postcard::take_from_bytes(body) {
        Ok((frame, [])) => Ok(frame),
        _ => Err(FrameError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Batch, Cursor, Greeting, Hello, Mark, RefusalV1, Welcome};
    use jikai_schema::chain::ChainHash;
    use jikai_schema::id::NodeId;

    fn frames() -> Vec<(Frame, &'static str)> {
        let node = NodeId::new(3).unwrap();
        let cursor = Cursor { next_seq: 300, hash: ChainHash::from_bytes([7; 32]) };
        let hello = Hello {
            environment: "test".into(),
            node,
            incarnation: [1; 16],
            epoch: 1,
            schema_version: 1,
            up_head: cursor,
            down: Cursor::START,
            event_version: 0,
        };
        let welcome = Welcome { up: cursor, hub_generation: 2, endpoints: vec!["h:1".into()] };
        let hash = ChainHash::from_bytes([8; 32]);
        let batch = Batch {
            first_seq: 300,
            prev_hash: cursor.hash,
            count: 1,
            last_hash: hash,
            head_seq: 301,
            body: vec![0, 1, 9],
        };
        let sevens = "07".repeat(32);
        let golden = [
            format!("00047465737403{}ac02{sevens}01{}", "01".repeat(18), "00".repeat(32)),
            format!("01ac02{sevens}020103683a31"),
            "02060102".to_string(),
            format!("03ac02{sevens}01{}ad0203000109", "08".repeat(32)),
            format!("04ac02{sevens}"),
            "05".to_string(),
            format!("06047465737403{}ac02{sevens}01{}04", "01".repeat(18), "00".repeat(32)),
            format!("07{}01{}{}", "01".repeat(16), "02".repeat(16), "03".repeat(16)),
            "08120504".to_string(),
        ];
        let frames = [
            Frame::Hello(hello.clone()),
            Frame::Welcome(welcome),
            Frame::Refused(RefusalV1::Gap { expected: 1, found: 2 }),
            Frame::Batch(batch),
            Frame::Ack(cursor),
            Frame::KeepAlive,
            Frame::Greeting(Greeting { hello, event_version: 4 }),
            Frame::Mark(Mark { run: [1; 16], after: Some([2; 16]), process: [3; 16] }),
            Frame::FeedStopped(RefusalV1::SchemaTooOld { ours: 5, theirs: 4 }),
        ];
        frames.into_iter().zip(golden.map(|text| &*Box::leak(text.into_boxed_str()))).collect()
    }

    #[test]
    fn no_frames_bytes_have_changed() {
        for (frame, golden) in frames() {
            let hex: String = encode_frame(&frame).unwrap()[5..].iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, golden, "{frame:?}");
        }
    }

    #[test]
    fn frames_are_read_wherever_the_stream_is_cut() {
        let bytes: Vec<u8> = frames().iter().flat_map(|(frame, _)| encode_frame(frame).unwrap()).collect();
        for cut in 0..=bytes.len() {
            let mut decoder = FrameDecoder::default();
            let mut read = Vec::new();
            for part in [&bytes[..cut], &bytes[cut..]] {
                decoder.push(part);
                while let Some(frame) = decoder.next_frame().unwrap() {
                    read.push(frame);
                }
            }
            assert!(read.iter().eq(frames().iter().map(|(frame, _)| frame)), "cut at {cut}");
        }
    }

    #[test]
    fn lengths_versions_and_bodies_out_of_bounds_are_refused() {
        let refuse = |bytes: &[u8]| {
            let mut decoder = FrameDecoder::default();
            decoder.push(bytes);
            decoder.next_frame().unwrap_err()
        };
        assert_eq!(refuse(&[0, 0, 0, 0]), FrameError::Length(0));
        assert_eq!(refuse(&[1, 0, 16, 0]), FrameError::Length(FRAME_BYTES_MAX + 1));
        assert_eq!(refuse(&[2, 0, 0, 0, 9, 5]), FrameError::UnknownVersion(9));
        assert_eq!(refuse(&[2, 0, 0, 0, 2, 99]), FrameError::Malformed);
        assert_eq!(refuse(&[3, 0, 0, 0, 2, 5, 0]), FrameError::Malformed);
        assert_eq!(refuse(&[2, 0, 0, 0, 1, 5]), FrameError::UnknownVersion(1), "both ends have agreed on one");
    }
}
