//! What a peer may do before both ends agree, and what it may not: no clock, no network, one session.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use jikai_schema::chain::ChainHash;
use jikai_schema::codec::EVENT_VERSION;
use jikai_schema::id::NodeId;
use jikai_sync::session::{
    Action, GREETING_MS_MAX, HubSession, LogRecord, NodeSession, SILENCE_MS_MAX, Stream, WAITING_BYTES_MAX,
};
use jikai_sync::wire::{Cursor, Frame, Hello, Mark, RefusalV1, Welcome, WireVersion, encode_frame};

fn hello() -> Hello {
    Hello {
        event_version: EVENT_VERSION,
        environment: "test".into(),
        node: NodeId::new(1).unwrap(),
        incarnation: [1; 16],
        epoch: 1,
        schema_version: 1,
        up_head: Cursor::START,
        down: Cursor::START,
    }
}

fn welcome(up: Cursor) -> Frame {
    Frame::Welcome(Welcome { up, hub_generation: 1, endpoints: Vec::new() })
}

fn bytes(frame: &Frame) -> Vec<u8> {
    encode_frame(frame).unwrap()
}

/// A batch of the feed, as a hub sends it.
fn feed() -> Vec<u8> {
    let mut hub = HubSession::new(0);
    hub.on_bytes(Stream::Up, &bytes(&Frame::Hello(hello())), 0);
    hub.admitted(Welcome { up: Cursor::START, hub_generation: 1, endpoints: Vec::new() }, 1, 0);
    hub.on_bytes(Stream::Up, &bytes(&Frame::Ack(Cursor::START)), 0);
    hub.log_read(&[LogRecord { seq: 1, bytes: vec![7; 10] }], 0);
    let sent = std::iter::from_fn(|| hub.poll()).filter_map(|action| match action {
        Action::Send(Stream::Down, bytes) => Some(bytes),
        _ => None,
    });
    sent.flatten().collect()
}

fn closing(actions: impl Iterator<Item = Action>) -> Option<RefusalV1> {
    actions.into_iter().find_map(|action| match action {
        Action::Close(refusal) => Some(refusal),
        _ => None,
    })
}

fn hub_closes(hub: &mut HubSession) -> Option<RefusalV1> {
    closing(std::iter::from_fn(|| hub.poll()))
}

fn node_closes(node: &mut NodeSession) -> Option<RefusalV1> {
    closing(std::iter::from_fn(|| node.poll()))
}

fn is_malformed(refusal: Option<RefusalV1>) -> bool {
    matches!(refusal, Some(RefusalV1::Malformed { .. }))
}

#[test]
fn a_peer_that_trickles_bytes_and_never_greets_is_given_up() {
    let mut hub = HubSession::new(0);
    let frame = bytes(&Frame::Hello(hello()));
    for (at, byte) in frame.iter().take(20).enumerate() {
        hub.on_bytes(Stream::Up, &[*byte], at as i64 * 1_000);
    }
    assert!(hub.wake_at_ms() <= GREETING_MS_MAX);
    hub.tick(GREETING_MS_MAX - 1);
    assert_eq!(hub_closes(&mut hub), None);
    hub.tick(GREETING_MS_MAX);
    assert_eq!(hub_closes(&mut hub), Some(RefusalV1::Silent { silent_ms: GREETING_MS_MAX }));
}

#[test]
fn a_greeting_ends_that_wait_and_silence_is_still_noticed() {
    let mut hub = HubSession::new(0);
    hub.on_bytes(Stream::Up, &bytes(&Frame::Hello(hello())), 0);
    hub.admitted(Welcome { up: Cursor::START, hub_generation: 1, endpoints: Vec::new() }, 0, 0);
    hub.on_bytes(Stream::Up, &bytes(&Frame::KeepAlive), GREETING_MS_MAX - 1);
    hub.tick(GREETING_MS_MAX);
    assert_eq!(hub_closes(&mut hub), None);
    let at_ms = GREETING_MS_MAX - 1 + SILENCE_MS_MAX;
    hub.tick(at_ms);
    assert_eq!(hub_closes(&mut hub), Some(RefusalV1::Silent { silent_ms: SILENCE_MS_MAX }));
}

#[test]
fn bytes_that_must_wait_for_the_handshake_are_bounded() {
    let mut hub = HubSession::new(0);
    for _ in 0..=WAITING_BYTES_MAX / 60_000 {
        assert_eq!(hub_closes(&mut hub), None);
        hub.on_bytes(Stream::Down, &[0; 60_000], 0);
    }
    assert!(is_malformed(hub_closes(&mut hub)));
}

#[test]
fn only_a_greeting_may_come_first() {
    for frame in [Frame::KeepAlive, Frame::Ack(Cursor::START), welcome(Cursor::START)] {
        let mut hub = HubSession::new(0);
        hub.on_bytes(Stream::Up, &bytes(&frame), 0);
        assert!(is_malformed(hub_closes(&mut hub)), "{frame:?}");
    }
}

#[test]
fn positions_that_no_store_can_hold_are_refused_before_anybody_computes_with_them() {
    for next_seq in [0, i64::MAX as u64 + 1, u64::MAX] {
        let place = Cursor { next_seq, hash: ChainHash::GENESIS };
        for hello in [Hello { up_head: place, ..hello() }, Hello { down: place, ..hello() }] {
            let mut hub = HubSession::new(0);
            hub.on_bytes(Stream::Up, &bytes(&Frame::Hello(hello)), 0);
            assert!(is_malformed(hub_closes(&mut hub)), "{next_seq}");
        }
        let mut node = NodeSession::new(hello(), 0);
        node.on_bytes(Stream::Up, &bytes(&welcome(place)), 0);
        assert!(is_malformed(node_closes(&mut node)), "{next_seq}");
    }
}

#[test]
fn a_hub_of_an_earlier_generation_is_refused_whatever_it_says_of_the_log() {
    let ahead = Cursor { next_seq: 9, hash: ChainHash::GENESIS };
    for place in [Cursor::START, ahead] {
        let mut node = NodeSession::new(hello(), 0).with_hub_generation_min(2);
        node.on_bytes(Stream::Up, &bytes(&welcome(place)), 0);
        let actions: Vec<_> = std::iter::from_fn(|| node.poll()).collect();
        let refusal = RefusalV1::HubSuperseded { ours: 2, theirs: 1 };
        let told = Action::Send(Stream::Up, bytes(&Frame::Refused(refusal.clone())));
        assert!(actions.contains(&told), "the hub is told");
        assert_eq!(closing(actions.into_iter()), Some(refusal));
    }
    let mut node = NodeSession::new(hello(), 0).with_hub_generation_min(1);
    node.on_bytes(Stream::Up, &bytes(&welcome(Cursor::START)), 0);
    assert_eq!(node_closes(&mut node), None);
}

#[test]
fn a_session_that_is_about_to_end_sends_nothing_new_and_waits_for_what_it_sent() {
    let mut node = NodeSession::new(Hello { up_head: Cursor { next_seq: 9, ..Cursor::START }, ..hello() }, 0);
    node.on_bytes(Stream::Up, &bytes(&welcome(Cursor::START)), 0);
    node.located(Some(ChainHash::GENESIS), 0);
    assert!(!node.is_settled(), "a read is under way");
    let record = LogRecord { seq: 1, bytes: vec![7; 10] };
    node.log_read(std::slice::from_ref(&record), 0);
    node.log_read(&[], 0);
    node.finish_sending();
    assert!(!node.is_settled());
    while node.poll().is_some() {}
    node.log_grew(20);
    assert_eq!(node.poll(), None);
    let acked = Cursor { next_seq: 2, hash: ChainHash::GENESIS.next(&record.bytes) };
    node.on_bytes(Stream::Up, &bytes(&Frame::Ack(acked)), 0);
    assert!(node.is_settled());
    assert_eq!(node.poll(), Some(Action::Acked(acked)));
    assert_eq!(node.poll(), None);
}

#[test]
fn a_node_takes_no_feed_in_until_both_ends_agree_on_its_log() {
    let delivers = |node: &mut NodeSession| {
        std::iter::from_fn(|| node.poll()).filter(|action| matches!(action, Action::Deliver(_))).count()
    };
    let mut node = NodeSession::new(hello(), 0);
    node.on_bytes(Stream::Down, &feed(), 0);
    node.on_bytes(Stream::Up, &bytes(&welcome(Cursor::START)), 0);
    assert_eq!(delivers(&mut node), 0);
    node.located(Some(ChainHash::GENESIS), 0);
    assert!(node.is_open());
    assert_eq!(delivers(&mut node), 1);

    let mut forked = NodeSession::new(hello(), 0);
    forked.on_bytes(Stream::Down, &feed(), 0);
    forked.on_bytes(Stream::Up, &bytes(&welcome(Cursor::START)), 0);
    forked.located(None, 0);
    assert!(!forked.is_open());
    assert_eq!(delivers(&mut forked), 0);
}

#[test]
fn a_hub_gives_nothing_and_hears_nothing_of_the_feed_until_the_node_agrees() {
    let mut hub = HubSession::new(0);
    hub.on_bytes(Stream::Up, &bytes(&Frame::Hello(hello())), 0);
    // It would be unexpected bytes if it were read now.
    hub.on_bytes(Stream::Down, &bytes(&Frame::Ack(Cursor::START)), 0);
    hub.admitted(Welcome { up: Cursor::START, hub_generation: 1, endpoints: Vec::new() }, 1, 0);
    hub.feed_grew(2);
    let gives = |hub: &mut HubSession| {
        let actions: Vec<_> = std::iter::from_fn(|| hub.poll()).collect();
        let reads = actions.iter().any(|action| matches!(action, Action::ReadLog { .. }));
        (actions.contains(&Action::Agreed), reads)
    };
    hub.on_bytes(Stream::Up, &bytes(&Frame::KeepAlive), 0);
    assert_eq!(gives(&mut hub), (false, false));
    hub.on_bytes(Stream::Up, &bytes(&Frame::Ack(Cursor::START)), 0);
    assert_eq!(gives(&mut hub), (true, true));

    let elsewhere = Cursor { next_seq: 2, ..Cursor::START };
    for answer in [Frame::Refused(RefusalV1::Fork { at: 1 }), Frame::Ack(elsewhere)] {
        let mut other = HubSession::new(0);
        other.on_bytes(Stream::Up, &bytes(&Frame::Hello(hello())), 0);
        other.admitted(Welcome { up: Cursor::START, hub_generation: 1, endpoints: Vec::new() }, 1, 0);
        other.on_bytes(Stream::Up, &bytes(&answer), 0);
        assert_eq!(gives(&mut other), (false, false), "{answer:?}");
    }
}

#[test]
fn bytes_that_are_no_frame_end_the_session_and_the_peer_is_told() {
    let mut hub = HubSession::new(0);
    hub.on_bytes(Stream::Up, &[2, 0, 0, 0, 9, 5], 0);
    let Some(Action::Send(Stream::Up, told)) = hub.poll() else { panic!("the peer is not told") };
    let mut node = NodeSession::new(hello(), 0);
    node.on_bytes(Stream::Up, &told, 0);
    let expected = RefusalV1::Malformed { what: "frame version 9 is not known here".into() };
    assert_eq!(node_closes(&mut node), Some(expected.clone()));
    assert_eq!(hub_closes(&mut hub), Some(expected));
}

#[test]
fn a_node_of_the_version_before_greets_as_it_always_did_and_is_told_in_its_own_words() {
    let (old, new) = (WireVersion::V1, WireVersion::V2);
    let mark = Mark { run: [1; 16], after: None, process: [2; 16] };
    // The older one knows no mark.
    for (version, event_version, told) in [(old, old.event_version(), None), (new, EVENT_VERSION, Some(mark))] {
        let mut node = NodeSession::over(version, hello(), Some(mark), 0);
        let mut hub = HubSession::over(version, 0);
        while let Some(action) = node.poll() {
            if let Action::Send(stream, bytes) = action {
                hub.on_bytes(stream, &bytes, 0);
            }
        }
        assert_eq!(hub.poll(), Some(Action::Admit(Hello { event_version, ..hello() }, told)), "{version:?}");
        hub.refuse(RefusalV1::SchemaTooOld { ours: 4, theirs: event_version }, 0);
        while let Some(action) = hub.poll() {
            if let Action::Send(stream, bytes) = action {
                node.on_bytes(stream, &bytes, 0);
            }
        }
        match (version, node_closes(&mut node).unwrap()) {
            (WireVersion::V1, RefusalV1::Unavailable { why }) => assert!(why.contains("Upgrade the node"), "{why}"),
            (WireVersion::V2, RefusalV1::SchemaTooOld { .. }) => {}
            (version, other) => panic!("{version:?}: {other}"),
        }
    }
}

#[test]
fn frames_of_another_version_than_the_one_agreed_on_end_the_session() {
    let mut hub = HubSession::over(WireVersion::V1, 0);
    hub.on_bytes(Stream::Up, &bytes(&Frame::Hello(hello())), 0);
    assert!(is_malformed(hub_closes(&mut hub)));
}
