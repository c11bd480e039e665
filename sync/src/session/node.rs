//! The node's end: greets, sends its log, takes the hub's feed.

use jikai_schema::chain::ChainHash;

use super::peer::Peer;
use super::receiver::Received;
use super::{Action, BatchReceiver, BatchSender, LogRecord, Stream};
use crate::wire::{Cursor, Frame, Greeting, Hello, Mark, RefusalV1, Welcome, WireVersion};

/// The node's end of a session.
#[derive(Debug)]
pub struct NodeSession {
    peer: Peer,
    state: State,
    up_head_seq: u64,
    down: BatchReceiver,
    hub_generation_min: u32,
    takes_feed: bool,
    /// Whether nothing new is sent any more: the session is about to end in order.
    ending: bool,
}

#[derive(Debug)]
enum State {
    Greeting,
    Locating(Welcome),
    Open(BatchSender),
}

impl NodeSession {
    /// Greets the hub.
    pub fn new(hello: Hello, now_ms: i64) -> Self {
        NodeSession::over(WireVersion::NEWEST, hello, None, now_ms)
    }

    /// Greets the hub in the version that both ends have agreed on, and tells which run of the store greets if that version can.
    pub fn over(version: WireVersion, hello: Hello, mark: Option<Mark>, now_ms: i64) -> Self {
        let mut peer = Peer::new(version, now_ms);
        if let Some(mark) = mark.filter(|_| version >= WireVersion::V2) {
            peer.send(Stream::Up, &Frame::Mark(mark), now_ms);
        }
        let (up_head_seq, down) = (hello.up_head.next_seq - 1, hello.down);
        let greeting = match version {
            WireVersion::V1 => Frame::Hello(hello),
            WireVersion::V2 => Frame::Greeting(Greeting { event_version: hello.event_version, hello }),
        };
        peer.send(Stream::Up, &greeting, now_ms);
        // Opens the down stream, and tells where the feed is expected.
        peer.send(Stream::Down, &Frame::Ack(down), now_ms);
        let down = BatchReceiver::new(down);
        NodeSession {
            peer,
            state: State::Greeting,
            up_head_seq,
            down,
            hub_generation_min: 0,
            takes_feed: true,
            ending: false,
        }
    }

    /// Refuses a hub of an earlier generation than this: it was left behind, and what it takes in would be lost.
    pub fn with_hub_generation_min(self, hub_generation_min: u32) -> Self {
        NodeSession { hub_generation_min, ..self }
    }

    /// Leaves the feed unread and unacknowledged: the store is not ready for it. What the hub may send ahead is bounded.
    pub fn without_feed(self) -> Self {
        NodeSession { takes_feed: false, ..self }
    }

    /// Takes received bytes.
    pub fn on_bytes(&mut self, stream: Stream, bytes: &[u8], now_ms: i64) {
        self.peer.push(stream, bytes, now_ms);
        self.read_frames(stream, now_ms);
    }

    fn read_frames(&mut self, stream: Stream, now_ms: i64) {
        // The feed waits until both ends agree on the node's log: a store that must be refused takes nothing in.
        while stream == Stream::Up || (self.is_open() && self.takes_feed) {
            let Some(frame) = self.peer.next_frame(stream) else { return };
            if let Err(refusal) = self.on_frame(stream, frame, now_ms) {
                self.peer.refuse(refusal, now_ms);
            }
        }
    }

    fn on_frame(&mut self, stream: Stream, frame: Frame, now_ms: i64) -> Result<(), RefusalV1> {
        match (stream, frame, &mut self.state) {
            (Stream::Up, Frame::Welcome(welcome), State::Greeting) => {
                // First of all: what a hub that was left behind says of our log proves nothing against the log.
                if welcome.hub_generation < self.hub_generation_min {
                    let (ours, theirs) = (self.hub_generation_min, welcome.hub_generation);
                    return Err(RefusalV1::HubSuperseded { ours, theirs });
                }
                check_position(welcome.up)?;
                let ours = self.up_head_seq + 1;
                if welcome.up.next_seq > ours {
                    return Err(RefusalV1::Rewound { ours: welcome.up.next_seq, theirs: ours });
                }
                self.peer.act(Action::LocateUp(welcome.clone()));
                self.state = State::Locating(welcome);
            }
            (Stream::Up, Frame::Refused(refusal), _) => self.peer.close(refusal),
            (Stream::Up, Frame::Ack(ack), State::Open(sender)) => {
                if sender.acked(ack)? {
                    self.peer.act(Action::Acked(ack));
                }
                self.read_on();
            }
            (Stream::Up, Frame::FeedStopped(refusal), State::Open(_)) => self.peer.act(Action::FeedStopped(refusal)),
            (Stream::Down, Frame::Batch(batch), _) => match self.down.receive(&batch)? {
                Received::New(batch) => self.peer.act(Action::Deliver(batch)),
                Received::Repeated(cursor) => self.peer.send(Stream::Down, &Frame::Ack(cursor), now_ms),
            },
            (_, Frame::KeepAlive, _) => {}
            (_, frame, _) => return Err(RefusalV1::Malformed { what: format!("unexpected {}", name(&frame)) }),
        }
        Ok(())
    }

    /// Answers [`Action::LocateUp`]: the own chain before the hub's place, `None` when the log does not hold it.
    pub fn located(&mut self, hash: Option<ChainHash>, now_ms: i64) {
        let State::Locating(welcome) = &self.state else { return };
        let up = welcome.up;
        if hash != Some(up.hash) {
            return self.peer.refuse(RefusalV1::Fork { at: up.next_seq }, now_ms);
        }
        self.peer.act(Action::Acked(up));
        self.state = State::Open(BatchSender::new(up, self.up_head_seq));
        // Tells the hub that both agree.
        self.peer.send(Stream::Up, &Frame::Ack(up), now_ms);
        self.read_frames(Stream::Down, now_ms);
        self.read_on();
    }

    /// Whether both ends have agreed on the node's log: events flow.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// The own log has grown.
    pub fn log_grew(&mut self, head_seq: u64) {
        self.up_head_seq = self.up_head_seq.max(head_seq);
        if let State::Open(sender) = &mut self.state {
            sender.log_grew(head_seq);
        }
        self.read_on();
    }

    /// Answers [`Action::ReadLog`].
    pub fn log_read(&mut self, records: &[LogRecord], now_ms: i64) {
        let State::Open(sender) = &mut self.state else { return };
        match sender.pack(records) {
            Ok(Some(batch)) => self.peer.send(Stream::Up, &batch, now_ms),
            Ok(None) => {}
            Err(refusal) => self.peer.refuse(refusal, now_ms),
        }
        self.read_on();
    }

    /// Answers [`Action::Deliver`]: the feed is durable up to here.
    pub fn delivered(&mut self, cursor: Cursor, now_ms: i64) {
        match self.down.delivered(cursor) {
            Ok(ack) => self.peer.send(Stream::Down, &Frame::Ack(ack), now_ms),
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

    /// When [`NodeSession::tick`] is due.
    pub fn wake_at_ms(&self) -> i64 {
        self.peer.wake_at_ms()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.peer.poll()
    }

    /// Sends nothing new any more: the session is about to end, and what is on its way shall be acknowledged before.
    pub fn finish_sending(&mut self) {
        self.ending = true;
    }

    /// Whether nothing that was sent waits for its acknowledgement.
    pub fn is_settled(&self) -> bool {
        match &self.state {
            State::Open(sender) => sender.is_settled(),
            State::Greeting | State::Locating(_) => true,
        }
    }

    fn read_on(&mut self) {
        if !self.ending
            && let State::Open(sender) = &mut self.state
            && let Some((from_seq, events_max, bytes_max)) = sender.wants()
        {
            self.peer.act(Action::ReadLog { from_seq, events_max, bytes_max });
        }
    }
}

/// Refuses a position that no store can hold, before anybody computes with it.
pub(super) fn check_position(place: Cursor) -> Result<(), RefusalV1> {
    match place.is_in_bounds() {
        true => Ok(()),
        false => Err(RefusalV1::Malformed { what: format!("position {} is out of bounds", place.next_seq) }),
    }
}

/// The name of a frame, for messages.
pub(super) fn name(frame: &Frame) -> &'static str {
    match frame {
        Frame::Hello(_) => "hello",
        Frame::Welcome(_) => "welcome",
        Frame::Refused(_) => "refusal",
        Frame::Batch(_) => "batch",
        Frame::Ack(_) => "ack",
        Frame::KeepAlive => "keep-alive",
        Frame::Greeting(_) => "greeting",
        Frame::Mark(_) => "mark",
        Frame::FeedStopped(_) => "end of the feed",
    }
}
