//! Frames of HTTP/2, written by hand: no library sends what an attacker does.

use std::io::{Read, Write};

use crate::https::{Server, Stream, read_all};

/// What a client says first: its preface and empty settings.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` as HPACK writes it.
const STATUS_200: u8 = 0x88;
/// The client does not speak the protocol.
pub const PROTOCOL_ERROR: u32 = 1;
/// The server has as many streams as it takes.
pub const REFUSED_STREAM: u32 = 7;
/// The server has had enough of this client.
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// A connection of HTTP/2.
pub struct Frames {
    stream: Stream,
}

/// One frame of the server that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// An answer on this stream, and whether it is a 200.
    Answer(u32, bool),
    /// This stream is not served, for this reason.
    Reset(u32, u32),
    /// The connection ends, for this reason.
    GoAway(u32),
    /// The last part of this stream's answer.
    End(u32),
    /// Anything else.
    Other,
}

impl Frames {
    /// Opens a connection.
    ///
    /// # Panics
    /// When the server does not speak HTTP/2.
    pub fn open(server: &Server) -> Frames {
        let mut stream = server.dial("h2").expect("the server speaks HTTP/2");
        stream.write_all(PREFACE).expect("a preface can be sent");
        Frames { stream }
    }

    /// Sends bytes; a server that has closed does not hear them.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).and_then(|()| self.stream.flush());
    }

    /// The next frame; nothing once the server has closed.
    pub fn hear(&mut self) -> Option<Frame> {
        loop {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).ok()?;
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let mut body = vec![0; length];
            self.stream.read_exact(&mut body).ok()?;
            let word = |at: usize| {
                body.get(at..at + 4).map_or(0, |word| u32::from_be_bytes([word[0], word[1], word[2], word[3]]))
            };
            let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            match head[3] {
                HEADERS => return Some(Frame::Answer(stream, body.first() == Some(&STATUS_200))),
                DATA if head[4] & END_STREAM != 0 => return Some(Frame::End(stream)),
                RST_STREAM => return Some(Frame::Reset(stream, word(0))),
                GOAWAY => return Some(Frame::GoAway(word(4))),
                SETTINGS if head[4] == 0 => self.send(&frame(SETTINGS, 1, 0, &[])),
                _ => return Some(Frame::Other),
            }
        }
    }

    /// Why the server ended the connection; nothing where it just closed.
    pub fn end(mut self) -> Option<u32> {
        let mut reason = None;
        while let Some(frame) = self.hear() {
            if let Frame::GoAway(code) = frame {
                reason = Some(code);
            }
        }
        read_all(&mut self.stream);
        reason
    }
}

fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a frame is short").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A text as HPACK writes it, not packed.
fn literal(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text");
    let mut bytes = Vec::new();
    if !name.is_empty() {
        bytes.push(0);
        bytes.push(length(name));
        bytes.extend_from_slice(name);
    }
    bytes.push(length(value));
    bytes.extend_from_slice(value);
    bytes
}

/// The header block of a request: `:method` (2 GET, 3 POST), `:scheme` https, `:path`, `:authority`.
fn block(method: u8, path: &str) -> Vec<u8> {
    let mut block = vec![0x80 | method, 0x87, 0x04];
    block.extend(literal(b"", path.as_bytes()));
    block.push(0x01);
    block.extend(literal(b"", b"jikai"));
    block
}

/// A request that is whole.
pub fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(2, path))
}

/// A request whose body does not come; what kind it would be is told, so that the server waits for it.
pub fn post_without_body(stream: u32, path: &str) -> Vec<u8> {
    let block = [block(3, path), literal(b"content-type", b"application/json")].concat();
    frame(HEADERS, END_HEADERS, stream, &block)
}

/// The whole of a body, and its end.
pub fn body(stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, END_STREAM, stream, bytes)
}

/// The end of a body that is empty.
pub fn end_of_body(stream: u32) -> Vec<u8> {
    body(stream, &[])
}

/// Takes a request back.
pub fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

/// A request that breaks the protocol: a header in capitals.
pub fn malformed(stream: u32) -> Vec<u8> {
    let block = [block(2, "/health/live"), literal(b"X-Evil", b"1")].concat();
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}

/// A request whose headers go on and on, in so many frames.
pub fn endless_headers(stream: u32, frames: usize) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_STREAM, stream, &block(2, "/health/live"));
    let more: Vec<u8> = (0..60).flat_map(|_| literal(b"x-evil", &[b'a'; 100])).collect();
    for _ in 0..frames {
        bytes.extend(frame(CONTINUATION, 0, stream, &more));
    }
    bytes
}

/// A request with one long header, named again and again: some bytes on the line, megabytes in memory.
pub fn header_bomb(stream: u32) -> Vec<u8> {
    let mut block = block(2, "/health/live");
    // Literal with indexing: from now on it is entry 62 of the table.
    block.extend([0x40, 6]);
    block.extend(b"x-evil");
    block.push(126);
    block.extend([b'a'; 126]);
    block.extend([0xbe; 15_000]);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block)
}
