//! What both ends share: decoding, keep-alive, ending.

use std::collections::VecDeque;

use super::{Action, GREETING_MS_MAX, KEEP_ALIVE_MS, SILENCE_MS_MAX, Stream, WAITING_BYTES_MAX};
use crate::wire::{Frame, FrameDecoder, RefusalV1, WireVersion, encode_frame_as};

/// Frames in, actions out, and the clock of a session.
#[derive(Debug)]
pub(super) struct Peer {
    version: WireVersion,
    up: FrameDecoder,
    down: FrameDecoder,
    actions: VecDeque<Action>,
    heard_at_ms: i64,
    spoke_at_ms: i64,
    /// When the greeting must have come; `None` once it has.
    greeting_due_ms: Option<i64>,
    closed: bool,
}

impl Peer {
    /// Speaks the version that both ends have agreed on.
    pub(super) fn new(version: WireVersion, now_ms: i64) -> Self {
        Peer {
            version,
            up: FrameDecoder::of(version),
            down: FrameDecoder::of(version),
            actions: VecDeque::new(),
            heard_at_ms: now_ms,
            spoke_at_ms: now_ms,
            greeting_due_ms: None,
            closed: false,
        }
    }

    /// What both ends have agreed on.
    pub(super) fn version(&self) -> WireVersion {
        self.version
    }

    /// Ends the session unless [`Peer::greeted`] is called in time, whatever else comes.
    pub(super) fn expect_greeting(&mut self, now_ms: i64) {
        self.greeting_due_ms = Some(now_ms + GREETING_MS_MAX);
    }

    pub(super) fn greeted(&mut self) {
        self.greeting_due_ms = None;
    }

    pub(super) fn push(&mut self, stream: Stream, bytes: &[u8], now_ms: i64) {
        if self.closed {
            return;
        }
        self.heard_at_ms = now_ms;
        self.decoder(stream).push(bytes);
        let waiting_bytes = self.decoder(stream).waiting_bytes();
        if waiting_bytes > WAITING_BYTES_MAX {
            let what = format!("{waiting_bytes} bytes before they can be read");
            self.refuse(RefusalV1::Malformed { what }, now_ms);
        }
    }

    /// The next whole frame of a stream; bytes that are none end the session.
    pub(super) fn next_frame(&mut self, stream: Stream) -> Option<Frame> {
        if self.closed {
            return None;
        }
        match self.decoder(stream).next_frame() {
            Ok(frame) => frame,
            Err(error) => {
                self.refuse(RefusalV1::Malformed { what: error.to_string() }, self.heard_at_ms);
                None
            }
        }
    }

    pub(super) fn send(&mut self, stream: Stream, frame: &Frame, now_ms: i64) {
        match encode_frame_as(self.version, frame) {
            Ok(bytes) => {
                self.spoke_at_ms = now_ms;
                self.act(Action::Send(stream, bytes));
            }
            Err(error) => self.close(RefusalV1::Malformed { what: error.to_string() }),
        }
    }

    pub(super) fn act(&mut self, action: Action) {
        if !self.closed {
            self.actions.push_back(action);
        }
    }

    /// Tells the peer why, then ends.
    pub(super) fn refuse(&mut self, refusal: RefusalV1, now_ms: i64) {
        let told = refusal.clone().in_words_of(self.version);
        self.send(Stream::Up, &Frame::Refused(told), now_ms);
        self.close(refusal);
    }

    pub(super) fn close(&mut self, reason: RefusalV1) {
        self.act(Action::Close(reason));
        self.closed = true;
    }

    pub(super) fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    pub(super) fn tick(&mut self, now_ms: i64) {
        let silent_ms = now_ms - self.heard_at_ms;
        if silent_ms >= SILENCE_MS_MAX {
            self.close(RefusalV1::Silent { silent_ms });
        } else if let Some(due_ms) = self.greeting_due_ms.filter(|due_ms| now_ms >= *due_ms) {
            // Bytes may have trickled in; for the handshake that is silence, and a slow line may do better next time.
            self.refuse(RefusalV1::Silent { silent_ms: GREETING_MS_MAX + now_ms - due_ms }, now_ms);
        } else if now_ms - self.spoke_at_ms >= KEEP_ALIVE_MS {
            self.send(Stream::Up, &Frame::KeepAlive, now_ms);
        }
    }

    /// When [`Peer::tick`] is due.
    pub(super) fn wake_at_ms(&self) -> i64 {
        let due_ms = (self.heard_at_ms + SILENCE_MS_MAX).min(self.spoke_at_ms + KEEP_ALIVE_MS);
        self.greeting_due_ms.map_or(due_ms, |greeting_ms| due_ms.min(greeting_ms))
    }

    fn decoder(&mut self, stream: Stream) -> &mut FrameDecoder {
        match stream {
            Stream::Up => &mut self.up,
            Stream::Down => &mut self.down,
        }
    }
}
