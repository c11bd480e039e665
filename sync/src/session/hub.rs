//! The hub's end: admits, takes the node's log, sends its feed.

use super::node::{check_position, name};
use super::peer::Peer;
use super::receiver::Received;
use super::{Action, BatchReceiver, BatchSender, LogRecord, Stream};
use crate::wire::{Cursor, Frame, Greeting, Hello, Mark, RefusalV1, Welcome, WireVersion};

/// The hub's end of a session.
#[derive(Debug)]
pub struct HubSession {
    peer: Peer,
    state: State,
    /// What came before the greeting.
    mark: Option<Mark>,
    /// Whether the node has shown that its log agrees with the hub's place in it.
    agreed: bool,
}

#[derive(Debug)]
enum State {
    Waiting,
    Admitting(Hello),
    Open { up: BatchReceiver, down: BatchSender },
}

impl HubSession {
    /// Waits for a node's greeting.
    pub fn new(now_ms: i64) -> Self {
        HubSession::over(WireVersion::NEWEST, now_ms)
    }

    /// The same, in the version that both ends have agreed on.
    pub fn over(version: WireVersion, now_ms: i64) -> Self {
        let mut peer = Peer::new(version, now_ms);
        peer.expect_greeting(now_ms);
        HubSession { peer, state: State::Waiting, mark: None, agreed: false }
    }

    /// Takes received bytes.
    pub fn on_bytes(&mut self, stream: Stream, bytes: &[u8], now_ms: i64) {
        self.peer.push(stream, bytes, now_ms);
        self.read_frames(stream, now_ms);
    }

    fn read_frames(&mut self, stream: Stream, now_ms: i64) {
        // Frames of the down stream wait until both ends agree.
        while stream == Stream::Up || self.agreed {
            let Some(frame) = self.peer.next_frame(stream) else { return };
            if let Err(refusal) = self.on_frame(stream, frame, now_ms) {
                self.peer.refuse(refusal, now_ms);
            }
        }
    }

    fn on_frame(&mut self, stream: Stream, frame: Frame, now_ms: i64) -> Result<(), RefusalV1> {
        match (stream, frame, &mut self.state) {
            (Stream::Up, Frame::Mark(mark), State::Waiting) if self.mark.is_none() => self.mark = Some(mark),
            (Stream::Up, Frame::Hello(hello), State::Waiting) => {
                self.greeted(Hello { event_version: WireVersion::V1.event_version(), ..hello })?;
            }
            (Stream::Up, Frame::Greeting(Greeting { hello, event_version }), State::Waiting) => {
                self.greeted(Hello { event_version, ..hello })?;
            }
            (Stream::Up, Frame::Refused(refusal), _) => self.peer.close(refusal),
            // A node whose log differs answers the welcome with a refusal, any other with the place itself.
            (Stream::Up, Frame::Ack(place), State::Open { up, .. }) if !self.agreed && place == up.durable() => {
                self.agreed = true;
                self.peer.act(Action::Agreed);
                self.read_frames(Stream::Down, now_ms);
                self.read_on();
            }
            (Stream::Up, Frame::Batch(batch), State::Open { up, .. }) if self.agreed => match up.receive(&batch)? {
                Received::New(batch) => self.peer.act(Action::Deliver(batch)),
                Received::Repeated(cursor) => self.peer.send(Stream::Up, &Frame::Ack(cursor), now_ms),
            },
            (Stream::Down, Frame::Ack(ack), State::Open { down, .. }) => {
                if down.acked(ack)? {
                    self.peer.act(Action::Acked(ack));
                }
                self.read_on();
            }
            (_, Frame::KeepAlive, State::Admitting(_) | State::Open { .. }) => {}
            (_, frame, _) => return Err(RefusalV1::Malformed { what: format!("unexpected {}", name(&frame)) }),
        }
        Ok(())
    }

    fn greeted(&mut self, hello: Hello) -> Result<(), RefusalV1> {
        check_position(hello.up_head)?;
        check_position(hello.down)?;
        self.peer.greeted();
        self.peer.act(Action::Admit(hello.clone(), self.mark));
        self.state = State::Admitting(hello);
        Ok(())
    }

    /// Answers [`Action::Admit`]: the node may go on from `welcome.up`; its feed has `down_head_seq` events. The feed begins
    /// when the node agrees.
    pub fn admitted(&mut self, welcome: Welcome, down_head_seq: u64, now_ms: i64) {
        let State::Admitting(hello) = &self.state else { return };
        let down = BatchSender::new(hello.down, down_head_seq);
        let up = BatchReceiver::new(welcome.up);
        self.peer.send(Stream::Up, &Frame::Welcome(welcome), now_ms);
        self.state = State::Open { up, down };
    }

    /// The node's feed has grown.
    pub fn feed_grew(&mut self, head_seq: u64) {
        if let State::Open { down, .. } = &mut self.state {
            down.log_grew(head_seq);
        }
        self.read_on();
    }

    /// Answers [`Action::ReadLog`].
    pub fn log_read(&mut self, records: &[LogRecord], now_ms: i64) {
        let State::Open { down, .. } = &mut self.state else { return };
        match down.pack(records) {
            Ok(Some(batch)) => self.peer.send(Stream::Down, &batch, now_ms),
            Ok(None) => {}
            Err(refusal) => self.peer.refuse(refusal, now_ms),
        }
        self.read_on();
    }

    /// Answers [`Action::ReadLog`]: the feed goes on with what the node cannot read. Nothing more of it is sent, and the session goes on:
    /// what the node's outlets do is taken in. A node of the first version of the wire has no word for it.
    pub fn feed_stopped(&mut self, refusal: RefusalV1, now_ms: i64) {
        let State::Open { down, .. } = &mut self.state else { return };
        down.stop();
        if self.peer.version() > WireVersion::V1 {
            self.peer.send(Stream::Up, &Frame::FeedStopped(refusal), now_ms);
        }
    }

    /// Answers [`Action::Deliver`]: the node's log is committed up to here.
    pub fn delivered(&mut self, cursor: Cursor, now_ms: i64) {
        let State::Open { up, .. } = &mut self.state else { return };
        match up.delivered(cursor) {
            Ok(ack) => self.peer.send(Stream::Up, &Frame::Ack(ack), now_ms),
            Err(refusal) => self.peer.refuse(refusal, now_ms),
        }
    }

    /// Ends the session from this side.
    pub fn refuse(&mut self, refusal: RefusalV1, now_ms: i64) {
        self.peer.refuse(refusal, now_ms);
    }

    /// Time has passed.
    pub fn tick(&mut self, now_ms: i64) {
        self.peer.tick(now_ms);
    }

    /// When [`HubSession::tick`] is due.
    pub fn wake_at_ms(&self) -> i64 {
        self.peer.wake_at_ms()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.peer.poll()
    }

    fn read_on(&mut self) {
        if self.agreed
            && let State::Open { down, .. } = &mut self.state
            && let Some((from_seq, events_max, bytes_max)) = down.wants()
        {
            self.peer.act(Action::ReadLog { from_seq, events_max, bytes_max });
        }
    }
}
